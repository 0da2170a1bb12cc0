# SPDX-License-Identifier: GPL-2.0-only
"""The environment variables of other programs: an allow-list, only made here.

Whatever a user has exported for other work (``CFLAGS``, ``MAKEFLAGS``, ``KCONFIG_CONFIG``,
``GIT_DIR``, ``PYTHONPATH``, ``LD_PRELOAD``) would change what is built, and the result would stay
in the cache.  No list of such variables is complete, so only these pass:

- for every program: ``PATH`` and ``TMPDIR`` of the user, see :func:`clean`;
- for programs that download: proxies and certificates, see :func:`network`;
- for git with a repository on another machine: what ssh and credential helpers need, see
  :func:`user`.

To build everything with another compiler, put it first on the ``PATH`` as ``gcc``: the key of every
cache entry has the toolchain's identity, see :mod:`harness.kbuild.toolchain`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_STANDARD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOWHERE = "/nonexistent"
_HARMLESS = re.compile(r"[\w@+./-]+", re.ASCII)
_FIXED = {
    # No program must find settings of the user there; Debian's builders use the same name.
    "HOME": _NOWHERE,
    # Messages are read, and sorted lists compared, by programs that expect this locale.
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
}
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE")
_NETWORK = (*_PROXIES, *map(str.upper, _PROXIES), *_CERTIFICATES)
_USER = (
    # The user's ~/.gitconfig, ~/.netrc and credentials.
    *("HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"),
    # How to reach the other machine, and as whom.
    *("KRB5CCNAME", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"),
    *("USER", "LOGNAME", "SSH_AUTH_SOCK", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT"),
    *("GIT_PROXY_COMMAND", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSL_NO_VERIFY"),
    # Programs that give a password without a terminal, as CI has them.
    *("GIT_ASKPASS", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "DISPLAY"),
)


def clean() -> dict[str, str]:
    """Return the environment of a program that may depend on nothing but its input.

    ``PATH`` is the user's, as distributions keep programs in different places; relative entries
    are left out, as they would name programs of the tree that is built.  ``TMPDIR`` is the user's,
    as /tmp may be small, if it is a directory whose name no makefile can misread.
    """
    made = {"PATH": search_path(), **_FIXED}
    temporary = Path(os.environ.get("TMPDIR", ""))
    if temporary.is_absolute() and temporary.is_dir() and harmless(temporary):
        made["TMPDIR"] = str(temporary)
    return made


def harmless(path: Path) -> bool:
    """Whether neither make nor gcc nor a shell takes *path* apart, wherever quotes are forgotten.

    The kernel's Makefile refuses blanks and colons; others stop at ``#``, ``$`` and ``%``; gcc's
    options end at commas and equal signs.
    """
    return bool(_HARMLESS.fullmatch(str(path)))


def network() -> dict[str, str]:
    """Return :func:`clean` for a program that downloads: with the user's proxies."""
    return clean() | _of_user(_NETWORK)


def user() -> dict[str, str]:
    """Return :func:`network` for a program that acts as the user on another machine."""
    return network() | _of_user(_USER)


def search_path() -> str:
    """Return where programs are looked for: the absolute entries of the user's ``PATH``."""
    wanted = os.environ.get("PATH", _STANDARD_PATH).split(os.pathsep)
    # An empty PATH would be this directory for some, and the standard one for others.
    return os.pathsep.join(each for each in wanted if each.startswith("/")) or _NOWHERE


def _of_user(names: tuple[str, ...]) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}

# SPDX-License-Identifier: GPL-2.0-only
"""Commands that install missing packages, by distribution."""

from __future__ import annotations

import platform

OF_PROGRAM = {
    "bc": "bc",
    "bison": "bison",
    "busybox": "busybox-static",
    "bwrap": "bubblewrap",
    "ccache": "ccache",
    "flex": "flex",
    "gcc": "gcc",
    "gzip": "gzip",
    "git": "git",
    "ld": "binutils",
    "make": "make",
    "rsync": "rsync",
    "apt-cache": "apt",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "tar": "tar",
    "xz": "xz-utils",
    "zstd": "zstd",
    "qemu-system-x86_64": "qemu-system-x86",
}
"""Debian package of each program that the harness runs, for the error that says one is missing."""

_FEDORA = {
    "busybox-static": "busybox",
    "libc6-dev": "glibc-devel glibc-static",
    "ovmf": "edk2-ovmf",
    "python3-venv": "python3",
    "xz-utils": "xz",
}
"""Where Fedora has another name than Debian."""
_APT = frozenset({"debian", "ubuntu"})
_DNF = frozenset({"fedora", "rhel", "centos"})


def install(*packages: str, system: dict[str, str] | None = None) -> str:
    """Return the command that installs *packages*, which have their names in Debian.

    On a distribution whose names are not known, what to look for.  *system* is os-release, by
    default this machine's.
    """
    if system is None:
        try:
            system = platform.freedesktop_os_release()
        except OSError:
            system = {}
    kin = {system.get("ID", ""), *system.get("ID_LIKE", "").split()}
    if kin & _APT:
        return f"apt-get install {' '.join(packages)}"
    if kin & _DNF:
        return f"dnf install {' '.join(_FEDORA.get(name, name) for name in packages)}"
    return f"install what Debian has in {', '.join(packages)}"

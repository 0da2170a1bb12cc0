# SPDX-License-Identifier: GPL-2.0-only
"""A resolved source, and the forms of source specifications."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.errors import UserError

FORMS = """\
debian:linux-source-6.1=6.1.176-1   a Debian source package (without =VERSION: the newest)
path/to/linux                       a directory, or a git work tree as it is now
path/to/linux-6.1.tar.xz            a tarball (.tar, .tar.gz, .tar.xz, .tar.zst)
https://host/linux-6.1.tar.xz#sha256=DIGEST   the same, from a URL
path/to/linux#v6.1                  a commit, tag or branch of a git repository
https://host/linux.git#v6.1         the same, from its URL"""
"""The forms of a source, as errors and the manual show them."""


class Source(msgspec.Struct, frozen=True):
    """A kernel tree that is in the cache's git repository."""

    spec: str
    """The specification of the user."""
    repo: Path
    """The bare repository."""
    commit: str
    """The base commit, a full id."""
    tree: str
    """The id of its tree: two sources with one tree hold the same files."""
    description: str
    """One line, such as "Linux 6.1.176 (Debian linux-source-6.1 6.1.176-1)"."""
    note: str | None
    """Deviations from the request, to be shown and recorded with the results."""


def bad_spec(spec: str, why: str) -> UserError:
    """Return the error for a source that cannot be understood or found; it lists the forms."""
    return UserError(
        "the kernel source cannot be found", where=spec, why=why, hint=f"use one of\n{FORMS}"
    )

# SPDX-License-Identifier: GPL-2.0-only
"""Include directories without the host's kernel headers.

A selftest is compiled against the headers of the tree under test.  A header which that tree lacks
must be a compile error; with ``/usr/include`` in the search path the compiler would quietly take
the host's.  So the search path is: the compiler's own headers, the tree's, and the C library's in a
directory of links that leaves out everything the kernel owns.
"""

from __future__ import annotations

from pathlib import Path

from harness.proc.process import check, run

_KERNEL_OWNED = frozenset(
    {"asm", "asm-generic", "drm", "linux", "misc", "mtd", "rdma", "sound", "video", "xen"}
)
"""Directories that ``make headers_install`` fills (``include/uapi`` of the kernel tree).

``scsi`` is shared with the C library, which has no other copy of its three files; it stays."""


def libc_includes(into: Path) -> tuple[Path, ...]:
    """Fill *into* with links to the host's C library headers; return the search path."""
    triplet = _ask("-print-multiarch")
    host = Path("/usr/include")
    generic, specific = into / "include", into / "include-arch"
    _link(host, generic, skip=_KERNEL_OWNED | {triplet})
    roots = [generic]
    if triplet and (host / triplet).is_dir():
        _link(host / triplet, specific, skip=_KERNEL_OWNED)
        roots.insert(0, specific)
    return tuple(roots)


def compiler_flags(headers: Path, libc: tuple[Path, ...]) -> list[str]:
    """Return flags that make gcc search its own headers, *headers* and *libc*, and no other."""
    own = Path(_ask("-print-file-name=include"))
    flags = ["-nostdinc"]
    for directory in (own, headers, *libc):
        flags += ["-isystem", str(directory)]
    return flags


def _ask(question: str) -> str:
    return check(run(["gcc", question], limit_s=30), "gcc does not run").output.strip()


def _link(source: Path, target: Path, *, skip: frozenset[str]) -> None:
    target.mkdir(parents=True)
    for entry in source.iterdir():
        if entry.name not in skip:
            (target / entry.name).symlink_to(entry)

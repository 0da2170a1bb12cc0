# SPDX-License-Identifier: GPL-2.0-only
"""Check that the packed files of a suite fit into the memory of its guest.

A guest boots from an archive in its memory and unpacks it into a root file system in its memory,
which may have half of what the archive leaves: so a guest needs three times what is packed.  A
kernel that has less does not come up, or comes up with files that are cut off.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from harness.model.spec import GuestTable
from harness.suites import Suite

_MIB = 1 << 20
_PAGE = 4096
_HEADER = 512
"""Bytes of a file's name and attributes, in the archive and in memory, with a margin."""
_FILE_LIMIT = (4 << 30) - 1
"""The archive's format has 32 bits for the size of a file."""
_ARCHIVE_LIMIT_MIB = 1900
"""QEMU puts the archive below 2 GiB."""
_KERNEL_MIB = 64
_OWN_SHARE = 16
"""What the kernel has besides: this, and a sixteenth of the memory.  Measured: 34 MiB of files fit
into 128 MiB, and 160 into 512.  KASAN takes an eighth of the memory."""
_STEP_MIB = 64


def too_small(suite: Suite, guest: GuestTable) -> str:
    """Return why *guest* has too little memory for the files of *suite*; empty if it has enough."""
    roots = [suite.files, suite.beside]
    roots += [suite.root] if guest.type == "sealed" else []
    packed, largest = 0, 0
    for size in _sizes(roots):
        packed += -(-size // _PAGE) * _PAGE + _HEADER
        largest = max(largest, size)
    mib = -(-packed // _MIB)
    if largest > _FILE_LIMIT or mib > _ARCHIVE_LIMIT_MIB:
        return (
            f"the suite packs {mib} MiB for its guest, and at most {_ARCHIVE_LIMIT_MIB} MiB are "
            "possible: take files out of TEST_FILES"
        )
    needed = needed_mib(mib)
    if guest.memory_mib >= needed:
        return ""
    return (
        f"its guest is too small: the suite packs {mib} MiB, with which a guest needs {needed} MiB "
        f"of memory, and it has {guest.memory_mib} MiB: set memory_mib = {needed} under [guest] in "
        "suite.toml or harness.toml"
    )


def needed_mib(packed_mib: int) -> int:
    """Return the memory in MiB with which a guest boots that has *packed_mib* of files."""
    needed = (3 * packed_mib + _KERNEL_MIB) * _OWN_SHARE / (_OWN_SHARE - 1)
    return int(-(-needed // _STEP_MIB) * _STEP_MIB)


def _sizes(roots: Iterable[Path]) -> Iterable[int]:
    for root in roots:
        for directory, _, names in os.walk(root):
            for name in names:
                yield (Path(directory) / name).lstat().st_size

# SPDX-License-Identifier: GPL-2.0-only
"""The functions of a kernel and where they lie, from the symbols of its vmlinux."""

from __future__ import annotations

import re
from pathlib import Path

from harness.model.cost import Symbols
from harness.proc.process import check, run
from harness.proc.sandbox import Sandbox

_FUNCTION = re.compile(r"^([0-9a-f]+) [tTwW] (\S+)$", re.MULTILINE)
_KERNEL_HALF = 1 << 63


def functions(vmlinux: Path, sandbox: Sandbox | None = None) -> Symbols:
    """Return the functions of *vmlinux* in the order of their addresses.

    Of several names for one address the first by the alphabet stays, but one with fewer leading
    underscores goes first.  Raises MachineError where nm fails.
    """
    done = check(
        run(["nm", "--defined-only", str(vmlinux)], limit_s=120, sandbox=sandbox), "nm failed"
    )
    found: dict[int, str] = {}
    for address_text, name in _FUNCTION.findall(done.output):
        address = int(address_text, 16)
        if address < _KERNEL_HALF:
            continue  # offsets in per-CPU memory
        if address not in found or _rank(name) < _rank(found[address]):
            found[address] = name
    ordered = sorted(found)
    return Symbols(tuple(ordered), tuple(found[each] for each in ordered))


def _rank(name: str) -> tuple[int, str]:
    return len(name) - len(name.lstrip("_")), name

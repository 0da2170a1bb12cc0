# SPDX-License-Identifier: GPL-2.0-only
"""The sample logs.

``samples/ARCH/NAME.log`` were printed by a 6.1.176 kernel in QEMU (the ``kasan-`` and ``caller-``
ones with PRINTK_CALLER, the latter by this project's own kernel), provoked with LKDTM or by a small
driver, and cut to the report and about ten lines around it.  ``composed-NAME.log`` were written by
hand from the kernel's format strings.  ``samples/clean`` are whole logs in which nothing is wrong.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent / "samples"
SAMPLES = tuple(
    sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("*/*.log") if p.parent.name != "clean")
)
CLEAN = tuple(sorted(str(p.relative_to(ROOT)) for p in (ROOT / "clean").glob("*.log")))


def read(name: str) -> bytes:
    """Return the sample as the console delivered it."""
    return (ROOT / name).read_bytes()

# SPDX-License-Identifier: GPL-2.0-only
"""The sample logs.

``samples/ARCH/NAME.log`` were printed by a 6.1.176 kernel in QEMU, provoked with LKDTM or by a
small driver, and cut to the report and a few lines around it.  The ``caller-`` ones come from this
project's own kernel, the ``debug-`` ones from one with lockdep, KCSAN, UBSAN and debug objects, the
``kasan-`` ones from one with KASAN; all of these have PRINTK_CALLER.  ``composed-NAME.log`` were
written by hand from the kernel's format strings.  ``samples/clean`` are whole logs in which nothing
is wrong, of four kernels with different configurations.
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

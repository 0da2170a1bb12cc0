# SPDX-License-Identifier: GPL-2.0-only
"""The sample logs.

``samples/ARCH/NAME.log`` were printed by a 6.1.176 kernel in QEMU, provoked with LKDTM or by a
small driver, and cut to the report and a few lines around it.  Those of x86 named ``caller-`` come
from this project's own kernel, ``debug-`` from one with lockdep, KCSAN, UBSAN and debug objects,
``kasan-`` from one with KASAN; all of these have PRINTK_CALLER.  Those of arm64 come from kernels
with lockdep, UBSAN, KFENCE and debug objects under emulation (``virt``, Cortex-A57 or ``max``):
``caller-``, ``debug-`` (KCSAN) and ``kasan-`` with PRINTK_CALLER, the others without.  The SError
of arm64 is a virtual one, which the hypervisor stub was made to pend.  ``composed-NAME.log`` were
written by hand from the kernel's format strings; there are none for arm64.  ``samples/clean`` are
whole logs in which nothing is wrong, of kernels with different configurations; in the ``segv`` ones
a process has died.
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

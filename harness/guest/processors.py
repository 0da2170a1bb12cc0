# SPDX-License-Identifier: GPL-2.0-only
"""What a guest's processors do, as QEMU's monitor tells it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from harness.guest.process import QemuProcess

_LOOKS = 4
_BETWEEN_LOOKS_S = 0.25
_REGISTERS = re.compile(
    r"RIP=(?P<at>[0-9a-f]+) RFL=(?P<flags>[0-9a-f]+) .*?CPL=(?P<level>\d).*?HLT=(?P<halted>\d)"
)
_INTERRUPTS_ON = 1 << 9


async def states(qemu: QemuProcess, limit_s: float) -> list[re.Match[str]]:
    """Return the state of each processor; raises TimeoutError and QMPError."""
    asked = {"command-line": "info registers -a"}
    return registers(str(await qemu.execute("human-monitor-command", limit_s, **asked)))


async def deaf(qemu: QemuProcess, cpus: list[re.Match[str]], limit_s: float) -> set[int]:
    """Return the processors that have interrupts off in the kernel in every sample.

    *cpus* is the first sample; raises as :func:`states`.
    """
    found = set(range(len(cpus)))
    for _ in range(_LOOKS):
        found &= deaf_processors(cpus)
        if not found:
            break
        await asyncio.sleep(_BETWEEN_LOOKS_S)
        cpus = await states(qemu, limit_s)
    return found


def registers(text: str) -> list[re.Match[str]]:
    """Return what ``info registers -a`` says of each processor."""
    return list(_REGISTERS.finditer(text))


def deaf_processors(cpus: Sequence[re.Match[str]]) -> set[int]:
    """Return the numbers of those that execute the kernel and take no interrupts just now."""

    def is_deaf(cpu: re.Match[str]) -> bool:
        on = int(cpu["flags"], 16) & _INTERRUPTS_ON
        return not on and cpu["level"] == "0" and cpu["halted"] == "0"

    return {number for number, cpu in enumerate(cpus) if is_deaf(cpu)}

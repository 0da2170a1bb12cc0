# SPDX-License-Identifier: GPL-2.0-only
"""Which processor takes no interrupts, by what QEMU's monitor says of them."""

from __future__ import annotations

import pytest

from harness.guest.processors import deaf_processors, registers

pytestmark = pytest.mark.unit

CPU = (
    "CPU#{number}\r\nRAX=0000000000000000 RBX=0000000000000000 RCX=0000000000000001\r\n"
    "RIP=ffffffff8109de4e RFL={flags:08x} [---Z-P-] CPL={level} II=0 A20=1 SMM=0 HLT={halted}\r\n"
    "ES =0000 0000000000000000 ffffffff 00c00000\r\n"
)
ON, OFF = 0x246, 0x46


@pytest.mark.parametrize(
    ("flags", "level", "halted", "deaf"),
    [
        (OFF, 0, 0, True),
        (ON, 0, 0, False),
        # Programs cannot switch interrupts off, and who is halted waits for one.
        (OFF, 3, 0, False),
        (ON, 3, 0, False),
        (OFF, 0, 1, False),
        (ON, 0, 1, False),
    ],
)
def test_who_spins_in_the_kernel_without_interrupts(
    flags: int, level: int, halted: int, deaf: bool
) -> None:
    idle = CPU.format(number=0, flags=ON, level=0, halted=1)
    other = CPU.format(number=1, flags=flags, level=level, halted=halted)
    cpus = registers(idle + "\r\n" + other)
    assert [cpu["at"] for cpu in cpus] == ["ffffffff8109de4e"] * 2
    assert deaf_processors(cpus) == ({1} if deaf else set())

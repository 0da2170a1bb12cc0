# SPDX-License-Identifier: GPL-2.0-only
"""Guests in which a test is preempted at chosen instructions, under QEMU's TCG.

A directory of the run holds what that takes, for each kernel:

    logs/=race/KERNEL/symbols         the kernel's functions for QEMU's plugin
    logs/=race/KERNEL/unlocks         the addresses of functions that unlock something
    logs/=race/KERNEL/counts/TEST.N   what the plugin says of attempt N at a test, until it is read
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from harness.context import Context
from harness.errors import MachineError
from harness.guest import counted
from harness.lab.probes import Seen, compiled
from harness.model.cost import Symbols
from harness.model.logfiles import LOGS, file_name

RACE = Path(LOGS, "=race")
"""The directory, relative to that of a run."""
_SYMBOLS, _UNLOCKS, _COUNTS = "symbols", "unlocks", "counts"
_UNLOCK = re.compile(
    r"mutex_unlock|up_(?:read|write)|_raw_(?:spin|read|write)_unlock(?:_bh|_irq|_irqrestore)?"
    r"|__srcu_read_unlock|__rcu_read_unlock|complete(?:_all)?|__wake_up"
)
"""Functions behind which others may go on."""


class RaceProbe(msgspec.Struct, frozen=True):
    """Has guests begin at the same instruction, and notes what is asked of their schedule."""

    directory: Path
    """That of the kernel."""
    plugin: Path
    symbols: Symbols
    switch: tuple[int, int]
    profile: bool = False
    """Whether it is noted when which thread ran, and when something was unlocked."""
    stands: bool = False
    """Whether it is noted who stands back where, and what others run meanwhile."""

    def qemu_argv(self, test: str, attempt: int) -> tuple[str, ...]:
        """Return what the command line of QEMU needs for an attempt at *test*."""
        counts = self.counts(test, attempt)
        counted.begin(counts)
        return counted.plugin_argv(
            self.plugin,
            counts,
            self.switch,
            self.directory / _SYMBOLS if self.stands else None,
            self.directory / _UNLOCKS if self.profile else None,
        )

    def let_go(self, test: str, attempt: int) -> Callable[[], None]:
        """Return what lets the guest of an attempt go, which stands still until then."""
        return partial(counted.let_go, self.counts(test, attempt))

    def seen(self, test: str, attempt: int) -> Seen:
        """Return nothing; what was noted stays in :meth:`counts`."""
        if not (self.profile or self.stands):
            self.counts(test, attempt).unlink(missing_ok=True)
        return Seen()

    def counts(self, test: str, attempt: int) -> Path:
        """Return the file in which the plugin notes what it sees of an attempt."""
        return self.directory / _COUNTS / f"{file_name(test)}.{attempt}"


def start(out: Path, kernel: str, symbols: Symbols, context: Context) -> RaceProbe:
    """Return a probe for the kernel of that name in the run's directory *out*.

    Raises MachineError where the plugin cannot be compiled, or the kernel is none that it knows.
    """
    switch = symbols.range(counted.SWITCH)
    if switch is None:
        raise MachineError(
            "the threads of a test cannot be told from others",
            why=f"the kernel has no function {counted.SWITCH}()",
        )
    unlocks = {
        address
        for address, name in zip(symbols.addresses, symbols.names, strict=True)
        if _UNLOCK.fullmatch(name)
    }
    directory = out.resolve() / RACE / (file_name(kernel) if kernel else "=")
    (directory / _COUNTS).mkdir(parents=True, exist_ok=True)
    (directory / _SYMBOLS).write_bytes(counted.encode(symbols))
    # The plugin maps the file, which cannot be empty.
    (directory / _UNLOCKS).write_bytes(counted.encode_addresses(unlocks or {switch[0]}))
    return RaceProbe(directory, compiled(counted.SOURCE, context), symbols, switch)

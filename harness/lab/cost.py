# SPDX-License-Identifier: GPL-2.0-only
"""Counting the instructions of attempts, under QEMU's TCG.

A directory of the run holds what that takes, for each kernel:

    logs/=cost/KERNEL/symbols         the kernel's functions for QEMU's plugin
    logs/=cost/KERNEL/counts/TEST.N   what the plugin has counted of attempt N at a test
    logs/=cost/KERNEL/TEST.N.folded   its chains of calls, with --functions
    logs/=cost/KERNEL/TEST.N.svg      the same as a flame graph
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from harness.context import Context
from harness.errors import MachineError
from harness.guest import counted
from harness.lab.probes import Seen, compiled
from harness.model.cost import Counts, Symbols, by_function, figures, fold
from harness.model.logfiles import LOGS, file_name
from harness.report import flame

COST = Path(LOGS, "=cost")
"""The directory, relative to that of a run."""
_SYMBOLS, _COUNTS = "symbols", "counts"


class CostProbe(msgspec.Struct, frozen=True):
    """Counts the instructions of attempts; with *functions*, also where in the kernel they are."""

    out: Path
    """The run's directory."""
    directory: Path
    """That of the kernel, relative to the run's."""
    plugin: Path
    switch: tuple[int, int]
    names: tuple[str, ...] = ()
    """The kernel's functions; none where calls are not followed."""

    def qemu_argv(self, test: str, attempt: int) -> tuple[str, ...]:
        """Return what the command line of QEMU needs for an attempt at *test*."""
        counts = self._counts(test, attempt)
        counted.begin(counts)
        symbols = self.out / self.directory / _SYMBOLS if self.names else None
        return counted.plugin_argv(self.plugin, counts, self.switch, symbols)

    def let_go(self, test: str, attempt: int) -> Callable[[], None]:
        """Return what lets the guest of an attempt go, which stands still until then."""
        return partial(counted.let_go, self._counts(test, attempt))

    def seen(self, test: str, attempt: int) -> Seen:
        """Return the figures of an attempt whose guest is gone; what else it says goes to files."""
        path = self._counts(test, attempt)
        try:
            counts = counted.read(path, self.names)
        except ValueError as error:
            return Seen(faults=(f"its instructions are not known: {error}",))
        finally:
            path.unlink(missing_ok=True)
        if not self.names:
            return Seen(metrics=figures(counts))
        return self._with_functions(counts, self.directory / f"{file_name(test)}.{attempt}", test)

    def _with_functions(self, counts: Counts, path: Path, test: str) -> Seen:
        folded, graph = Path(f"{path}.folded"), Path(f"{path}.svg")
        (self.out / folded).write_text(fold(counts.stacks))
        (self.out / graph).write_text(flame.render(dict(counts.stacks), title=test))
        faults: tuple[str, ...] = ()
        if counts.lost:
            faults = (f"{counts.lost} instructions are in none of its functions: too many calls",)
        return Seen(
            metrics=figures(counts),
            faults=faults,
            functions=by_function(counts.stacks, counts.calls),
            folded=str(folded),
            graph=str(graph),
        )

    def _counts(self, test: str, attempt: int) -> Path:
        return self.out / self.directory / _COUNTS / f"{file_name(test)}.{attempt}"


def start(
    out: Path,
    kernel: str,
    symbols: Symbols,
    context: Context,
    *,
    functions: bool,
) -> CostProbe:
    """Return a probe for the kernel of that name in the run's directory *out*.

    Raises MachineError where the plugin cannot be compiled, or the kernel is none that it knows.
    """
    switch = symbols.range(counted.SWITCH)
    if switch is None:
        raise MachineError(
            "the instructions of a test cannot be told from others",
            why=f"the kernel has no function {counted.SWITCH}()",
        )
    directory = COST / (file_name(kernel) if kernel else "=")
    (out / directory / _COUNTS).mkdir(parents=True, exist_ok=True)
    if functions:
        (out / directory / _SYMBOLS).write_bytes(counted.encode(symbols))
    return CostProbe(
        out=out.resolve(),
        directory=directory,
        plugin=compiled(counted.SOURCE, context),
        switch=switch,
        names=symbols.names if functions else (),
    )

# SPDX-License-Identifier: GPL-2.0-only
"""A run while it is under way: its kernels, from what is asked for to their last test."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import replace
from functools import partial

from harness import __version__, kbuild
from harness.context import Context
from harness.errors import HarnessError, UserError
from harness.judge import verdict
from harness.kbuild import Slot
from harness.lab.local import Bench, LocalExecutor
from harness.model.ids import check_kernel_name
from harness.model.logfiles import LogFiles, kernel_build_log
from harness.model.plan import Cell
from harness.model.records import (
    CellPlanned,
    KernelBuilt,
    KernelFailed,
    KernelPlanned,
    Record,
    RunPlanned,
    RunResumed,
    RunStarted,
    kernel_names,
    of_kernel,
)
from harness.proc import signals
from harness.report.display import Display, TestProgress
from harness.run import coverage, times
from harness.run.attempts import Attempts
from harness.run.builder import NICE, Builder
from harness.run.journal import Journal
from harness.run.prepare import Prepared, Selected, build, planned, probe, select
from harness.run.request import Request
from harness.run.rundir import RunDirectory
from harness.run.same import check_same
from harness.run.schedule import Ready, Schedule, now
from harness.run.symbolize import decode_unexpected
from harness.store import Damaged, Store

_MOST_REPAIRS = 2
"""A machine on which the cache is damaged again and again is not to be trusted with anything."""


class Underway:
    """A run in *place* that tells *book*; one that has a plan goes on where it was cut off.

    *stands* is called once, when the plan stands as far as it can be known before a test runs.
    """

    def __init__(
        self,
        request: Request,
        name: str,
        place: RunDirectory,
        book: Journal,
        store: Store,
        display: Display,
        jobs: int | None,
        stands: Callable[[], None],
    ) -> None:
        self.begun = time.monotonic()
        self.ready: float | None = None
        """When the plan stood, on the same clock; None while it does not."""
        self._request = request
        self._name = name
        self._place = place
        self._book = book
        self._display = display
        self._context = Context(store, display)
        self._jobs = jobs
        self._stood = stands
        self._resumed = bool(kernel_names(book.records()))
        self._repairs: list[str] = []
        """What was damaged in the cache before the plan stood."""
        self._prepared: dict[str, Prepared] = {}

    def execute(self) -> None:
        """Build what is to be built, and run what is left.

        What ran in guests that were made from damaged entries runs again.  Raises as the rooms do.
        """
        repairs = 0
        while True:
            try:
                self._once()
            except Damaged as damage:
                repairs += 1
                if repairs > _MOST_REPAIRS:
                    raise self._with_hint(damage) from None
                self._tell(damage)
            except HarnessError as error:
                raise self._with_hint(error) from None
            else:
                return

    def symbolize(self) -> None:
        """Look up lines for what tests ended in that did not end as expected."""
        for prepared in reversed(self._prepared.values()):
            try:
                decode_unexpected(
                    self._book.records(),
                    self._book,
                    prepared.kernel,
                    partial(self._place_of, prepared),
                    self._context,
                    prepared.name,
                )
            except HarnessError as error:
                # A help for the reader; every test has ended and is judged.
                self._display.note(f"no lines were looked up for kernel reports: {error.what}")

    def _place_of(self, prepared: Prepared) -> Slot:
        """Return where a kernel was built, with its sources: others may be there now."""
        kbuild.move(prepared.place, prepared.tree, self._context)
        return prepared.place

    def _once(self) -> None:
        specs = self._request.kernels
        if self._request.coverage and len(specs) > 1:
            raise UserError(
                "the lines that tests run can be watched on one kernel only",
                where="--coverage",
                why=f"asked for are {len(specs)} kernels",
            )
        for spec in specs:
            check_kernel_name(spec.name)
        selected = [select(self._request, spec, self._context) for spec in specs]
        executor = LocalExecutor(self._place.path, self._jobs)
        with ExitStack() as stack:
            builder = stack.enter_context(Builder(NICE if len(selected) > 1 else 0))
            shown: list[TestProgress] = []

            def watch(ready: Ready) -> TestProgress:
                if shown:
                    shown[0].planned(ready.labels())
                else:
                    shown.append(stack.enter_context(self._display.tests(ready.labels())))
                return shown[0]

            factor = self._request.project.limits.tcg_factor
            schedule = Schedule(executor, self._book, watch, factor)

            async def go() -> None:
                async with aclosing(self._kernels(selected, builder, executor)) as kernels:
                    await schedule.execute(kernels)

            signals.run(go())

    async def _kernels(
        self, selected: Sequence[Selected], builder: Builder, executor: LocalExecutor
    ) -> AsyncGenerator[Ready, None]:
        """Build one kernel after the other; yield each with what is left to run on it."""
        for each in selected:
            begun = time.monotonic()
            out = self._place.path if self.ready else self._place.work
            try:
                built = await builder.do(partial(build, each, self._context, out))
            except UserError as error:
                if len(selected) == 1:
                    raise
                self._plan(selected)
                self._failed(each, error)
                continue
            prepared = planned(built, await probe(built))
            self._plan(selected)
            head = self._head(prepared, time.monotonic() - begun)
            self._prepared[each.name] = prepared
            executor.benches[each.name] = Bench(
                foundry=prepared.foundry,
                suites={suite.name: suite for suite in prepared.suites},
                logs=LogFiles(head.tests, repeated=head.repeat != 1, kernel=each.name),
            )
            if self._request.coverage:
                watch = partial(coverage.watch, built, self._place.path, self._context)
                bench = executor.benches[each.name]
                executor.benches[each.name] = replace(bench, watch=await builder.do(watch))
            attempts = Attempts(head, times.load(self._context.store))
            for ended in verdict.outcomes(self._book.records(), each.name):
                attempts.ended(*ended)
            yield Ready(each.name, head, attempts)

    def _plan(self, selected: Sequence[Selected]) -> None:
        """Write which kernels and cells there are, unless that stands; nothing ran before."""
        if self.ready is not None:
            return
        if self._resumed:
            self._book.write(RunResumed(time=now(), notes=tuple(self._repairs)))
        else:
            self._book.write(
                RunPlanned(
                    run=self._name,
                    time=now(),
                    harness=__version__,
                    command=self._request.command,
                    kernels=tuple(
                        KernelPlanned(name=each.name, facts=each.facts) for each in selected
                    ),
                    cells=tuple(
                        Cell(kernel=each.name, suite=suite.name)
                        for each in selected
                        for suite in each.suites
                    ),
                    repeat=self._request.repeat,
                    until_fail=self._request.until_fail,
                )
            )

    def _stands(self) -> None:
        """Take note that the plan stands as far as it is known; what was here before may go."""
        if self.ready is None:
            self.ready = time.monotonic()
            self._stood()

    def _head(self, prepared: Prepared, seconds: float) -> RunStarted:
        """Write the plan for a kernel, or make sure that it is what stands there; return it."""
        records = self._book.records()
        head = _plan_of(records, prepared)
        if head is None:
            for suite in prepared.suites:
                tests = tuple(test for test in prepared.tests if test.suite == suite.name)
                self._book.write(CellPlanned(kernel=prepared.name, suite=suite.name, tests=tests))
            self._book.write(
                KernelBuilt(
                    kernel=prepared.name,
                    facts=prepared.facts,
                    warnings=prepared.kernel.meta.warnings,
                    seconds=seconds,
                    notes=(*prepared.notes, *self._notes_once()),
                )
            )
            head = _plan_of(self._book.records(), prepared)
            assert head is not None  # noqa: S101  it was written just now
        else:
            check_same(head, prepared)
        self._stands()
        return head

    def _notes_once(self) -> list[str]:
        """Return what was mended before the plan stood, once; a resumed run has said it."""
        notes, self._repairs = self._repairs, []
        return [] if self._resumed else notes

    def _failed(self, selected: Selected, error: UserError) -> None:
        """Write that a kernel cannot be had: all its cells say so."""
        log = kernel_build_log(selected.name)
        self._stands()
        self._book.write(
            KernelFailed(
                kernel=selected.name,
                reason=error.what,
                why=error.why or error.where,
                log=str(log) if (self._place.path / log).exists() else "",
            )
        )
        self._display.note(f"kernel {selected.name}: {error.what}: {error.why or error.where}")

    def _tell(self, damage: Damaged) -> None:
        """Show what was damaged; and keep it for the plan's notes, where there is no plan yet."""
        note = f"{damage.what} and is mended: {'; '.join(damage.why.splitlines())}"
        self._display.note(note)
        if self.ready is None:
            self._repairs.append(note)

    def _with_hint(self, error: HarnessError) -> HarnessError:
        """Return *error* with how to go on, where there is something to go on with."""
        if self.ready is not None:
            again = f"then go on with what is left: harness run --resume {self._place.path}"
            error.hint = "; ".join(part for part in (error.hint, again) if part)
        return error


def _plan_of(records: Sequence[Record], prepared: Prepared) -> RunStarted | None:
    """Return what *records* plan for a kernel; None where its tests are not planned yet."""
    if prepared.name not in kernel_names(records):
        return None
    # The last that is written of a kernel's plan.
    if not any(
        isinstance(each, RunStarted)
        or (isinstance(each, KernelBuilt) and each.kernel == prepared.name)
        for each in records
    ):
        return None
    mine = of_kernel(records, prepared.name)
    return next(each for each in mine if isinstance(each, RunStarted))

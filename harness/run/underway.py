# SPDX-License-Identifier: GPL-2.0-only
"""A run in progress: its kernels, from the request to their last test."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, aclosing
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from harness import __version__, kbuild
from harness.context import Context
from harness.errors import HarnessError, UserError
from harness.judge import verdict
from harness.kbuild import Slot
from harness.lab.local import Bench
from harness.lab.recordings import Recordings
from harness.model.ids import KernelName, check_kernel_name
from harness.model.logfiles import LogFiles, kernel_build_log
from harness.model.plan import Cell
from harness.model.records import (
    BisectionEnded,
    CellPlanned,
    KernelAdded,
    KernelBuilt,
    KernelFailed,
    KernelPlanned,
    Record,
    RunPlanned,
    RunResumed,
    RunStarted,
    TestEnded,
    kernel_names,
    of_kernel,
)
from harness.model.results import Kernel
from harness.proc import signals
from harness.report.display import Display
from harness.run import cost, coverage, races, times
from harness.run.attempts import Attempts, Ready
from harness.run.builder import NICE, Builder
from harness.run.chosen import Chosen, Coming
from harness.run.course import Course
from harness.run.history import history
from harness.run.hosts import Hosts
from harness.run.journal import Journal
from harness.run.prepare import Prepared, Selected, build, planned, select
from harness.run.races import Racer
from harness.run.request import Request
from harness.run.reruns import Neighbours, Reruns
from harness.run.reuse import Verdicts
from harness.run.rundir import RunDirectory
from harness.run.same import Same, check_same
from harness.run.schedule import Schedule, now
from harness.run.shorten import Shortening
from harness.run.shown import Shown
from harness.run.sweeps import Budget, Sweeper
from harness.run.symbolize import decode_unexpected
from harness.store import Damaged, Store

if TYPE_CHECKING:
    from harness.run.mutant_plan import Planting

_MOST_REPAIRS = 2
"""The number of damages to the cache in one run after which the machine is not trusted."""


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
        self._selected: Sequence[Selected] = ()
        """The requested kernels."""
        self._prepared: dict[str, Prepared] = {}
        self._planting: Planting | None = None
        """What is planted when the tests have run without it."""
        self._known: list[Record] = []
        """What the journal says when this begins, and the plan that it has got since."""
        self._same = Same()
        self._verdicts = Verdicts(self._context, request.project.limits.tcg_factor)
        self._budgets: list[tuple[Budget, Attempts]] = []

    def execute(self) -> None:
        """Build the kernels, and run the attempts that are left.

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

    def mutate(self) -> None:
        """Plant the requested faults, after the tests have run without one."""
        for prepared in self._prepared.values():
            if self._planting is None:
                return
            from harness.run.mutants import Mutation

            stage = Mutation(
                prepared, self._planting, self._place.path, self._book, self._context, self._jobs
            )
            try:
                stage.execute()
            except HarnessError as error:
                raise self._with_hint(error) from None

    def shorten(self) -> None:
        """Look into the schedules under which tests fail, now that all have ended."""
        race = self._request.race
        if race is None:
            return
        for prepared in self._prepared.values():
            stage = Shortening(
                prepared, self._place.path, self._book, self._context, self._jobs, race.shorten
            )
            try:
                stage.execute()
            except HarnessError as error:
                raise self._with_hint(error) from None

    def symbolize(self) -> None:
        """Look up lines for what tests ended in that did not end as expected."""
        records = self._book.records()
        for prepared in reversed(self._prepared.values()):
            try:
                decode_unexpected(
                    records,
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
        self._known, self._same = self._book.records(), Same()
        if self._request.coverage and len(specs) > 1:
            raise coverage.several(len(specs))
        for spec in specs:
            check_kernel_name(spec.name)
        hosts = Hosts(self._request, self._place.path, self._context, self._jobs)
        with ExitStack() as stack:
            stack.enter_context(hosts.ahead())
            selected = [select(self._request, spec, self._context) for spec in specs]
            self._selected = selected
            if self._request.mutants is not None:
                from harness.run.mutant_plan import planting

                self._planting = planting(selected[0], self._request.mutants)
            added = self._request.bisect is not None
            beside = added or len(selected) > 1
            builder = stack.enter_context(Builder(NICE if beside else 0))
            guests = self._jobs or kbuild.jobs()
            self._shown = Shown(
                self._display, selected, self._context, stack, guests=guests, added=added
            )
            factor = self._request.project.limits.tcg_factor
            course = self._course(selected, stack)
            out = self._place.path
            chosen = Chosen(self._request, selected, self._context, out, builder, course)
            reruns = course.reruns if course else self._reruns()
            schedule = Schedule(
                hosts.executor,
                self._book,
                self._shown.watch,
                factor,
                reruns,
                self._request.recording,
            )

            async def go() -> None:
                self._budgets.clear()
                async with (
                    hosts.joining(),
                    aclosing(chosen.kernels()) as coming,
                    aclosing(self._kernels(coming, builder, hosts, course)) as kernels,
                ):
                    await schedule.execute(kernels)
                for budget, attempts in self._budgets:
                    if attempts.cut_short:
                        self._book.write(budget.record())

            signals.run(go())
            if course is not None:
                self._found(course)

    def _reruns(self) -> Reruns:
        """Return what is run beyond the plan: what differs between neighbours."""
        first, most = self._request.kernels[0].name, self._request.reruns
        return Reruns(Neighbours(first, most) if most and len(self._request.kernels) > 1 else None)

    def _course(self, selected: Sequence[Selected], stack: ExitStack) -> Course | None:
        """Return what chooses kernels, where these are not all asked for."""
        if self._request.bisect is None:
            return None
        scratch = stack.enter_context(self._context.store.scratch("bisect"))
        return Course(history(self._request, selected[-1]), scratch, self._display.note)

    def _found(self, course: Course) -> None:
        """Write the result of a bisection, once."""
        told = [each.found for each in self._known if isinstance(each, BisectionEnded)]
        self._write(*(BisectionEnded(found=each) for each in course.found if each not in told))

    def _add(self, selected: Selected) -> None:
        """Write that a bisection has added a kernel, once."""
        spec = selected.spec
        if spec not in self._request.kernels and spec.name not in kernel_names(self._known):
            kernel = KernelPlanned(name=spec.name, facts=selected.facts, position=spec.position)
            self._write(KernelAdded(kernel=kernel, cells=_cells(selected)))

    async def _kernels(
        self,
        chosen: AsyncGenerator[Coming, None],
        builder: Builder,
        hosts: Hosts,
        course: Course | None,
    ) -> AsyncGenerator[Ready, None]:
        """Build one kernel after the other; yield each with what is left to run on it."""
        async for coming in chosen:
            each = coming.selected
            self._add(each)
            begun = time.monotonic() - coming.seconds
            self._shown.building(each.name)
            out = self._place.path if self.ready else self._place.work
            try:
                built = coming.built
                if built is None:
                    building = builder.do(partial(build, each, self._context, out))
                    built = await hosts.meanwhile(building)
            except UserError as error:
                if len(self._selected) == 1 and course is None:
                    raise
                self._failed(each, error)
                if course is not None:
                    course.failed(each.name)
                continue
            try:
                lacks = await hosts.add(built)
                prepared = planned(built, lacks, self._needed(each.name, course))
            except UserError as error:
                if course is None or each.spec in self._request.kernels:
                    raise
                self._failed(each, error)
                course.untestable(each.name)
                continue
            inject = self._request.inject
            if inject is not None:
                sweeper = Sweeper(prepared, inject, self._jobs, self._context)
                prepared = await sweeper.swept(self._known, self._write)
            if self._request.race is not None:
                racer = Racer(prepared, self._request.race, self._jobs, self._context)
                prepared = await racer.scheduled(self._known, self._write)
            self._plan()
            same = await self._same.cells(prepared) if self._request.reuses else {}
            facts = msgspec.structs.replace(prepared.facts, same_as=self._same.kernel(prepared))
            head = self._head(prepared, facts, time.monotonic() - begun, same)
            self._prepared[each.name] = prepared
            bench = Bench(
                factory=prepared.factory,
                suites={suite.name: suite for suite in prepared.suites},
                logs=LogFiles(head.tests, repeated=head.repeat != 1, kernel=each.name),
            )
            if self._request.coverage:
                watch = partial(coverage.watch, built, self._place.path, self._context)
                bench = msgspec.structs.replace(bench, watch=await builder.do(watch))
            if self._request.cost:
                count = partial(cost.watch, built, self._place.path, self._context)
                bench = msgspec.structs.replace(bench, watch=await builder.do(count))
            if self._request.recording:
                vmlinux = built.kernel.vmlinux
                bench = msgspec.structs.replace(
                    bench, watch=Recordings(self._place.path, each.name, vmlinux)
                )
            elif self._request.race is not None:
                begin = partial(races.watch, built, self._place.path, self._context)
                bench = msgspec.structs.replace(bench, watch=await builder.do(begin))
            hosts.planned(prepared, bench)
            yield await self._ready(head, prepared)

    async def _ready(self, head: RunStarted, prepared: Prepared) -> Ready:
        """Return what is left to run on a kernel, once it is written what need not run."""
        name = prepared.name
        # Tests of a cell that is the same on another kernel run on that one.
        elsewhere = {
            cell.suite: cell.same_as
            for cell in self._known
            if isinstance(cell, CellPlanned) and cell.kernel == name and cell.same_as is not None
        }
        whole, mine = head, tuple(test for test in head.tests if test.suite not in elsewhere)
        head = msgspec.structs.replace(head, tests=mine)
        ended = verdict.ended_attempts(self._known, name)
        reused: tuple[Record, ...] = ()
        if self._request.reuses:
            reused = await self._reused(head, prepared, {test for test, _, _ in ended})
            self._book.write(*reused)
            ended = verdict.ended_attempts([*self._known, *reused], name)
        known = times.load(self._context.store)
        budget = Budget(self._request.budget_s)
        budget.start()
        took = known.of_tests(name, [test.name for test in mine])
        attempts = Attempts(head, took, budget.spent)
        self._budgets.append((budget, attempts))
        for test, number, result in ended:
            attempts.ended(test, number, result.outcome)
        self._shown.built(name, whole, attempts, elsewhere)
        others = {
            test.name: elsewhere[test.suite] for test in whole.tests if test.suite in elsewhere
        }
        mine_ended = tuple(each for each in ended if each[0] not in others)
        return Ready(name, head, attempts, mine_ended, others)

    async def _reused(
        self, head: RunStarted, prepared: Prepared, ended: set[str]
    ) -> tuple[Record, ...]:
        """Return observations of earlier runs for tests of *head* that have not *ended* here."""
        left = tuple(test for test in head.tests if test.runnable and test.name not in ended)
        suites = {suite.name: suite for suite in prepared.suites}
        identities = {}
        for suite, guest in dict.fromkeys(test.group for test in left):
            known = await prepared.factory.identity(suites[suite], guest)
            identities[suite, guest] = known
        found = self._verdicts.records(head, left, prepared.name, identities, self._place.path)
        runs = Counter(each.reused for each in found if isinstance(each, TestEnded))
        if len(self._request.kernels) == 1:
            for run, number in runs.items():
                self._display.note(f"reused from {run}: {number} of {len(head.tests)} verdicts")
        return found

    def _needed(self, kernel: KernelName, course: Course | None) -> Collection[str] | None:
        """Return the names of the tests that are needed on a kernel; None for all."""
        needed = course.only(kernel) if course else None
        if needed is None:
            return None
        cells = [each for each in self._known if isinstance(each, CellPlanned)]
        planned = [test.name for each in cells if each.kernel == kernel for test in each.tests]
        return planned or needed

    def _plan(self) -> None:
        """Write which kernels and cells there are, unless that stands; nothing ran before."""
        if self.ready is not None:
            return
        if self._resumed:
            self._book.write(RunResumed(time=now(), notes=tuple(self._repairs)))
        else:
            self._write(
                RunPlanned(
                    run=self._name,
                    time=now(),
                    harness=__version__,
                    command=self._request.command,
                    kernels=tuple(
                        KernelPlanned(name=each.name, facts=each.facts, position=each.spec.position)
                        for each in self._selected
                    ),
                    cells=tuple(cell for each in self._selected for cell in _cells(each)),
                    repeat=self._request.repeat,
                    until_fail=self._request.until_fail,
                )
            )

    def _stands(self) -> None:
        """Take note that the plan stands as far as it is known; what was here before may go."""
        if self.ready is None:
            self.ready = time.monotonic()
            self._stood()

    def _head(
        self, prepared: Prepared, facts: Kernel, seconds: float, same: Mapping[str, KernelName]
    ) -> RunStarted:
        """Write the plan for a kernel, or make sure that it is what stands there; return it.

        *same* names by suite the kernel on which its tests run instead.
        """
        head = _plan_of(self._known, prepared)
        if head is None:
            cells = [
                CellPlanned(
                    kernel=prepared.name,
                    suite=suite.name,
                    tests=tuple(test for test in prepared.tests if test.suite == suite.name),
                    same_as=same.get(suite.name),
                )
                for suite in prepared.suites
            ]
            self._write(
                *cells,
                KernelBuilt(
                    kernel=prepared.name,
                    facts=facts,
                    warnings=prepared.kernel.meta.warnings,
                    seconds=seconds,
                    notes=(*prepared.notes, *self._notes_once()),
                ),
            )
            head = _plan_of(self._known, prepared)
            assert head is not None  # noqa: S101  it was written just now
        else:
            check_same(head, prepared)
        self._stands()
        return head

    def _write(self, *records: Record) -> None:
        """Write *records* of the plan, and know them."""
        self._book.write(*records)
        self._known += records

    def _notes_once(self) -> list[str]:
        """Return what was mended before the plan stood, once; a resumed run has said it."""
        notes, self._repairs = self._repairs, []
        return [] if self._resumed else notes

    def _failed(self, selected: Selected, error: UserError) -> None:
        """Record that a kernel is not available, for all its cells."""
        self._plan()
        log = kernel_build_log(selected.name)
        self._stands()
        self._write(
            KernelFailed(
                kernel=selected.name,
                reason=error.what,
                why=error.why or error.where,
                log=str(log) if (self._place.path / log).exists() else "",
            )
        )
        self._shown.failed(selected.name, f"{error.what}: {error.why or error.where}")

    def _tell(self, damage: Damaged) -> None:
        """Show what was damaged; and keep it for the plan's notes, where there is no plan yet."""
        note = f"{damage.what} and has been repaired: {'; '.join(damage.why.splitlines())}"
        self._display.note(note)
        if self.ready is None:
            self._repairs.append(note)

    def _with_hint(self, error: HarnessError) -> HarnessError:
        """Return *error* with how to go on, where there is something to go on with."""
        if self.ready is not None:
            again = f"then continue: harness run --resume {self._place.path}"
            error.hint = "; ".join(part for part in (error.hint, again) if part)
        return error


def _cells(selected: Selected) -> tuple[Cell, ...]:
    return tuple(Cell(kernel=selected.name, suite=suite.name) for suite in selected.suites)


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

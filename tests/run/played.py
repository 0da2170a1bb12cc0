# SPDX-License-Identifier: GPL-2.0-only
"""Kernels and guests that are only played: the schedule and the journal around them are real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import MachineError
from harness.judge import merge, verdict
from harness.ktap import Parser
from harness.lab.executor import Attempt, TemplateId, ThisMachine
from harness.model.ids import HERE, HostName
from harness.model.plan import Cell, PlannedTest
from harness.model.records import (
    CellPlanned,
    Ending,
    GuestFailed,
    GuestReady,
    KernelBuilt,
    KernelPlanned,
    Record,
    Requested,
    RunEnded,
    RunPlanned,
    RunStarted,
    TestEnded,
    of_kernel,
)
from harness.model.results import Kernel, Machine, Results, Test
from harness.run import journal
from harness.run.attempts import Attempts, Ready
from harness.run.journal import Journal
from harness.run.reruns import Reruns
from harness.run.schedule import Schedule
from harness.store import Entry

Play = Callable[[str, str, int], bool | str]
"""Says of kernel, program and how often that program has run there whether it passes; or what it
prints, in KTAP."""


class Deaf:
    """Sees no test."""

    def planned(self, labels: Sequence[str]) -> None: ...

    def started(self, label: str) -> None: ...

    def finished(self, test: Test, label: str) -> None: ...

    def again(self, test: Test, label: str) -> None: ...


@dataclass
class PlayedExecutor(ThisMachine):
    """Ends each attempt as the play says."""

    play: Play
    jobs: int = 1
    no_guest: frozenset[str] = frozenset()
    """Kernels that do not boot."""
    stop_after: int | None = None
    """Raises MachineError instead of running the attempt after so many."""
    order: list[tuple[str, str]] = field(default_factory=list)
    """Kernel and program of each attempt, in the order in which they ran."""

    def slots(self, tests: tuple[PlannedTest, ...]) -> Mapping[HostName, int]:
        return {HERE: self.jobs}

    async def prepare(self, template: TemplateId) -> GuestReady | GuestFailed:
        suite, guest = template.group
        await asyncio.sleep(0)
        if template.kernel in self.no_guest:
            return GuestFailed(
                kernel=template.kernel, suite=suite, guest=guest, reason="the kernel panicked"
            )
        return GuestReady(
            kernel=template.kernel,
            suite=suite,
            guest=guest,
            release="6.1.0",
            build_id=template.kernel,
            machine=Machine(accelerator="tcg"),
            seconds=0.0,
        )

    async def run(self, attempt: Attempt) -> TestEnded:
        await asyncio.sleep(0)
        kernel, program = attempt.started.kernel, attempt.test.program
        if self.stop_after is not None and len(self.order) >= self.stop_after:
            raise MachineError("the power went")
        said = self.play(kernel, program, self.order.count((kernel, program)))
        self.order.append((kernel, program))
        parser = Parser()
        status = 0 if said is True else 1
        if isinstance(said, str):
            parser.feed(said.encode())
            status = 1 if "not ok" in said else 0
        return TestEnded(
            kernel=kernel,
            name=attempt.test.name,
            attempt=attempt.started.attempt,
            ending=Ending(how="exit", status=status),
            report=parser.close(),
            output=said if isinstance(said, str) else "",
            total_s=0.1,
        )

    async def check(self, template: TemplateId) -> None: ...

    def made_from(self, template: TemplateId) -> frozenset[Entry]:
        return frozenset()

    async def close(self) -> None: ...


def planned_tests(programs: Sequence[str]) -> tuple[PlannedTest, ...]:
    """Return *programs* as planned tests of the suite ``s``."""
    return tuple(
        PlannedTest(
            name=f"s:{program}",
            suite="s",
            program=program,
            path=program,
            rerun=f"harness run -k s:{program}",
        )
        for program in programs
    )


def plan(kernels: Mapping[str, Sequence[str]], base: str = "") -> list[Record]:
    """Return the plan of a run over *kernels*, each with its programs."""
    facts = {
        name: Kernel(
            release="6.1.0",
            source="Linux",
            base_commit="c",
            patches=tuple(f"mm: Patch {each + 1}" for each in range(number)),
        )
        for number, name in enumerate(kernels)
    }
    records: list[Record] = [
        Requested(schema=2, command=(), working_dir="/", project_file="/f", base=base),
        RunPlanned(
            run="r",
            time="2026-07-01T03:00:00.000Z",
            harness="0",
            command=(),
            kernels=tuple(KernelPlanned(name=name, facts=facts[name]) for name in kernels),
            cells=tuple(Cell(kernel=name, suite="s") for name in kernels),
        ),
    ]
    for name, programs in kernels.items():
        records.append(CellPlanned(kernel=name, suite="s", tests=planned_tests(programs)))
        records.append(KernelBuilt(kernel=name, facts=facts[name], seconds=1.0))
    return records


def run(
    out: Path,
    kernels: Mapping[str, Sequence[str]],
    executor: PlayedExecutor,
    reruns: Reruns,
    base: str = "",
) -> Results:
    """Run, or take up again, and return what the journal says then."""
    out.mkdir(exist_ok=True)
    with Journal(out) as book:
        if not book.records():
            for record in plan(kernels, base):
                book.write(record)

        async def come() -> AsyncIterator[Ready]:
            for name in kernels:
                records = book.records()
                head = next(
                    each for each in of_kernel(records, name) if isinstance(each, RunStarted)
                )
                attempts = Attempts(head)
                ended = verdict.ended_attempts(records, name)
                for test, number, result in ended:
                    attempts.ended(test, number, result.outcome)
                yield Ready(name, head, attempts, tuple(ended))

        asyncio.run(Schedule(executor, book, lambda _: Deaf(), reruns=reruns).execute(come()))
        book.write(RunEnded(time="2026-07-01T03:01:00.000Z", seconds=60.0))
    return merge.whole(journal.read(out))

# SPDX-License-Identifier: GPL-2.0-only
"""What the harness itself takes for a test: a run over kernels whose tests do nothing at all.

    python -m tools.bench.overhead KERNELS TESTS

runs it in a process of its own and prints :class:`Overhead` as JSON.  Everything but guests and
builds is that of a run: plan, order, journal on the disk, verdict, display, reports.
"""

from __future__ import annotations

import asyncio
import io
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec

from harness import ktap
from harness.judge import merge
from harness.lab.executor import Attempt, TemplateId, ThisMachine
from harness.model.ids import HERE, HostName
from harness.model.plan import Cell, PlannedTest
from harness.model.records import (
    CellPlanned,
    Ending,
    GuestReady,
    KernelBuilt,
    KernelPlanned,
    RunEnded,
    RunPlanned,
    RunStarted,
    TestEnded,
    of_kernel,
)
from harness.model.results import Kernel, Logs, Machine
from harness.report.board import CellOf, Forecast
from harness.report.files import JUNIT, Reports
from harness.report.plain import PlainProgress
from harness.run.attempts import Attempts, Ready
from harness.run.journal import FILE_NAME, Journal
from harness.run.schedule import Schedule, now
from harness.store import Entry

_OUTPUT = b"TAP version 13\n1..1\nok 1 trivial\n"


class Overhead(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of so many tests that do nothing took."""

    tests: int
    run_s: float
    """From the first to the last test."""
    reports_s: float
    """Of the processor, for verdict and all reports."""
    journal_bytes: int
    report_bytes: int
    run_kib: int
    """The most memory that the process had when the last test had ended."""
    reports_kib: int
    """The same when the reports were written."""


class _NoGuests(ThisMachine):
    """An executor in whose guests each test passes at once."""

    def slots(self, tests: tuple[PlannedTest, ...]) -> Mapping[HostName, int]:
        return {HERE: 2}

    async def prepare(self, template: TemplateId) -> GuestReady:
        suite, guest = template.group
        return GuestReady(
            kernel=template.kernel,
            suite=suite,
            guest=guest,
            release="6.1.0",
            build_id="b",
            machine=Machine(accelerator="tcg"),
            seconds=0.0,
        )

    async def run(self, attempt: Attempt) -> TestEnded:
        await asyncio.sleep(0)
        parser = ktap.Parser()
        parser.feed(_OUTPUT)
        return TestEnded(
            kernel=attempt.started.kernel,
            name=attempt.test.name,
            attempt=attempt.started.attempt,
            ending=Ending(how="exit", status=0),
            report=parser.close(),
            output=_OUTPUT.decode(),
            guest_s=0.0,
            total_s=0.0,
            logs=Logs(output="logs/s/t.output.log", kernel="logs/s/t.kernel.log"),
        )

    async def check(self, template: TemplateId) -> None:
        pass

    def made_from(self, template: TemplateId) -> frozenset[Entry]:
        return frozenset()

    async def close(self) -> None:
        pass


def measure(kernels: int, tests: int, out: Path) -> Overhead:
    """Run *tests* on each of *kernels*, with journal and reports in the directory *out*."""
    names = ["base", *map(str, range(1, kernels))]
    facts = Kernel(release="6.1.0", source="s", base_commit="c")
    plan = tuple(
        PlannedTest(
            name=f"trivial:test_{number:04}",
            suite="trivial",
            program=f"test_{number:04}",
            path=f"test_{number:04}",
            timeout_s=45.0,
            rerun=f"harness run --suite trivial -k trivial:test_{number:04}",
        )
        for number in range(tests)
    )
    display = PlainProgress(io.StringIO())
    reports = Reports()
    reports.begin_in(out)
    with Journal(out) as book:
        planned = RunPlanned(
            run="r",
            time=now(),
            harness="0",
            command=("harness", "matrix"),
            kernels=tuple(KernelPlanned(name=name, facts=facts) for name in names),
            cells=tuple(Cell(kernel=name, suite="trivial") for name in names),
        )
        book.write(planned)
        begun = time.monotonic()
        nothing = Forecast(build_s=0.0, tests_s=0.0)
        with display.matrix(dict.fromkeys(names, nothing), ["trivial"]) as shown:

            async def ready() -> AsyncIterator[Ready]:
                for name in names:
                    cell = CellPlanned(kernel=name, suite="trivial", tests=plan)
                    built = KernelBuilt(kernel=name, facts=facts, seconds=0.0)
                    book.write(cell, built)
                    head = next(
                        each
                        for each in of_kernel([planned, cell, built], name)
                        if isinstance(each, RunStarted)
                    )
                    shown.built(name, {"trivial": CellOf(len(plan))}, nothing)
                    yield Ready(name, head, Attempts(head))

            schedule = Schedule(_NoGuests(), book, lambda kernel: shown.tests(kernel.name))
            asyncio.run(schedule.execute(ready()))
        run_s, run_kib = time.monotonic() - begun, _most_kib()
        begun = time.process_time()
        book.write(RunEnded(time=now(), seconds=run_s))
        written = reports.write(merge.whole(book.records()))
    sizes = [path.stat().st_size for path in out.iterdir() if path.is_file()]
    journal_bytes = (out / FILE_NAME).stat().st_size
    assert written.paths[JUNIT].is_file()  # noqa: S101  what was to be measured is there
    return Overhead(
        tests=kernels * tests,
        run_s=run_s,
        reports_s=time.process_time() - begun,
        journal_bytes=journal_bytes,
        report_bytes=sum(sizes) - journal_bytes,
        run_kib=run_kib,
        reports_kib=_most_kib(),
    )


def _most_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="harness-bench-") as directory:
        said = measure(int(sys.argv[1]), int(sys.argv[2]), Path(directory))
    sys.stdout.write(msgspec.json.encode(said).decode() + "\n")

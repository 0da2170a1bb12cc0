# SPDX-License-Identifier: GPL-2.0-only
"""The figures that the project stands for, measured on one kernel in one go.

Each is the wall-clock time that a user waits.  The machine may be shared and noisy, so the
comparison with virtme-ng is a ratio of medians from the same minutes.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from harness.context import Context
from harness.errors import ExitCode, MachineError, UserError
from harness.guest.machine import MachineType
from harness.guest.snapshot import Snapshot
from harness.guest.vng import find_virtme
from harness.lab.packing import GUEST_ROOT
from harness.model import results
from harness.model.records import TestStarted
from harness.outcome import Outcome
from harness.proc import signals
from harness.proc.environment import network, search_path
from harness.proc.process import find, run
from harness.progress import Progress
from harness.project import NO_SERIES
from harness.run import journal
from harness.run.prepare import Prepared, prepare
from harness.run.request import Request
from harness.store import Store
from harness.suites import Program, Suite
from tools.bench import figures
from tools.bench import rounds as guest_bench
from tools.bench.figures import Figure
from tools.bench.measured import Measured, Stage
from tools.bench.rounds import Timing

SHORT_TESTS = 40
UNCHANGED_LIMIT_S = 2.0
EDITED_LIMIT_S = 20.0
_RUN_LIMIT_S = 1800.0
_MANY_ROUNDS = 3
_MACHINE_ROUNDS = 10
_VERDICTS = (ExitCode.AS_EXPECTED, ExitCode.NOT_AS_EXPECTED)
_NEW_C_FILE = re.compile(
    rb"^(?P<head>diff --git a/(?P<path>mm/\S+\.c) .*\n(?:(?!diff --git )(?!@@ ).*\n)*"
    rb"@@ -0,0 \+1,)(?P<count>\d+)(?P<tail> @@.*\n)(?P<body>(?:\+.*\n)+)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Bench:
    """Measures on the project and options of *request*."""

    request: Request
    store: Store
    progress: Progress
    rounds: int
    virtme_rounds: int

    measured: Measured
    """Where it is recorded what the figures are of."""

    def check(self) -> None:
        """Raise MachineError if a tool is missing."""
        find_virtme()

    @contextmanager
    def stages(self) -> Iterator[Iterator[Stage]]:
        """Build what is missing; yield what measures the rest.

        Raises MachineError where the kernel or its guest cannot be made.
        """
        with tempfile.TemporaryDirectory(prefix="harness-bench-") as name:
            scratch = Path(name)
            prepared = prepare(
                self.request, Context(self.store, self.progress), scratch / "prepare"
            )
            yield self._stages(prepared, scratch)

    def _stages(self, prepared: Prepared, scratch: Path) -> Iterator[Stage]:
        yield "guests", lambda: self._guests(prepared)
        yield "nothing changed", lambda: self._unchanged(scratch)
        yield "a patch edited", lambda: (self._edited(prepared, scratch),)

    def _guests(self, prepared: Prepared) -> Iterator[Figure]:
        """Measure tests in guests; UserError where these cannot be restored."""
        suite = _first_suite(prepared)
        sealed = msgspec.structs.replace(self.request.guest_table(), type="sealed")
        template = signals.run(prepared.factory.template(suite, sealed))
        if template.saved is None:
            raise UserError("this guest cannot be restored, so there is nothing to measure")
        self.measured.kernel = prepared.facts.release
        self.measured.accelerator = template.machine.accelerator
        with self.progress.step(f"The quickest program of {suite.name}"):
            program = signals.run(_quickest(template.saved, suite))
        self.measured.program = f"{suite.name}:{program.name}"
        argv = _argv(suite, program)
        with self.progress.step(f"{self.rounds} tests in restored guests"):
            rounds = signals.run(guest_bench.measure_restored(template.saved, argv, self.rounds))
        yield from figures.of_rounds(rounds, template.saved)
        yield from signals.run(self._machines(prepared, suite, argv))
        booted, virtme = signals.run(self._by_turns(prepared, suite, program))
        yield figures.of_virtme(rounds, virtme)
        yield figures.of_booted(booted, virtme)
        yield from self._many(virtme)

    async def _machines(
        self, prepared: Prepared, suite: Suite, argv: tuple[str, ...]
    ) -> tuple[Figure, ...]:
        """Compare QEMU's machine types, by turns, so that the load meets all."""
        saved: dict[str, Snapshot] = {}
        seconds: dict[str, list[float]] = {}
        for machine in MachineType:
            table = msgspec.structs.replace(
                self.request.guest_table(), type="sealed", machine=machine.value, numa_nodes=1
            )
            template = await prepared.factory.template(suite, table)
            if template.saved is not None:
                saved[machine.value], seconds[machine.value] = template.saved, []
        with self.progress.step(f"{_MACHINE_ROUNDS} tests on each of {', '.join(saved)}"):
            for _ in range(_MACHINE_ROUNDS):
                for name, samples in seconds.items():
                    (each,) = await guest_bench.measure_restored(saved[name], argv, 1)
                    samples.append(each.gone_s)
        return figures.of_machines(seconds)

    async def _by_turns(
        self, prepared: Prepared, suite: Suite, program: Program
    ) -> tuple[Timing, Timing]:
        """Run the program in vng guests and under virtme-run, so that the load meets both."""
        table = msgspec.structs.replace(self.request.guest_table(), type="vng", accel="tcg")
        template = await prepared.factory.template(suite, table)
        async with await template.start():
            pass  # the first one has been booted with the template
        argv = _argv(suite, program)
        booted: list[float] = []
        bare: list[float] = []
        with self.progress.step(f"{self.virtme_rounds} tests in vng guests and under virtme-run"):
            for _ in range(self.virtme_rounds):
                booted.append(await guest_bench.measure_booted(template.start, argv))
                path = suite.files / program.path
                bare += guest_bench.measure_virtme(prepared.kernel.image, path, (), 1).seconds
        return Timing(tuple(booted)), Timing(tuple(bare))

    def _many(self, virtme: Timing) -> tuple[Figure, ...]:
        """Run a suite of many short tests, as a user does, with one guest at a time and with two.

        By turns, so that what else the machine does meets both.
        """
        with tempfile.TemporaryDirectory(prefix="harness-bench-") as name:
            suite = short_tests(Path(name) / "short")
            options = ["--suite", str(suite), "--jobs"]
            out = Path(name) / "out"
            self._run("A suite of short tests, built", out, {}, [*options, "2"])
            seconds: dict[int, list[float]] = {1: [], 2: []}
            for _ in range(_MANY_ROUNDS):
                for jobs, samples in seconds.items():
                    start = time.monotonic()
                    title = f"{SHORT_TESTS} short tests, --jobs {jobs}"
                    self._run(title, out, {}, [*options, str(jobs)])
                    samples.append(time.monotonic() - start)
        return figures.of_many(seconds[1], seconds[2], virtme, SHORT_TESTS)

    def _unchanged(self, scratch: Path) -> tuple[Figure, ...]:
        """Run again what has just been built."""
        self._run("A run, so that nothing is new to the next", scratch / "first", {})
        calls = scratch / "compiler-calls"
        spy = _compiler_spy(scratch / "bin", calls)
        start = time.time()
        out = scratch / "second"
        self._run("A run after which nothing has changed", out, {"PATH": spy})
        begun = next(each for each in journal.read(out) if isinstance(each, TestStarted))
        seconds = datetime.fromisoformat(begun.time).timestamp() - start
        compiled = len(calls.read_text().splitlines()) if calls.exists() else 0
        return (
            Figure(
                name="nothing changed: start of the first test",
                value=seconds,
                unit="s",
                bound=f"<= {UNCHANGED_LIMIT_S:g}",
                reached=seconds <= UNCHANGED_LIMIT_S,
            ),
            Figure(
                name="nothing changed: calls of the compiler",
                value=compiled,
                unit="",
                bound="0",
                reached=compiled == 0,
            ),
        )

    def _edited(self, prepared: Prepared, scratch: Path) -> Figure:
        """Change one line of a file in mm/ that the series brings, and wait for the verdict.

        Twice: before the first time some other series may have been in the build directory.
        """
        seconds = 0.0
        for turn in ("first", "second"):
            series = scratch / f"series-{turn}"
            path = _edit_series(prepared, series)
            options = [w for each in sorted(series.iterdir()) for w in ("--series", str(each))]
            # The verdict of the tests of what was edited; others may take as long as they like.
            options += ["--suite", prepared.suites[0].name]
            start = time.monotonic()
            out = scratch / f"edited-{turn}"
            # Expectations hold for stacks that have a name, and this one has none: any verdict
            # will do.
            self._run(
                f"A run after {path} was edited, the {turn} time",
                out,
                {},
                options,
                said=(ExitCode.AS_EXPECTED, ExitCode.NOT_AS_EXPECTED),
            )
            seconds = time.monotonic() - start
            counts = results.decode((out / "results.json").read_bytes()).counts
            if counts.keys() & {Outcome.ERROR, Outcome.NOTRUN}:
                raise MachineError("the edited series could not be tested", why=str(dict(counts)))
        return Figure(
            name=f"{path} edited in the series: verdict",
            value=seconds,
            unit="s",
            bound=f"<= {EDITED_LIMIT_S:g}",
            reached=seconds <= EDITED_LIMIT_S,
        )

    def _run(
        self,
        title: str,
        out: Path,
        env: Mapping[str, str],
        options: list[str] | None = None,
        said: Collection[ExitCode] = (ExitCode.AS_EXPECTED,),
    ) -> None:
        """Run ``harness run`` as a user does, in a process of its own; it has to exit as *said*."""
        argv = [sys.executable, "-m", "harness", "run", "--project", str(self.request.project_file)]
        argv += [word for name in self.request.kernels[0].config for word in ("--config", name)]
        argv += ["--out", str(out), *(options or [])]
        with self.progress.step(title):
            done = run(
                argv,
                env={**network(), "HARNESS_CACHE": str(self.store.root), **env},
                limit_s=_RUN_LIMIT_S,
            )
        if done.status not in said:
            raise MachineError(
                "a run that is to be measured did not end as expected",
                where=" ".join(argv),
                why="\n".join(done.output.splitlines()[-20:]),
            )


def short_tests(directory: Path) -> Path:
    """Write a suite of programs that only say that they are there."""
    directory.mkdir()
    names = [f"short_{number:02}" for number in range(SHORT_TESTS)]
    programs = " ".join(names)
    (directory / "Makefile").write_text(f"TEST_GEN_PROGS := {programs}\ninclude ../lib.mk\n")
    body = '#include <stdio.h>\nint main(void)\n{\n\tputs("1..1\\nok 1 here");\n\treturn 0;\n}\n'
    for name in names:
        (directory / f"{name}.c").write_text(body)
    return directory


def _first_suite(prepared: Prepared) -> Suite:
    for suite in prepared.suites:
        if _compiled(suite):
            return suite
    raise UserError("there is no program to measure with", where="the project's suites")


def _compiled(suite: Suite) -> list[Program]:
    return [program for program in suite.programs if not program.interpreter]


def _argv(suite: Suite, program: Program) -> tuple[str, ...]:
    return (f"/{GUEST_ROOT}/{suite.name}/{program.path}",)


async def _quickest(saved: Snapshot, suite: Suite) -> Program:
    """Return the program of *suite* that takes the least time.

    The figures are what a guest takes.  A program that waits for something has a share in them that
    grows with each of its cases.
    """
    seconds: list[tuple[float, Program]] = []
    refused: MachineError | None = None
    for program in _compiled(suite):
        try:
            (tried,) = await guest_bench.measure_restored(saved, _argv(suite, program), 1)
        except MachineError as error:
            refused = error
            continue
        seconds.append((tried.gone_s, program))
    if not seconds:
        raise refused or UserError("there is no program to measure with", where=suite.name)
    return min(seconds, key=lambda each: each[0])[1]


def _compiler_spy(directory: Path, calls: Path) -> str:
    """Return a PATH on which gcc notes each call in *calls*, unless it only asks who gcc is."""
    directory.mkdir()
    for name in ("gcc", "cc", "cc1", "as", "ld"):
        real = find(name)
        if real:
            spy = directory / name
            spy.write_text(
                "#!/bin/sh\ncase $* in --version | '-### '*) ;; "
                f'*) echo "{name} $*" >>{calls} ;; esac\nexec {real} "$@"\n'
            )
            spy.chmod(0o755)
    return f"{directory}:{search_path()}"


def _edit_series(prepared: Prepared, target: Path) -> str:
    """Copy the stack with one more line at the end of a new C file of mm/; return its path."""
    edited = ""
    for level, series in enumerate(prepared.stack.series):
        directory = target / f"{level:02}"
        directory.mkdir(parents=True)
        for patch in series.patches:
            data = patch.data
            found = _NEW_C_FILE.search(data)
            if found and not edited:
                edited = found["path"].decode()
                # A definition, not a comment: ccache sees through comments.
                line = b'+const char restart_mark[] = "%d";\n' % time.time_ns()
                data = b"".join(
                    (
                        data[: found.start()],
                        found["head"],
                        b"%d" % (int(found["count"]) + 1),
                        found["tail"],
                        found["body"],
                        line,
                        data[found.end() :],
                    )
                )
            (directory / f"{patch.number:04}.patch").write_bytes(data)
    if not edited:
        raise UserError(
            "the series brings no C file below mm/ that could be edited",
            where=prepared.stack.title or NO_SERIES,
        )
    return edited

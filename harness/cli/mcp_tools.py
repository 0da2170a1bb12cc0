# SPDX-License-Identifier: GPL-2.0-only
"""The tools of ``harness mcp``: each runs a command and reads its results."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from harness import __version__
from harness.errors import ExitCode, HarnessError, UserError
from harness.foreign import translate
from harness.judge.compare import compare
from harness.judge.merge import split
from harness.model import results as model
from harness.model.results import Results, Test
from harness.proc.process import Completed
from harness.proc.process import run as run_program
from harness.report.story import story
from harness.report.text import paint
from harness.report.verdict import verdict as headline
from harness.run import rundir
from harness.run.builder import Builder
from harness.run.job import read_results
from harness.visible import visible

_LIMIT_S = 7 * 24 * 3600.0
_MOST = 50
"""Tests, or findings, of one answer."""
_MOST_TEXT = 20_000
"""Characters of what a command printed."""

Series = Annotated[
    list[str] | None,
    Field(description="Stacks of harness.toml, or paths, mailboxes, message-ids; 'none' for none."),
]
Suites = Annotated[
    list[str] | None, Field(description="Suites of harness.toml, directories, or kernel:NAME.")
]
Expression = Annotated[str, Field(description="Only tests whose names match, as pytest -k.")]
Run = Annotated[
    str, Field(description="A run's directory, its name below runs/, or 'latest' for the newest.")
]


@dataclass
class Ended:
    """How a test ended that is not as expected."""

    name: str
    outcome: str
    reason: str
    rerun: str


@dataclass
class Changed:
    """The change of a test by a patch."""

    kernel: str
    change: str
    test: str
    before: str
    after: str
    reason: str


@dataclass
class Verdict:
    """The result of a run."""

    verdict: str
    """The headline, as on the console."""
    exit_code: int
    """0: as expected; 1: not."""
    run: str
    """The run's directory, which `why` and `rerun` take."""
    tests: dict[str, int]
    """How many tests ended with each outcome."""
    not_as_expected: list[Ended] = field(default_factory=list)
    changes: list[Changed] = field(default_factory=list)
    """Of a matrix: which patch breaks, mends or brings which test."""
    notes: list[str] = field(default_factory=list)


@dataclass
class Found:
    """A finding of a check of a patch."""

    check: str
    severity: str
    text: str
    file: str
    line: int | None


@dataclass
class Checked:
    """The result of the checks of a series."""

    verdict: str
    exit_code: int
    findings: list[Found]
    not_made: list[Ended]
    """Checks that could not run, so their result is unknown."""


@dataclass
class Answer:
    """The output of a command in a guest."""

    exit_code: int
    """0: the command ended with status 0; 1: another status, or the guest died."""
    output: str


def serve(project_file: Path) -> None:
    """Serve on standard input and output until that is closed."""
    with Builder() as worker:
        make_server(project_file, worker).run("stdio")


def make_server(project_file: Path, worker: Builder) -> MCPServer:
    """Return the server of a project, whose commands *worker* runs one after the other."""
    server = MCPServer(
        "kernel-selftest-harness",
        instructions=(
            "Builds Linux kernels with patch series, runs selftests in QEMU guests, and judges "
            "them. Outcomes: pass, skip, xfail are as expected; fail, timeout, splat, crash, "
            "xpass, error, notrun are not. Call `why` before you explain a failure."
        ),
        version=__version__,
        log_level="ERROR",
    )
    tools = _Tools(project_file, worker)
    running = ToolAnnotations(read_only_hint=False, destructive_hint=False)
    looking = ToolAnnotations(read_only_hint=True)
    for tool, kind in (
        (tools.run, running),
        (tools.matrix, running),
        (tools.why, looking),
        (tools.rerun, running),
        (tools.series_check, running),
        (tools.shell_command, running),
    ):
        server.add_tool(tool, annotations=kind)
    return server


class _Tools:
    def __init__(self, project_file: Path, worker: Builder) -> None:
        self._file = project_file
        self._runs = project_file.parent / rundir.RUNS
        self._worker = worker

    async def run(
        self,
        ctx: Context,
        series: Series = None,
        suites: Suites = None,
        expression: Expression = "",
        upto: Annotated[int | None, Field(ge=0, description="Only the first N patches.")] = None,
        source: Annotated[str | None, Field(description="Another kernel source.")] = None,
        repeat: Annotated[int, Field(ge=1, description="Each test so often.")] = 1,
    ) -> Verdict:
        """Apply a series, build the kernel, boot it in QEMU, run selftests, and judge them.

        Without arguments it is what harness.toml says.  The first run of a kernel takes minutes.
        """
        options = _options(series, suites, expression, source)
        options += [f"--upto={upto}"] if upto is not None else []
        options += [f"--repeat={repeat}"] if repeat > 1 else []
        return await self._testing(ctx, "run", options)

    async def matrix(
        self,
        ctx: Context,
        series: Series = None,
        suites: Suites = None,
        expression: Expression = "",
        patches: Annotated[str, Field(description="all, ends, or a list such as 2,5-7.")] = "all",
    ) -> Verdict:
        """Run selftests on the base and after each patch of a series: which patch breaks what."""
        options = [*_options(series, suites, expression, None), f"--patches={patches}"]
        return await self._testing(ctx, "matrix", options)

    async def why(
        self,
        test: Annotated[str, Field(description="SUITE:PROGRAM, as in not_as_expected.")],
        run: Run = rundir.LATEST,
    ) -> str:
        """Tell what shows how a test of a run ended: assertions, kernel log, logs, reproduction."""
        with _told():
            directory, results = self._results(run)
            found = _test_of(results, test)
            reports = "\n\n".join(visible(each.report) for each in found.findings)
            return "\n\n".join(filter(None, (story(found, str(directory)), reports[:_MOST_TEXT])))

    async def rerun(
        self,
        ctx: Context,
        test: Annotated[str, Field(description="SUITE:PROGRAM, as in not_as_expected.")],
        run: Run = rundir.LATEST,
    ) -> Verdict:
        """Run one test of a run once more, on the same kernel, in a new guest."""
        with _told():
            _, results = self._results(run)
            words = shlex.split(_test_of(results, test).rerun)
            if "run" not in words:
                raise UserError("this test cannot be run by itself", where=test, hint="use run")
        return await self._testing(ctx, "run", words[words.index("run") + 1 :], project=False)

    async def series_check(
        self,
        ctx: Context,
        series: Annotated[list[str], Field(min_length=1)],
        checks: Annotated[
            list[str] | None, Field(description="Only these: signed-off, checkpatch, builds, …")
        ] = None,
        upto: Annotated[int | None, Field(ge=1, description="Only the first N patches.")] = None,
    ) -> Checked:
        """Check what each patch of a series introduces: style, sign-offs, warnings, builds."""
        with tempfile.TemporaryDirectory(prefix="mcp-") as out:
            options = [f"--check={each}" for each in checks or ()]
            options += [f"--upto={upto}"] if upto is not None else []
            words = ["series", "check", f"--out={out}", *options, *self._project(), "--", *series]
            done = await self._call(ctx, words)
            results = _read(Path(out), done)
        findings = [
            Found(test.name, each.severity, each.text, each.file, each.line)
            for test in results.tests
            for each in test.remarks
        ]
        lost = [
            _ended(test) for test in results.tests if test.outcome in ("error", "notrun", "skip")
        ]
        return Checked(_headline(results), int(results.exit_code), findings[:_MOST], lost[:_MOST])

    async def shell_command(
        self,
        ctx: Context,
        command: Annotated[str, Field(min_length=1, description="A line for /bin/sh.")],
        run: Run = rundir.LATEST,
        test: Annotated[str, Field(description="First run this test in the same guest.")] = "",
    ) -> Answer:
        """Run one command in a guest of its own, with the kernel and the suites of a run."""
        with _told():
            directory = rundir.find(run, self._file.parent, self._runs)
        words = ["shell", f"--command={command}", *self._project()]
        words += [f"--test={test}"] if test else []
        done = await self._call(ctx, [*words, "--", str(directory)])
        return Answer(done.status, visible(done.output)[-_MOST_TEXT:])

    async def _testing(
        self, ctx: Context, command: str, options: Sequence[str], *, project: bool = True
    ) -> Verdict:
        """Run tests in a directory below runs/, and return the verdict."""
        name = rundir.new_name()
        out = self._runs / name
        words = [command, f"--out={out}", *options, *(self._project() if project else ())]
        done = await self._call(ctx, words)
        results = _read(out, done)
        rundir.point(self._runs / rundir.LATEST, name)
        bad = [test for test in results.tests if not test.good]
        each = split(results)
        steps = (
            [step for row in compare(each).rows for step in row.steps] if results.kernels else []
        )
        return Verdict(
            verdict=_headline(results),
            exit_code=int(results.exit_code),
            run=str(out),
            tests={str(outcome): number for outcome, number in results.counts.items()},
            not_as_expected=[_ended(test) for test in bad[:_MOST]],
            changes=[
                Changed(
                    kernel=step.kernel,
                    change=step.change,
                    test=step.test,
                    before=str(step.before.outcome) if step.before else "not there",
                    after=str(step.after.outcome) if step.after else "not there",
                    reason=visible(step.after.reason) if step.after else "",
                )
                for step in steps[:_MOST]
            ],
            notes=[visible(note) for note in results.notes],
        )

    async def _call(self, ctx: Context, words: Sequence[str]) -> Completed:
        """Run a command of this program, and report its lines as progress; raises ToolError."""
        loop = asyncio.get_running_loop()
        lines: asyncio.Queue[str] = asyncio.Queue()

        def on_line(line: str) -> None:
            loop.call_soon_threadsafe(lines.put_nowait, line)

        report = asyncio.create_task(_report(lines, ctx.report_progress))
        try:
            done = await self._worker.do(
                partial(
                    run_program,
                    [sys.executable, "-m", "harness", *words],
                    cwd=self._file.parent,
                    # As a user calls it: the harness chooses itself what others get.
                    env={**os.environ, "NO_COLOR": "1"},
                    limit_s=_LIMIT_S,
                    on_line=on_line,
                )
            )
        except HarnessError as error:
            raise ToolError(visible(str(error))) from None
        finally:
            report.cancel()
        if done.status not in (ExitCode.AS_EXPECTED, ExitCode.NOT_AS_EXPECTED):
            raise ToolError(_error_in(done))
        return done

    def _project(self) -> list[str]:
        return [f"--project={self._file}"]

    def _results(self, run: str) -> tuple[Path, Results]:
        directory = rundir.find(run, self._file.parent, self._runs)
        return directory, read_results(directory)


def _options(series: Series, suites: Suites, expression: str, source: str | None) -> list[str]:
    # Joined by "=", so that no value is taken for an option.
    options = [f"--series={each}" for each in series or ()]
    options += [f"--suite={each}" for each in suites or ()]
    options += [f"--source={source}"] if source else []
    return [*options, *([f"-k{expression}"] if expression else [])]


def _headline(results: Results) -> str:
    return "\n".join(paint(line, colour=False) for line in headline(results))


def _ended(test: Test) -> Ended:
    texts = (test.name, str(test.outcome), test.reason, test.rerun)
    return Ended(*map(visible, texts))


def _test_of(results: Results, wanted: str) -> Test:
    found = [test for test in results.tests if wanted in (test.name, test.program)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(test.name for test in results.tests[:_MOST])
    raise UserError(
        f"the run has {'several tests' if found else 'no test'} '{wanted}'",
        where=f"run {results.run}",
        why=f"it has: {names or 'no tests'}",
        hint="write SUITE:PROGRAM, as `run` returns it",
    )


def _read(out: Path, done: Completed) -> Results:
    """Return the results in *out*; raises ToolError where the command has left none."""
    try:
        return model.decode((out / "results.json").read_bytes())
    except (OSError, ValueError):
        raise ToolError(_error_in(done)) from None


def _error_in(done: Completed) -> str:
    """Return the error that a command ended with: what, where, why, and what to do."""
    lines = visible(done.output).splitlines()
    starts = [n for n, line in enumerate(lines) if re.match(r"(error: |Usage: )", line)]
    return "\n".join(lines[starts[-1] :] if starts else lines[-20:])


async def _report(
    lines: asyncio.Queue[str], tell: Callable[[float, None, str], Awaitable[None]]
) -> None:
    number = 0
    while True:
        line = visible(await lines.get()).strip()
        if line:
            number += 1
            await tell(number, None, line)


@contextmanager
def _told() -> Iterator[None]:
    """Raise what the harness has words for as an error of the tool."""
    try:
        yield
    except Exception as error:
        meaning = error if isinstance(error, HarnessError) else translate(error)
        if meaning is None:
            raise
        raise ToolError(visible(str(meaning))) from None

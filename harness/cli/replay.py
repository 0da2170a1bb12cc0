# SPDX-License-Identifier: GPL-2.0-only
"""``harness replay``: a failure that can be shown again, as often as one likes, and backwards."""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import msgspec

from harness.cli.options import RunName, find_project, program_words
from harness.cli.testing import (
    Asked,
    Finished,
    TestingCommand,
    conduct,
    test_of,
    testing_options,
)
from harness.errors import ExitCode, UserError
from harness.guest.gdb import Found, Until
from harness.guest.replay import Tape
from harness.judge import merge
from harness.model.ids import TestId
from harness.model.races import RaceSpec
from harness.model.recording import RecordSpec
from harness.model.records import Requested
from harness.proc import signals
from harness.proc.process import which
from harness.report.text import short
from harness.run import journal, rundir
from harness.run import replay as replays
from harness.run.job import request_of
from harness.run.request import Request
from harness.visible import visible


@click.command(cls=TestingCommand)
@click.argument("target", metavar="TEST|RECORDING")
@testing_options
@click.option(
    "--hunt",
    type=click.IntRange(min=1),
    metavar="N",
    help="Record runs of the test with different seeds, at most N, until one fails, and keep that.",
)
@click.option(
    "--from",
    "from_run",
    type=RunName(),
    metavar="RUN",
    help="Take kernel and suites of this run: its directory, its name below runs/, or 'latest'.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    metavar="S",
    help="The seed of the first run: it decides random numbers, and when the clock ticks.",
)
@click.option(
    "--schedule",
    metavar="SEED|AT+LENGTH,...",
    help="Record the test under this schedule of `harness race`: its seed or its points.",
)
@click.option(
    "--any", "keep_pass", is_flag=True, help="Keep the recording of a test that passes, too."
)
@click.option(
    "--times",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Replay the recording so often, and compare.",
)
@click.option(
    "--until",
    "until_text",
    metavar="'write EXPR'",
    help="Go back from the end to the last write of this value, and say which instruction that is; "
    "'call FUNCTION' goes to the last call of a function.",
)
@click.option(
    "--gdb",
    "with_gdb",
    is_flag=True,
    help="Wait for gdb, in which reverse-continue and reverse-stepi go back; the command that "
    "starts it is printed.",
)
def replay(
    target: str,
    hunt: int | None,
    from_run: str | None,
    seed: int,
    schedule: str | None,
    keep_pass: bool,
    times: int,
    until_text: str | None,
    with_gdb: bool,
    **options: Any,
) -> int:
    """Record a test that fails, and replay it to the same end.

    TEST is the name of a test, SUITE:PROGRAM.  It runs in a guest of one processor whose every
    instruction is recorded.  A replay executes the same instructions again, so that a failure that
    was seen once is seen each time.  RECORDING is the directory of one that was kept, or of its
    run.  The kernel gets the fragment 'replay' (docs/failures.md).

    \b
    Examples:
      harness replay restrictedmem:punch_test
      harness replay restrictedmem:punch_test --series v11 --times 20
      harness replay kvm_private_memory:attributes_test --hunt 200
      harness replay mm:migration --until 'write my_lock.owner'
      harness replay mm:migration --gdb
      harness replay mm:migration --from latest
      harness replay mm:migration@seed#17 --gdb
      harness replay runs/latest --until 'call panic'

    Exit code 0 means that there is no failure, or a known one; 1: the recorded test fails.
    """
    until = Until.parse(until_text) if until_text is not None else None
    if until or with_gdb:
        which("gdb")
    look = _Look(times, until, with_gdb)
    if recording := replays.find_recording(target):
        look.at(recording)
        return ExitCode.AS_EXPECTED
    target, schedule = test_of(target, schedule)
    suite = TestId.parse(target).suite
    asked = Asked(**{**options, "suites": options["suites"] or (suite,), "expression": target})
    if options["expression"]:
        raise UserError("the test is named, so that -k chooses nothing", where="-k")
    if asked.repeat is not None or asked.until_fail:
        raise UserError(
            "one run is recorded",
            where="--repeat" if asked.repeat is not None else "--until-fail",
            hint="--hunt N records several until one fails",
        )
    if asked.resume is not None:
        raise UserError(
            "a recording cannot be taken up again", where="--resume", hint="record the test anew"
        )
    under = None if schedule is None else RaceSpec.under(schedule, (target,))
    if under and (hunt or _given("seed")):
        raise UserError(
            "a schedule decides all that a seed of a recording does",
            where=f"--schedule with {'--hunt' if hunt else '--seed'}",
            hint="harness race looks for a schedule under which the test fails",
        )
    asked = msgspec.structs.replace(asked, repeat=hunt or 1, until_fail=hunt is not None)

    earlier = _earlier(from_run, asked) if from_run else None

    def shape(request: Request) -> Request:
        request = msgspec.structs.replace(request, recording=RecordSpec(seed=seed), race=under)
        if earlier:
            return msgspec.structs.replace(request, **replays.tested_in(earlier))
        return msgspec.structs.replace(request, kernels=(asked.kernel(),))

    def finish(finished: Finished) -> int:
        return _keep(finished, look, passes=keep_pass)

    return conduct(asked, shape, finish)


def _earlier(run: str, asked: Asked) -> Requested:
    """Return what was asked of *run*; raises UserError where *asked* says that, too."""
    here = Path.cwd()
    for name in ("source", "series", "series_version", "config", "cc", "suites", "guest", "trust"):
        if _given(name):
            raise UserError(
                "kernel and suites are those of the run", where=f"--from {run} with --{name}"
            )
    runs = find_project(asked.project_file, here).parent / rundir.RUNS
    directory = rundir.find(run, here, runs)
    return request_of(journal.read(directory), directory)


def _given(name: str) -> bool:
    """Return whether an option is on the command line."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def _keep(finished: Finished, look: _Look, *, passes: bool) -> int:
    """Keep one recording of a run, replay it, and say so; return the exit code."""
    results = merge.whole(finished.records)
    kept = replays.choose(results, finished.records, passes=passes)
    replays.keep_only(finished.directory, kept)
    hunted = finished.request.until_fail
    if kept is None:
        if hunted:
            _say(f"none of {finished.request.repeat} runs failed, so none is kept")
        if hunted or results.exit_code != ExitCode.AS_EXPECTED:
            return results.exit_code
        more = "--hunt N records it with other seeds until it fails"
        if finished.request.race:
            more = "a schedule holds for one kernel, suite and QEMU: harness race looks for another"
        raise UserError(
            "the test does not fail, so there is no failure to replay",
            where=results.tests[0].name if results.tests else finished.request.expression,
            hint=f"{more}; --any keeps this recording",
        )
    assert finished.request.recording  # noqa: S101  what is kept was recorded
    seed = finished.request.recording.seed_number(kept.attempt)
    which = f" (seed {seed}, run {kept.attempt} of {kept.runs})" if hunted else ""
    _say(f"recorded: {kept.test}{which}: {kept.outcome}{': ' * bool(kept.reason)}{kept.reason}")
    replays.keep_guest(finished.directory / kept.directory)
    look.at(finished.directory / kept.directory)
    return results.exit_code


class _Look(msgspec.Struct, frozen=True):
    """What is to be seen of a recording."""

    times: int
    until: Until | None
    gdb: bool

    def at(self, directory: Path) -> None:
        """Replay a recording, and say how that went."""
        # Whichever signal ends it, what is in temporary directories goes.
        with signals.interruptible(), ExitStack() as stack:
            into = None
            if self.until or self.gdb:
                kept = stack.enter_context(TemporaryDirectory(prefix="harness-checkpoints-"))
                into = Path(kept)
            tape = signals.run(replays.check(directory, self.times, into))
            self._show(directory, tape)

    def _show(self, directory: Path, tape: Tape) -> None:
        length = tape.recording.end - tape.recording.start
        _say(
            f"replayed: {self.times} of {self.times} to the same end, {length:,} instructions "
            "after the start"
        )
        again = [*program_words(Path.cwd()), "replay", short(directory, Path.cwd())]
        _say(f"again:    {shlex.join(again)}")
        if self.until:
            _tell(self.until, signals.run(replays.go_back(tape, self.until)))
        if self.gdb:
            signals.run(replays.serve(tape, _say, self.until))


def _tell(until: Until, found: Found) -> None:
    _say(f"{until.title}: instruction {found.count:,}")
    if until.what == "write":
        _say(f"  {found.before or '?'} -> {found.after or '?'}")
    _say(f"  {found.code}")
    for frame in found.stack:
        _say(f"  {frame}")


def _say(text: str) -> None:
    if text:
        click.echo(visible(text), file=sys.stdout)

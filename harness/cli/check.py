# SPDX-License-Identifier: GPL-2.0-only
"""Running ``harness series check``: from a request to checks, their reports and the exit code."""

from __future__ import annotations

import shlex
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness import kbuild, series, source
from harness.checks import BUILT, Subject, run_checks, to_tests
from harness.context import Context
from harness.errors import UserError
from harness.foreign import told
from harness.kbuild.warnings import Workshop
from harness.model import results
from harness.proc import signals
from harness.proc.git import git
from harness.proc.process import need_sandbox
from harness.report import checks as report
from harness.report.console import make_progress
from harness.report.files import Reports, is_stdout
from harness.report.formats import FORMATS, View
from harness.report.terminal import Safe, Terminal
from harness.report.text import paint
from harness.report.verdict import verdict
from harness.run import rundir
from harness.run.request import Request
from harness.series.finding import Severity
from harness.store import Store

_LOG = "build.log"


@dataclass(frozen=True)
class Wish:
    """What is to be checked, and where the reports go."""

    request: Request
    wanted: tuple[str, ...]
    fail_on: Severity
    out: Path | None
    junit: Path | None
    verbose: bool
    form: str
    """Of what is printed; empty for the lines that a person reads."""


def run(wish: Wish) -> int:
    """Make the checks, write the reports, print what was found, and return the exit code."""
    reports = Reports(wish.junit, ("harness", "series", "check"))
    with signals.interruptible(), reports.kept_true(), ExitStack() as stack:
        if wish.out:
            place = wish.out
            with told("the reports cannot be written", place):
                place.mkdir(parents=True, exist_ok=True)
            (place / _LOG).unlink(missing_ok=True)
        else:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="checks-")))
        reports.begin_in(place)
        found = _check(wish, place)
        reports.write(found)
    return found.exit_code


def _check(wish: Wish, place: Path) -> results.Results:
    request, spec = wish.request, wish.request.kernels[0]
    begun, started = time.monotonic(), _now()
    progress = make_progress(sys.stderr, verbose=wish.verbose)
    names, added = request.fragments(spec)
    fragments = kbuild.load(request.project_dir / request.project.kernel.config_dir, names)
    stack = request.stack(spec)
    if not stack.series:
        raise UserError("there is nothing to check", where="'none' is the source as it is")
    context = Context(Store.default(), progress)
    base = source.resolve_first(
        (spec.source,) if spec.source else request.project.kernel.sources,
        context,
        relative_to=request.working_dir if spec.source else request.project_dir,
    )
    tree = series.apply(stack.series, base, context)
    lineage = request.lineage(spec, stack, base.spec)
    if lineage is not None:
        need_sandbox()
    workshop = Workshop.of(
        context,
        base.spec,
        fragments,
        lineage,
        log=place / _LOG,
        limit_s=request.project.limits.build_s,
    )
    where = request.working_dir if spec.source else request.project_dir
    subject = Subject(stack, base, tree, fragments, workshop, tuple(_history(base.spec, where)))
    checked = run_checks(subject, wish.wanted)
    tests = to_tests(checked, wish.fail_on, lambda number, check: _rerun(request, number, check))
    found = results.Results(
        run=rundir.new_name(),
        started=started,
        ended=_now(),
        seconds=round(time.monotonic() - begun, 3),
        command=(*request.program, *sys.argv[1:]),
        kernel=results.Kernel(
            release="",
            source=base.description,
            base_commit=base.commit,
            series=stack.title,
            series_name=stack.name,
            series_commit=tree.commit,
            series_digest=stack.digest,
            patches=tuple(patch.subject for patch in stack.patches),
            config=fragments.names if set(wish.wanted) & set(BUILT) else (),
        ),
        machine=results.Machine(),
        tests=tests,
        notes=((base.note,) if base.note else ()) + stack.notes + added,
    )
    terminal = Terminal.of(sys.stdout)
    shown = report.lines(
        list(zip(checked, [test.outcome for test in tests], strict=True)),
        verbose=wish.verbose,
        unicode=terminal.unicode,
    )
    # What is read from standard output is the report and nothing else.
    on_stdout = wish.form or (wish.junit and is_stdout(wish.junit))
    safe = Safe(sys.stderr if on_stdout else sys.stdout)
    for line in [*shown, *([[]] if shown else []), *verdict(found)]:
        safe.write(paint(line, terminal.colour) + "\n")
    safe.flush()
    if wish.form:
        sys.stdout.buffer.write(FORMATS[wish.form].render(found, View()))
    return found


def _history(spec: str, relative_to: Path) -> list[Path]:
    """Return the git directory of a source on this machine, which may have more than its tree."""
    place = relative_to / spec.partition("#")[0]
    if not place.is_dir():
        return []
    found = git("rev-parse", "--absolute-git-dir", cwd=place)
    if not found.ok:
        return []
    # The directory may lie in a repository of something else.
    inside = git("rev-parse", "--show-prefix", cwd=place)
    return [Path(found.text)] if not inside.text else []


def _rerun(request: Request, number: int, check: str) -> str:
    """Return a command line for a shell that makes this check of this patch again."""
    spec = request.kernels[0]
    argv = [*request.program, "series", "check", *spec.series]
    if request.project_file != request.working_dir / request.project_file.name:
        argv += ["--project", str(request.project_file)]
    argv += ["--source", spec.source] if spec.source is not None else []
    if spec.series_version is not None:
        argv += ["--series-version", str(spec.series_version)]
    argv += [word for name in spec.config for word in ("--config", name)]
    argv += ["--trust", request.trust] if request.trust else []
    return shlex.join([*argv, "--upto", str(number), "--check", check])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

# SPDX-License-Identifier: GPL-2.0-only
"""The console summary of a run: a table, the failures, and one line of verdict."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence

from harness.judge.compare import compare
from harness.judge.merge import split
from harness.model.ids import HERE, case_of
from harness.model.results import Case, Results, Test
from harness.outcome import Outcome
from harness.report.bisect import bisected
from harness.report.findings import measured
from harness.report.injections import fault_lines
from harness.report.kernels import subject
from harness.report.matrix import matrix
from harness.report.races import preempted_lines
from harness.report.steps import cases_text, known_tags
from harness.report.text import (
    COMMAND,
    LOG_COLUMNS,
    PATH,
    WIDEST_LOG,
    Span,
    assertion,
    columns,
    count,
    cut_line,
    duration,
    fit,
    mark,
    one_line,
    pad,
    style_of,
)
from harness.report.verdict import verdict
from harness.visible import visible

Line = list[Span]

KERNEL_LINES = 16
"""The number of lines shown of a test's kernel log."""
MOST_FUNCTIONS = 12
"""The number of kernel functions listed with the cost of a test."""
MAX_CASES = 10
"""The number of failing cases of one test that are shown in full."""
_MAX_NAMES = 5
_STAMP = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")
_REGISTERS = re.compile(
    r"\] (?:R[A-Z0-9]{2}: [0-9a-f]{16}|RSP: |FS:  |CS:  |CR\d: |DR\d: |PKRU: |Code: |PGD "
    r"|Hardware name: |x\d+ ?: [0-9a-f]{16}|pstate: |sp : )"
)
_NAME_COLUMNS = 56
_BESIDE = 21
"""Columns of a row beside name and cases."""
_CASES_COLUMNS = 40


def summary(
    results: Results,
    *,
    verbose: bool = False,
    unicode: bool = True,
    directory: str = "",
    junit: str = "",
    page: str = "",
    shell: str = "",
    width: int = WIDEST_LOG,
) -> list[Line]:
    """Return all that the console says about a finished run, from top to bottom.

    The table has at most *width* columns; other lines are as long as they are, to be folded where
    they are shown.  *verbose* lists every case.  *directory* is the run's, *junit* the path of its
    JUnit file, *page* that of the HTML report; all are only told.
    *shell* is the command that opens a shell in a guest of the run.
    *unicode* says whether signs outside ASCII may be used.
    """
    if results.kernels:
        parts: list[Line] = [*matrix(results, compare(split(results)), width), *bisected(results)]
        parts += _not_as_expected(results, directory, shell, unicode) if verbose else []
        parts += _metric_faults(results)
        parts += hosts_line(results)
        return [*parts, *_last(results, directory, page, junit), [], *verdict(results)]
    parts = [*_subject(results)]
    rows = results.tests if verbose else [each for each in results.tests if not _uneventful(each)]
    if rows:
        parts += [[], *_table(rows, verbose, unicode, width)]
    parts += bisected(results)
    parts += _at_boot(results, directory, unicode)
    parts += _not_as_expected(results, directory, shell, unicode)
    parts += _together("Not run", results.tests, Outcome.NOTRUN, "bad")
    parts += _together("Skipped", results.tests, Outcome.SKIP, "warn")
    parts += _known(results.tests) if not verbose else []
    parts += _together(
        "Failed as expected", results.tests if verbose else (), Outcome.XFAIL, "warn"
    )
    parts += _allowed(results)
    parts += _metric_faults(results)
    for section in measured(results, width):
        parts += [[], *section.lines]
    return [*parts, *_last(results, directory, page, junit), [], *verdict(results)]


def _last(results: Results, directory: str, page: str, junit: str) -> list[Line]:
    """Yield the notes, and the paths of all reports."""
    last: list[Line] = [[("note:  ", "warn"), (one_line(note, 2000), "")] for note in results.notes]
    for name, path in (("run", directory), ("page", page), ("junit", junit)):
        if path:
            last.append([(f"{name + ':':<7}", "dim"), (visible(path), PATH)])
    return [[], *last] if last else []


def _subject(results: Results) -> Iterator[Line]:
    """Yield the kernel and the machine."""
    kernel, machine = results.kernel, results.machine
    spans: list[Span] = []
    for number, (what, name) in enumerate(subject(kernel)):
        spans += [(f" {what} " if number else f"{what.capitalize()} ", "dim"), (name, "bold")]
    if kernel.patches:
        spans.append((f" ({count(len(kernel.patches), 'patch', 'patches')})", "dim"))
    yield spans
    where = [machine.accelerator, machine.qemu, machine.guest]
    if machine.accelerator and machine.accelerator_reason:
        where[0] += f" ({machine.accelerator_reason})"
    said = ", ".join(one_line(part) for part in where if part)
    if said:
        yield [("Guest  ", "dim"), (said, "dim")]
    yield from hosts_line(results)


def hosts_line(results: Results) -> Iterator[Line]:
    """Yield the number of tests per host, if any ran on another host."""
    ran = Counter(test.host for test in results.tests if test.started)
    if set(ran) - {HERE}:
        said = [f"{one_line(host) or 'local'} {number}" for host, number in sorted(ran.items())]
        yield [("Hosts  ", "dim"), (", ".join(said), "dim")]


def _uneventful(test: Test) -> bool:
    """Whether it is one of the many points of a sweep of which only the number is told."""
    many = (test.injected and test.injected.nth) or (test.schedule and test.schedule.seed)
    return bool(many) and test.outcome.as_expected


def _table(tests: Sequence[Test], verbose: bool, unicode: bool, width: int) -> Iterator[Line]:
    """One row a test, in a terminal within its *width*.

    In a log a name that is too long for its column pushes the rest of its row aside.
    """
    names = [one_line(test.name) for test in tests]
    if verbose:
        names += [f"  {_short(case, test)}" for test in tests for case in test.cases]
    wide = min(max(map(columns, names)), _NAME_COLUMNS)
    wide_cases = min(max(5, *(len(cases_text(test)) for test in tests)), _CASES_COLUMNS)
    narrow = width < LOG_COLUMNS
    if narrow:
        room = max(30, width - _BESIDE)
        wide_cases = min(wide_cases, max(5, room - min(wide, room * 3 // 5)))
        wide = min(wide, room - wide_cases)
    yield [(f"{'test':<{wide}}  {'cases':<{wide_cases}}  {'time':>6}  outcome", "dim")]
    for test in tests:
        style = style_of(test.outcome)
        seconds = test.guest_s if test.total_s is None else test.total_s
        name, cases = one_line(test.name), cases_text(test)
        if narrow:
            name, cases = fit(name, wide), fit(cases, wide_cases)
        yield [
            (f"{pad(name, wide)}  {cases:<{wide_cases}}", ""),
            (f"  {duration(seconds):>6}  ", "dim"),
            (f"{mark(style, unicode)} {test.outcome}", style),
            *([(f"  {one_line(test.reason)}", "dim")] if test.injected and verbose else ()),
        ]
        for case in test.cases if verbose else ():
            style = style_of(case.outcome)
            row: Line = [
                (pad(f"  {_short(case, test)}", wide) + " " * (wide_cases + 12), "dim"),
                (f"{mark(style, unicode)} {case.outcome}", style),
            ]
            yield [*row, (f"  {one_line(case.reason)}", "dim")] if case.reason else row
        if verbose and test.metrics:
            yield from _metrics(test)


def _metrics(test: Test) -> Iterator[Line]:
    """Yield the metrics that the program printed, and in one line those that were measured."""
    for metric in test.metrics:
        if metric.by == "test":
            better = f"  ({metric.better} is better)" if metric.better else ""
            yield [(f"    {one_line(str(metric))}", ""), (better, "dim")]
    if around := [str(each) for each in test.metrics if each.by != "test"]:
        yield [(f"    {', '.join(around)}", "dim")]
    if test.functions:
        yield [("    most instructions of the kernel are in:", "dim")]
    for function in test.functions[:MOST_FUNCTIONS]:
        figures = (
            f"{function.own:>15,}  with what it calls {function.total:>15,}"
            f"  entered {function.calls:>9,} times"
        )
        yield [(f"      {one_line(function.name):<36}", ""), (figures, "dim")]


def _metric_faults(results: Results) -> Iterator[Line]:
    """Yield the metrics that cannot be read, because a comparison would lack them."""
    found = [(test.name, fault) for test in results.tests for fault in test.metric_faults]
    if found:
        yield []
    for name, fault in found[:MAX_CASES]:
        yield [
            ("Metric not read: ", "warn"),
            (one_line(fault), ""),
            (f" ({one_line(name)})", "dim"),
        ]
    if len(found) > MAX_CASES:
        yield [(f"  ... and {count(len(found) - MAX_CASES, 'more metric')}", "dim")]


def _at_boot(results: Results, directory: str, unicode: bool) -> Iterator[Line]:
    """Yield the kernel's complaints before the tests, once each."""
    for boot in results.at_boot:
        outcome, report = results.outcome_at_boot(boot), boot.report
        if outcome is Outcome.PASS:
            continue
        style = style_of(outcome)
        yield []
        yield [
            (f"{mark(style, unicode)} the kernel, at boot", "bold"),
            (f"  {report.severity if outcome is not Outcome.XFAIL else outcome}", style),
        ]
        yield [(f"  {one_line(report.title, 2000)}", style)]
        if outcome is not Outcome.XFAIL:
            lines, gone = essence(visible(report.report).strip("\n").split("\n"))
            yield from _block(lines, gone, "its log")
        yield [("  guests of:  ", "dim"), (", ".join(map(one_line, boot.suites)), "")]
        if boot.log:
            yield [("  kernel log: ", "dim"), (one_line(_below(directory, boot.log), 2000), "")]


def _not_as_expected(results: Results, directory: str, shell: str, unicode: bool) -> Iterator[Line]:
    for test in results.tests:
        bad = [case for case in test.cases if not case.outcome.as_expected]
        # Tests that never ran have no evidence, and after a broken run there are many.
        if test.outcome is Outcome.NOTRUN and not bad:
            continue
        if bad or not test.outcome.as_expected:
            yield []
            yield from _details(test, bad, directory, shell, unicode)


def _details(
    test: Test, bad: Sequence[Case], directory: str, shell: str, unicode: bool
) -> Iterator[Line]:
    yield [
        (f"{mark('bad', unicode)} {one_line(test.name)}", "bold"),
        (f"  {test.outcome}", "bad"),
    ]
    if test.reason:
        yield [(f"  {one_line(test.reason, 2000)}", "bad")]
    for case in bad[:MAX_CASES]:
        yield [
            (f"  {_short(case, test)}", "bold"),
            (f"  {case.outcome}", "bad"),
            # A reason that was taken from the text stands there in its context.
            ("" if case.reason in case.text else f"  {one_line(case.reason)}", ""),
        ]
        yield from _asserted(case.text)
    if len(bad) > MAX_CASES:
        yield [(f"  ... and {count(len(bad) - MAX_CASES, 'more case')} like these", "dim")]
    if not bad:
        yield from _asserted(test.output)
    yield from _attempts(test, directory)
    if test.elsewhere:
        yield [("  verdict:    ", "dim"), (one_line(test.elsewhere), "")]
    yield from preempted_lines(test)
    yield from fault_lines(test)
    if test.kernel_log:
        yield [("  the kernel reported:", "dim")]
        lines, gone = essence(visible(test.kernel_log).strip("\n").split("\n"))
        yield from _block(lines, gone, "its log")
    for name, path in (
        ("kernel log", _below(directory, test.logs.kernel)),
        ("build log", _below(directory, test.logs.build)),
        ("output", _below(directory, test.logs.output)),
        ("run again", test.rerun),
        # Only a test that ran has a guest for a shell.
        ("shell", f"{shell} --test {shlex.quote(test.name)}" if shell and test.seed else ""),
    ):
        if path:
            style = COMMAND if name in ("run again", "shell") else PATH
            yield [(f"  {name + ':':<12}", "dim"), (one_line(path, 2000), style)]


def _attempts(test: Test, directory: str) -> Iterator[Line]:
    """Yield the attempts that were not as expected, each kind of ending once."""
    by_end: dict[tuple[str, str], list[int]] = {}
    for number, attempt in enumerate(test.attempts, 1):
        if not attempt.outcome.as_expected:
            by_end.setdefault((attempt.outcome, one_line(attempt.reason)), []).append(number)
    for (outcome, reason), numbers in list(by_end.items())[:MAX_CASES]:
        log = _below(directory, test.attempts[numbers[0] - 1].logs.output)
        times = f"{len(numbers)} of {count(len(test.attempts), 'attempt')}"
        yield [(f"  {times}: {outcome}  {reason}", "bad"), (f"  {log}", "dim")]


def essence(lines: Sequence[str]) -> tuple[list[str], int]:
    """Return the most useful lines of a kernel's report, and how many lines are left out.

    Registers and code bytes stand between the fault and its call trace, and few can read them.
    """
    telling = [_STAMP.sub("", line) for line in lines if not _REGISTERS.search(line)]
    shown = telling[:KERNEL_LINES]
    return shown, len(lines) - len(shown)


def _below(directory: str, path: str) -> str:
    """Return a log's path as the user can open it."""
    return f"{directory}/{path}" if directory and path else path


def _asserted(text: str) -> Iterator[Line]:
    yield from _block(*assertion(text), "the output")


def _block(lines: Sequence[str], gone: int, where: str) -> Iterator[Line]:
    for line in lines:
        yield [(f"    {cut_line(line.expandtabs(8))}", "")]
    if gone > 0:
        yield [(f"    ... {count(gone, 'more line')} in {where}", "dim")]


def _together(title: str, tests: Sequence[Test], outcome: Outcome, style: str) -> Iterator[Line]:
    """Yield one line for many tests with the same outcome and reason."""
    by_reason: dict[str, list[str]] = {}
    for test in tests:
        if test.outcome is outcome:
            reason = one_line(test.reason) or "no reason given"
            by_reason.setdefault(reason, []).append(one_line(test.name))
    if by_reason:
        yield []
    for reason, names in by_reason.items():
        more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        yield [
            (f"{title}, {count(len(names), 'test')}: ", style),
            (reason, ""),
            (f" ({', '.join(names[:_MAX_NAMES])}{more})", "dim"),
        ]


def _known(tests: Sequence[Test]) -> Iterator[Line]:
    """Say which tests failed as is known, one line for each tag that fits a log."""
    by_tag: dict[str, list[str]] = {}
    for test in tests:
        if test.outcome is Outcome.XFAIL:
            by_tag.setdefault(known_tags(test) or "no reason given", []).append(one_line(test.name))
    if by_tag:
        yield []
    for tag, names in by_tag.items():
        start = f"Failed as expected, {count(len(names), 'test')}: "
        tag = fit(tag, LOG_COLUMNS // 3)
        room = LOG_COLUMNS - columns(start) - columns(tag) - len(" ()")
        yield [(start, "warn"), (tag, ""), (f" ({fit(', '.join(names), room)})", "dim")]


def _allowed(results: Results) -> Iterator[Line]:
    """Yield the kernel's allowed messages: they do not count, but are shown."""
    found = [(boot.report, "at boot") for boot in results.at_boot if boot.report.allowed]
    found += [(each, test.name) for test in results.tests for each in test.findings if each.allowed]
    if found:
        yield []
    for each, where in found:
        text = f"{one_line(each.title)}: {one_line(each.allowed)}"
        yield [("Allowed: ", "warn"), (text, ""), (f" ({one_line(where)})", "dim")]


def _short(case: Case, test: Test) -> str:
    return one_line(case_of(test.name, case.name))

# SPDX-License-Identifier: GPL-2.0-only
"""The console report of a run over several kernels: a matrix, and the changes by patch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from harness.judge.compare import Change, Comparison, Row, Step
from harness.judge.unstable import counts, mixed
from harness.model.ids import BASE, KernelName
from harness.model.plan import ALL
from harness.model.results import Kernel, Results, Test
from harness.outcome import Outcome
from harness.report.changes import told
from harness.report.text import (
    COMMAND,
    WIDEST_LOG,
    Span,
    columns,
    count,
    fit,
    one_line,
    pad,
    style_of,
)
from harness.visible import visible

Line = list[Span]

_LETTERS = {
    Outcome.PASS: ".",
    Outcome.XFAIL: "x",
    Outcome.SKIP: "-",
    Outcome.XPASS: "P",
    Outcome.FAIL: "F",
    Outcome.SPLAT: "S",
    Outcome.TIMEOUT: "T",
    Outcome.CRASH: "C",
    Outcome.ERROR: "E",
    Outcome.NOTRUN: "N",
}
_SAME, _MIXED = "=", "~"
_LEGEND = {
    ".": "pass",
    "x": "failed as expected",
    "-": "skipped or not there",
    "P": "passed, was expected to fail",
    "F": "fail",
    "S": "splat",
    "T": "timeout",
    "C": "crash",
    "E": "error",
    "N": "not run",
    _MIXED: "sometimes good, sometimes bad",
    _SAME: "the kernel is the same as the one before, and was not tested",
}
"""In the order in which they are told, those that the table has."""
_LEGEND_SAME = "=F, =. the same as an earlier one, with that result"
_NAME_COLUMNS = 56
_LEAST_NAME_COLUMNS = 30
"""Where kernels need the room, names of tests are cut to this before the table is cut in parts."""
_MOST_CASES = 5
_PLACE = re.compile(r":\d+(?::\d+)?:")
"""The position of a warning in a file, which changes with the lines above it."""
_MOST = 10
"""The number of tests that are named per change; the others are counted."""


def matrix(results: Results, comparison: Comparison, width: int = WIDEST_LOG) -> Iterator[Line]:
    """Yield the matrix of *results*, from which *comparison* is made, and the changes by patch.

    Its table has at most *width* columns: kernels that do not fit are in a table below.
    """
    yield from _head(results, comparison)
    letters = [_letters(row, comparison.kernels) for row in comparison.rows]
    yield from _tables(comparison, letters, width)
    yield []
    yield from _legend({letter for row in letters for letter in row})
    yield from _elsewhere(results)
    if results.bisection:
        return
    if results.against is not None:
        yield from _warnings(results, comparison.kernels)
        yield []
        yield from told(results.against)
        return
    yield from by_patch(results, comparison)


def by_patch(results: Results, comparison: Comparison) -> Iterator[Line]:
    """Yield what each kernel changes: the tests that were bad before, then patch by patch."""
    yield from _always(comparison.rows, comparison.kernels[0])
    for kernel in comparison.kernels[1:]:
        yield from _changes(kernel, results.kernels[kernel], comparison)
    yield from _warnings(results, comparison.kernels)
    yield from _unstable(comparison)
    yield from _not_bisectable(comparison)


def of_patch(name: KernelName, kernel: Kernel) -> str:
    """Return the description of a kernel: ``patch 3, 'mm: Do it'``."""
    if name.isdigit() and len(kernel.patches) == int(name):
        return f"patch {name}, '{one_line(kernel.patches[-1])}',"
    return f"kernel {name}"


def _guilty(step: Step, kernel: Kernel) -> str:
    """Return the patch; or the possible patches, if the kernel before was not tested."""
    since = "0" if step.since == BASE else step.since
    if step.kernel.isdigit() and since.isdigit() and int(step.kernel) > int(since) + 1:
        return f"one of patches {int(since) + 1} to {step.kernel}"
    return of_patch(step.kernel, kernel)


def _head(results: Results, comparison: Comparison) -> Iterator[Line]:
    last = results.kernel
    yield [
        ("Kernels ", "dim"),
        (", ".join(_ranges(comparison.kernels)), "bold"),
        (" of ", "dim"),
        (one_line(last.series or last.source), "bold"),
    ]
    yield []


def _ranges(kernels: Sequence[KernelName]) -> Iterator[str]:
    """Yield the names, those of four and more patches one after the other as ``1 to 9``."""
    number = 0
    while number < len(kernels):
        end = number
        while (
            end + 1 < len(kernels)
            and kernels[end].isdigit()
            and kernels[end + 1] == str(int(kernels[end]) + 1)
        ):
            end += 1
        if end - number < 3:
            end = number
        yield kernels[number] if end == number else f"{kernels[number]} to {kernels[end]}"
        number = end + 1


def _legend(letters: set[str]) -> Iterator[Line]:
    """Yield what the letters mean that the table has."""
    there = {each if len(each) == 1 else each.removeprefix(_SAME) for each in letters}
    said = [f"{char} {meaning}" for char, meaning in _LEGEND.items() if char in there]
    yield [("   ".join(said), "dim")]
    if any(len(each) > 1 for each in letters):
        yield [(_LEGEND_SAME, "dim")]


def _letters(row: Row, kernels: Sequence[KernelName]) -> list[str]:
    """Return how the test of *row* ended on each kernel."""
    found = []
    before: tuple[KernelName, Test | None] | None = None
    for name, test in zip(kernels, row.cells, strict=True):
        found.append(letter(test, before))
        before = name, test
    return found


def _tables(comparison: Comparison, letters: Sequence[Sequence[str]], width: int) -> Iterator[Line]:
    names = [one_line(row.test) for row in comparison.rows]
    wide = min(max([4, *map(columns, names)]), _NAME_COLUMNS)
    sizes = [max(2, columns(name)) for name in comparison.kernels]
    gap = 2
    if wide + sum(gap + size for size in sizes) > width:
        gap = 1
        wide = max(
            min(wide, width - sum(gap + size for size in sizes)), min(wide, _LEAST_NAME_COLUMNS)
        )
    first = 0
    while first < len(sizes):
        last = first + 1
        while (
            last < len(sizes)
            and wide + sum(gap + each for each in sizes[first : last + 1]) <= width
        ):
            last += 1
        if first:
            yield []
        part = slice(first, last)
        heads = zip(comparison.kernels[part], sizes[part], strict=True)
        head = "".join(f"{'':{gap}}{name:>{size}}" for name, size in heads)
        yield [(f"{'test':<{wide}}{head}", "dim")]
        for row, name, each in zip(comparison.rows, names, letters, strict=True):
            line: Line = [(pad(fit(name, wide), wide), "")]
            cells = zip(row.cells[part], each[part], sizes[part], strict=True)
            for test, letter, size in cells:
                style = style_of(test.outcome, test.excused) if test else "dim"
                line.append((f"{'':{gap}}{letter:>{size}}", style))
            yield line
        first = last


def letter(test: Test | None, before: tuple[KernelName, Test | None] | None = None) -> str:
    """Return how *test* ended on a kernel, in a letter or two.

    *before* is the kernel before that, with its result of the same test.
    """
    if test is None:
        return "-"
    of_outcome = _MIXED if mixed(test) else _LETTERS[test.outcome]
    if test.same_as is None:
        return of_outcome
    name, neighbour = before or ("", None)
    root = neighbour.same_as if neighbour and neighbour.same_as is not None else name
    return _SAME if root == test.same_as else f"{_SAME}{of_outcome}"


def _elsewhere(results: Results) -> Iterator[Line]:
    """Yield the verdicts that come from other runs."""
    runs = Counter(test.reused for test in results.tests if test.reused)
    for run, number in runs.items():
        what = f"{number} of {count(len(results.tests), 'verdict')}"
        yield [("reused: ", "dim"), (f"{what} from {one_line(run)}, on the same kernels", "")]


def _always(rows: Sequence[Row], first: KernelName) -> Iterator[Line]:
    """Yield the tests that were bad before any patch, which the series did not break."""
    bad = [row for row in rows if row.always_bad]
    if bad:
        yield []
        yield [(f"Not as expected on {first} already, so no patch broke it:", "bold")]
        for row in bad[:_MOST]:
            yield from _story(row.test, row.cells[0])
        yield from _more(len(bad))


def _changes(name: KernelName, kernel: Kernel, comparison: Comparison) -> Iterator[Line]:
    steps = comparison.of(name)
    broken = [step for step in steps if step.change in (Change.BREAKS, Change.OTHER)]
    whole = [step for step in broken if step.after and step.after.program == ALL]
    whole += [step for step in broken if step.after and step.after.name != step.test]
    if whole:
        reasons = dict.fromkeys(one_line(each.after.reason) for each in whole if each.after)
        yield []
        yield [(f"{of_patch(name, kernel)} cannot be tested: ", "bad"), ("; ".join(reasons), "")]
        broken = [step for step in broken if step not in whole]
    for step in broken[:_MOST]:
        yield []
        yield from _broken(step, kernel)
    yield from _more(len(broken))
    good = _counted(steps, Change.MENDS, "mends") + _counted(steps, Change.BRINGS, "brings")
    good += _counted(steps, Change.LOSES, "loses")
    if good:
        yield []
        yield [(f"{of_patch(name, kernel)} {'; '.join(good)}", "")]


def _broken(step: Step, kernel: Kernel) -> Iterator[Line]:
    before = step.before.outcome if step.before else "not there"
    verb = "breaks" if step.change is Change.BREAKS else "changes"
    after = step.after.outcome if step.after else "not there"
    yield [
        (f"{_guilty(step, kernel)} {verb} {one_line(step.test)}: ", "bad"),
        (f"{before}, then {after}{_counted_text(step)}", ""),
    ]
    if step.cases:
        shown = ", ".join(map(one_line, step.cases[:_MOST_CASES]))
        more = len(step.cases) - _MOST_CASES
        yield [
            ("    not as expected any more: ", "dim"),
            (shown + (f" and {more} more" if more > 0 else ""), ""),
        ]
    # The reason of a test may be no more than the name of its case.
    yield from _story("", step.after, without=step.cases)


def _counted_text(step: Step) -> str:
    """Return the results of the reruns that confirm a step; empty if there were none."""
    if step.before is None or step.after is None:
        return ""
    then, now = counts(step.before), counts(step.after)
    if not step.before.reruns or not step.after.reruns:
        return ""
    return f" (run again: {then} before, {now} after)"


def _warnings(results: Results, kernels: Sequence[KernelName]) -> Iterator[Line]:
    """Yield each compiler warning with the first kernel whose build printed it.

    The first kernel's own are left out: no patch has brought them.
    """
    known: set[str] = set()
    for number, name in enumerate(kernels):
        kernel = results.kernels[name]
        new = [each for each in kernel.warnings if _PLACE.sub(":", each, count=1) not in known]
        known |= {_PLACE.sub(":", each, count=1) for each in kernel.warnings}
        if not new or number == 0:
            continue
        yield []
        head = f"{of_patch(name, kernel)} builds with {count(len(new), 'new warning')}:"
        yield [(head, "warn")]
        for each in new[:_MOST_CASES]:
            yield [(f"    {one_line(each)}", "")]
        yield from _more_than(len(new), _MOST_CASES)


def _unstable(comparison: Comparison) -> Iterator[Line]:
    """Yield the tests that are sometimes good and sometimes bad on the same kernel."""
    rows = [row for row in comparison.rows if row.unstable]
    if not rows:
        return
    yield []
    yield [("Unstable, sometimes good and sometimes bad:", "warn")]
    for row in rows[:_MOST]:
        told = [
            f"{kernel} {counts(test)}" if test.reruns else f"{kernel} {test.outcome}"
            for kernel, test in zip(comparison.kernels, row.cells, strict=True)
            if test is not None and (test.attempts or not test.outcome.as_expected)
        ]
        yield [(f"  {one_line(row.test)}", ""), (f"  {', '.join(told)}", "warn")]
        worst = max(filter(None, row.cells), key=lambda each: each.outcome.severity)
        if worst.reason:
            yield [(f"    {one_line(worst.reason)}", "")]
        if worst.rerun:
            yield [("    run again: ", "dim"), (f"{visible(worst.rerun)} --repeat 20", COMMAND)]
    yield from _more(len(rows))


def _story(name: str, test: Test | None, without: Sequence[str] = ()) -> Iterator[Line]:
    if name:
        yield [(f"  {one_line(name)}", ""), (f"  {test.outcome if test else ''}", "bad")]
    if test and test.reason and test.reason not in without:
        yield [(f"    {one_line(test.reason)}", "")]
    if test and test.rerun:
        yield [("    run again: ", "dim"), (visible(test.rerun), COMMAND)]


def _counted(steps: Sequence[Step], change: Change, verb: str) -> list[str]:
    these = [one_line(step.test) for step in steps if step.change is change]
    if not these:
        return []
    more = f" and {len(these) - 3} more" if len(these) > 3 else ""
    return [f"{verb} {count(len(these), 'test')} ({', '.join(these[:3])}{more})"]


def _not_bisectable(comparison: Comparison) -> Iterator[Line]:
    """Yield the tests that one patch breaks and a later one mends."""
    found: dict[tuple[KernelName, KernelName], list[str]] = {}
    for row in comparison.rows:
        if row.mended:
            broken, mended = row.mended
            found.setdefault((broken.kernel, mended.kernel), []).append(one_line(row.test))
    for (start, end), tests in found.items():
        more = f" and {len(tests) - 3} more" if len(tests) > 3 else ""
        yield []
        yield [
            ("Not bisectable: ", "bad"),
            (f"{', '.join(tests[:3])}{more} broken by {start} and mended by {end}", ""),
        ]


def _more(number: int) -> Iterator[Line]:
    yield from _more_than(number, _MOST)


def _more_than(number: int, shown: int) -> Iterator[Line]:
    if number > shown:
        yield [(f"  and {number - shown} more", "dim")]

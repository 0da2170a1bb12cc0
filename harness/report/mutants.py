# SPDX-License-Identifier: GPL-2.0-only
"""Results of planted faults: for the console, for Markdown and for the HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from harness.model.coverage import as_spans, show
from harness.model.mutants import MutantResult, Mutants, Status
from harness.report.text import LOG_COLUMNS, Span, columns, count, fit, one_line, pad

Line = list[Span]

_MOST = 40
"""The number of faults of one kind that the console shows; the others are counted."""
_MOST_TESTS = 6
_NUMBERS = 52
_STYLES = {
    Status.KILLED: "good",
    Status.TIMEOUT: "good",
    Status.SURVIVED: "bad",
    Status.UNCOVERED: "warn",
    Status.EQUIVALENT: "dim",
    Status.INVALID: "dim",
    Status.ERROR: "bad",
    Status.NOTRUN: "bad",
}


def mutant_lines(mutants: Mutants, width: int = LOG_COLUMNS) -> Iterator[Line]:
    """Yield a row for each patch, then the faults that no test noticed.

    Rows have at most *width* columns.
    """
    names = {each.number: f"{each.number} {one_line(each.subject)}" for each in mutants.patches}
    widest = max((columns(name) for name in names.values()), default=0)
    room = min(width, LOG_COLUMNS) - _NUMBERS
    wide = max(len("planted faults"), min(widest, room))
    heads = f"{'killed':>7}  {'timeout':>7}  {'survived':>8}  {'not covered':>11}  {'other':>5}"
    yield [(f"{'planted faults':<{wide}}  {heads}", "dim")]
    for patch in mutants.patches:
        shown = (Status.KILLED, Status.TIMEOUT, Status.SURVIVED, Status.UNCOVERED)
        other = sum(number for status, number in patch.counts.items() if status not in shown)
        killed, timeout, survived, uncovered = (patch.counts.get(each, 0) for each in shown)
        yield [
            (pad(fit(names[patch.number], wide), wide), ""),
            (f"  {killed:>7}  {timeout:>7}", ""),
            (f"  {survived:>8}", "bad" if survived else ""),
            (f"  {uncovered:>11}", "warn" if uncovered else ""),
            (f"  {other:>5}", ""),
        ]
    yield from _story(mutants, Status.SURVIVED, "No test noticed")
    yield from _story(mutants, Status.ERROR, "It is not known whether the tests notice")
    yield from _uncovered(mutants.of(Status.UNCOVERED))
    for note in mutants.notes:
        yield [("    note: ", "warn"), (one_line(note, 2000), "")]
    yield []
    yield [(words(mutants), "bad" if _style(mutants) == "bad" else "bold")]


def _style(mutants: Mutants) -> str:
    """Return the style of the whole: with a fault of which nothing is known it is bad."""
    if not mutants.enough or mutants.of(Status.ERROR, Status.NOTRUN):
        return "bad"
    return "warn" if mutants.of(Status.SURVIVED, Status.UNCOVERED) else "good"


def words(mutants: Mutants) -> str:
    """Return the score and the counts in one line."""
    counts = Counter(each.status for each in mutants.mutants)
    said = ", ".join(f"{number} {status}" for status in Status if (number := counts[status]))
    total = count(len(mutants.mutants), "planted fault")
    if mutants.score is None:
        return f"{total}: {said}; no score"
    wanted = "" if mutants.min_score is None else f" ({mutants.min_score:g} % wanted)"
    speed = ""
    ran = sum(bool(each.tests) for each in mutants.mutants)
    if mutants.tests_s and ran:
        speed = f"; {60 * ran / mutants.tests_s:.0f} a minute"
    return f"{total}: {said}; noticed {shown_score(mutants.score)} %{wanted}{speed}"


def shown_score(score: float) -> str:
    """Return a percentage with a digit behind the point, rounded down: 100.0 is all of them."""
    return f"{int(score * 10) / 10:.1f}"


def shortfall(mutants: Mutants | None) -> str:
    """Return why the score is too low; empty if it is not."""
    if mutants is None or mutants.enough:
        return ""
    unknown = len(mutants.of(Status.ERROR, Status.NOTRUN))
    if unknown:
        return f"of {count(unknown, 'planted fault')} it is not known whether the tests notice"
    score = "none" if mutants.score is None else f"{shown_score(mutants.score)} %"
    return f"the tests notice {score} of the planted faults, and {mutants.min_score:g} % are wanted"


def _story(mutants: Mutants, status: Status, title: str) -> Iterator[Line]:
    found = mutants.of(status)
    if not found:
        return
    yield []
    yield [(f"{title} ({len(found)}):", _STYLES[status])]
    for each in found[:_MOST]:
        yield [(f"  {place(each)}", "bold"), (f"  {each.operator}", "dim")]
        yield from _diff(each)
        if each.reason:
            yield [(f"    {one_line(each.reason, 300)}", "dim")]
        if each.tests:
            yield [("    ran it: ", "dim"), (_tests(each), "")]
    if len(found) > _MOST:
        yield [(f"  and {len(found) - _MOST} more, which the other reports have", "dim")]


def _uncovered(found: list[MutantResult]) -> Iterator[Line]:
    """Yield the lines whose faults no test can notice, because no test runs them."""
    lines: dict[str, set[int]] = {}
    for each in found:
        lines.setdefault(each.path, set()).update(range(each.line, each.last_line + 1))
    if lines:
        yield []
        yield [(f"No test runs ({len(found)}):", _STYLES[Status.UNCOVERED])]
    for path, numbers in lines.items():
        yield [(f"  {one_line(path)}:{show(as_spans(numbers))}", "")]


def _diff(each: MutantResult) -> Iterator[Line]:
    for line in each.diff.splitlines()[2:]:
        style = {"-": "bad", "+": "good"}.get(line[:1], "dim")
        yield [(f"    {one_line_kept(line)}", style)]


def one_line_kept(line: str) -> str:
    """Return a line of a diff, printable, with its indentation."""
    text = line.expandtabs(8)
    kept = len(text) - len(text.lstrip(" "))
    inner = text[1:] if text[:1] in "+-" else text
    blanks = len(inner) - len(inner.lstrip(" "))
    mark = text[:1] if text[:1] in ("+", "-") else ""
    return f"{mark}{' ' * (blanks if mark else kept)}{one_line(inner, 200)}"


def place(each: MutantResult) -> str:
    """Return where a fault is: file, line and function."""
    function = f" in {each.function}()" if each.function else ""
    return one_line(f"{each.path}:{each.line}{function}")


def change(each: MutantResult) -> str:
    """Return the change of a fault in one line."""
    return one_line(f"{each.before} => {each.after or 'nothing'}", 300)


def _tests(each: MutantResult) -> str:
    more = len(each.tests) - _MOST_TESTS
    names = ", ".join(map(one_line, each.tests[:_MOST_TESTS]))
    return names + (f" and {more} more" if more > 0 else "")


def markdown_rows(mutants: Mutants) -> Iterator[tuple[str, str, str]]:
    """Yield status, place and change of the faults that a reader has to look at."""
    for each in mutants.of(Status.SURVIVED, Status.ERROR, Status.UNCOVERED):
        yield str(each.status), place(each), change(each)


def properties(mutants: Mutants | None) -> Mapping[str, str]:
    """Return the data of the JUnit report: the score, the counts, and each fault that counts."""
    if mutants is None:
        return {}
    counts = Counter(each.status for each in mutants.mutants)
    found = {f"mutants.{status.value.replace(' ', '-')}": str(n) for status, n in counts.items()}
    found["mutants.total"] = str(len(mutants.mutants))
    if mutants.score is not None:
        found["mutants.score"] = shown_score(mutants.score)
    if mutants.min_score is not None:
        found["mutants.min_score"] = f"{mutants.min_score:g}"
    for number, each in enumerate(mutants.of(Status.SURVIVED, Status.UNCOVERED, Status.ERROR), 1):
        found[f"mutants.{number}"] = f"{each.status}: {place(each)}: {change(each)}"
    return found


def page(mutants: Mutants | None) -> dict[str, object] | None:
    """Return the data of the HTML page; None if no fault was planted."""
    if mutants is None:
        return None
    order = list(_STYLES)
    urgent = (Status.SURVIVED, Status.ERROR, Status.NOTRUN, Status.UNCOVERED)
    ranked = sorted(
        mutants.mutants,
        key=lambda each: (each.status not in urgent, order.index(each.status), each.path),
    )
    return {
        "words": words(mutants),
        "style": _style(mutants),
        "notes": [one_line(note, 2000) for note in mutants.notes],
        "statuses": [str(status) for status in order],
        "patches": [
            (each.number, one_line(each.subject), [each.counts.get(one, 0) for one in order])
            for each in mutants.patches
        ],
        "mutants": [
            {
                "status": str(each.status),
                "style": _STYLES[each.status],
                "place": place(each),
                "operator": each.operator,
                "change": change(each),
                "reason": one_line(each.reason, 300),
                "killer": one_line(each.killer),
                "tests": [one_line(test) for test in each.tests],
                "diff": [one_line_kept(line) for line in each.diff.splitlines()[2:]],
                "rerun": one_line(each.rerun, 2000),
            }
            for each in ranked
        ],
    }

# SPDX-License-Identifier: GPL-2.0-only
"""What came of calls that failed on purpose, for the console: sweeps, and the patches they met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.model.faults import Injections, PatchPaths, What
from harness.model.results import Test
from harness.report.text import LOG_COLUMNS, Span, columns, count, fit, one_line, pad

_NUMBERS = 60
_LEAST_NAME_COLUMNS = 28
"""Columns of what stands behind a test's name."""
_CALL = "the call that failed, and what it came through"
_GOOD = frozenset({What.HANDLED, What.UNNOTICED})
_NEUTRAL = frozenset({What.NOT_REACHED, What.NOT_BEGUN})
_ORDER = {what: number for number, what in enumerate(reversed(What))}


def injection_lines(injections: Injections, width: int = LOG_COLUMNS) -> Iterator[list[Span]]:
    """Yield one row a sweep, for lines of *width* columns, then the lines at which calls failed."""
    names = [one_line(each.test) for each in injections.sweeps]
    widest = max(map(columns, names), default=0)
    room = max(_LEAST_NAME_COLUMNS, min(width, LOG_COLUMNS) - _NUMBERS)
    wide = max(len("calls that failed"), min(widest, room))
    yield [(f"{pad('calls that failed', wide)}  {'of':<12} {'tried':>6}  what came of it", "dim")]
    for each in injections.sweeps:
        tried = each.planned - each.outcomes.get(What.NOT_BEGUN, 0)
        calls = f"{tried}/{each.calls}" if each.calls else str(tried)
        yield [
            (pad(fit(one_line(each.test), wide), wide), ""),
            (f"  {fit(one_line(each.sweep), 12):<12} {calls:>6}  ", ""),
            *_outcomes(each.outcomes),
        ]
    for note in injections.notes:
        yield [("    note: ", "warn"), (one_line(note, 2000), "")]
    if any(each.taken for each in injections.patches):
        yield []
        yield [("error paths of the series that were taken", "dim")]
    for patch in injections.patches:
        yield from _patch(patch)


def _patch(patch: PatchPaths) -> Iterator[list[Span]]:
    if not patch.taken:
        return
    yield [(f"{patch.number} {one_line(patch.subject)}", "bold")]
    for each in patch.taken:
        yield [
            (f"    {one_line(each.path)}:{each.line}", ""),
            (f"  {one_line(each.function)}()", "dim"),
            (f"  {count(each.points, 'call')}: ", ""),
            *_outcomes(each.outcomes),
        ]
        if not set(each.outcomes) <= _GOOD | _NEUTRAL:
            yield [("        for one: ", "dim"), (one_line(each.point), "bad")]


def _outcomes(outcomes: Mapping[str, int]) -> list[Span]:
    """Say how often what came of a call, the worst first."""
    ordered = sorted(outcomes.items(), key=lambda pair: _ORDER[What(pair[0])])
    spans: list[Span] = []
    for what, number in ordered:
        style = "good" if what in _GOOD else "warn" if what in _NEUTRAL else "bad"
        spans += [("" if not spans else ", ", ""), (f"{number} {what}", style)]
    return spans or [("nothing", "dim")]


def fault_lines(test: Test) -> Iterator[list[Span]]:
    """Yield what a point has left in memory, and which call has failed."""
    for title, lines in fault_blocks(test):
        yield [(f"  {title}:", "dim" if title == _CALL else "bad")]
        for line in lines:
            yield [(f"    {line}", "")]


def fault_text(test: Test) -> str:
    """Return the same as a text; empty for a test that is no point of a sweep."""
    blocks = (
        "\n".join([f"{title}:", *(f"    {line}" for line in lines)])
        for title, lines in fault_blocks(test)
    )
    return "\n".join(blocks)


def fault_blocks(test: Test) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what a point has left in memory with where that was allocated, and the call that failed
    with the functions that it came through: each a title and its lines.
    """
    if test.injected is None:
        return
    for each in test.injected.leaked:
        title = f"never freed: {count(each.count, 'object')} of {one_line(each.cache)}"
        yield title, tuple(map(one_line, each.where.splitlines()))
    if test.injected.nth:
        where = test.injected.where or ("(it failed in silence, so the kernel does not say)",)
        yield _CALL, tuple(map(one_line, where))

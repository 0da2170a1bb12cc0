# SPDX-License-Identifier: GPL-2.0-only
"""What came of schedules: a row for each test, and what is left of those that failed."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from harness.model.races import Races, Stand
from harness.model.results import Test
from harness.outcome import Outcome
from harness.report.text import COMMAND, LOG_COLUMNS, Span, columns, count, fit, one_line, pad

_NUMBERS = 50
_LEAST_NAME_COLUMNS = 28
_MOST_OTHERS = 12
_MOST_FRAMES = 8
_DEPTH = 5
"""Functions of a chain that are shown of what another thread ran."""
_SYSTEM_CALLS = ("__x64_sys_", "__do_sys_", "__ia32_sys_")
_COMMON = re.compile(
    r"_?_?(might_|cond_resched|raw_|rcu_|srcu_|mem|kmem|kmalloc|kfree|get_user|put_user|fdget|fput"
    r"|mutex_|down_|up_|copy_(?:from|to)_user|check_object|alloc_|fget_light|security_|list_)|clear_page"
)
"""Functions that say nothing of what a system call is about."""
_GOOD = frozenset({Outcome.PASS, Outcome.XFAIL})


def race_rows(races: Races, width: int = LOG_COLUMNS) -> Iterator[list[Span]]:
    """Yield what is to be said of all schedules: one row a test, for lines of *width* columns."""
    names = [one_line(each.test) for each in races.tests]
    widest = max(map(columns, names), default=0)
    room = max(_LEAST_NAME_COLUMNS, min(width, LOG_COLUMNS) - _NUMBERS)
    wide = max(len("schedules of"), min(widest, room))
    yield [(f"{pad('schedules of', wide)}  {'planned':>7}  how they ended", "dim")]
    for each in races.tests:
        spans: list[Span] = []
        for outcome, number in sorted(each.outcomes.items()):
            style = "good" if outcome in _GOOD else "warn" if outcome == Outcome.SKIP else "bad"
            spans += [(", " if spans else "", ""), (f"{number} {outcome}", style)]
        name = pad(fit(one_line(each.test), wide), wide)
        yield [(name, ""), (f"  {each.planned:>7}  ", ""), *spans]
    for note in races.notes:
        yield [("    note: ", "warn"), (one_line(note, 2000), "")]


def preempted_lines(test: Test) -> Iterator[list[Span]]:
    """Yield what is left of the schedule under which *test* fails, point by point."""
    for line in preempted(test):
        yield [(f"  {line}", "")]
    if again := same_again(test):
        yield [("  the same again: ", "dim"), (again, COMMAND)]
    if back := backwards(test):
        yield [("  and backwards:  ", "dim"), (back, COMMAND)]


def preempted_text(test: Test) -> str:
    """Return the same as a text; empty where there is none."""
    again, back = same_again(test), backwards(test)
    lines = [*preempted(test), *([f"the same again: {again}"] if again else [])]
    return "\n".join([*lines, *([f"and backwards:  {back}"] if back else [])])


def same_again(test: Test) -> str:
    """Return the command that runs *test* under what is left of its schedule; empty without one."""
    said = test.shortened
    return one_line(said.rerun, 4000) if said is not None and said.asked else ""


def backwards(test: Test) -> str:
    """Return the command that records that and waits for gdb; empty without one."""
    said = test.shortened
    if said is None or not said.asked or not said.replay:
        return ""
    return f"{one_line(said.replay, 4000)} --gdb"


def preempted(test: Test) -> Iterator[str]:
    """Yield the lines of :func:`preempted_lines` without the command."""
    said = test.shortened
    if said is None:
        return
    before, after = len(said.planned), len(said.points)
    if said.asked:
        them = "it" if after == 1 else "them"
        yield (
            f"preempted at {count(after, 'point')} of the {before} that were planned; under {them} "
            f"the test failed {said.shown} of {said.asked} times"
        )
    else:
        yield f"preempted at {count(after, 'point')}"
    stands = {each.point: each for each in said.stands}
    for number, point in enumerate(said.points):
        stand = stands.get(number)
        yield f"after {point.at:,} instructions, for {point.length:,}:"
        if stand is None:
            yield "    no thread of the test ran just then"
            continue
        yield from _stand(stand)


def _stand(stand: Stand) -> Iterator[str]:
    where = [one_line(each) for each in stand.where]
    yield f"    thread {stand.thread} stood back in {where[0] if where else 'user space'}"
    for each in where[1:_MOST_FRAMES]:
        yield f"        from {each}"
    if not stand.others:
        yield "    and no other thread of the test ran in the kernel meanwhile"
        return
    lines = list(_ran(stand))
    yield "    meanwhile:"
    for line in lines[:_MOST_OTHERS] or ["other threads of the test ran in user space"]:
        yield f"        {one_line(line, 500)}"
    if len(lines) > _MOST_OTHERS:
        yield f"        ... and {count(len(lines) - _MOST_OTHERS, 'more chain')} of calls"


def _ran(stand: Stand) -> Iterator[str]:
    """Yield the system calls of other threads, each with the functions that it came to.

    Chains are cut after some functions, and where what follows is part of every system call.
    """
    shown: dict[tuple[int, tuple[str, ...]], None] = {}
    for thread, chain in stand.others:
        functions = chain.split(" > ")
        if not functions[0].startswith(_SYSTEM_CALLS):
            continue
        own = tuple(itertools.takewhile(lambda name: not _COMMON.match(name), functions))
        shown[thread, own[:_DEPTH]] = None
    for thread, path in shown:
        longer = any(
            other == thread and len(more) > len(path) and more[: len(path)] == path
            for other, more in shown
        )
        if not longer:
            yield f"thread {thread} ran {' > '.join(path)}"

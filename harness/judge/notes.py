# SPDX-License-Identifier: GPL-2.0-only
"""The notes of a run: what happened in it that is no result of a test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from harness.judge.boot import boot_notes, rest_notes
from harness.model.ids import HostName
from harness.model.records import AttemptLost, CacheDamaged, Record, RunResumed, RunStarted
from harness.model.results import Test


def notes(head: RunStarted, records: Sequence[Record], tests: Sequence[Test]) -> tuple[str, ...]:
    """Return the notes of a run: *head* is its plan, *tests* are its results."""
    return (
        *head.notes,
        *(note for each in records if isinstance(each, RunResumed) for note in each.notes),
        *(_of_damage(each) for each in records if isinstance(each, CacheDamaged)),
        *boot_notes(head, records),
        *rest_notes(records),
        *_elsewhere(tests),
        *_lost(records),
    )


def _of_damage(record: CacheDamaged) -> str:
    count = len(record.tests)
    again = f"{count} test{'s' if count > 1 else ''} ran again" if count else "no test had ended"
    why = "; ".join(record.why.splitlines())
    return f"the cache was damaged and has been repaired ({why}): {again}"


def _elsewhere(tests: Sequence[Test]) -> Iterator[str]:
    """Yield where the verdicts come from that are not of this run on this kernel."""
    runs = dict.fromkeys(test.reused for test in tests if test.reused)
    if runs:
        named = ", ".join(runs)
        yield f"verdicts are reused from {named}, which ran the same tests on the same kernels"
    same = dict.fromkeys(test.same_as for test in tests if test.same_as is not None)
    if same:
        yield f"not tested, because the kernel is the same as {', '.join(same)}"


def _lost(records: Iterable[Record]) -> Iterable[str]:
    """Yield for each host how many attempts there do not count, and why the first of a kind."""
    lost: dict[tuple[HostName, bool], list[AttemptLost]] = {}
    for each in records:
        if isinstance(each, AttemptLost):
            lost.setdefault((each.host, each.starved), []).append(each)
    for (host, starved), mine in lost.items():
        many = "1 attempt" if len(mine) == 1 else f"{len(mine)} attempts"
        what = f"host {host or 'local'} was {'too busy' if starved else 'lost'}"
        yield f"{many} began again, because {what}: {mine[0].why}"

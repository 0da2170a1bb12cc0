# SPDX-License-Identifier: GPL-2.0-only
"""Test results of a patch or a series in the form that b4's checks expect.

b4's commands for checks get a mail and print a JSON array of objects with ``tool``, ``status``
(pass, warn or fail), ``summary``, ``url`` and ``details``.  ``b4 prep --check`` reads lines in the
form of checkpatch.pl instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

import msgspec

from harness.judge.compare import Change, Step, compare
from harness.judge.merge import split
from harness.model.ids import KernelName
from harness.model.results import Results, Test
from harness.outcome import Outcome
from harness.report.text import count, count_outcomes, one_line, tally
from harness.visible import visible

TOOL = "harness"
_UNKNOWN = (Outcome.ERROR, Outcome.NOTRUN)
_MOST = 20
"""Tests of a suite that are named in the details."""


class Status(StrEnum):
    """The statuses that b4 knows."""

    PASS = "pass"  # noqa: S105  no password
    WARN = "warn"
    FAIL = "fail"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of b4's table."""

    tool: str
    status: Status
    summary: str
    url: str = ""
    details: str = ""


def of_patch(results: Results, content: str, run: str) -> tuple[Entry, ...]:
    """Return what *results* say of the patch with that *content*, suite by suite; none for nothing.

    A run over the whole series says nothing of one of its patches: that is a warning.
    """
    each = split(results)
    kernels = list(each)
    last = next((name for name in kernels if _ends_with(each[name], content)), None)
    # The first kernel that is tested has no kernel before it to be compared with.
    if last is not None and kernels.index(last):
        before = kernels[kernels.index(last) - 1]
        steps = compare(each).of(last)
        return tuple(
            _of_suite(suite, tests, before, [s for s in steps if _suite_of(s) == suite], run)
            for suite, tests in _by_suite(each[last].tests).items()
        )
    if any(content in one.kernel.patch_contents for one in each.values()):
        whole = next(one for one in each.values() if content in one.kernel.patch_contents)
        said = tally(count_outcomes(test.outcome for test in whole.tests))
        return (
            Entry(
                tool=TOOL,
                status=Status.WARN,
                summary=f"tested only together with other patches: {said}",
                details=f"run: {visible(run)}\nharness matrix tests patch by patch",
            ),
        )
    return ()


def of_series(results: Results, message_id: str, run: str) -> tuple[Entry, ...]:
    """Return what *results* say of the series with that cover letter, suite by suite."""
    each = split(results)
    mine = [name for name, one in each.items() if one.kernel.cover_mail.message_id == message_id]
    if not message_id or not mine:
        return ()
    last = mine[-1]
    steps = [step for step in compare(each).broken if step.kernel in mine]
    entries = []
    for suite, tests in _by_suite(each[last].tests).items():
        found = _of_suite(
            suite, tests, "", [s for s in steps if _suite_of(s) == suite and s.kernel == last], run
        )
        early = [s for s in steps if _suite_of(s) == suite and s.kernel != last]
        if early:
            where = ", ".join(dict.fromkeys(f"patch {step.kernel}" for step in early))
            summary = f"{where} breaks {_names(early)}; at the end: {found.summary}"
            details = "\n".join((found.details, *map(_told, early[:_MOST])))
            found = msgspec.structs.replace(
                found, status=Status.FAIL, summary=summary, details=details
            )
        entries.append(found)
    return tuple(entries)


def not_tested(advice: str) -> Entry:
    """Return the entry for an untested patch, with the command that tests it."""
    return Entry(tool=TOOL, status=Status.WARN, summary=f"not tested: {advice}")


def lines(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield *entries* as ``b4 prep --check`` reads them; nothing if all results are good."""
    for each in entries:
        if each.status is not Status.PASS:
            word = "ERROR" if each.status is Status.FAIL else "WARNING"
            yield f"{word}: {each.tool}: {each.summary}"


def _ends_with(results: Results, content: str) -> bool:
    return results.kernel.patch_contents[-1:] == (content,)


def _by_suite(tests: Iterable[Test]) -> dict[str, list[Test]]:
    found: dict[str, list[Test]] = {}
    for test in tests:
        found.setdefault(test.suite, []).append(test)
    return found


def _suite_of(step: Step) -> str:
    told = step.after or step.before
    return told.suite if told else ""


def _of_suite(
    suite: str, tests: Sequence[Test], before: KernelName, steps: Sequence[Step], run: str
) -> Entry:
    """Return the entry for the *tests* of a suite on one kernel; *steps* are its changes."""
    broken = [step for step in steps if step.change is Change.BREAKS]
    unknown = [step for step in broken if step.after and step.after.outcome in _UNKNOWN]
    blamed = [step for step in broken if step not in unknown]
    bad = [test for test in tests if not test.outcome.as_expected]
    # No kernel is compared with one on which a test was not run.
    waiting = [test for test in tests if test.outcome is Outcome.NOTRUN]
    said = tally(count_outcomes(test.outcome for test in tests))
    status, summary = Status.PASS, said
    if blamed:
        status, summary = Status.FAIL, f"breaks {_names(blamed)}: {said}"
    elif unknown:
        status, summary = Status.WARN, f"nothing is known of {_names(unknown)}: {said}"
    elif waiting:
        names = ", ".join(one_line(test.program) for test in waiting[:3])
        status, summary = Status.WARN, f"nothing is known of {names}: {said}"
    elif bad and before:
        status, summary = Status.WARN, f"not as expected on {before} already: {said}"
    elif bad:
        lost = all(test.outcome in _UNKNOWN for test in bad)
        status = Status.WARN if lost else Status.FAIL
        summary = f"{count(len(bad), 'test')} not as expected: {said}"
    elif all(test.outcome is Outcome.SKIP for test in tests):
        status, summary = Status.WARN, f"nothing was tested: {said}"
    elif lost_tests := [step for step in steps if step.change is Change.LOSES]:
        status, summary = Status.WARN, f"does not run any more: {_names(lost_tests)}: {said}"
    told = [_told(step) for step in steps[:_MOST]]
    told += [_of_test(test) for test in bad[:_MOST] if not steps]
    return Entry(
        tool=f"{TOOL} {one_line(suite)}",
        status=status,
        summary=one_line(summary),
        details="\n".join([*told, f"run: {visible(run)}"]),
    )


def _names(steps: Sequence[Step]) -> str:
    names = [one_line(step.test.partition(":")[2] or step.test) for step in steps]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _told(step: Step) -> str:
    before = step.before.outcome if step.before else "not there"
    after = f"then {step.after.outcome}" if step.after else "then not there"
    reason = f": {one_line(step.after.reason)}" if step.after and step.after.reason else ""
    again = f"\n  run again: {visible(step.after.rerun)}" if step.after and step.after.rerun else ""
    return f"{step.change} {one_line(step.test)}: {before}, {after}{reason}{again}"


def _of_test(test: Test) -> str:
    reason = f": {one_line(test.reason)}" if test.reason else ""
    again = f"\n  run again: {visible(test.rerun)}" if test.rerun else ""
    return f"{one_line(test.name)}  {test.outcome}{reason}{again}"

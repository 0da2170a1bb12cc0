# SPDX-License-Identifier: GPL-2.0-only
"""What came of a call that failed on purpose.

A test whose call has failed may fail: it is the kernel that is judged, by its log, by whether it
still ends processes, and by what is left in its memory.
"""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

import msgspec

from harness import ktap
from harness.judge.witnesses import AtBoot, ending_name, judge
from harness.klog import Finding
from harness.model.coverage import PatchLines
from harness.model.faults import (
    Fault,
    Injection,
    Injections,
    PatchPaths,
    Surveyed,
    Survivor,
    SweepSummary,
    TakenPath,
    What,
    beyond,
)
from harness.model.plan import PlannedTest
from harness.model.records import Decoded, TestEnded
from harness.model.results import Results, Test
from harness.outcome import Outcome

_NO_LEAKS = (
    "memory that is never freed was not looked for: the objects of this kernel do not remember who "
    "has allocated them (CONFIG_SLUB_DEBUG_ON)"
)
KIND = "fault-injection"
"""The kind of the note in the kernel's log that a call has failed on purpose."""
_EXPECTED = frozenset({"page-alloc", KIND})
"""What the kernel says of an allocation that has failed, which it is meant to."""
_FRAME = re.compile(r"^\W*(?:\[[^]]*\]\s*)*(?P<text>[A-Za-z_][\w.$]*\+0x[0-9a-f]+/0x[0-9a-f]+.*)$")
_UNSURE = re.compile(r"(?:^|\])\s*\? ")
_PLACE = re.compile(r"\((?P<places>[^()]+:\d+(?:, [^()]+:\d+)*)\)")
_NUMBERED = re.compile(r"\berrno\b\W{0,4}(?P<number>\d{1,3})\b")
_PLUMBING = re.compile(
    r"dump_stack|should_fail|__should_fail|fail_dump|fei_|kprobe_|ftrace_|override_function"
)
_BY_WORDS = {os.strerror(number): name for number, name in errno.errorcode.items()}
_LAZY = ({"alloc_vmap_area"}, {"__vmalloc_node_range", "copy_process"})
"""By these the kernel takes what it keeps for a while: areas of its address space, which it gives
back many at a time, and stacks of tasks, which it has for the next ones."""
_LASTING = frozenset(
    {
        "cgroup_mkdir", "do_fsmount", "do_linkat", "do_mkdirat", "do_mknodat", "do_new_mount",
        "do_renameat2", "do_symlinkat", "ipcget", "key_create_or_update", "lookup_open", "mq_open",
        "path_mount", "setxattr", "vfs_create", "vfs_mkdir",
    }
)  # fmt: skip
"""What a program makes by these lasts when it ends, as it should; one that ends before its time has
no chance to remove it."""


class Facts(msgspec.Struct, frozen=True):
    """The evidence about a point, besides its own ending and log."""

    complaints: Sequence[Finding]
    """Complaints of the kernel that are not allowed."""
    allowed: Sequence[Finding]
    at_boot: AtBoot
    survey: Surveyed | None
    decoded: Decoded | None


def judge_point(test: Test, plan: PlannedTest, ended: TestEnded, facts: Facts) -> Test:
    """Return *test*, of which the kernel is to be judged, as the point that it is."""
    fault = plan.fault
    assert fault is not None  # noqa: S101  the caller's condition
    leaked = _leaked(ended, facts, early=test.outcome is not Outcome.PASS)
    outcome, reason = _of_kernel(ended, facts)
    what = _what(ended, outcome, test.outcome)
    if outcome is Outcome.PASS and leaked:
        what, outcome, reason = What.LEAK, Outcome.SPLAT, f"leak: {_told(leaked)}"
    elif outcome is Outcome.PASS and what is What.NOT_REACHED:
        calls = f"calls of {fault.sweep}"
        outcome, reason = Outcome.SKIP, f"this time it made fewer than {fault.nth} {calls}"
    elif outcome is Outcome.PASS and ended.left is None and _usual_is_known(facts):
        what, outcome = What.UNKNOWN, Outcome.ERROR
        reason = "the guest did not say what the test has left in the kernel's memory"
    error = _error(test, ended)
    if outcome is Outcome.PASS:
        reason = f"{what}: {error}" if what is What.HANDLED else str(what)
    injection = Injection(
        test=fault.test,
        sweep=fault.sweep,
        nth=fault.nth,
        what=what,
        error=error if what is not What.UNNOTICED else "",
        where=tuple(_where(test)),
        leaked=leaked,
    )
    return msgspec.structs.replace(
        test,
        outcome=outcome,
        reason=reason,
        cases=(),
        output="" if outcome.as_expected else ended.output,
        injected=injection,
    )


def without_end(fault: Fault | None, *, begun: bool) -> Injection | None:
    """Return what is to be said of a point that has no end; None for what is no point."""
    if fault is None or not fault.nth:
        return None
    what = What.UNKNOWN if begun else What.NOT_BEGUN
    return Injection(test=fault.test, sweep=fault.sweep, nth=fault.nth, what=what)


def _of_kernel(ended: TestEnded, facts: Facts) -> tuple[Outcome, str]:
    """Return what would be said if the program had nothing to complain of."""
    ending = ended.ending
    if ending.how in ("exit", "signal"):
        ending = msgspec.structs.replace(ending, how="exit", status=0)
    complaints = [each for each in facts.complaints if each.kind not in _EXPECTED]
    expected = [each for each in facts.complaints if each.kind in _EXPECTED]
    quiet = ktap.Parser().close()
    return judge(ending, quiet, complaints, (*facts.allowed, *expected), at_boot=facts.at_boot)


def _what(ended: TestEnded, outcome: Outcome, of_test: Outcome) -> What:
    match outcome:
        case Outcome.CRASH if ended.ending.death is not None and ended.ending.death.value == "hang":
            return What.HANG
        case Outcome.CRASH:
            return What.CRASH
        case Outcome.TIMEOUT:
            return What.HANG
        case Outcome.SPLAT:
            return What.SPLAT
        case Outcome.PASS if ended.fault_hit is False:
            return What.NOT_REACHED
        case Outcome.PASS:
            return What.UNNOTICED if of_test is Outcome.PASS else What.HANDLED
        case Outcome.FAIL:
            return What.CRASH  # the machine was powered off
        case _:
            return What.UNKNOWN


def _usual_is_known(facts: Facts) -> bool:
    return facts.survey is not None and facts.survey.usual is not None


def _leaked(ended: TestEnded, facts: Facts, *, early: bool) -> tuple[Survivor, ...]:
    """Return what the test has left beyond what it leaves without a fault, and should not have.

    *early* says that it has not come to the end that it comes to without a fault.
    """
    if ended.left is None or facts.survey is None or facts.survey.usual is None:
        return ()
    shown = {}
    if facts.decoded is not None and len(facts.decoded.left) == len(ended.left):
        pairs = zip(ended.left, facts.decoded.left, strict=True)
        shown = {(each.cache, each.where): text for each, text in pairs}
    return tuple(
        msgspec.structs.replace(each, where=shown.get((each.cache, each.where), each.where))
        for each in beyond(ended.left, facts.survey.usual)
        if not _given_back_late(each) and not (early and _lasting(each))
    )


def _given_back_late(survivor: Survivor) -> bool:
    return any(each <= _functions(survivor) for each in _LAZY)


def _lasting(survivor: Survivor) -> bool:
    return not _functions(survivor).isdisjoint(_LASTING)


def _functions(survivor: Survivor) -> set[str]:
    return {line.partition("+")[0] for line in survivor.where.splitlines()}


def _told(leaked: Sequence[Survivor]) -> str:
    first = leaked[0]
    objects = "1 object" if first.count == 1 else f"{first.count} objects"
    frames = [line for line in first.where.splitlines() if not _is_of_allocator(line)]
    more = f", and in {len(leaked) - 1} more ways" if len(leaked) > 1 else ""
    return f"{objects} of {first.cache}, allocated in {(*frames, '?')[0]}{more}"


def _is_of_allocator(frame: str) -> bool:
    return frame.startswith(("kmem_cache_alloc", "__kmem_cache_alloc", "kmalloc", "__kmalloc"))


@cache
def _words() -> re.Pattern[str]:
    """Return the pattern of the name of an error, or of its words: long to compile, seldom used."""
    words = "|".join(map(re.escape, _BY_WORDS))
    return re.compile(rf"\b(?P<name>E[A-Z0-9]{{2,}})\b|(?P<words>{words})")


def _error(test: Test, ended: TestEnded) -> str:
    """Return the error that a test has told of, as its name; else how the test ended."""
    texts = [case.text or case.reason for case in test.cases if not case.outcome.as_expected]
    for text in (*texts, ended.output):
        for found in _words().finditer(text):
            name = found["name"] or _BY_WORDS[found["words"]]
            if hasattr(errno, name):
                return name
        for found in _NUMBERED.finditer(text):
            if name := errno.errorcode.get(int(found["number"]), ""):
                return name
    return ending_name(ended.ending)


def _where(test: Test) -> Iterator[str]:
    """Yield the functions through which the call came that has failed, innermost first."""
    report = next((each.report for each in test.findings if each.kind == KIND), "")
    for line in report.splitlines():
        found = _FRAME.match(line) if not _UNSURE.search(line) else None
        if found and not _PLUMBING.match(found["text"]):
            yield found["text"]


def told(results: Results, surveys: Iterable[Surveyed], patches: Sequence[PatchLines]) -> Results:
    """Return *results* with what the sweeps over their tests come to, and what patches they met."""
    lines = {
        (file.path, line): patch.number
        for patch in patches
        for file in patch.changed
        for first, last in file.lines
        for line in range(first, last + 1)
    }
    tests = tuple(_with_patches(test, lines) for test in results.tests)
    points = [test for test in tests if test.injected and test.injected.nth]
    surveys = tuple(surveys)
    notes = [f"not tried: {each.test}: {each.spoilt}" for each in surveys if each.spoilt]
    if any(each.usual is None and not each.spoilt for each in surveys):
        notes.append(_NO_LEAKS)
    return msgspec.structs.replace(
        results,
        tests=tests,
        injections=Injections(
            sweeps=tuple(_sweeps(surveys, points)),
            patches=tuple(_paths(patches, points, lines)),
            notes=tuple(notes),
        ),
    )


_Lines = Mapping[tuple[str, int], int]


def _with_patches(test: Test, lines: _Lines) -> Test:
    if test.injected is None:
        return test
    numbers = {lines[place] for _, place in _places(test.injected.where) if place in lines}
    injected = msgspec.structs.replace(test.injected, patches=tuple(sorted(numbers)))
    return msgspec.structs.replace(test, injected=injected)


def _places(where: Iterable[str]) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yield each place of a stack, innermost first, with the function that is called there."""
    for frame in where:
        if found := _PLACE.search(frame):
            for each in found["places"].split(", "):
                path, _, line = each.rpartition(":")
                yield frame.partition("+")[0], (path, int(line))


def _sweeps(surveys: Iterable[Surveyed], points: Sequence[Test]) -> Iterator[SweepSummary]:
    found: dict[tuple[str, str], Counter[str]] = {}
    for point in points:
        if each := point.injected:
            found.setdefault((each.test, each.sweep), Counter())[each.what] += 1
    for survey in surveys:
        for sweep in survey.sweeps:
            yield SweepSummary(
                test=survey.test,
                sweep=sweep.sweep,
                calls=sweep.calls,
                planned=len(sweep.points),
                outcomes=dict(found.get((survey.test, sweep.sweep), {})),
            )


def _paths(
    patches: Sequence[PatchLines], points: Sequence[Test], lines: _Lines
) -> Iterator[PatchPaths]:
    """Yield of each patch the lines at which a call has failed that came through them."""
    met: dict[int, dict[tuple[str, int], list[Test]]] = {}
    functions: dict[tuple[str, int], str] = {}
    for point in points:
        of_patch: dict[int, tuple[str, int]] = {}
        for function, place in _places(point.injected.where if point.injected else ()):
            if place in lines and lines[place] not in of_patch:
                of_patch[lines[place]] = place
                functions.setdefault(place, function)
        for number, place in of_patch.items():
            met.setdefault(number, {}).setdefault(place, []).append(point)
    for patch in patches:
        taken = []
        for place, tests in sorted(met.get(patch.number, {}).items()):
            worst = max(tests, key=lambda each: each.outcome.rank)
            taken.append(
                TakenPath(
                    path=place[0],
                    line=place[1],
                    function=functions[place],
                    points=len(tests),
                    outcomes=dict(
                        Counter(str(each.injected.what) for each in tests if each.injected)
                    ),
                    point=worst.name,
                )
            )
        yield PatchPaths(number=patch.number, subject=patch.subject, taken=tuple(taken))

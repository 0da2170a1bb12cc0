# SPDX-License-Identifier: GPL-2.0-only
"""One page for a browser: complete in itself, with nothing loaded from elsewhere.

The page holds its data as JSON, and a script of its own makes rows of it as they are wanted, so
that 100,000 cases open at once.  Foreign text is made printable here, and reaches the page as text
nodes only; a Content Security Policy lets no other script run, should that ever fail.

Texts share a budget, so that a page stays below 30 MB whatever the tests have printed; what does
not fit is in the log files.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Mapping
from datetime import datetime
from importlib.resources import files
from typing import Any

import msgspec

from harness.judge.compare import Change, Row, Step, compare
from harness.judge.merge import merged
from harness.klog import Severity
from harness.model.ids import KernelName, case_of
from harness.model.metrics import amount
from harness.model.results import Case, Kernel, KernelReport, Results, Test
from harness.outcome import Outcome
from harness.report import coverage, mutants
from harness.report.changes import told
from harness.report.findings import (
    BISECTION,
    INJECTIONS,
    RACES,
    Section,
    bisection,
    measured,
)
from harness.report.injections import fault_text
from harness.report.junit import attached_logs
from harness.report.kernels import subject
from harness.report.races import preempted_text
from harness.report.testcases import CASE_TEXT_LIMIT, TEXT_LIMIT, story_text
from harness.report.text import count_outcomes, one_line, style_of, tally
from harness.report.verdict import complaints_at_boot, counted, verdict
from harness.visible import visible

TEXT_BUDGET = 14_000_000
"""Bytes of all texts in the page, as JSON."""
_NAME_BUDGET = 6_000_000
"""Bytes of the names of all cases."""
_NAME_LIMIT = 300
_FULL_FACTS = 10_000
"""Tests that ended as expected, of which the page has seed, log files and command line."""
_LEFT_OUT = "[left out, because the page would grow too large: see the log files]"
_MOST_NAMES = 50
_MOST_FUNCTIONS = 40
_NUMBERS = {outcome: number for number, outcome in enumerate(Outcome)}


def render(results: Mapping[str, Results], directory: str = "") -> bytes:
    """Return the page about *results*, by the name of their kernel, as UTF-8.

    Of several kernels it shows a matrix, in their order: patch by patch, it shows where a test was
    broken for the first time, by the rule of :mod:`harness.judge.compare`.  *directory* is the
    run's as seen from where the page is.
    """
    # A tenth of a second, which no other format has to pay.
    import jinja2

    texts = _Texts()
    cases = sum(len(test.cases) for each in results.values() for test in each.tests)
    limit = max(40, min(_NAME_LIMIT, _NAME_BUDGET // max(1, cases)))
    kernels = [_kernel(name, each, directory, texts, limit) for name, each in results.items()]
    data = {
        "outcomes": [
            {"name": outcome, "style": style_of(outcome), "severity": outcome.severity}
            for outcome in Outcome
        ],
        "texts": texts.all,
        "kernels": kernels,
        "rows": _rows(results) if len(results) > 1 else [],
    }
    encoded = msgspec.json.encode(data).replace(b"<", b"\\u003c").decode()
    parts = {name: _read(f"page.{name}") for name in ("css", "js", "html")}
    template = jinja2.Environment(autoescape=True, trim_blocks=True).from_string(parts["html"])
    names = list(results)
    heads = [_head(name, each, last=name == names[-1]) for name, each in results.items()]
    red = [head for head in heads if head["style"] == "bad"]
    whole = merged(results) if results else None
    against = whole.against if whole else None
    rendered = template.render(
        title=", ".join(head["title"] for head in heads[:3]),
        headline=_headline(whole),
        green=whole is not None and not whole.exit_code,
        red=len(red),
        against=list(told(against)) if against else [],
        sections=_sections(whole) if whole else [],
        kernels=heads,
        bad=[_bad(test) for each in results.values() for test in _not_as_expected(each)][
            :_MOST_NAMES
        ],
        data=encoded,
        style=parts["css"],
        script=parts["js"],
        style_digest=_digest(parts["css"]),
        script_digest=_digest(parts["js"]),
    )
    return rendered.encode() + b"\n"


def _sections(results: Results) -> list[Section]:
    """Return what was found beside the tests and has no part of the page that is its own."""
    found = [*bisection(results), *measured(results)]
    return [each for each in found if each.title in (BISECTION, INJECTIONS, RACES)]


def _rows(results: Mapping[str, Results]) -> list[dict[str, Any]]:
    """Return each test on all kernels: which of them breaks it, and what it was before."""
    found = compare(results)
    wanted = {each.test: each.first_bad for one in results.values() for each in one.bisected}
    numbers = {name: number for number, name in enumerate(found.kernels)}
    rows = []
    for row in found.rows:
        broken = _broken(row, wanted.get(row.test))
        name = one_line(row.test, _NAME_LIMIT)
        # On a kernel that was not built, one test stands for all of its suite.
        cells = [one_line(cell.name, _NAME_LIMIT) if cell else name for cell in row.cells]
        rows.append(
            {
                "name": name,
                "cells": cells if any(cell != name for cell in cells) else [],
                "first": numbers[broken.kernel] if broken else None,
                "since": numbers[broken.since] if broken else None,
                "before": str(broken.before.outcome) if broken and broken.before else "not there",
            }
        )
    return rows


def _broken(row: Row, first_bad: KernelName | None) -> Step | None:
    """Return the step that breaks the test of *row*: that which a bisection has found, if any.

    A kernel on which nothing can be tested is only marked where no other one breaks the test.
    """
    steps = [step for step in row.steps if step.change in (Change.BREAKS, Change.OTHER)]
    if first_bad is not None:
        return next((step for step in steps if step.kernel == first_bad), None)
    steps = [step for step in steps if step.change is Change.BREAKS]
    tested = [step for step in steps if step.after is not None and step.after.name == row.test]
    return next(iter([*tested, *steps]), None)


class _Texts:
    """The texts of a page, each once; what refers to one has its place, from 1, or 0 for none."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._places: dict[str, int] = {"": 0}
        self._left = TEXT_BUDGET

    def place(self, text: str) -> int:
        """Return where *text* is, which must be printable."""
        found = self._places.get(text)
        if found is None:
            # "<" is written as an escape of six characters.
            size = len(msgspec.json.encode(text)) + 5 * text.count("<")
            if size > self._left and text != _LEFT_OUT:
                return self.place(_LEFT_OUT)
            self._left -= size
            self.all.append(text)
            found = self._places[text] = len(self.all)
        return found


def _kernel(
    name: str, results: Results, directory: str, texts: _Texts, names: int
) -> dict[str, Any]:
    kernel = results.kernel
    seen = {case.outcome for test in results.tests for case in test.cases}
    seen |= {test.outcome for test in results.tests}
    timed = [test.total_s for test in results.tests if test.total_s is not None]
    # Those that failed come first to the budget: theirs are the texts that are looked for.
    order = sorted(range(len(results.tests)), key=lambda n: results.tests[n].good)
    tests: dict[int, dict[str, Any]] = {}
    for place, number in enumerate(order):
        test = results.tests[number]
        full = place < _FULL_FACTS or not test.outcome.as_expected
        tests[number] = _test(test, results, directory, texts, names, full)
    return {
        "name": one_line(name, _NAME_LIMIT),
        "patch": _last_patch(kernel),
        "prepare_s": results.prepare_s,
        "tests_s": results.tests_s,
        "longest": max(timed, default=None),
        "seen": [number for number, outcome in enumerate(Outcome) if outcome in seen],
        "boot": [
            _report(boot.report, texts, f"guests of {', '.join(map(one_line, boot.suites))}")
            for boot in complaints_at_boot(results)
        ],
        "tests": [tests[number] for number in range(len(tests))],
    }


def _test(
    test: Test, results: Results, directory: str, texts: _Texts, names: int, full: bool
) -> dict[str, Any]:
    reports = [_report(each, texts) for each in test.findings]
    if not reports and test.kernel_log:
        reports = [_log_excerpt(test, texts)]
    facts = [
        ("verdict", test.elsewhere),
        ("ended", test.ending),
        ("began", test.started),
        ("seconds in the guest", "" if test.guest_s is None else f"{test.guest_s:.3f}"),
        ("time limit", f"{test.limit_s:g} s" if test.limit_s else ""),
        ("guest", ", ".join(filter(None, (test.accelerator, test.guest)))),
        ("host", test.host),
        ("seed", test.seed),
        *((f"metric {each.name}", f"{amount(each.value)} {each.unit}") for each in test.metrics),
        *(
            (f"instructions in {each.name}", f"{each.own:,}, with what it calls {each.total:,}")
            for each in test.functions[:_MOST_FUNCTIONS]
        ),
        *(("metric that cannot be read", fault) for fault in test.metric_faults),
    ]
    stories = [
        (title, texts.place(story_text(said, TEXT_LIMIT)))
        for title, said in (
            ("Where it was preempted", preempted_text(test)),
            ("What failed on purpose", fault_text(test)),
        )
        if said
    ]
    return ({"excused": True} if test.excused else {}) | {
        "name": one_line(test.name, _NAME_LIMIT),
        "suite": one_line(test.suite, _NAME_LIMIT),
        "outcome": _number(test.outcome),
        "reason": texts.place(_reason(test)),
        "seconds": test.total_s,
        "start": None if test.elsewhere else _since(results.started, test.started),
        "tally": _tally(test),
        "cases": _cases(test, texts, names),
        "output": texts.place(story_text(test.output, TEXT_LIMIT)),
        "reports": reports,
        "stories": stories,
        "boot": [one_line(each) for each in test.at_boot],
        "rerun": visible(test.rerun) if full else "",
        "facts": [(name, one_line(said)) for name, said in facts if said] if full else [],
        "logs": _log_files(test, directory) if full else [],
        "attempts": [
            {
                "outcome": _number(each.outcome),
                "seconds": each.guest_s if each.total_s is None else each.total_s,
                "reason": texts.place(one_line(each.reason)),
            }
            for each in test.attempts
        ],
    }


def _log_files(test: Test, directory: str) -> list[tuple[str, str]]:
    return [(f"{kind} log", visible(path)) for kind, path in attached_logs(test, directory)]


def _cases(test: Test, texts: _Texts, names: int) -> dict[str, Any] | None:
    """Return the cases column by column, which takes half as much as one by one."""
    if not test.cases:
        return None
    excused = [number for number, case in enumerate(test.cases) if case.excused]
    return ({"excused": excused} if excused else {}) | {
        "names": [_short_name(case, test, names) for case in test.cases],
        "outcomes": "".join(chr(ord("a") + _number(case.outcome)) for case in test.cases),
        "reasons": [
            texts.place(_reason(case)) if case.reason or case.excused else 0 for case in test.cases
        ],
        "texts": [
            texts.place(story_text(case.text, CASE_TEXT_LIMIT))
            if case.text and case.outcome not in (Outcome.PASS, Outcome.SKIP)
            else 0
            for case in test.cases
        ],
    }


def _reason(said: Test | Case) -> str:
    """Return the reason in one line, and why it does not count where it does not."""
    why = f"({said.excused})" if said.excused else ""
    return one_line(" ".join(filter(None, (said.reason, why))), 1000)


def _short_name(case: Case, test: Test, limit: int) -> str:
    name = one_line(case_of(test.name, case.name), limit)
    return name if name.isascii() else name.encode()[:limit].decode(errors="ignore")


def _report(each: KernelReport, texts: _Texts, where: str = "") -> dict[str, Any]:
    return {
        "title": one_line(each.title),
        "kind": one_line(each.kind),
        "severity": one_line(each.severity),
        "fingerprint": one_line(each.fingerprint),
        "where": where or one_line(each.location),
        "count": each.count,
        "allowed": one_line(each.allowed),
        "report": texts.place(story_text(each.report, TEXT_LIMIT)),
    }


def _log_excerpt(test: Test, texts: _Texts) -> dict[str, Any]:
    """Return the kernel log of *test* if its reports are not known one by one."""
    return {
        "title": "what it printed during the test",
        "kind": "log",
        "severity": str(Severity.SPLAT),
        "fingerprint": "",
        "where": "",
        "count": 1,
        "allowed": "",
        "report": texts.place(story_text(test.kernel_log, TEXT_LIMIT)),
    }


def _head(name: str, results: Results, *, last: bool) -> dict[str, Any]:
    """Return the facts of a kernel; only the *last* one was measured line by line."""
    kernel, machine = results.kernel, results.machine
    facts = [
        ("run", results.run),
        ("command", shlex.join(results.command)),
        ("asked for", results.requested),
        ("tests began", results.started),
        ("ended", results.ended),
        ("kernel", kernel.release),
        ("source", kernel.source),
        ("base commit", kernel.base_commit),
        ("series", kernel.series),
        ("commit", kernel.series_commit),
        *((f"patch {number}", patch) for number, patch in enumerate(kernel.patches, 1)),
        ("configuration", ", ".join(kernel.config)),
        ("toolchain", kernel.toolchain),
        ("build ID", kernel.build_id),
        ("guest", ", ".join(filter(None, (machine.accelerator, machine.qemu, machine.guest)))),
        ("accelerator", machine.accelerator_reason),
    ]
    title = " ".join(f"{what} {name}" for what, name in subject(kernel))
    return {
        "name": one_line(name, _NAME_LIMIT),
        "patch": _last_patch(kernel),
        "title": one_line(title[:1].upper() + title[1:]),
        "counted": counted(results),
        "style": "good" if all(test.good for test in results.tests) else "bad",
        "verdict": verdict(results),
        "notes": [one_line(note, 2000) for note in results.notes],
        "facts": [(label, one_line(said, 2000)) for label, said in facts if said],
        "coverage": coverage.page(results.coverage) if last else None,
        "mutants": mutants.page(results.mutants) if last else None,
    }


def _last_patch(kernel: Kernel) -> str:
    return one_line(kernel.patches[-1], _NAME_LIMIT) if kernel.patches else ""


def _headline(results: Results | None) -> str:
    """Return the verdict on all kernels together; None if there is no kernel."""
    if results is None:
        return "NOT AS EXPECTED: no kernel was tested"
    return "".join(text for text, _ in verdict(results)[-1])


def _not_as_expected(results: Results) -> list[Test]:
    return [test for test in results.tests if not test.good]


def _bad(test: Test) -> tuple[str, str, str]:
    return one_line(test.name, _NAME_LIMIT), str(test.outcome), one_line(test.reason)


def _number(outcome: Outcome) -> int:
    return _NUMBERS[outcome]


def _tally(test: Test) -> str:
    return tally(count_outcomes(case.outcome for case in test.cases)) if test.cases else ""


def _since(start: str, time: str) -> float | None:
    """Return the seconds from *start* to *time*; None where one of them is not known."""
    try:
        return (datetime.fromisoformat(time) - datetime.fromisoformat(start)).total_seconds()
    except (ValueError, TypeError):
        return None


def _read(name: str) -> str:
    return files("harness.report").joinpath(name).read_text("utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

# SPDX-License-Identifier: GPL-2.0-only
"""JUnit XML, as Jenkins, GitLab and most other CI systems read it.

A ``testsuite`` per suite and a ``testcase`` per case, with ``classname`` ``suite:program``.  A
program without cases is one testcase of the program's name.  Where a program ended worse than all
its cases (splat, crash, timeout, exit status), one more testcase of its name carries that.  So
the number of testcases follows from the plan: :func:`count_testcases`.  Each report of the kernel
from before the tests is a testcase of the suite ``kernel``.  The file shows a failure or error
exactly when ``harness run`` does not return 0: what fails on the base as well, in a run against
one, is skipped with the outcome in its message, and has the property ``suite:program.excused``.

Outcomes are those of :mod:`harness.report.testcases`.

``time`` stands where it was measured: at the suite, and at testcases that stand for a whole
program that ran in this run on this kernel.  Cases are not timed one by one, so they have none.
Seeds, log files and the command that runs a test again are suite properties named
``suite:program.seed`` and so on, since the format has no properties of a testcase.  The first
failure of a program repeats them in its text, with the kernel log, and has its log files attached;
the others say how to run it again.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import junit_xml

from harness.model.ids import case_of
from harness.model.results import BootReport, Case, Results, Test
from harness.outcome import Outcome
from harness.report.injections import fault_text
from harness.report.mutants import properties
from harness.report.races import preempted_text
from harness.report.testcases import (
    CASE_TEXT_LIMIT,
    VALUE_LIMIT,
    document,
    make_testcase,
    story_text,
    value,
)
from harness.report.verdict import complaints_at_boot, run_trouble


def render(results: Results, directory: str = "") -> bytes:
    """Return the whole report as UTF-8.

    *directory* is the run's as the CI's job finds it, for the log files that are attached.
    """
    suites: dict[str, list[Test]] = {}
    for test in results.tests:
        suites.setdefault(test.suite, []).append(test)
    rendered = [_suite(name, tests, results, directory) for name, tests in suites.items()]
    seconds = [
        sum(test.total_s or 0.0 for test in tests if not test.elsewhere)
        for tests in suites.values()
    ]
    complaints = complaints_at_boot(results)
    if complaints:
        rendered.append(_boot_suite(complaints, results))
        seconds.append(0.0)
    trouble = run_trouble(results)
    if trouble:
        rendered.append(_run_suite(trouble, results))
        seconds.append(0.0)
    return document(rendered, seconds)


def count_testcases(results: Results) -> int:
    """Return how many testcases :func:`render` writes for *results*."""
    of_tests = [len(test.cases) + needs_own_testcase(test) for test in results.tests]
    return sum(of_tests) + len(complaints_at_boot(results)) + bool(run_trouble(results))


def needs_own_testcase(test: Test) -> bool:
    """Whether the program as a whole says something that none of its cases says."""
    return all(case.outcome.rank < test.outcome.rank for case in test.cases)


def _boot_suite(complaints: list[BootReport], results: Results) -> junit_xml.TestSuite:
    """Return the kernel's own suite, for what it complained of before any test."""
    testcases = []
    for number, boot in enumerate(complaints, 1):
        outcome, report = results.outcome_at_boot(boot), boot.report
        name = f"at boot: {report.title}" + (f" #{number}" if len(complaints) > 1 else "")
        facts = [f"guests of: {', '.join(boot.suites)}"]
        facts += [f"kernel log: {boot.log}"] if boot.log else []
        story = story_text("\n".join([report.report, "", *facts]))
        if outcome is Outcome.PASS:
            outcome, reason = Outcome.SKIP, f"allowed: {report.allowed}"
        else:
            reason = f"at boot: {report.title}"
        excused = results.excused_at_boot(boot)
        testcase = make_testcase(name, "kernel:boot", outcome, reason, story, excused=excused)
        testcases.append(testcase)
    return junit_xml.TestSuite(
        name="kernel",
        test_cases=testcases,
        timestamp=value(results.started),
        properties=_properties(results, []),
    )


def _run_suite(trouble: str, results: Results) -> junit_xml.TestSuite:
    first, _, more = trouble.partition("\n")
    text = story_text("\n".join(part for part in (results.run, more) if part))
    testcase = make_testcase("run", "harness", Outcome.ERROR, first, text)
    return junit_xml.TestSuite(
        name="harness",
        test_cases=[testcase],
        timestamp=value(results.started),
        properties=_properties(results, []),
    )


def _suite(name: str, tests: list[Test], results: Results, directory: str) -> junit_xml.TestSuite:
    return junit_xml.TestSuite(
        name=value(name),
        test_cases=[each for test in tests for each in _testcases(test, directory)],
        timestamp=value(results.started),
        properties=_properties(results, tests),
    )


def _testcases(test: Test, directory: str) -> Iterator[junit_xml.TestCase]:
    names = [case_of(test.name, case.name) for case in test.cases]
    own_testcase = needs_own_testcase(test)
    told = own_testcase
    for name, case in zip(names, test.cases, strict=True):
        yield _testcase(test, name, case, None if told else directory)
        told = told or case.outcome not in (Outcome.PASS, Outcome.SKIP)
    if own_testcase:
        own, number = test.program, 1
        while own in names:
            number += 1
            own = f"{test.program}#{number}"
        yield _testcase(test, own, None, directory)


def _testcase(
    test: Test, name: str, case: Case | None, directory: str | None
) -> junit_xml.TestCase:
    """Return the entry of *case*, or of the whole program.

    It holds what concerns the whole program if *directory* is given, that of the run.
    """
    said = case or test
    # A skip says all in its message; of what passed there is nothing to tell.
    told = said.outcome not in (Outcome.PASS, Outcome.SKIP)
    whole = told and directory is not None
    return make_testcase(
        name,
        test.name,
        said.outcome,
        said.reason,
        _story(test, case, whole) if told else "",
        seconds=None if case or test.elsewhere else test.total_s,
        attached=[path for _, path in attached_logs(test, directory or "")] if whole else (),
        excused=said.excused,
    )


def _story(test: Test, case: Case | None, whole: bool) -> str:
    """Return what a person needs who sees nothing but this one entry.

    The kernel log, the log files and the seed of a program stand at one of its entries (*whole*):
    a program may have many thousands of them.
    """
    printed = story_text(case.text, CASE_TEXT_LIMIT) if case else story_text(test.output)
    sections = [story_text((case or test).reason, VALUE_LIMIT)]
    if printed:
        sections.append(printed)
    kernel = story_text(test.kernel_log) if whole else ""
    if kernel:
        sections.append(f"Kernel log:\n{kernel}")
    if whole:
        sections += [story_text(said) for said in (preempted_text(test), fault_text(test)) if said]
    facts = [f"{kind} log: {path}" for kind, path in _logs(test) if whole]
    if test.seed and whole:
        facts.append(f"random seed: {test.seed}")
    if test.elsewhere:
        facts.append(f"verdict: {test.elsewhere}")
    if test.rerun:
        facts.append(f"run it again: {test.rerun}")
    sections.append(story_text("\n".join(facts)))
    return "\n\n".join(section for section in sections if section)


def _properties(results: Results, tests: list[Test]) -> dict[str, str]:
    kernel, machine = results.kernel, results.machine
    found = {
        "run": results.run,
        "command": shlex.join(results.command),
        "requested": results.requested,
        "started": results.started,
        "ended": results.ended,
        "seconds.preparing": _seconds(results.prepare_s),
        "seconds.testing": _seconds(results.tests_s),
        "interrupted": "yes" if results.interrupted else "",
        "kernel.release": kernel.release,
        "kernel.source": kernel.source,
        "kernel.base_commit": kernel.base_commit,
        "kernel.series": kernel.series,
        "kernel.series_commit": kernel.series_commit,
        "kernel.series_digest": kernel.series_digest,
        **{f"kernel.patch.{n}": patch for n, patch in enumerate(kernel.patches, 1)},
        "kernel.config": ", ".join(kernel.config),
        "kernel.config_digest": kernel.config_digest,
        "kernel.toolchain": kernel.toolchain,
        "kernel.build_id": kernel.build_id,
        "machine.accelerator": machine.accelerator,
        "machine.accelerator_reason": machine.accelerator_reason,
        "machine.qemu": machine.qemu,
        "machine.guest": machine.guest,
        **{f"note.{n}": note for n, note in enumerate(results.notes, 1)},
        **properties(results.mutants),
    }
    for test in tests:
        found[f"{test.name}.seed"] = test.seed
        found[f"{test.name}.seconds"] = "" if test.total_s is None else f"{test.total_s:.3f}"
        found[f"{test.name}.rerun"] = test.rerun
        found[f"{test.name}.verdict"] = test.elsewhere
        found[f"{test.name}.excused"] = test.excused
        for metric in test.metrics:
            better = f" (better: {metric.better})" if metric.better else ""
            found[f"{test.name}.metric.{metric.name}"] = f"{metric.value} {metric.unit}{better}"
        for number, fault in enumerate(test.metric_faults, 1):
            found[f"{test.name}.metric-fault.{number}"] = fault
        found[f"{test.name}.guest"] = ", ".join(filter(None, (test.accelerator, test.guest)))
        found[f"{test.name}.host"] = test.host
        found[f"{test.name}.lost"] = str(test.lost) if test.lost else ""
        for number, each in enumerate(test.findings, 1):
            allowed = f" (allowed: {each.allowed})" if each.allowed else ""
            found[f"{test.name}.kernel.{number}"] = (
                f"{each.severity} {each.kind} {each.fingerprint} {each.title}{allowed}"
            )
        if test.attempts:
            passed = sum(attempt.outcome is Outcome.PASS for attempt in test.attempts)
            found[f"{test.name}.attempts"] = f"{passed}/{len(test.attempts)} passed"
        found.update({f"{test.name}.log.{kind}": path for kind, path in _logs(test)})
    return {value(name): value(each) for name, each in found.items() if each}


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3f}"


def attached_logs(test: Test, directory: str) -> list[tuple[str, str]]:
    """Return kind and path of the log files of *test*, in the run's *directory*."""
    return [(kind, str(Path(directory, path))) for kind, path in _logs(test)]


def _logs(test: Test) -> list[tuple[str, str]]:
    logs = test.logs
    pairs = [("output", logs.output), ("kernel", logs.kernel), ("build", logs.build)]
    pairs += [("calls", logs.folded), ("flame-graph", logs.graph)]
    return [(kind, path) for kind, path in pairs if path]

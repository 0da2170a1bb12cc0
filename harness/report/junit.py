# SPDX-License-Identifier: GPL-2.0-only
"""JUnit XML, as Jenkins, GitLab and most other CI systems read it.

A ``testsuite`` per suite and a ``testcase`` per case, with ``classname`` ``suite:program``.  A
program without cases is one testcase of the program's name.  Where a program ended worse than all
its cases (splat, crash, timeout, exit status), one more testcase of its name carries that.  So
the number of testcases follows from the plan: :func:`count_testcases`.  Each report of the kernel
from before the tests is a testcase of the suite ``kernel``.  The file shows a failure or error
exactly when ``harness run`` does not return 0.

    pass                                  testcase
    skip                                  skipped, message = reason
    xfail                                 skipped, message = "expected failure: reason"
    fail, xpass, timeout, splat, crash    failure, type = outcome, message = reason
    error, notrun                         error, type = outcome, message = reason

``time`` stands where it was measured: at the suite, and at testcases that stand for a whole
program.  Cases are not timed one by one, so they have none.  Seeds, log files and the command
that runs a test again are suite properties named ``suite:program.seed`` and so on, since the
format has no properties of a testcase.  The first failure of a program repeats them in its text,
with the kernel log; the others say how to run it again.

Elements, their order and their attributes are those of the XML Schema for Jenkins' JUnit reports;
times have at most three decimals, since the schema of Jenkins' xUnit plugin takes no more.
"""

from __future__ import annotations

import shlex
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import junit_xml

from harness.errors import ExitCode
from harness.klog import Severity
from harness.model.results import BootReport, Case, Results, Test
from harness.outcome import Outcome
from harness.report.text import cut, one_line
from harness.visible import visible

TEXT_LIMIT = 16_000
"""Characters of one section of a whole program's text (its output, its kernel log)."""
CASE_TEXT_LIMIT = 8_000
"""Characters of what one case printed."""
VALUE_LIMIT = 2_000
"""Characters of one property or message."""

_FAILURES = (Outcome.FAIL, Outcome.XPASS, Outcome.TIMEOUT, Outcome.SPLAT, Outcome.CRASH)


def render(results: Results) -> bytes:
    """Return the whole report as UTF-8."""
    suites: dict[str, list[Test]] = {}
    for test in results.tests:
        suites.setdefault(test.suite, []).append(test)
    rendered = [_suite(name, tests, results) for name, tests in suites.items()]
    seconds = [sum(test.total_s or 0.0 for test in tests) for tests in suites.values()]
    complaints = _at_boot(results)
    if complaints:
        rendered.append(_boot_suite(complaints, results))
        seconds.append(0.0)
    trouble = _run_trouble(results)
    if trouble:
        rendered.append(_run_suite(trouble, results))
        seconds.append(0.0)
    text = junit_xml.to_xml_report_string(rendered, prettyprint=False, encoding="utf-8")
    root = ET.fromstring(text.encode())  # noqa: S314  our own text, written one line above
    _set_times(root, seconds)
    ET.indent(root)
    document = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return bytes(document) + b"\n"


def count_testcases(results: Results) -> int:
    """Return how many testcases :func:`render` writes for *results*."""
    of_tests = [len(test.cases) + needs_own_testcase(test) for test in results.tests]
    return sum(of_tests) + len(_at_boot(results)) + bool(_run_trouble(results))


def needs_own_testcase(test: Test) -> bool:
    """Whether the program as a whole says something that none of its cases says."""
    return all(case.outcome.rank < test.outcome.rank for case in test.cases)


def _run_trouble(results: Results) -> str:
    """Return what stopped the run, or why it is not green although no test says so.

    Empty where a test says so, or the run is green.
    """
    if results.error:
        return results.error
    bad = any(
        not outcome.as_expected
        for test in results.tests
        for outcome in (test.outcome, *(case.outcome for case in test.cases))
    )
    if bad or results.exit_code is ExitCode.AS_EXPECTED:
        return ""
    return "no test was planned" if not results.tests else "the run was interrupted"


def _at_boot(results: Results) -> list[BootReport]:
    """Return what the kernel complained of before the tests."""
    return [boot for boot in results.at_boot if boot.report.severity != Severity.NOTE]


def _boot_suite(complaints: list[BootReport], results: Results) -> junit_xml.TestSuite:
    """Return the kernel's own suite, for what it complained of before any test."""
    testcases = []
    for number, boot in enumerate(complaints, 1):
        outcome, report = results.outcome_at_boot(boot), boot.report
        name = f"at boot: {report.title}" + (f" #{number}" if len(complaints) > 1 else "")
        testcase = junit_xml.TestCase(name=_value(name), classname="kernel:boot")
        facts = [f"guests of: {', '.join(boot.suites)}"]
        facts += [f"kernel log: {boot.log}"] if boot.log else []
        story = _text("\n".join([report.report, "", *facts]), TEXT_LIMIT)
        message = one_line(f"at boot: {report.title}", VALUE_LIMIT)
        if outcome is Outcome.PASS:
            testcase.add_skipped_info(f"allowed: {one_line(report.allowed, VALUE_LIMIT)}", story)
        elif outcome is Outcome.XFAIL:
            testcase.add_skipped_info(f"expected failure: {message}", story)
        else:
            testcase.add_failure_info(message, story, str(outcome))
        testcases.append(testcase)
    return junit_xml.TestSuite(
        name="kernel",
        test_cases=testcases,
        timestamp=_value(results.started),
        properties=_properties(results, []),
    )


def _run_suite(trouble: str, results: Results) -> junit_xml.TestSuite:
    testcase = junit_xml.TestCase(name="run", classname="harness")
    first, _, more = trouble.partition("\n")
    text = _text("\n".join(part for part in (results.run, more) if part))
    testcase.add_error_info(message=_value(first), output=text, error_type="error")
    return junit_xml.TestSuite(
        name="harness",
        test_cases=[testcase],
        timestamp=_value(results.started),
        properties=_properties(results, []),
    )


def _suite(name: str, tests: list[Test], results: Results) -> junit_xml.TestSuite:
    return junit_xml.TestSuite(
        name=_value(name),
        test_cases=[testcase for test in tests for testcase in _testcases(test)],
        timestamp=_value(results.started),
        properties=_properties(results, tests),
    )


def _testcases(test: Test) -> Iterator[junit_xml.TestCase]:
    names = [case.name.removeprefix(f"{test.name}/") for case in test.cases]
    own_testcase = needs_own_testcase(test)
    told = own_testcase
    for name, case in zip(names, test.cases, strict=True):
        yield _testcase(test, name, case, whole=not told)
        told = told or case.outcome not in (Outcome.PASS, Outcome.SKIP)
    if own_testcase:
        own, number = test.program, 1
        while own in names:
            number += 1
            own = f"{test.program}#{number}"
        yield _testcase(test, own, None)


def _testcase(test: Test, name: str, case: Case | None, whole: bool = True) -> junit_xml.TestCase:
    """Return the entry of *case*, or of the whole program.

    With *whole* it holds what concerns the whole program.
    """
    said = case or test
    outcome = said.outcome
    testcase = junit_xml.TestCase(
        name=_value(name),
        classname=_value(test.name),
        elapsed_sec=None if case else test.total_s,
    )
    # An entry without message and text is dropped by the package, and the testcase then passes.
    message = one_line(said.reason, VALUE_LIMIT) or f"{outcome}, no reason given"
    if outcome in _FAILURES:
        testcase.add_failure_info(message, _story(test, case, whole), str(outcome))
    elif outcome in (Outcome.ERROR, Outcome.NOTRUN):
        testcase.add_error_info(message, _story(test, case, whole), str(outcome))
    elif outcome is Outcome.XFAIL:
        testcase.add_skipped_info(f"expected failure: {message}", _story(test, case, whole))
    elif outcome is Outcome.SKIP:
        testcase.add_skipped_info(message)
    return testcase


def _story(test: Test, case: Case | None, whole: bool) -> str:
    """Return what a person needs who sees nothing but this one entry.

    The kernel log, the log files and the seed of a program stand at one of its entries (*whole*):
    a program may have many thousands of them.
    """
    printed = _text(case.text, CASE_TEXT_LIMIT) if case else _text(test.output, TEXT_LIMIT)
    sections = [_text((case or test).reason, VALUE_LIMIT)]
    if printed:
        sections.append(printed)
    kernel = _text(test.kernel_log, TEXT_LIMIT) if whole else ""
    if kernel:
        sections.append(f"Kernel log:\n{kernel}")
    facts = [f"{kind} log: {path}" for kind, path in _logs(test) if whole]
    if test.seed and whole:
        facts.append(f"random seed: {test.seed}")
    if test.rerun:
        facts.append(f"run it again: {test.rerun}")
    sections.append(_text("\n".join(facts)))
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
    }
    for test in tests:
        found[f"{test.name}.seed"] = test.seed
        found[f"{test.name}.seconds"] = "" if test.total_s is None else f"{test.total_s:.3f}"
        found[f"{test.name}.rerun"] = test.rerun
        found[f"{test.name}.guest"] = ", ".join(filter(None, (test.accelerator, test.guest)))
        for number, each in enumerate(test.findings, 1):
            allowed = f" (allowed: {each.allowed})" if each.allowed else ""
            found[f"{test.name}.kernel.{number}"] = (
                f"{each.severity} {each.kind} {each.fingerprint} {each.title}{allowed}"
            )
        if test.attempts:
            passed = sum(attempt.outcome is Outcome.PASS for attempt in test.attempts)
            found[f"{test.name}.attempts"] = f"{passed}/{len(test.attempts)} passed"
        found.update({f"{test.name}.log.{kind}": path for kind, path in _logs(test)})
    return {_value(name): _value(value) for name, value in found.items() if value}


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3f}"


def _logs(test: Test) -> list[tuple[str, str]]:
    logs = test.logs
    pairs = [("output", logs.output), ("kernel", logs.kernel), ("build", logs.build)]
    return [(kind, path) for kind, path in pairs if path]


def _set_times(root: ET.Element, seconds: list[float]) -> None:
    """Give suites the time that was measured: the package would add up testcases."""
    for suite, total in zip(root.iter("testsuite"), seconds, strict=True):
        suite.set("time", f"{total:.3f}")
    root.set("time", f"{sum(seconds):.3f}")
    for testcase in root.iter("testcase"):
        time = testcase.get("time")
        if time is not None:
            testcase.set("time", f"{float(time):.3f}")


def _text(text: str, limit: int = TEXT_LIMIT) -> str:
    return visible(cut(text, limit)).strip("\n")


def _value(text: str) -> str:
    return one_line(text, VALUE_LIMIT)

# SPDX-License-Identifier: GPL-2.0-only
"""JUnit: the structure that CI systems rely on, and that nothing bad is hidden."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ExitCode
from harness.model import results as r
from harness.outcome import Outcome
from harness.report import junit, testcases
from tests.report import samples as s
from tests.report.golden import same_as_golden

pytestmark = pytest.mark.unit

# What the XML Schema of Jenkins' plugins allows, in order, and which attributes.
CHILDREN = {
    "testsuites": ["testsuite"],
    "testsuite": ["properties", "testcase"],
    "properties": ["property"],
    "testcase": ["skipped", "error", "failure", "system-out"],
    "property": [],
    "skipped": [],
    "error": [],
    "failure": [],
    "system-out": [],
}
ATTRIBUTES = {
    "testsuites": {"name", "time", "tests", "failures", "errors"},
    "testsuite": {
        "name",
        "tests",
        "failures",
        "errors",
        "time",
        "skipped",
        "timestamp",
        "hostname",
        "id",
        "package",
    },
    "properties": set(),
    "testcase": {"name", "time", "classname", "group"},
    "property": {"name", "value"},
    "skipped": {"type", "message"},
    "error": {"type", "message"},
    "failure": {"type", "message"},
    "system-out": set(),
}
REQUIRED = {
    "testsuite": {"name", "tests"},
    "testcase": {"name", "classname"},
    "property": {"name", "value"},
}


def parse(results: r.Results) -> ET.Element:
    """Render, check the structure, and return the root."""
    root = ET.fromstring(junit.render(results))  # noqa: S314  our own text
    assert root.tag == "testsuites"
    for element in root.iter():
        check_element(element)
    for suite in root.iter("testsuite"):
        check_counts(suite, list(suite.iter("testcase")))
        assert suite.get("skipped") == str(len(list(suite.iter("skipped"))))
    check_counts(root, list(root.iter("testcase")))
    return root


def check_element(element: ET.Element) -> None:
    assert set(element.attrib) <= ATTRIBUTES[element.tag]
    assert set(element.attrib) >= REQUIRED.get(element.tag, set())
    order = [CHILDREN[element.tag].index(child.tag) for child in element]
    assert order == sorted(order)
    if element.tag == "testcase":
        assert len([child for child in element if child.tag != "system-out"]) <= 1
    if element.tag in ("skipped", "error", "failure"):
        assert element.get("message")
    if "time" in element.attrib:
        assert re.fullmatch(r"\d+\.\d{3}", element.attrib["time"])
    for value in element.attrib.values():
        assert "\n" not in value


def check_counts(element: ET.Element, testcases: list[ET.Element]) -> None:
    assert element.get("tests") == str(len(testcases))
    assert element.get("failures") == str(len(list(element.iter("failure"))))
    assert element.get("errors") == str(len(list(element.iter("error"))))


def entry(root: ET.Element, classname: str, name: str) -> ET.Element:
    """Return the one testcase of that name."""
    found = [
        testcase
        for testcase in root.iter("testcase")
        if (testcase.get("classname"), testcase.get("name")) == (classname, name)
    ]
    assert len(found) == 1
    return found[0]


def single(outcome: Outcome, reason: str = "why") -> ET.Element | None:
    """Return what the testcase of a program without cases holds."""
    root = parse(s.run(s.program("a_test", outcome, reason=reason, output="printed")))
    children = [each for each in entry(root, "kvm:a_test", "a_test") if each.tag != "system-out"]
    return children[0] if children else None


@pytest.mark.parametrize("sample", s.SAMPLES, ids=lambda sample: sample.name)
def test_structure_and_count(sample: s.Sample) -> None:
    root = parse(sample.results)
    assert len(list(root.iter("testcase"))) == junit.count_testcases(sample.results)


@pytest.mark.parametrize("sample", s.SAMPLES, ids=lambda sample: sample.name)
def test_green_exactly_when_the_exit_status_is_0(sample: s.Sample) -> None:
    root = parse(sample.results)
    green = not list(root.iter("failure")) and not list(root.iter("error"))
    assert green == (sample.results.exit_code is ExitCode.AS_EXPECTED)


def test_golden() -> None:
    assert same_as_golden("all.junit.xml", junit.render(s.ALL))


def test_every_planned_test_is_there() -> None:
    root = parse(s.ALL)
    assert {testcase.get("classname") for testcase in root.iter("testcase")} == {
        test.name for test in s.ALL.tests
    }
    assert junit.count_testcases(s.ALL) == 15  # 9 programs alone, 4 + 1 cases, 1 splat of its own


@pytest.mark.parametrize(
    "outcome", [Outcome.FAIL, Outcome.XPASS, Outcome.TIMEOUT, Outcome.SPLAT, Outcome.CRASH]
)
def test_bad_outcomes_are_failures(outcome: Outcome) -> None:
    found = single(outcome)
    assert found is not None
    assert (found.tag, found.get("type"), found.get("message")) == ("failure", outcome, "why")
    assert found.text is not None
    assert "printed" in found.text
    assert "run it again: harness run kvm:a_test --seed=5a5a" in found.text


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.NOTRUN])
def test_not_knowing_is_an_error(outcome: Outcome) -> None:
    found = single(outcome)
    assert found is not None
    assert (found.tag, found.get("type"), found.get("message")) == ("error", outcome, "why")


def test_pass_skip_and_xfail() -> None:
    assert single(Outcome.PASS) is None
    skipped, expected = single(Outcome.SKIP), single(Outcome.XFAIL)
    assert skipped is not None
    assert expected is not None
    assert (skipped.tag, skipped.get("message")) == ("skipped", "why")
    assert (expected.tag, expected.get("message")) == ("skipped", "expected failure: why")


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.PASS])
def test_no_reason_does_not_turn_into_a_pass(outcome: Outcome) -> None:
    assert single(outcome, reason="") is not None


@pytest.mark.parametrize("outcome", [o for o in Outcome if not o.as_expected])
def test_a_program_worse_than_its_cases_has_its_own_testcase(outcome: Outcome) -> None:
    cases = (s.case("a_test", "one", Outcome.PASS),)
    root = parse(s.run(s.program("a_test", outcome, reason="why", cases=cases)))
    own = entry(root, "kvm:a_test", "a_test")
    assert [child.get("message") for child in own] == ["why", None]
    assert own.get("time") == "0.251"
    assert list(entry(root, "kvm:a_test", "one")) == []


def test_a_program_as_bad_as_its_cases_has_none() -> None:
    cases = (s.case("a_test", "one", Outcome.FAIL, "why"), s.case("a_test", "two", Outcome.SKIP))
    root = parse(s.run(s.program("a_test", Outcome.FAIL, reason="1 failed", cases=cases)))
    assert len(list(root.iter("testcase"))) == 2


def test_the_own_testcase_differs_from_a_case_of_its_name() -> None:
    cases = tuple(s.case("a_test", name, Outcome.PASS) for name in ("a_test", "a_test#2"))
    root = parse(s.run(s.program("a_test", Outcome.CRASH, reason="why", cases=cases)))
    assert entry(root, "kvm:a_test", "a_test#3")[0].get("type") == "crash"


def test_a_failing_case_tells_assertion_kernel_log_and_rerun() -> None:
    cases = (s.case("a_test", "one", Outcome.FAIL, "why", s.HARNESS_ASSERTION),)
    test = s.program("a_test", Outcome.FAIL, cases=cases, kernel_log=s.WARNING)
    failure, attached = entry(parse(s.run(test)), "kvm:a_test", "one")
    text = failure.text or ""
    for part in (
        "fd_memory_test.c:118:hole_punch:Expected 0 (0) == ret (-1)",
        "WARNING: CPU: 0 PID: 61 at mm/memfd.c:77",
        "output log: tests/a_test/output.log",
        "kernel log: tests/a_test/kernel.log",
        "random seed: " + "5a" * 32,
        "run it again: harness run kvm:a_test --seed=5a5a",
    ):
        assert part in text
    assert attached.tag == "system-out"


def test_log_files_are_attached_once_where_the_job_finds_them() -> None:
    """As GitLab and Jenkins' plugin for attachments read them: one a line, nothing else in it."""
    cases = tuple(s.case("a_test", f"case_{n}", Outcome.FAIL, "why") for n in range(2))
    results = s.run(s.program("a_test", Outcome.FAIL, cases=cases), s.program("b", Outcome.PASS))
    root = ET.fromstring(junit.render(results, "runs/latest"))  # noqa: S314  our own text
    (attached,) = root.iter("system-out")
    assert (attached.text or "").split("\n") == [
        "[[ATTACHMENT|runs/latest/tests/a_test/output.log]]",
        "[[ATTACHMENT|runs/latest/tests/a_test/kernel.log]]",
    ]
    assert attached in list(entry(root, "kvm:a_test", "case_0"))


def test_properties() -> None:
    for suite in parse(s.ALL).iter("testsuite"):
        found = {p.get("name"): p.get("value") for p in suite.iter("property")}
        assert (
            found.items()
            >= {
                "run": s.ALL.run,
                "command": "harness run --suite 'my suite'",
                "kernel.release": "6.1.176-v10",
                "kernel.source": s.KERNEL.source,
                "kernel.base_commit": "a" * 40,
                "kernel.series": s.KERNEL.series,
                "kernel.series_commit": "b" * 40,
                "kernel.series_digest": "c" * 64,
                "kernel.patch.1": s.KERNEL.patches[0],
                "kernel.patch.2": s.KERNEL.patches[1],
                "kernel.config": "base, kvm",
                "kernel.config_digest": "d" * 64,
                "kernel.toolchain": s.KERNEL.toolchain,
                "kernel.build_id": "e" * 40,
                "machine.accelerator": "tcg",
                "machine.accelerator_reason": s.MACHINE.accelerator_reason,
                "machine.qemu": s.MACHINE.qemu,
                "machine.guest": s.MACHINE.guest,
                "note.1": s.ALL.notes[0],
            }.items()
        )
        for test in s.ALL.tests:
            seed = test.seed if test.suite == suite.get("name") else None
            assert found.get(f"{test.name}.seed") == seed


def test_times() -> None:
    root = parse(s.ALL)
    assert [suite.get("time") for suite in root] == ["47.704", "1.004"]
    assert root.get("time") == "48.708"
    assert entry(root, "kvm:cpuid_test", "cpuid_test").get("time") == "0.251"
    assert entry(root, "kvm:fd_memory_test", "fd_memory.create").get("time") is None


def test_a_run_that_planned_nothing_is_an_error() -> None:
    (error,) = entry(parse(s.EMPTY), "harness", "run")
    assert (error.tag, error.get("message")) == ("error", "no test was planned")


def test_hostile_text_is_shown_and_escaped() -> None:
    data = junit.render(s.HOSTILE_RUN)
    text = data.decode("utf-8")
    assert all(char.isprintable() or char in "\n\t" for char in text)
    root = parse(s.HOSTILE_RUN)
    failure = next(root.iter("failure"))
    for part in (r"\x1b[2J", r"\x00", r"\udc80", r"\u202e", "<b>&amp;]]></b>", r"\ufffe"):
        assert part in (failure.text or "")
    assert "\r" not in (failure.text or "")


@given(st.text(st.characters()), st.sampled_from(Outcome))
def test_any_text_gives_a_report_that_can_be_read(text: str, outcome: Outcome) -> None:
    case = r.Case(name=text, outcome=outcome, reason=text, text=text)
    test = s.program("a_test", outcome, cases=(case,), reason=text, output=text, kernel_log=text)
    results = s.run(test, notes=(text,))
    root = parse(results)
    assert len(list(root.iter("testcase"))) == junit.count_testcases(results)


def test_big_texts_are_cut_in_the_middle() -> None:
    output = "first words\n" + "x" * 10_000_000 + "\nlast words"
    results = s.run(s.program("a_test", Outcome.FAIL, output=output, kernel_log=output))
    data = junit.render(results)
    assert len(data) < 2 * testcases.TEXT_LIMIT + 10_000
    failure = entry(parse(results), "kvm:a_test", "a_test")[0]
    text = failure.text or ""
    assert "first words" in text
    assert "last words" in text
    assert "[... 9984023 characters left out ...]" in text


def test_the_kernel_log_stands_once_in_a_program() -> None:
    failing = tuple(s.case("a_test", f"case_{n}", Outcome.FAIL, "why") for n in range(3))
    passing = (s.case("a_test", "first", Outcome.PASS), s.case("a_test", "left", Outcome.SKIP, "x"))
    for outcome, cases, own in (
        (Outcome.FAIL, (*passing, *failing), "case_0"),
        (Outcome.SPLAT, passing, "a_test"),
        (Outcome.CRASH, (*passing, *failing), "a_test"),
        (Outcome.CRASH, (), "a_test"),
    ):
        test = s.program("a_test", outcome, reason="why", cases=cases, kernel_log=s.WARNING)
        root = parse(s.run(test))
        told = [e.get("name") for e in root.iter("testcase") if "restricted_" in _text_of(e)]
        assert told == [own]
        for name in ("case_1", "case_2") if failing[0] in cases else ():
            assert "run it again: " in _text_of(entry(root, "kvm:a_test", name))


def _text_of(testcase: ET.Element) -> str:
    return "".join(child.text or "" for child in testcase)


def test_size_follows_what_the_cases_print() -> None:
    """A program may have 49,000 failing cases and a kernel's report as well."""
    sizes = []
    for number in (1000, 2000):
        cases = tuple(s.case("a_test", f"case_{n:05}", Outcome.FAIL, "why") for n in range(number))
        test = s.program("a_test", Outcome.FAIL, cases=cases, kernel_log=s.WARNING * 20)
        sizes.append(len(junit.render(s.run(test))))
    assert (sizes[1] - sizes[0]) / 1000 < 400


def test_ten_thousand_cases_take_less_than_two_seconds() -> None:
    results = s.many(10_000)
    start = time.process_time()
    data = junit.render(results)
    assert time.process_time() - start < 2
    assert data.count(b"<testcase ") == 10_000

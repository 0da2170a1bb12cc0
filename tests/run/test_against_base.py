# SPDX-License-Identifier: GPL-2.0-only
"""A run against a base: all reports say of each failure what the exit code says of it."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ExitCode
from harness.judge.sequential import MOST
from harness.model.changes import Kind
from harness.model.results import Results
from harness.report.console import print_summary
from harness.report.formats import FORMATS, View
from harness.run.reruns import Neighbours, Reruns
from tests.run.played import Play, PlayedExecutor, run

pytestmark = pytest.mark.unit

BOTH = "it fails on base as well"


def pair(out: Path, play: Play, programs: tuple[str, ...] = ("t",), **more: Any) -> Results:
    kernels = {"base": programs, "tip": programs}
    executor = PlayedExecutor(play, **more)
    return run(out, kernels, executor, Reruns(Neighbours("base", MOST)), base="base")


def ktap(**cases: bool) -> str:
    lines = [
        f"{'' if good else 'not '}ok {number} {name}\n"
        for number, (name, good) in enumerate(cases.items(), 1)
    ]
    return f"TAP version 13\n1..{len(cases)}\n" + "".join(lines)


def render(name: str, results: Results) -> str:
    return FORMATS[name].render(results, View("runs/latest")).decode()


def failed(results: Results) -> Mapping[str, str]:
    """Return the failures and errors of the JUnit report, by class and name."""
    return {
        f"{each.get('classname')}/{each.get('name')}": bad.get("type", "")
        for each in ET.fromstring(render("junit", results)).iter("testcase")  # noqa: S314  ours
        for bad in each
        if bad.tag in ("failure", "error")
    }


def skipped(results: Results) -> Mapping[str, str]:
    return {
        f"{each.get('classname')}/{each.get('name')}": bad.get("message", "")
        for each in ET.fromstring(render("junit", results)).iter("testcase")  # noqa: S314  ours
        for bad in each
        if bad.tag == "skipped"
    }


def on_console(results: Results) -> str:
    stream = io.StringIO()
    print_summary(results, stream)
    return stream.getvalue()


def test_what_fails_on_both_fails_no_report(tmp_path: Path) -> None:
    results = pair(tmp_path / "out", lambda *_: ktap(good=True, bad=False))
    assert results.exit_code is ExitCode.AS_EXPECTED
    assert failed(results) == {}
    assert skipped(results)["tip@s:t/bad"].startswith(f"{BOTH}: fail")
    assert skipped(results)["base@s:t/bad"].startswith("it belongs to the kernel that the other is")
    properties = {
        each.get("name"): each.get("value")
        for each in ET.fromstring(render("junit", results)).iter("property")  # noqa: S314  ours
    }
    assert properties["tip@s:t.excused"] == BOTH
    # Of the tip against the base, and not of both together.
    assert "NO REGRESSION (exit 0): 1 still failing, 1 same\n" in on_console(results)
    markdown = render("markdown", results)
    assert markdown.startswith("## ✅ NO REGRESSION (exit 0)")
    assert "| fail |" not in markdown
    assert "<details>" not in markdown
    mail = render("mail", results)
    assert "To reproduce:" not in mail
    assert "tip@s:t: fail; it fails on base as well" in mail
    sarif = json.loads(render("sarif", results))
    assert {each["level"] for each in sarif["runs"][0]["results"]} == {"note"}
    page = render("html", results)
    assert '<h1 id="verdict" class="good">NO REGRESSION' in page
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    for kernel in data["kernels"]:
        (test,) = kernel["tests"]
        assert (test["excused"], test["cases"]["excused"]) == (True, [1])
    kcidb = json.loads(render("kcidb", results))
    bad = {each["id"] for each in kcidb["tests"] if each["status"] == "FAIL"}
    # Each kernel has a failure, which is known.
    assert len(bad) == 4
    assert bad == {each["test_id"] for each in kcidb["incidents"]}
    assert {each["misc"].get("excused") for each in kcidb["tests"] if each["id"] in bad} >= {BOTH}


def test_what_fails_on_the_tip_alone_fails_all(tmp_path: Path) -> None:
    """One case is the series' fault, another is not, in the same program."""
    results = pair(tmp_path / "out", lambda kernel, *_: ktap(old=False, new=kernel == "base"))
    assert results.exit_code is ExitCode.NOT_AS_EXPECTED
    assert failed(results) == {"tip@s:t/new": "fail"}
    assert skipped(results)["tip@s:t/old"].startswith(BOTH)
    markdown = render("markdown", results)
    assert markdown.startswith("## ❌ WORSE THAN BASE (exit 1)")
    assert [line for line in markdown.splitlines() if line.startswith("| fail")] == [
        line for line in markdown.splitlines() if line.startswith("| fail | `tip@s:t`")
    ]
    evidence = markdown.partition("<details>")[2]
    assert "`new fail`" in evidence
    assert "`old fail`" not in evidence
    assert render("mail", results).count("To reproduce:") == 1
    sarif = json.loads(render("sarif", results))
    levels = {
        each["locations"][0]["logicalLocations"][0]["fullyQualifiedName"]: each["level"]
        for each in sarif["runs"][0]["results"]
    }
    assert levels == {"base@s:t": "note", "tip@s:t": "error"}
    assert '<h1 id="verdict" class="bad">WORSE' in render("html", results)


@pytest.mark.parametrize(
    ("play", "kind"),
    [
        (lambda *_: False, Kind.STILL_FAILING),
        (lambda kernel, *_: kernel == "tip", Kind.FIXED),
        (lambda kernel, *_: kernel == "base", Kind.REGRESSION),
        (
            lambda kernel, _, count: (count + (3 if kernel == "base" else 0)) % 8 != 0,
            Kind.UNSTABLE,
        ),
        (lambda kernel, *_: ktap(**{kernel: False, "same": True}), Kind.NEW_FAILURE),
        (lambda kernel, *_: ktap(one=kernel == "tip", two=kernel == "base"), Kind.REGRESSION),
        (lambda *_: True, Kind.SAME),
    ],
)
def test_reports_are_red_exactly_where_the_run_is(tmp_path: Path, play: Play, kind: Kind) -> None:
    results = pair(tmp_path / "out", play)
    assert results.against is not None
    assert kind in {each.kind for each in results.against.cases}
    red = results.exit_code is not ExitCode.AS_EXPECTED
    assert bool(failed(results)) is red
    assert ('<h1 id="verdict" class="bad">' in render("html", results)) is red
    assert ("## ❌" in render("markdown", results)) is red
    assert ("| outcome | test | why |" in render("markdown", results)) is red
    assert ("To reproduce:" in render("mail", results)) is red
    assert ('"level": "error"' in render("sarif", results)) is red
    kcidb = json.loads(render("kcidb", results))
    known = {each["test_id"] for each in kcidb.get("incidents", ())}
    blamed = [
        each
        for each in kcidb["tests"]
        if each["status"] in ("FAIL", "ERROR", "MISS") and each["id"] not in known
    ]
    assert bool(blamed) is red


@pytest.mark.parametrize("lost", [{"tip"}, {"base", "tip"}, {"base"}])
def test_kernels_that_do_not_boot(tmp_path: Path, lost: set[str]) -> None:
    """Of a base that cannot be asked nothing is known, so a failure on the tip is not excused."""
    results = pair(
        tmp_path / "out", lambda *_: "base" not in lost, ("t", "u"), no_guest=frozenset(lost)
    )
    assert results.exit_code is ExitCode.NOT_AS_EXPECTED
    assert failed(results)
    assert "NO REGRESSION" not in on_console(results)
    assert "## ❌" in render("markdown", results)

# SPDX-License-Identifier: GPL-2.0-only
"""Reports for KCIDB, held against the schema of kcidb-io itself."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kcidb_io.schema import LATEST

from harness.errors import ExitCode
from harness.model import results as r
from harness.outcome import Outcome
from harness.report import kcidb
from tests.report import samples as s

pytestmark = pytest.mark.unit


def report(*runs: r.Results, origin: str = "myci") -> Any:
    """Return the report about *runs*, which kcidb-io takes and nothing in it is left dangling."""
    named = {f"kernel {number}": run for number, run in enumerate(runs)}
    found = json.loads(kcidb.render(named, origin))
    LATEST.validate(found)
    assert LATEST.is_valid_exactly(found)
    ids = {
        name: [each["id"] for each in found.get(name, [])] for name in found if name != "version"
    }
    for each in ids.values():
        assert len(set(each)) == len(each)
    assert {each["checkout_id"] for each in found.get("builds", [])} <= set(ids["checkouts"])
    assert {each["build_id"] for each in found.get("tests", [])} <= set(ids["builds"])
    for each in found.get("incidents", []):
        assert each["issue_id"] in ids["issues"]
        assert each["test_id"] in ids["tests"]
    return found


def by_name(found: Any) -> dict[str, Any]:
    """Return the tests of a report by the names that the harness has for them."""
    return {each["comment"]: each for each in found["tests"]}


@pytest.mark.parametrize("sample", s.SAMPLES, ids=lambda sample: sample.name)
def test_kcidb_takes_it_and_every_test_and_case_is_there(sample: s.Sample) -> None:
    found = report(sample.results)
    wanted = sum(1 + len(test.cases) for test in sample.results.tests)
    own = [each for each in found.get("tests", []) if each["path"] != "harness.run"]
    assert len(own) == wanted
    bad = any(each["status"] not in ("PASS", "SKIP") for each in found.get("tests", []))
    assert bad == (sample.results.exit_code is not ExitCode.AS_EXPECTED)


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.PASS, "PASS"),
        (Outcome.SKIP, "SKIP"),
        (Outcome.XFAIL, "PASS"),
        (Outcome.XPASS, "FAIL"),
        (Outcome.FAIL, "FAIL"),
        (Outcome.TIMEOUT, "FAIL"),
        (Outcome.SPLAT, "FAIL"),
        (Outcome.CRASH, "FAIL"),
        (Outcome.NOTRUN, "MISS"),
        (Outcome.ERROR, "ERROR"),
    ],
)
def test_outcomes(outcome: Outcome, status: str) -> None:
    cases = (s.case("a_test", "one", outcome, "why"),)
    found = report(s.run(s.program("a_test", outcome, reason="why", cases=cases)))
    program, case = (by_name(found)[name] for name in ("kvm:a_test", "kvm:a_test/one"))
    for each in (program, case):
        assert (each["status"], each["misc"]["outcome"]) == (status, outcome)
        assert each["misc"]["reason"] == "why"
    assert (program["path"], case["path"]) == ("kvm.a_test", "kvm.a_test.one")
    assert program["misc"]["seed"] == "5a" * 32
    assert program["misc"]["rerun"] == "harness run kvm:a_test --seed=5a5a"
    known = [each["test_id"] for each in found.get("incidents", [])]
    assert known == ([program["id"], case["id"]] if outcome is Outcome.XFAIL else [])
    assert len(found.get("issues", [])) == (outcome is Outcome.XFAIL)


def test_the_checkout_and_the_build() -> None:
    found = report(s.POSTED)
    (checkout,), (build,) = found["checkouts"], found["builds"]
    lines = f"{'1' * 64}\n{'2' * 64}\n"
    assert checkout["patchset_hash"] == hashlib.sha256(lines.encode()).hexdigest()
    assert checkout["message_id"] == "20260701-v10-0@example.org"
    assert checkout["git_commit_hash"] == "a" * 40
    assert checkout["comment"].startswith("[PATCH v10 0/9]")
    assert build["log_excerpt"] == "mm/memfd.c:77:5: warning: unused variable 'x'"
    assert (build["status"], build["misc"]["warnings"]) == ("PASS", 1)


def test_evidence_is_in_the_excerpts() -> None:
    tests = by_name(report(s.ALL))
    assert (
        "Expected 0 (0) == ret (-1)"
        in tests["kvm:fd_memory_test/fd_memory.hole_punch"]["log_excerpt"]
    )
    assert "restricted_fallocate+0x31/0x80" in tests["kvm:state_test"]["log_excerpt"]
    long = s.run(s.program("a_test", Outcome.FAIL, output="\x1b" * 1_000_000))
    assert len(by_name(report(long))["kvm:a_test"]["log_excerpt"]) <= 16_384


def test_the_same_kernel_is_the_same_checkout_and_build() -> None:
    """In another run too; and a run that is rendered again has the same tests."""
    again = msgspec.structs.replace(s.POSTED, run="another")
    one, both = report(s.POSTED), report(s.POSTED, again)
    assert both["checkouts"] == one["checkouts"]
    assert both["builds"] == one["builds"]
    assert len(both["tests"]) == 2 * len(one["tests"])
    assert report(s.POSTED) == one
    other = msgspec.structs.replace(s.POSTED, kernel=s.KERNEL)
    assert len(report(s.POSTED, other)["checkouts"]) == 2


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters()), st.sampled_from(Outcome))
def test_any_text_can_be_sent(text: str, outcome: Outcome) -> None:
    case = r.Case(name=f"kvm:{text}/{text}", outcome=outcome, reason=text, text=text)
    test = s.program(text, outcome, suite=text, cases=(case,), reason=text, output=text)
    kernel = r.Kernel(
        release=text,
        source=text,
        base_commit=text,
        series=text,
        cover_mail=r.CoverMail(message_id=text, subject=text),
        warnings=(text,),
    )
    report(s.run(test, kernel=kernel))

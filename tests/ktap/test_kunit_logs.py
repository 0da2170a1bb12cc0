# SPDX-License-Identifier: GPL-2.0-only
"""The logs that the kernel tests its own reader with.  The counts are those of its own tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.ktap import Kind, Report, parse
from harness.outcome import Outcome

pytestmark = pytest.mark.unit

_PASSED = "test_is_test_passed-"
_EXPECTED: dict[str, tuple[str, int, int, int, int]] = {
    # log: (outcome, passed, failed, never finished, skipped), of the leaves
    "test_config_printk_time": ("pass", 10, 0, 0, 0),
    "test_interrupted_tap_output": ("pass", 10, 0, 0, 0),
    _PASSED + "all_passed": ("pass", 10, 0, 0, 0),
    _PASSED + "missing_plan": ("pass", 10, 0, 0, 0),
    "test_multiple_prefixes": ("pass", 10, 0, 0, 0),
    "test_output_with_prefix_isolated_correctly": ("pass", 10, 0, 0, 0),
    "test_pound_no_prefix": ("pass", 10, 0, 0, 0),
    "test_pound_sign": ("pass", 10, 0, 0, 0),
    _PASSED + "all_passed_nested": ("pass", 7, 0, 0, 0),
    _PASSED + "kselftest": ("pass", 4, 0, 0, 0),
    "test_output_isolated_correctly": ("pass", 2, 0, 0, 0),
    "test_strip_hyphen": ("pass", 2, 0, 0, 0),
    "test_parse_ktap_output": ("pass", 3, 0, 0, 0),
    "test_parse_subtest_header": ("pass", 1, 0, 0, 0),
    "test_skip_tests": ("pass", 4, 0, 0, 1),
    # Its parent says ok over a subtest that was announced and has no result.
    _PASSED + "no_tests_no_plan": ("fail", 0, 0, 1, 0),
    _PASSED + "failure": ("fail", 9, 1, 0, 0),
    "test_skip_all_tests": ("skip", 0, 0, 0, 5),
    _PASSED + "no_tests_run_with_header": ("notrun", 0, 0, 0, 0),
    "test_insufficient_memory": ("notrun", 0, 0, 0, 0),
    _PASSED + "no_tests_run_no_header": ("notrun", 0, 0, 0, 0),
    # The suite that the panic cut short is an error (it began), its two cases never ran.
    "test_kernel_panic_interrupt": ("error", 8, 0, 2, 0),
}


def _read(tree: Path, name: str) -> Report:
    return parse((tree / "tools/testing/kunit/test_data" / f"{name}.log").read_bytes())


@pytest.mark.parametrize("name", sorted(_EXPECTED))
def test_counts(linux_tree: Path, name: str) -> None:
    outcome, passed, failed, lost, skipped = _EXPECTED[name]
    report = _read(linux_tree, name)
    counts = report.counts()
    assert report.outcome == outcome
    assert counts[Outcome.PASS] == passed
    assert counts[Outcome.FAIL] == failed
    assert counts[Outcome.NOTRUN] + counts[Outcome.ERROR] == lost
    assert counts[Outcome.SKIP] == skipped
    assert counts.total() == passed + failed + lost + skipped


def test_every_log_is_expected(linux_tree: Path) -> None:
    logs = {p.stem for p in (linux_tree / "tools/testing/kunit/test_data").glob("*.log")}
    assert logs >= set(_EXPECTED)


def test_kselftest_top_level(linux_tree: Path) -> None:
    report = _read(linux_tree, _PASSED + "kselftest")
    top = [case for c in report.collections for case in c.cases]
    assert [case.outcome for case in top] == [Outcome.PASS, Outcome.PASS]
    assert [len(case.children) for case in top] == [2, 2]


def test_nothing_to_parse_is_not_ktap(linux_tree: Path) -> None:
    assert not _read(linux_tree, "test_insufficient_memory").is_ktap
    assert not _read(linux_tree, _PASSED + "no_tests_run_no_header").is_ktap
    with_header = _read(linux_tree, _PASSED + "no_tests_run_with_header")
    assert with_header.is_ktap
    assert not with_header.has_results


def test_empty_inner_case(linux_tree: Path) -> None:
    report = _read(linux_tree, _PASSED + "no_tests_no_plan")
    assert [case.path[-1] for case in report.walk()] == ["suite", "case", "test 1"]
    assert Kind.EMPTY_SUBTEST in {remark.kind for remark in report.diagnostics}

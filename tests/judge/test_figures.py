# SPDX-License-Identifier: GPL-2.0-only
"""Metrics of two runs: which of them are surely another."""

from __future__ import annotations

import io
import random

import pytest

from harness.judge.changes import changes
from harness.judge.figures import figures
from harness.model.metrics import Metric
from harness.model.results import Attempt, Results
from harness.outcome import Outcome
from harness.report.changes import told
from harness.report.console import print_lines
from tests.report import samples as s

pytestmark = pytest.mark.unit


def run(*values: float, unit: str = "ms", better: str = "less", **more: object) -> Results:
    """Return a run of a test with one metric, which had a value in each of its attempts."""
    exact = bool(more.pop("exact", False))
    metrics = [
        (Metric(name="m", value=value, unit=unit, better=better, by="test", exact=exact),)  # type: ignore[arg-type]
        for value in values
    ]
    attempts = tuple(Attempt(outcome=Outcome.PASS, metrics=each) for each in metrics)
    more |= {"metrics": metrics[0], "attempts": attempts if len(values) > 1 else ()}
    return s.run(s.program("p", Outcome.PASS, **more))  # type: ignore[arg-type]


def words(before: Results, after: Results) -> list[str]:
    return [each.word for each in figures(before, after)]


@pytest.mark.parametrize(
    ("unit", "better", "word"),
    [
        ("ms", "less", "slower"),
        ("MiB/s", "more", "faster"),
        ("instructions", "less", "slower"),
        ("MiB", "less", "worse"),
        ("pages", "more", "better"),
    ],
)
def test_what_is_another_has_a_word(unit: str, better: str, word: str) -> None:
    old, new = (1, 1.1, 1.05, 1, 1.2), (2, 2.1, 2.3, 2, 2.2)
    before, after = (run(*each, unit=unit, better=better) for each in (old, new))
    assert words(before, after) == [word]
    assert len(words(after, before)) == 1


def test_one_value_that_scatters_tells_nothing() -> None:
    assert words(run(1), run(9)) == []
    assert words(run(1, 1, 1, 1), run(9, 9, 9, 9)) == []


def test_values_that_overlap_or_hardly_differ_tell_nothing() -> None:
    assert words(run(1, 2, 3, 4, 5), run(5, 6, 7, 8, 9)) == []
    assert words(run(*[100.0] * 5), run(*[101.0] * 5)) == []


def test_an_exact_figure_needs_no_second_attempt() -> None:
    assert words(run(1000, exact=True), run(1020, exact=True)) == ["slower"]
    assert words(run(1000, exact=True), run(1005, exact=True)) == []


def test_what_is_neither_better_nor_worse_and_other_machines_are_left_out() -> None:
    assert words(run(1, better="", exact=True), run(9, better="", exact=True)) == []
    kvm = run(9, exact=True, accelerator="kvm")
    assert words(run(1, exact=True, accelerator="tcg"), kvm) == []
    assert words(run(1, exact=True, unit="ms"), run(9, exact=True, unit="us")) == []


def test_where_nothing_differs_hardly_ever_a_figure_does() -> None:
    chance = random.Random(11)  # noqa: S311  nothing secret
    wrong = 0
    for _ in range(1000):
        values = [[chance.gauss(100, 30) for _ in range(5)] for _ in range(2)]
        wrong += bool(words(run(*values[0]), run(*values[1])))
    assert wrong <= 10 + 10


def test_a_slower_metric_is_listed_and_is_no_regression() -> None:
    found = changes(run(1000, exact=True), run(2000, exact=True))
    assert not found.worse
    stream = io.StringIO()
    print_lines(told(found), stream)
    assert "kvm:p is slower: m 1,000, then 2,000 ms (+100.0%)" in stream.getvalue()

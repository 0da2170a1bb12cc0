# SPDX-License-Identifier: GPL-2.0-only
"""Variants held against the first: figures, differences, and who may be ranked at all."""

from __future__ import annotations

import io

import msgspec
import pytest

from harness.judge import interval
from harness.judge.variants import Comparison, Figure, Size, compare_variants
from harness.model import results as r
from harness.model.cost import FunctionCost
from harness.model.metrics import Better, Metric
from harness.outcome import Outcome
from harness.report.console import print_lines
from harness.report.variants import markdown, page, told

pytestmark = pytest.mark.unit

KERNEL = r.Kernel(release="6.1.0", source="s", base_commit="c")


def results(
    *values: float,
    outcome: Outcome = Outcome.PASS,
    exact: bool = True,
    better: Better = "less",
    accelerator: str = "tcg",
    functions: tuple[FunctionCost, ...] = (),
) -> r.Results:
    """Return results with one test that has the metric m once for each of *values*."""
    metrics = [
        (Metric(name="m", value=value, unit="calls", better=better, exact=exact),)
        for value in values
    ]
    test = r.Test(
        name="s:p",
        suite="s",
        program="p",
        outcome=outcome,
        metrics=metrics[0] if metrics else (),
        accelerator=accelerator,
        functions=functions,
        attempts=tuple(r.Attempt(outcome=outcome, metrics=each) for each in metrics)
        if len(values) > 1
        else (),
    )
    return r.Results(run="r", started="", kernel=KERNEL, machine=r.Machine(), tests=(test,))


def figures(found: Comparison) -> list[Figure | None]:
    (row,) = found.rows
    return list(row.figures)


def compared(*each: r.Results, metric: str = "m", **failed: str) -> Comparison:
    named = {f"v{number}": one for number, one in enumerate(each)}
    return compare_variants(named, [metric], {"v1": Size(1, 2, 30, 4)}, failed)


def screen(found: Comparison) -> str:
    stream = io.StringIO()
    print_lines(told(found), stream)
    return stream.getvalue()


def test_differences_are_those_to_the_first() -> None:
    first, less, more = figures(compared(results(1000), results(900), results(1010)))
    assert first is not None
    assert less is not None
    assert more is not None
    assert (first.difference, first.percent) == (None, None)
    assert less.difference == -100
    assert less.percent == pytest.approx(-10)
    assert more.difference == 10
    assert more.percent == pytest.approx(1)
    assert [each.rank for each in (first, less, more)] == [2, 1, 3]
    assert less.low is None


@pytest.mark.parametrize("better", ["less", "more", ""])
def test_what_is_better_is_the_metrics_to_say(better: Better) -> None:
    found = figures(compared(*(results(value, better=better) for value in (1, 2, 2, 3))))
    ranks = {"less": [1, 2, 2, 4], "more": [4, 2, 2, 1], "": [None] * 4}[better]
    assert [each.rank if each else None for each in found] == ranks


@pytest.mark.parametrize("outcome", [each for each in Outcome if each not in ("pass", "skip")])
def test_what_is_wrong_is_not_ranked_whether_that_was_expected_or_not(outcome: Outcome) -> None:
    found = compared(results(1000), results(1, outcome=outcome), results(2000))
    assert [each.rank if each else None for each in figures(found)] == [1, None, 2]
    assert found.variants[1].wrong == ("s:p",)
    assert not found.all_right
    said = screen(found)
    assert "v1       2 files, +30 -4  fails 1: s:p" in said
    assert "not ranked" in said
    assert "fails 1: s:p" in markdown(found)
    assert "fails 1: s:p" in page(found, {})


def test_what_was_not_built_is_a_row_with_the_reason() -> None:
    broken = results(outcome=Outcome.ERROR)
    found = compared(results(10), broken, results(20), v1="the kernel does not compile: mm/a.c:1")
    assert [each is None for each in figures(found)] == [False, True, False]
    assert found.variants[1].reason.startswith("the kernel does not compile")
    assert not found.variants[1].wrong
    for text in (screen(found), markdown(found), page(found, {})):
        assert "not built: the kernel does not compile: mm/a.c:1" in text
        assert "20 (+100.00 %)" in text


def test_figures_of_other_accelerators_are_not_compared() -> None:
    first, other = figures(compared(results(10), results(20, accelerator="kvm")))
    assert first is not None
    assert other is not None
    assert other.percent is None
    assert other.note == "under kvm, and the first under tcg"


def test_a_figure_that_claims_to_be_exact_and_is_not_is_told() -> None:
    _, other = figures(compared(results(10), results(20, 21)))
    assert other is not None
    assert not other.exact
    assert "not the same each time" in other.note


def test_functions_are_compared_where_they_were_counted() -> None:
    before = results(1, functions=(FunctionCost("f", 10, 30, 2),))
    after = results(1, functions=(FunctionCost("g", 1, 1, 1),))
    for metric, value in (("own:f", 10), ("total:f", 30), ("calls:f", 2)):
        first, other = figures(compared(before, after, metric=metric))
        assert first is not None
        assert other is not None
        assert (first.value, other.value) == (value, 0)


@pytest.mark.parametrize("metric", ["own:g", "total:g", "calls:g"])
def test_a_function_that_no_test_has_entered_has_no_figure(metric: str) -> None:
    """0 on each of the kernels would look like a result, and its name may be wrong."""
    counted = results(1, functions=(FunctionCost("f", 10, 30, 2),))
    found = compared(counted, counted, metric=metric)
    assert not found.rows
    assert "no test has entered the function 'g' in any of the kernels" in screen(found)


def test_what_was_skipped_is_neither_right_nor_ranked() -> None:
    found = compared(results(10), results(1, outcome=Outcome.SKIP), results(5))
    first, skipped, last = figures(found)
    assert first is not None
    assert skipped is not None
    assert last is not None
    assert [first.rank, skipped.rank, last.rank] == [2, None, 1]
    assert skipped.note == "skipped"
    assert not found.variants[1].right
    assert not found.all_right
    for text in (screen(found), markdown(found), page(found, {})):
        assert "passes 0, skips 1: s:p" in text


def test_a_case_that_was_skipped_is_named_beside_what_passes() -> None:
    one = results(10)
    cases = (
        r.Case(name="s:p/a", outcome=Outcome.PASS),
        r.Case(name="s:p/b", outcome=Outcome.SKIP),
    )
    test = msgspec.structs.replace(one.tests[0], cases=cases)
    partly = msgspec.structs.replace(one, tests=(test,))
    found = compared(one, partly)
    assert found.variants[1].right
    assert [each.rank if each else None for each in figures(found)] == [1, 1]
    assert "passes 1, skips 1: s:p/b" in screen(found)


def test_a_variant_without_any_test_passes_nothing() -> None:
    nothing = msgspec.structs.replace(results(1), tests=())
    found = compared(results(1), nothing)
    assert not found.all_right
    assert "nothing tried" in screen(found)


def test_a_metric_that_no_test_has_is_told() -> None:
    found = compared(results(1), results(2), metric="gone")
    assert not found.rows
    assert "no test has the metric 'gone'" in screen(found)


def test_without_many_figures_that_scatter_there_is_no_interval() -> None:
    assert interval.interval([1.0] * 4, [2.0] * 9) is None


def test_variants_of_several_compilers_say_so() -> None:
    def built(tools: str) -> r.Results:
        kernel = msgspec.structs.replace(KERNEL, toolchain=tools)
        return msgspec.structs.replace(results(1), kernel=kernel)

    assert compared(built("gcc 12; ld 2; a"), built("gcc 12; ld 2; a")).notes == ()
    found = compared(built("gcc 12; ld 2; a"), built("gcc 11; ld 2; b"))
    assert found.notes == ("v0 is compiled with gcc 12", "v1 is compiled with gcc 11")
    found = compared(built("gcc 12; ld 2; a"), built("gcc 12; ld 2; b"))
    assert [note[-1] for note in found.notes] == ["a", "b"]

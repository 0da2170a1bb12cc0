# SPDX-License-Identifier: GPL-2.0-only
"""Compare variants of a kernel with the first one: the cost of each, and whether it works.

A variant that is wrong is ranked nowhere, however cheap it is.  A known failure is no less wrong
here: what is compared is what a kernel does, not what is expected of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

import msgspec

from harness.judge.interval import interval
from harness.model.ids import KernelName
from harness.model.metrics import Better, Metric, named
from harness.model.plan import ALL
from harness.model.results import Results, Test
from harness.outcome import Outcome

OF_FUNCTIONS = ("own", "total", "calls")
"""What can be asked of a function of the kernel: ``calls:compaction_alloc``."""
_RIGHT = (Outcome.PASS, Outcome.SKIP)


class Size(msgspec.Struct, frozen=True):
    """How large the patches are that only one variant has."""

    patches: int = 0
    files: int = 0
    added: int = 0
    removed: int = 0


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One kernel of the comparison."""

    name: KernelName
    reason: str = ""
    """Why there is no such kernel; empty where it was built."""
    wrong: tuple[str, ...] = ()
    """Tests, and cases, that do not pass on it, whether that was expected or not."""
    skipped: tuple[str, ...] = ()
    """Tests, and cases, that were not tried on it: of these nothing is known."""
    passed: int = 0
    """How many of them pass."""
    size: Size = Size()

    @property
    def right(self) -> bool:
        """Whether something passes and nothing is wrong, so that its figures mean something."""
        return not self.reason and not self.wrong and self.passed > 0


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of a test on one variant."""

    value: float
    """The median, of several."""
    count: int = 1
    exact: bool = False
    """Whether it is the same each time."""
    difference: float | None = None
    """To the first variant; None for that one, and where there is nothing to compare with."""
    percent: float | None = None
    low: float | None = None
    """What the difference in per cent is, with 95 % confidence, at least."""
    high: float | None = None
    rank: int | None = None
    """1 is the best of those that are right; None where it is not ranked."""
    note: str = ""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of a test on all variants."""

    test: str
    metric: str
    unit: str
    better: Better = ""
    figures: tuple[Figure | None, ...]
    """One for each variant; None where it has none."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The complete comparison."""

    variants: tuple[Variant, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def all_right(self) -> bool:
        """Whether each variant was built and passes all tests."""
        return all(variant.right for variant in self.variants)


def compare_variants(
    each: Mapping[KernelName, Results],
    metrics: Sequence[str],
    sizes: Mapping[KernelName, Size],
    failed: Mapping[KernelName, str],
) -> Comparison:
    """Return the comparison of the kernels; *failed* has the reasons why some are missing."""
    variants = tuple(
        Variant(name=name, reason=failed[name], size=sizes.get(name, Size()))
        if name in failed
        else _variant(name, results, sizes.get(name, Size()))
        for name, results in each.items()
    )
    tests = {
        name: {test.name: test for test in results.tests if test.program != ALL}
        for name, results in each.items()
    }
    order = dict.fromkeys(name for found in tests.values() for name in found)
    rows = []
    for test in order:
        of_test = [tests[variant.name].get(test) for variant in variants]
        for metric in metrics:
            row = _row(test, metric, of_test, variants)
            if row is not None:
                rows.append(row)
    found = {row.metric for row in rows}
    missing = (_missing(metric) for metric in metrics if metric not in found)
    return Comparison(variants=variants, rows=tuple(rows), notes=(*_compilers(each), *missing))


def _compilers(each: Mapping[KernelName, Results]) -> Iterator[str]:
    """Yield what compiled each kernel, where it was not the same for all."""
    tools = {name: results.kernel.toolchain for name, results in each.items()}
    if len({tool for tool in tools.values() if tool}) < 2:
        return
    compilers = {name: tool.partition(";")[0] for name, tool in tools.items()}
    # A wrapper that adds options has the name of what it wraps; the rest tells them apart.
    shown = compilers if len(set(compilers.values())) > 1 else tools
    for name, tool in shown.items():
        yield f"{name} is compiled with {tool or 'an unknown compiler'}"


def _variant(name: KernelName, results: Results, size: Size) -> Variant:
    wrong: list[str] = []
    skipped: list[str] = []
    passed = 0
    for test in results.tests:
        bad = [case.name for case in test.cases if case.outcome not in _RIGHT]
        if not bad and test.outcome not in _RIGHT:
            bad = [test.name]
        parts = [(case.name, case.outcome) for case in test.cases] or [(test.name, test.outcome)]
        wrong += bad
        skipped += [part for part, outcome in parts if outcome is Outcome.SKIP]
        passed += sum(outcome is Outcome.PASS for _, outcome in parts)
    return Variant(name=name, wrong=tuple(wrong), skipped=tuple(skipped), passed=passed, size=size)


def _missing(metric: str) -> str:
    """Return what to say of a metric that no test has."""
    kind, colon, function = metric.partition(":")
    if colon and kind in OF_FUNCTIONS:
        return f"no test has entered the function '{function}' in any of the kernels"
    return f"no test has the metric '{metric}'"


def values(test: Test, name: str) -> list[Metric]:
    """Return the metric of that *name* in each attempt at *test* that has it."""
    kind, colon, function = name.partition(":")
    if colon and kind in OF_FUNCTIONS:
        found = next((each for each in test.functions if each.name == function), None)
        if not test.functions:
            return []
        value = getattr(found, kind) if found else 0
        unit = "calls" if kind == "calls" else "instructions"
        return [Metric(name=name, value=value, unit=unit, better="less", by="qemu", exact=True)]
    attempts = [each.metrics for each in test.attempts] or [test.metrics]
    return [metric for each in attempts if (metric := named(each, name)) is not None]


def _row(
    test: str, name: str, of_test: Sequence[Test | None], variants: Sequence[Variant]
) -> Row | None:
    kind, colon, function = name.partition(":")
    if (
        colon
        and kind in OF_FUNCTIONS
        and not any(each.name == function for test in of_test if test for each in test.functions)
    ):
        return None  # 0 everywhere would hide that its name is wrong
    found = [values(each, name) if each else [] for each in of_test]
    first = next((metrics[0] for metrics in found if metrics), None)
    if first is None:
        return None
    base = of_test[0]
    figures = [
        _figure(metrics, found[0], each, base) if metrics else None
        for metrics, each in zip(found, of_test, strict=True)
    ]
    ranked = sorted(
        (
            number
            for number, figure in enumerate(figures)
            if figure is not None and first.better and _counts(variants[number], of_test[number])
        ),
        key=lambda number: _order(figures[number], first.better),
    )
    for number in ranked:
        figure = figures[number]
        assert figure is not None  # noqa: S101  chosen by that
        better = [
            other
            for other in ranked
            if _order(figures[other], first.better) < _order(figure, first.better)
        ]
        figures[number] = msgspec.structs.replace(figure, rank=len(better) + 1)
    return Row(test=test, metric=name, unit=first.unit, better=first.better, figures=tuple(figures))


def _counts(variant: Variant, test: Test | None) -> bool:
    """Return whether a figure of *test* is ranked: all else is right, and it was not skipped."""
    return variant.right and test is not None and test.outcome is Outcome.PASS


def _order(figure: Figure | None, better: Better) -> float:
    assert figure is not None  # noqa: S101  the caller's condition
    return figure.value if better == "less" else -figure.value


def _figure(
    metrics: Sequence[Metric], base: Sequence[Metric], test: Test | None, first: Test | None
) -> Figure:
    mine = [float(metric.value) for metric in metrics]
    exact = all(metric.exact for metric in metrics)
    figure = Figure(value=median(mine), count=len(mine), exact=exact)
    if exact and len(set(mine)) > 1:
        note = f"not the same each time: {min(mine):,.0f} to {max(mine):,.0f}"
        figure = msgspec.structs.replace(figure, exact=False, note=note)
    if test is not None and test.outcome is Outcome.SKIP:
        figure = msgspec.structs.replace(figure, note="skipped")
    if metrics is base or not base:
        return figure
    if test and first and test.accelerator != first.accelerator:
        # An instruction of one is no instruction of the other, nor is a second.
        note = f"under {test.accelerator}, and the first under {first.accelerator}"
        return msgspec.structs.replace(figure, note=note)
    if metrics[0].unit != base[0].unit:
        return msgspec.structs.replace(figure, note=f"in {metrics[0].unit}")
    theirs = [float(metric.value) for metric in base]
    before = median(theirs)
    difference = figure.value - before
    percent = 100 * difference / before if before else None
    low, high = None, None
    if not figure.exact and before:
        found = interval(theirs, mine)
        low, high = found if found else (None, None)
    return msgspec.structs.replace(
        figure, difference=difference, percent=percent, low=low, high=high
    )

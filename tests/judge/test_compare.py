# SPDX-License-Identifier: GPL-2.0-only
"""Results of several kernels held against each other: who broke what, and who mended it."""

from __future__ import annotations

import io
import time
from pathlib import Path

import msgspec
import pytest

from harness.errors import ExitCode
from harness.judge.compare import Change, compare
from harness.judge.merge import merged, split
from harness.judge.unstable import first_bad, first_bad_cases, open_between
from harness.model.results import Attempt, Case, Kernel, Machine, Results, Test
from harness.outcome import Outcome
from harness.report.console import print_summary
from harness.report.terminal import Terminal
from harness.run.job import read_results
from tests.matrixrun import Posted, write_matrix

pytestmark = pytest.mark.unit

WORDS = {
    ".": Outcome.PASS,
    "x": Outcome.XFAIL,
    "-": Outcome.SKIP,
    "F": Outcome.FAIL,
    "C": Outcome.CRASH,
    "N": Outcome.NOTRUN,
}


def result(program: str, outcome: Outcome) -> Test:
    reason = "" if outcome is Outcome.PASS else f"why {program} is {outcome}"
    name = f"s:{program}"
    rerun = f"harness run -k {name}"
    return Test(name=name, suite="s", program=program, outcome=outcome, reason=reason, rerun=rerun)


def run(**rows: str) -> dict[str, Results]:
    """Return the results of kernels ``base``, ``1``, ``2``…; *rows* has an outcome for each."""
    count = len(next(iter(rows.values())))
    return {
        name: Results(
            run="r",
            started="2026-07-01T03:00:00.000Z",
            ended="2026-07-01T03:01:00.000Z",
            kernel=Kernel(
                release="6.1.0",
                source="s",
                base_commit="c",
                patches=tuple(f"mm: Patch {n + 1}" for n in range(number)),
            ),
            machine=Machine(),
            tests=tuple(
                result(program, WORDS[row[number]])
                for program, row in rows.items()
                if row[number] != " "
            ),
        )
        for number in range(count)
        for name in ["base" if number == 0 else str(number)]
    }


@pytest.mark.parametrize(
    ("row", "steps"),
    [
        ("....", []),
        ("..FF", [("2", Change.BREAKS)]),
        (".F..", [("1", Change.BREAKS), ("2", Change.MENDS)]),
        ("FF..", [("2", Change.MENDS)]),
        ("FFCC", [("2", Change.OTHER)]),
        ("--..", [("2", Change.BRINGS)]),
        ("--xx", [("2", Change.BRINGS)]),
        ("--F.", [("2", Change.BREAKS), ("3", Change.MENDS)]),
        ("..--", [("2", Change.LOSES)]),
        ("..  ", [("2", Change.LOSES)]),
        ("..xx", []),
        # What was not run is not known to be another way.
        (".N.F", [("3", Change.BREAKS)]),
        (".NNF", [("3", Change.BREAKS)]),
        ("NF..", [("2", Change.MENDS)]),
        (".N..", []),
        ("...N", []),
        ("N...", []),
    ],
)
def test_who_changed_what(row: str, steps: list[tuple[str, Change]]) -> None:
    (found,) = compare(run(a=row)).rows
    assert [(step.kernel, step.change) for step in found.steps] == steps


@pytest.mark.parametrize(
    ("row", "bad"), [("F...", True), ("....", False), ("-...", False), (".F..", False)]
)
def test_what_was_bad_before_is_not_the_series(row: str, bad: bool) -> None:
    assert compare(run(a=row)).rows[0].always_bad is bad


def test_where_the_kernel_before_was_not_tested_no_single_patch_is_named() -> None:
    stream = io.StringIO()
    print_summary(merged(run(one="..F.", gap=".NNF", never="...N")), stream)
    text = stream.getvalue()
    assert "patch 2, 'mm: Patch 2', breaks s:one" in text
    assert "one of patches 1 to 3 breaks s:gap: pass, then fail" in text
    assert "breaks s:never" not in text
    # A matrix over a part of the patches leaves out the same.
    each = run(a="..F")
    stream = io.StringIO()
    print_summary(merged({"base": each["base"], "4": each["1"], "9": each["2"]}), stream)
    assert "one of patches 5 to 9 breaks s:a: pass, then fail" in stream.getvalue()


def test_what_one_patch_breaks_and_another_mends_is_not_bisectable() -> None:
    (row,) = compare(run(a="..FC..")).rows
    assert row.mended is not None
    assert [step.kernel for step in row.mended] == ["2", "4"]
    assert compare(run(a="..FF")).rows[0].mended is None


def test_a_kernel_without_tests_stands_for_all_of_its_suites() -> None:
    each = run(a="...", b="---")
    broken = result("*", Outcome.ERROR)
    each["1"] = msgspec.structs.replace(each["1"], tests=(broken,))
    rows = {row.test: row for row in compare(each).rows}
    assert set(rows) == {"s:a", "s:b"}
    assert [step.change for step in rows["s:a"].steps] == [Change.BREAKS, Change.MENDS]


def test_a_test_of_many_cases_takes_time_for_each_of_them_once() -> None:
    many = 30_000

    def whole(*bad: int) -> Test:
        cases = tuple(
            Case(name=f"s:t/{n}", outcome=Outcome.FAIL if n in bad else Outcome.PASS)
            for n in range(many)
        )
        return msgspec.structs.replace(result("t", Outcome.FAIL), cases=cases)

    base = run(t="F")["base"]
    each = {
        "base": msgspec.structs.replace(base, tests=(whole(5, 6),)),
        "1": msgspec.structs.replace(base, tests=(whole(5, 7),)),
    }
    start = time.process_time()
    (step,) = compare(each).of("1")
    assert (step.change, step.cases) == (Change.OTHER, ("7",))
    assert open_between(each["base"].tests[0], each["1"].tests[0])
    # As long as one look at all cases for each of them would be minutes.
    assert time.process_time() - start < 5


def test_all_bad_cases_are_those_that_are_bad_one_by_one() -> None:
    cases = tuple(
        Case(name=f"s:t/{name}", outcome=outcome)
        for name, outcome in (("a", Outcome.PASS), ("b", Outcome.FAIL), ("c", Outcome.XFAIL))
    )
    attempts = (
        Attempt(outcome=Outcome.PASS),
        Attempt(outcome=Outcome.FAIL, failed=("c",)),
        Attempt(outcome=Outcome.FAIL, failed=("a", "gone")),
    )
    for reruns in (0, 1, 2, 3):
        test = msgspec.structs.replace(
            result("t", Outcome.FAIL), cases=cases, attempts=attempts[: reruns or 1], reruns=reruns
        )
        names = ("", "a", "b", "c", "gone")
        one_by_one = {name for name in names if first_bad(test, name)}
        assert first_bad_cases(test) == one_by_one


@pytest.mark.parametrize(
    ("row", "steps"),
    [
        ("FBF", []),
        ("FBBF", []),
        (".B.", [("1", Change.BREAKS), ("2", Change.MENDS)]),
        (".BF", [("1", Change.BREAKS), ("2", Change.BREAKS)]),
        ("-BF", [("1", Change.BREAKS), ("2", Change.BREAKS)]),
        ("FB.", [("2", Change.MENDS)]),
        ("B.F", [("1", Change.MENDS), ("2", Change.BREAKS)]),
    ],
)
def test_a_kernel_that_does_not_build_changes_no_failure(
    row: str, steps: list[tuple[str, Change]], tmp_path: Path
) -> None:
    """Between two kernels that fail alike, it has nothing to do with how they do."""
    patches = [Posted(f"mm: Patch {number}") for number in range(1, len(row))]
    rows = {"s:t": row, "s:other": "".join("B" if each == "B" else "." for each in row)}
    each = split(read_results(write_matrix(tmp_path / "run", patches, rows)))
    (found,) = (found for found in compare(each).rows if found.test == "s:t")
    told = [(step.kernel, step.change) for step in found.steps if step.change is not Change.OTHER]
    assert told == steps
    if row.strip("FB") == "":
        assert all(step.after and step.after.program == "*" for step in found.steps)


def test_several_results_in_one_and_back() -> None:
    each = run(a=".F.", b="-..")
    whole = merged(each)
    assert [test.name for test in whole.tests] == [
        f"{kernel}@s:{program}" for kernel in ("base", "1", "2") for program in ("a", "b")
    ]
    assert whole.exit_code is ExitCode.NOT_AS_EXPECTED
    assert split(whole) == each
    only = {"": each["1"]}
    assert merged(only) == each["1"]
    assert split(each["1"]) == only


def test_the_guilty_patch_is_named_in_one_line_with_the_command() -> None:
    stream = io.StringIO()
    print_summary(merged(run(good="...", guilty="..F", old="FFF", gap=".F.")), stream)
    text = stream.getvalue()
    assert "patch 2, 'mm: Patch 2', breaks s:guilty: pass, then fail" in text
    assert "why guilty is fail" in text
    assert "run again: harness run -k s:guilty" in text
    assert "Not as expected on base already" in text
    assert "s:old" in text.partition("Not as expected on base already")[2]
    assert "Not bisectable: s:gap broken by 1 and mended by 2" in text
    lines = text.splitlines()
    assert any(line.split() == ["s:guilty", ".", ".", "F"] for line in lines)


@pytest.mark.parametrize("width", [60, 80, 120, 240])
@pytest.mark.parametrize("patches", [3, 10, 64])
def test_the_table_is_within_the_terminal(width: int, patches: int) -> None:
    """Kernels that do not fit stand in a table below; no row is broken."""
    row = ("F.-x" * patches)[: patches + 1]
    each = run(short="." * (patches + 1), of_a_length_that_some_tests_have_in_the_kernel=row)
    stream = io.StringIO()
    print_summary(merged(each), stream, terminal=Terminal(False, False, False, width))
    said = stream.getvalue()
    head, _, rest = said.partition("\n\n")
    assert head.startswith("Kernels base, 1 to" if patches > 3 else "Kernels base, 1, 2, 3 of")
    tables, _, rest = rest.partition("\n\n. pass")
    legend = " ".join(rest.partition("\n\n")[0].split())
    # What the table does not have is not explained.
    assert legend.startswith("x failed as expected - skipped or not there F fail")
    assert "crash" not in legend
    kernels, letters = [], []
    for table in tables.split("\n\n"):
        lines = table.splitlines()
        assert len(lines) == 3
        assert max(map(len, lines)) <= width
        kernels += lines[0].split()[1:]
        letters += lines[2].split()[1:]
    assert kernels == list(each)
    assert "".join(letters) == row


def test_a_new_warning_is_named_at_the_patch_that_brings_it() -> None:
    each = run(a="....")
    old = "mm/a.c:7:3: warning: old"
    said = {
        "base": (old,),
        "1": ("mm/a.c:9:3: warning: old",),
        "2": ("mm/a.c:9:3: warning: old", "mm/a.c:11: warning: unused variable 'planted'"),
        "3": ("mm/a.c:12: warning: unused variable 'planted'",),
    }
    for name, warnings in said.items():
        kernel = msgspec.structs.replace(each[name].kernel, warnings=warnings)
        each[name] = msgspec.structs.replace(each[name], kernel=kernel)
    stream = io.StringIO()
    print_summary(merged(each), stream)
    text = stream.getvalue()
    assert "patch 2, 'mm: Patch 2', builds with 1 new warning:" in text
    assert "mm/a.c:11: warning: unused variable 'planted'" in text
    assert text.count("new warning") == 1
    assert "warning: old" not in text

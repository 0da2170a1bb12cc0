# SPDX-License-Identifier: GPL-2.0-only
"""The suites on the stacks and on parts of v10, and faults that they have to notice."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import msgspec
import pytest

from harness import project
from harness.context import Context
from harness.errors import ExitCode
from harness.judge import merge, verdict
from harness.model import results
from harness.model.ids import ONLY
from harness.model.records import RunPlanned, RunStarted, of_kernel
from harness.model.results import Results
from harness.outcome import Outcome
from harness.progress import Quiet
from harness.run import journal
from harness.store import Store
from tests.conftest import PROJECT_FILE
from tests.v10 import breaks, coverage, schemata
from tests.v10.conftest import Directories, Runs
from tests.v10.tags import LAST_PATCH, REPOSITORY, SELFTESTS, SUITES, all_tests, rules

pytestmark = [pytest.mark.kernel, pytest.mark.long(100)]


SAMPLE = (
    "restrictedmem:size_test",
    "restrictedmem:fstat_test",
    "kvm_private_memory:drop_caches_test",
    "kvm_private_memory:hole_outside_test",
    "kvm_private_memory:memslot_test",
    "kvm_private_memory:modify_test",
    "kvm_private_memory:poison_test",
    "kvm_private_memory:punch_test",
    "kvm_private_memory:race_create_test",
    "restrictedmem_migration:frames_test",
)
"""Programs that take seconds, of each suite; of defects of v10 those that show each time."""
_SAMPLE_OR_ALL = pytest.mark.parametrize(
    "programs",
    [
        pytest.param(SAMPLE, id="sample"),
        pytest.param(
            tuple(sorted({each.test for each in all_tests()})), marks=pytest.mark.proof, id="all"
        ),
    ],
)


def _options(stack: str, programs: tuple[str, ...]) -> tuple[str, ...]:
    """Return the options that run *programs* on *stack*: none but the stack for all of them."""
    return (stack, "-k", " or ".join(programs)) if programs == SAMPLE else (stack,)


@pytest.mark.proof
def test_the_coverage_is_what_the_document_says(run_stack: Runs) -> None:
    runs = [run_stack(stack) for stack in coverage.STACKS]
    said = coverage.render(rules(), all_tests(), runs)
    assert coverage.DOCUMENT.read_text() == said


def test_the_sample_ends_as_the_document_says(run_stack: Runs) -> None:
    runs = [run_stack(*_options(stack, SAMPLE)) for stack in coverage.STACKS]
    document = coverage.outcomes()
    tests = [each for each in all_tests() if each.test in SAMPLE]
    said = {str(each): tuple(coverage.shown(each, run) for run in runs) for each in tests}
    assert said == {str(each): document[str(each)] for each in tests}


def test_the_sample_has_what_passes_and_what_fails_on_v10_of_each_suite() -> None:
    ends = {
        (each.suite, coverage.outcomes()[str(each)][0])
        for each in all_tests()
        if each.test in SAMPLE
    }
    assert ends == {(suite, end) for suite in SUITES for end in ("pass", "xfail")}


@_SAMPLE_OR_ALL
def test_v10_ends_as_its_expectations_say(run_stack: Runs, programs: tuple[str, ...]) -> None:
    said = run_stack(*_options("v10+test-vm", programs))
    assert said.exit_code is ExitCode.AS_EXPECTED
    assert {test.name for test in said.tests} == set(programs)


@_SAMPLE_OR_ALL
def test_v10_ends_as_its_expectations_say_in_two_years(
    run_directory: Directories, programs: tuple[str, ...]
) -> None:
    """The same run, judged as if it had begun 731 days later."""
    records = journal.read(run_directory(*_options("v10+test-vm", programs)))
    later = [
        msgspec.structs.replace(
            each, time=(datetime.fromisoformat(each.time) + timedelta(days=731)).isoformat()
        )
        if isinstance(each, RunPlanned)
        else each
        for each in records
    ]
    assert (
        verdict.day_of(next(r for r in of_kernel(later, ONLY) if isinstance(r, RunStarted))).year
        >= 2028
    )
    assert verdict.results(later).exit_code is ExitCode.AS_EXPECTED


@_SAMPLE_OR_ALL
def test_v11_passes_without_expectations(run_stack: Runs, programs: tuple[str, ...]) -> None:
    said = run_stack(*_options("v11", programs))
    assert said.exit_code is ExitCode.AS_EXPECTED
    assert set(said.counts) <= {Outcome.PASS, Outcome.SKIP}
    assert set(said.case_counts) <= {Outcome.PASS, Outcome.SKIP}
    for name in SUITES:
        file = SELFTESTS / name / "expectations.toml"
        assert not file.exists() or '"v11"' not in file.read_text()


@_SAMPLE_OR_ALL
def test_every_tagged_test_is_reported_and_no_other(
    run_stack: Runs, programs: tuple[str, ...]
) -> None:
    said = run_stack(*_options("v11", programs))
    tests = [each for each in all_tests() if each.test in programs]
    cases = {case.name for test in said.tests for case in test.cases}
    for tagged in tests:
        assert any(tagged.is_case(case) for case in cases), f"{tagged} has not run"
    for case in cases:
        assert any(tagged.is_case(case) for tagged in tests), f"{case} has no tag"


def _check_first_patches(said: Results, patches: int, whole: Results) -> None:
    """Hold each test's first patch against a kernel with so many patches.

    What is skipped on the *whole* stack too lacks something else, such as huge pages of 1 GiB.
    """
    for tagged in all_tests():
        outcome = coverage.outcome_of(tagged, said)
        first = tagged.first_patch
        assert first is not None
        if first > patches:
            assert outcome is Outcome.SKIP, f"{tagged}: {outcome} before patch {first}"
        else:
            # A defect of v10 is an expected failure from the patch on that brings it.
            assert outcome is not None, f"{tagged} has not run"
            assert outcome.as_expected, f"{tagged}: {outcome} from patch {first} on"
            # A defect can take away what another case begins with; v11 shows what that would say.
            spoilt = any(
                case.outcome is Outcome.XFAIL
                for test in said.tests
                if test.name == tagged.test
                for case in test.cases
            )
            if coverage.outcome_of(tagged, whole) is not Outcome.SKIP and not spoilt:
                assert outcome is not Outcome.SKIP, f"{tagged}: skipped with patch {first} there"


@pytest.mark.proof
@pytest.mark.parametrize("patches", range(1, 10))
def test_the_first_patch_with_which_a_test_passes(run_stack: Runs, patches: int) -> None:
    said = run_stack("v10", "--upto", str(patches))
    _check_first_patches(said, patches, run_stack("v11"))


@pytest.mark.proof
def test_the_matrix_names_the_first_patch_of_each_test(tmp_path: Path) -> None:
    suites = [word for name in SUITES for word in ("--suite", str(SELFTESTS / name))]
    done = subprocess.run(
        [sys.executable, "-m", "harness", "matrix", *suites, "--out", str(tmp_path / "out")],
        cwd=PROJECT_FILE.parent,
        capture_output=True,
        text=True,
        timeout=7200,
        check=False,
    )
    assert done.returncode == ExitCode.AS_EXPECTED, done.stdout
    check_first_patches(results.decode((tmp_path / "out" / "results.json").read_bytes()))
    table = [line for line in done.stdout.splitlines() if line.startswith(("test  ", *_ROWS))]
    assert table == _table_of_the_document()


_ROWS = tuple(f"{name}:" for name in SUITES)


def _table_of_the_document() -> list[str]:
    text = (REPOSITORY / "docs" / "matrix.md").read_text()
    text = text.partition("## The project's series")[2].partition("\n## ")[0]
    lines = [line.removeprefix("    ") for line in text.splitlines() if line.startswith("    ")]
    assert lines[0].startswith("test  ")
    return lines


def test_the_matrix_of_the_document_has_the_tagged_tests() -> None:
    """What needs no kernel: each program, and the first patch from which one of its cases can tell.

    A case that is skipped on the tip can move it, so a later patch than that of a tag is none.
    """
    head, *rows = _table_of_the_document()
    kernels = head.split()[1:]
    assert kernels == ["base", *map(str, range(1, LAST_PATCH + 1))]
    first: dict[str, int] = {}
    for tagged in all_tests():
        assert tagged.first_patch is not None
        before = first.get(tagged.test, LAST_PATCH)
        first[tagged.test] = min(before, tagged.first_patch)
    shown = {row.split()[0]: row.split()[1:] for row in rows}
    assert shown.keys() == first.keys()
    for test, letters in shown.items():
        assert len(letters) == len(kernels)
        can_tell = [number for number, each in enumerate(letters) if each != "-"]
        assert can_tell == list(range(first[test], LAST_PATCH + 1)), test


def check_first_patches(said: Results) -> None:
    """Hold the first kernel of a matrix on which each test can tell against its tag."""
    each = merge.split(said)
    assert list(each) == ["base", *map(str, range(1, LAST_PATCH + 1))]
    spoilt = []
    for tagged in all_tests():
        outcomes = [coverage.outcome_of(tagged, one) for one in each.values()]
        assert None not in outcomes, f"{tagged} has not run on each kernel"
        first = next((n for n, one in enumerate(outcomes) if one is not Outcome.SKIP), None)
        if first is None:
            spoilt.append(tagged)
            continue
        assert first == tagged.first_patch, f"{tagged}: from kernel {first} on"
        assert all(one is not None and one.as_expected for one in outcomes), f"{tagged}: {outcomes}"
    # A defect of v10 can take away what another case of the program begins with.
    tip = each[str(LAST_PATCH)]
    for tagged in spoilt:
        (test,) = (test for test in tip.tests if test.name == tagged.test)
        assert any(case.outcome is Outcome.XFAIL for case in test.cases), f"{tagged} is skipped"


@pytest.mark.proof
def test_the_first_patch_of_what_needs_the_test_vm(run_stack: Runs) -> None:
    _check_first_patches(run_stack("v10+test-vm"), 10, run_stack("v11"))


def test_suites_of_the_tree_that_take_seconds_do_not_notice_the_series(run_stack: Runs) -> None:
    names = ("memfd:memfd_test", "kvm:set_sregs_test")
    options = ("--suite", "kvm", "--suite", "memfd", "-k", " or ".join(names))
    said = run_stack("v10+test-vm", *options)
    assert {test.name: test.outcome for test in said.tests} == dict.fromkeys(names, "pass")


@pytest.mark.proof
@pytest.mark.parametrize("stack", ["v10+test-vm", "none", "v11"])
def test_suites_of_the_tree_do_not_notice_the_series(run_stack: Runs, stack: str) -> None:
    said = run_stack(stack, "--suite", "kvm", "--suite", "memfd")
    assert {test.name: test.outcome for test in said.tests if test.outcome != "pass"} == {}
    assert len(said.tests) == 8


@pytest.mark.proof
def test_a_debug_kernel_has_no_complaint_about_v11(run_stack: Runs) -> None:
    """With KASAN, lockdep and the checks of memory and lists, a complaint would be a splat."""
    fragments = [*project.load(PROJECT_FILE).kernel.config, "debug", "kasan"]
    said = run_stack("v11", *(word for name in fragments for word in ("--config", name)))
    assert said.exit_code is ExitCode.AS_EXPECTED
    assert [f.title for test in said.tests for f in test.findings if f.severity != "note"] == []


_APART = 8
"""Breaks that need a kernel each: six change more than bodies of functions, two run at boot."""


@pytest.fixture(scope="module")
def alone() -> Callable[[breaks.Break], breaks.Bite]:
    """Return what builds a kernel for a break, once, and says what became of it."""

    @cache
    def bite(fault: breaks.Break) -> breaks.Bite:
        with tempfile.TemporaryDirectory(prefix="break-") as scratch:
            return breaks.bite(fault, Path(scratch))

    return bite


@pytest.fixture(scope="module")
def together(
    user_store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, breaks.Bite]:
    """What became of all breaks that can share a kernel, by name."""
    return _together(breaks.all_breaks(), user_store, tmp_path_factory.mktemp("together"))


def _together(faults: Sequence[breaks.Break], store: Store, out: Path) -> dict[str, breaks.Bite]:
    context = Context(store, Quiet())
    return schemata.bites(schemata.prepared_v11(context, out), faults, context, out)


@pytest.mark.proof
@pytest.mark.parametrize("fault", breaks.all_breaks(), ids=lambda fault: fault.name)
def test_a_break_is_caught(
    fault: breaks.Break, alone: Callable[[breaks.Break], breaks.Bite]
) -> None:
    ended = alone(fault)
    assert ended.caught, ended.said


def test_breaks_that_share_a_kernel_are_caught_one_by_one(
    user_store: Store, tmp_path: Path
) -> None:
    """As they are when each is built alone; one in each file, and one that is never chosen."""
    names = ("fd-b1-flags", "kvm-b3-offset", "kvm-b4-retry", "mig-churn", "fd-b1-rw-read")
    faults = [each for each in breaks.all_breaks() if each.name in names]
    found = _together(faults, user_store, tmp_path)
    # Another operation in a table is nothing that a function does.
    assert sorted(found) == sorted({*names} - {"fd-b1-rw-read"})
    assert {name: bite.said for name, bite in found.items() if not bite.caught} == {}


@pytest.mark.proof
def test_all_breaks_that_can_share_a_kernel_are_caught(
    together: Mapping[str, breaks.Bite],
) -> None:
    assert {name: bite.said for name, bite in together.items() if not bite.caught} == {}
    assert len(together) == len(breaks.all_breaks()) - _APART


@pytest.mark.proof
@pytest.mark.parametrize("fault", breaks.all_breaks(), ids=lambda fault: fault.name)
def test_a_break_ends_the_same_with_others_and_alone(
    fault: breaks.Break,
    together: Mapping[str, breaks.Bite],
    alone: Callable[[breaks.Break], breaks.Bite],
) -> None:
    """Whether it is caught; which of the cases say so may be a matter of time for a race."""
    by_itself = alone(fault)
    print(by_itself.said)
    if fault.name in together:
        print(together[fault.name].said)
        assert together[fault.name].caught == by_itself.caught
    else:
        assert by_itself.caught

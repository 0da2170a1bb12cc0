# SPDX-License-Identifier: GPL-2.0-only
"""What an earlier run has observed of the same stands for a test, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import msgspec
import pytest

from harness import ktap
from harness.context import Context
from harness.judge import merge, verdict
from harness.judge.compare import compare
from harness.model.expectations import Expectation
from harness.model.plan import Cell, PlannedTest
from harness.model.records import (
    CellPlanned,
    Decoded,
    Ending,
    GuestFailed,
    GuestReady,
    KernelBuilt,
    KernelPlanned,
    Record,
    RunEnded,
    RunPlanned,
    TestEnded,
    TestStarted,
    of_kernel,
)
from harness.model.results import Kernel, Logs, Machine, encode
from harness.model.spec import GuestTable
from harness.outcome import Outcome
from harness.progress import Quiet
from harness.report import html, junit, kcidb, mail, markdown
from harness.report.kernels import by_kernel
from harness.report.matrix import letter
from harness.report.summary import summary
from harness.run import reuse
from harness.run.reuse import Verdicts
from harness.store import Store

pytestmark = pytest.mark.unit

GUEST = GuestTable()
TEST = PlannedTest(name="s:a", suite="s", program="a", path="a", timeout_s=45.0, rerun="x")
KNOWN = Expectation(
    test="a",
    outcome="fail",
    ends="exit 1",
    reason="known",
    owner="a@example.org",
    series=("*",),
    until=date(2026, 7, 1),
)
GROUP = TEST.group


def guest(identity: str = "i", kernel: str = "") -> GuestReady:
    return GuestReady(
        kernel=kernel,
        suite="s",
        guest=GUEST,
        release="6.1.0",
        build_id="b",
        machine=Machine(accelerator="tcg"),
        seconds=1.0,
        identity=identity,
    )


def started(name: str = "s:a", attempt: int = 1, kernel: str = "") -> TestStarted:
    time = "2026-07-01T03:00:01.000Z"
    return TestStarted(kernel=kernel, name=name, attempt=attempt, time=time, seed="00" * 32)


def ended(
    status: int = 0, name: str = "s:a", attempt: int = 1, kernel: str = "", **more: object
) -> TestEnded:
    return TestEnded(
        kernel=kernel,
        name=name,
        attempt=attempt,
        ending=Ending(how="exit", status=status, **more),  # type: ignore[arg-type]
        report=ktap.Parser().close(),
        total_s=1.0,
        logs=Logs(output=f"logs/s/{name[2:]}.output.log"),
    )


def plan(
    *tests: PlannedTest, run: str = "r1", time: str = "2026-07-01T03:00:00.000Z", repeat: int = 1
) -> list[Record]:
    facts = Kernel(release="6.1.0", source="s", base_commit="c")
    return [
        RunPlanned(
            run=run,
            time=time,
            harness="0",
            command=("harness", "run"),
            kernels=(KernelPlanned(facts=facts),),
            cells=(Cell(suite="s"),),
            repeat=repeat,
        ),
        CellPlanned(suite="s", tests=tests or (TEST,)),
        KernelBuilt(facts=facts, seconds=1.0),
    ]


END = RunEnded(time="2026-07-01T03:00:02.000Z", seconds=2.0)


@pytest.fixture
def kept(tmp_path: Path) -> Verdicts:
    return Verdicts(Context(Store(tmp_path / "cache"), Quiet()), 2.0)


def found(
    kept: Verdicts, out: Path, identity: str = "i", test: PlannedTest = TEST, **more: str
) -> tuple[Record, ...]:
    """Return what stands for *test* in a run that begins now in *out*."""
    (head, *_) = of_kernel(plan(test, run="r2", **more), "")  # type: ignore[arg-type]
    return kept.records(head, (test,), "", {test.group: identity}, out)  # type: ignore[arg-type]


def after(kept: Verdicts, directory: Path, *records: Record) -> None:
    kept.remember([*records, END], directory)


def test_a_test_that_ended_as_expected_is_reused_and_every_report_says_so(
    kept: Verdicts, tmp_path: Path
) -> None:
    after(kept, tmp_path, *plan(), guest(), started(), ended())
    records = found(kept, tmp_path / "out")
    results = verdict.results([*plan(run="r2"), *records, END])
    (test,) = results.tests
    assert (test.outcome, test.reused) == (Outcome.PASS, "r1")
    assert results.machine.accelerator == "tcg"
    # It is no attempt in any count.
    assert test.attempts == ()
    named = by_kernel(results)
    for said in (
        encode(results),
        junit.render(results),
        html.render(named),
        kcidb.render(named),
        mail.render(results),
        markdown.render(results),
        "\n".join("".join(text for text, _ in line) for line in summary(results)).encode(),
    ):
        assert b"reused" in said
        assert b"r1" in said
    # What it took then is no time of this run.
    assert b'time="1' not in junit.render(results)


def _other(test: PlannedTest) -> Iterator[tuple[str, PlannedTest]]:
    replace = msgspec.structs.replace
    yield "i", replace(test, timeout_s=46.0)
    yield "i", replace(test, expect=(KNOWN,))
    yield "i", replace(test, path="b/a")
    yield "j", test
    yield "", test


@pytest.mark.parametrize("number", range(5))
def test_what_is_another_in_any_respect_runs(kept: Verdicts, tmp_path: Path, number: int) -> None:
    after(kept, tmp_path, *plan(), guest(), started(), ended())
    identity, test = list(_other(TEST))[number]
    assert found(kept, tmp_path / "out", identity, test) == ()


def test_another_name_or_suite_of_the_same_content_is_the_same(
    kept: Verdicts, tmp_path: Path
) -> None:
    after(kept, tmp_path, *plan(), guest(), started(), ended())
    test = msgspec.structs.replace(TEST, rerun="other words", suite_key="k", build_log="l")
    assert len(found(kept, tmp_path / "out", test=test)) == 3


def test_another_harness_or_time_factor_runs_all(
    kept: Verdicts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after(kept, tmp_path, *plan(), guest(), started(), ended())
    assert found(kept, tmp_path / "out")
    assert not found(Verdicts(kept.context, 3.0), tmp_path / "out")
    monkeypatch.setattr(reuse, "_this_package", lambda: "another")
    assert not found(kept, tmp_path / "out")


@pytest.mark.parametrize("statuses", [(1,), (0, 1), (1, 0), (0, 1, 0)])
def test_what_failed_once_on_the_same_runs_each_time(
    kept: Verdicts, tmp_path: Path, statuses: tuple[int, ...]
) -> None:
    for number, status in enumerate(statuses):
        records = plan(run=f"r{number}")
        after(kept, tmp_path, *records, guest(), started(), ended(status))
    assert found(kept, tmp_path / "out") == ()


def test_a_failed_attempt_among_several_counts(kept: Verdicts, tmp_path: Path) -> None:
    second = (started(attempt=2), ended(1, attempt=2))
    after(kept, tmp_path, *plan(repeat=2), guest(), started(), ended(), *second)
    assert found(kept, tmp_path / "out") == ()


def test_an_error_of_the_harness_says_nothing_of_the_test(kept: Verdicts, tmp_path: Path) -> None:
    broken = msgspec.structs.replace(ended(), ending=Ending(how="harness", detail="no QEMU"))
    after(kept, tmp_path, *plan(), guest(), started(), broken)
    assert found(kept, tmp_path / "out") == ()
    after(kept, tmp_path, *plan(run="r3"), guest(), started(), ended())
    assert found(kept, tmp_path / "out") != ()


@pytest.mark.parametrize(
    "more",
    [{"restless": ("busy",)}, {"stood_still_s": 0.5}, {"starved_s": 16.0}, {"log_complete": False}],
)
def test_what_was_not_seen_whole_runs_again(
    kept: Verdicts, tmp_path: Path, more: dict[str, object]
) -> None:
    after(kept, tmp_path, *plan(), guest(), started(), ended(**more))  # type: ignore[arg-type]
    assert found(kept, tmp_path / "out") == ()


def test_a_known_failure_is_reused_until_its_last_day(kept: Verdicts, tmp_path: Path) -> None:
    test = msgspec.structs.replace(TEST, expect=(KNOWN,))
    after(kept, tmp_path, *plan(test), guest(), started(), ended(1))
    assert len(found(kept, tmp_path / "out", test=test)) == 3
    assert not found(kept, tmp_path / "out", test=test, time="2026-07-02T03:00:00.000Z")


def test_a_verdict_that_is_reused_is_not_remembered_as_another_run(
    kept: Verdicts, tmp_path: Path
) -> None:
    after(kept, tmp_path, *plan(), guest(), started(), ended())
    again = found(kept, tmp_path / "out")
    after(kept, tmp_path / "out", *plan(run="r2"), *again)
    records = found(kept, tmp_path / "out")
    assert {each.reused for each in records if isinstance(each, TestEnded)} == {"r1"}


def test_a_rerun_that_fails_takes_back_what_was_remembered(kept: Verdicts, tmp_path: Path) -> None:
    after(kept, tmp_path, *plan(), guest(), started(), ended())
    again = found(kept, tmp_path / "out")
    more = (guest(), started(attempt=2), ended(1, attempt=2))
    after(kept, tmp_path / "out", *plan(run="r2"), *again, *more)
    assert found(kept, tmp_path / "out") == ()


def test_logs_are_copied_and_a_run_that_is_gone_has_none(kept: Verdicts, tmp_path: Path) -> None:
    first = tmp_path / "first"
    (first / "logs/s").mkdir(parents=True)
    (first / "logs/s/a.output.log").write_text("said\n")
    after(kept, first, *plan(), guest(), started(), ended())
    out = tmp_path / "out"
    (test,) = verdict.results([*plan(run="r2"), *found(kept, out), END]).tests
    assert (out / test.logs.output).read_text() == "said\n"
    (first / "logs/s/a.output.log").unlink()
    (test,) = verdict.results([*plan(run="r2"), *found(kept, out), END]).tests
    assert (test.outcome, test.logs) == (Outcome.PASS, Logs())


def test_what_is_remembered_and_cannot_be_read_is_as_if_it_were_not(
    kept: Verdicts, tmp_path: Path
) -> None:
    after(kept, tmp_path, *plan(), guest(), started(), ended())
    (file,) = kept.context.store.place("verdicts").iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    assert found(kept, tmp_path / "out") == ()


def test_no_more_guests_are_remembered_than_that(
    kept: Verdicts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reuse, "_MOST_GUESTS", 2)
    for number in range(4):
        after(kept, tmp_path, *plan(), guest(f"i{number}"), started(), ended())
    assert len(list(kept.context.store.place("verdicts").iterdir())) == 2
    assert found(kept, tmp_path / "out", "i3")


# Kernels of one run.


def several(*kernels: tuple[str, str | None]) -> list[Record]:
    """Return the plan of a run over kernels, each the same as another one or None."""
    facts = Kernel(release="6.1.0", source="s", base_commit="c")
    records: list[Record] = [
        RunPlanned(
            run="r",
            time="2026-07-01T03:00:00.000Z",
            harness="0",
            command=(),
            kernels=tuple(KernelPlanned(name=name, facts=facts) for name, _ in kernels),
            cells=tuple(Cell(kernel=name, suite="s") for name, _ in kernels),
        )
    ]
    for name, same in kernels:
        records.append(CellPlanned(kernel=name, suite="s", tests=(TEST,), same_as=same))
        records.append(KernelBuilt(kernel=name, facts=facts, seconds=1.0))
    return records


def row(records: list[Record]) -> list[str]:
    """Return the letters of the only test."""
    comparison = compare(verdict.every([*records, END]))
    (cells,) = (each.cells for each in comparison.rows)
    befores = [None, *zip(comparison.kernels, cells, strict=True)]
    return [letter(test, before) for test, before in zip(cells, befores, strict=False)]


def test_a_kernel_that_is_the_same_has_the_results_of_the_other() -> None:
    records = several(("base", None), ("1", "base"), ("2", None), ("3", "2"), ("4", "base"))
    records += [guest(kernel="base"), started(kernel="base"), ended(kernel="base")]
    records += [guest(kernel="2"), started(kernel="2"), ended(1, kernel="2")]
    assert row(records) == [".", "=", "F", "=", "=."]
    results = merge.whole([*records, END])
    # Planned = reported.
    assert [(test.name, test.outcome) for test in results.tests] == [
        ("base@s:a", Outcome.PASS),
        ("1@s:a", Outcome.PASS),
        ("2@s:a", Outcome.FAIL),
        ("3@s:a", Outcome.FAIL),
        ("4@s:a", Outcome.PASS),
    ]
    assert [test.same_as for test in results.tests] == [None, "base", None, "2", "base"]
    assert "3: not tested, because the kernel is the same as 2" in results.notes
    steps = [
        step.kernel for each in compare(verdict.every([*records, END])).rows for step in each.steps
    ]
    assert steps == ["2", "4"]


@pytest.mark.parametrize(
    ("observed", "outcome"),
    [
        ([], Outcome.NOTRUN),
        ([guest(kernel="base"), started(kernel="base")], Outcome.NOTRUN),
        ([GuestFailed(kernel="base", suite="s", guest=GUEST, reason="panic")], Outcome.CRASH),
        (
            [
                guest(kernel="base"),
                started(kernel="base"),
                ended(1, kernel="base"),
                Decoded(kernel="base", name="s:a", reports=()),
            ],
            Outcome.FAIL,
        ),
    ],
)
def test_what_the_other_has_not_seen_it_has_not_seen_either(
    observed: list[Record], outcome: Outcome
) -> None:
    records = several(("base", None), ("1", "base")) + observed
    both = verdict.every([*records, END])
    assert [both[name].tests[0].outcome for name in ("base", "1")] == [outcome, outcome]


def test_a_cell_that_differs_is_not_taken_for_the_same() -> None:
    records = several(("base", None), ("1", None))
    records += [guest(kernel="base"), started(kernel="base"), ended(kernel="base")]
    assert row(records) == [".", "N"]

# SPDX-License-Identifier: GPL-2.0-only
"""How many calls a test makes is found out in guests, and the plan follows from it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import pytest

from harness import ktap
from harness.context import Context
from harness.errors import UserError
from harness.lab.executor import Attempt, TemplateId, ThisMachine
from harness.model.events import How
from harness.model.faults import InjectSpec, Surveyed, Survivor, Sweep
from harness.model.ids import HERE, HostName
from harness.model.plan import PlannedTest
from harness.model.records import Ending, GuestFailed, GuestReady, RunStarted, TestEnded
from harness.model.results import Kernel, Machine
from harness.progress import Quiet
from harness.run.attempts import Attempts
from harness.run.survey import Surveyor, Wanted, chosen, points
from harness.store import Entry, Store

pytestmark = pytest.mark.unit

TEST = PlannedTest(name="s:p", suite="s", program="p", path="p", timeout_s=45.0)
OTHER = PlannedTest(name="s:q", suite="s", program="q", path="q", timeout_s=45.0)


@dataclass
class Guests(ThisMachine):
    """Guests in which a test makes so many calls."""

    calls: dict[str, int]
    ending: Ending = field(default_factory=lambda: Ending(how="exit", status=0))
    seconds: float = 1.0
    boots: bool = True
    leaves: list[int] = field(default_factory=lambda: [1])
    runs: list[Attempt] = field(default_factory=list)

    def slots(self, tests: tuple[PlannedTest, ...]) -> Mapping[HostName, int]:
        return {HERE: 2}

    async def prepare(self, template: TemplateId) -> GuestReady | GuestFailed:
        suite, guest = template.group
        if not self.boots:
            return GuestFailed(suite=suite, guest=guest, reason="it does not boot")
        return GuestReady(
            suite=suite,
            guest=guest,
            release="",
            build_id="",
            machine=Machine(accelerator="tcg"),
            seconds=1.0,
        )

    async def run(self, attempt: Attempt) -> TestEnded:
        self.runs.append(attempt)
        fault = attempt.test.fault
        assert fault is not None
        ending = self.ending
        if fault.sweep and fault.sweep not in self.calls:
            ending = Ending(
                how="not-started",
                detail="/sys/kernel/debug/fail_function/inject: Numerical result out of range",
            )
        left = self.leaves[len(self.runs) % len(self.leaves)]
        return TestEnded(
            name=attempt.test.name,
            ending=ending,
            report=ktap.Parser().close(),
            guest_s=self.seconds,
            total_s=self.seconds,
            fault_hit=0 < fault.nth <= self.calls.get(fault.sweep, 0),
            left=(Survivor(cache="filp", count=left, where="f"),),
        )

    async def check(self, template: TemplateId) -> None: ...

    def made_from(self, template: TemplateId) -> frozenset[Entry]:
        return frozenset()

    async def close(self) -> None: ...


def survey(guests: Guests, spec: InjectSpec, *tests: PlannedTest) -> dict[str, Surveyed]:
    found: list[Surveyed] = []
    context = Context(Store.default(), Quiet())
    surveyor = Surveyor(guests, "", Wanted(spec), 2.0, context)
    asyncio.run(surveyor.survey(tests or (TEST,), found.append))
    return {each.test: each for each in found}


@pytest.mark.parametrize("calls", [0, 1, 2, 63, 64, 65, 255, 256, 257, 5000])
def test_the_number_of_calls_is_found(calls: int) -> None:
    guests = Guests({"slab": calls})
    found = survey(guests, InjectSpec(kinds=("slab",)))["s:p"]
    assert found.sweeps == (Sweep(sweep="slab", calls=calls, points=tuple(range(1, calls + 1))),)
    assert len(guests.runs) < 30


def test_each_kind_and_function_has_a_sweep_of_its_own() -> None:
    guests = Guests({"slab": 9, "page": 4, "open_it=ENOSPC": 1})
    spec = InjectSpec(functions=("open_it=ENOSPC",), sample=3)
    sweeps = survey(guests, spec)["s:p"].sweeps
    assert [(each.sweep, each.calls, each.points) for each in sweeps] == [
        ("slab", 9, (1, 4, 7)),
        ("page", 4, (1, 2, 3)),
        ("open_it=ENOSPC", 1, (1,)),
    ]


def test_a_single_point_is_not_counted_up_to() -> None:
    guests = Guests({"slab": 400})
    spec = InjectSpec(targets=("s:p@slab#17", "s:p@slab#3", "s:q"), kinds=("page",))
    guests.calls["page"] = 2
    found = survey(guests, spec, TEST, OTHER)
    assert found["s:p"].sweeps == (Sweep(sweep="slab", calls=0, points=(3, 17)),)
    assert found["s:q"].sweeps == (Sweep(sweep="page", calls=2, points=(1, 2)),)


def test_points_have_the_time_that_the_test_needs() -> None:
    found = survey(Guests({"slab": 1}, seconds=8.0), InjectSpec(kinds=("slab",)))["s:p"]
    assert found.limit_s == 16.0  # four times as long, where a second counts twice
    assert survey(Guests({"slab": 1}), InjectSpec(kinds=("slab",)))["s:p"].limit_s == 5.0
    slow = Guests({"slab": 1}, seconds=80.0)
    assert survey(slow, InjectSpec(kinds=("slab",)))["s:p"].limit_s == 45.0


def test_what_is_usual_is_the_most_that_was_left() -> None:
    guests = Guests({"slab": 0}, leaves=[1, 5, 2])
    found = survey(guests, InjectSpec(kinds=("slab",)))["s:p"]
    assert found.usual == (Survivor(cache="filp", count=5, where="f"),)


@pytest.mark.parametrize(
    "ending",
    [
        Ending(how="timeout"),
        Ending(how="died", death=How.PANIC, detail="the kernel panicked"),
        Ending(how="exit", status=4),
        Ending(how="harness", detail="no disk"),
    ],
)
def test_a_test_that_is_no_good_without_a_fault_is_not_swept(ending: Ending) -> None:
    found = survey(Guests({"slab": 9}, ending=ending), InjectSpec())["s:p"]
    assert found.sweeps == ()
    assert found.spoilt.startswith("not swept: without a fault it is ")


def test_a_test_may_fail_without_a_fault() -> None:
    failing = Guests({"slab": 9}, ending=Ending(how="exit", status=1))
    assert survey(failing, InjectSpec(kinds=("slab",)))["s:p"].sweeps[0].calls == 9


def test_a_kernel_that_does_not_boot_says_so() -> None:
    assert survey(Guests({}, boots=False), InjectSpec())["s:p"].spoilt == "it does not boot"


@pytest.mark.parametrize("spec", [InjectSpec(functions=("nope",), kinds=()), InjectSpec()])
def test_what_the_kernel_cannot_make_fail_is_told(spec: InjectSpec) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        survey(Guests({}), spec)
    (error,) = caught.value.exceptions
    assert isinstance(error, UserError)
    assert "cannot make" in error.what


def test_a_name_that_no_test_has_is_refused() -> None:
    wanted = Wanted(InjectSpec(targets=("s:p", "s:r@slab#1")))
    with pytest.raises(UserError) as caught:
        wanted.tests((TEST, OTHER))
    assert caught.value.where == "s:r@slab#1"
    assert Wanted(InjectSpec(targets=("s:q@slab#1",))).tests((TEST, OTHER)) == (OTHER,)
    assert Wanted(InjectSpec()).tests((TEST, OTHER)) == (TEST, OTHER)


def test_a_sample_is_spread_over_all_calls() -> None:
    assert chosen(10, 3) == (1, 4, 7)
    assert chosen(1000, 4) == (1, 251, 501, 751)
    assert chosen(3, 10) == (1, 2, 3)
    assert chosen(0, 10) == ()
    for calls in range(1, 60):
        for sample in range(1, 60):
            assert len(chosen(calls, sample)) == min(calls, sample)


def planned(calls: int) -> tuple[PlannedTest, ...]:
    sweep = Sweep(sweep="slab", calls=calls, points=tuple(range(1, calls + 1)))
    found = Surveyed(test="s:p", sweeps=(sweep,), limit_s=5.0)
    return tuple(points(TEST, found, lambda name: f"again {name}"))


def test_a_point_is_a_test_with_a_name_of_its_own() -> None:
    control, first, *_ = planned(2)
    assert (control.name, control.program, control.timeout_s) == ("s:p@control", "p@control", 45.0)
    assert (first.name, first.program, first.path) == ("s:p@slab#1", "p@slab#1", "p")
    assert (first.timeout_s, first.rerun) == (5.0, "again s:p@slab#1")


def test_points_come_in_an_order_that_soon_is_everywhere() -> None:
    head = RunStarted(
        run="r",
        time="",
        harness="1",
        command=(),
        kernel=Kernel(release="", source="", base_commit=""),
        tests=planned(100),
    )
    attempts = Attempts(head)
    order = [found[0] for _ in range(101) if (found := attempts.begin(lambda _: True))]
    assert order[0].name == "s:p@control"
    numbers = [test.fault.nth for test in order[1:] if test.fault]
    assert sorted(numbers) == list(range(1, 101))
    early = sorted(numbers[:12])
    assert max(b - a for a, b in zip((0, *early), (*early, 101), strict=True)) <= 20


def test_no_point_begins_when_the_budget_is_spent() -> None:
    over = False
    head = RunStarted(
        run="r",
        time="",
        harness="1",
        command=(),
        kernel=Kernel(release="", source="", base_commit=""),
        tests=planned(3),
    )
    attempts = Attempts(head, spent=lambda: over)
    assert attempts.begin(lambda _: True) is not None
    assert (attempts.over, attempts.cut_short) == (False, False)
    over = True
    assert attempts.begin(lambda _: True) is None
    assert (attempts.over, attempts.cut_short) == (True, True)


def test_a_budget_that_sufficed_cut_nothing_short() -> None:
    over = False
    head = RunStarted(
        run="r",
        time="",
        harness="1",
        command=(),
        kernel=Kernel(release="", source="", base_commit=""),
        tests=planned(1),
    )
    attempts = Attempts(head, spent=lambda: over)
    while attempts.begin(lambda _: True):
        pass
    over = True
    assert not attempts.cut_short


def test_the_record_of_a_point_is_read_back() -> None:
    point = planned(1)[1]
    assert msgspec.json.decode(msgspec.json.encode(point), type=PlannedTest) == point

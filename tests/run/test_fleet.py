# SPDX-License-Identifier: GPL-2.0-only
"""The schedule over several hosts that fail: every test one outcome, whatever fails when."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import msgspec
import pytest

from harness import klog, ktap
from harness.context import Context
from harness.errors import MachineError, UserError
from harness.judge import verdict
from harness.lab import capacity
from harness.lab.executor import Attempt, HostLost, PartLost, TemplateId
from harness.lab.fleet import MOST_FAILURES, Fleet, Worker
from harness.lab.local import LocalExecutor
from harness.lab.remote import RemoteWorker
from harness.model.ids import HERE, HostName, KernelName
from harness.model.plan import PlannedTest
from harness.model.records import (
    AttemptLost,
    Ending,
    GuestFailed,
    GuestReady,
    Record,
    RunStarted,
    TestEnded,
    TestStarted,
)
from harness.model.results import Kernel, Machine, Results, Test
from harness.model.spec import GuestTable
from harness.outcome import Outcome
from harness.progress import Quiet
from harness.run import journal
from harness.run.attempts import Attempts, Ready
from harness.run.journal import Journal
from harness.run.schedule import Schedule
from harness.store import Entry, Store
from tests.run.played import Deaf

pytestmark = pytest.mark.unit


class Noting(Deaf):
    """Notes what has ended."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def finished(self, test: Test, label: str) -> None:
        self.told.append(label)


_EXIT = Ending(how="exit", status=0)


@dataclass
class Played:
    """Hosts whose guests are sleeps, and that fail when a test says so."""

    hosts: Mapping[HostName, int]
    fails: Callable[[HostName, str], bool] = lambda _host, _what: False
    """Whether the host is lost under a test, or under the making of a template ("")."""
    patience: int = MOST_FAILURES
    unfit: Mapping[HostName, frozenset[str]] = field(default_factory=dict)
    seconds: float = 0.0
    ends: Callable[[str, int], tuple[bool, Ending]] = lambda _name, _turn: (True, _EXIT)
    """How a test passes and its program ends, by how often it has ended before."""
    away_s: float = 0.005
    """How long a host is away that has failed."""
    ran: list[tuple[HostName, str]] = field(default_factory=list)
    templates: set[TemplateId] = field(default_factory=set)
    failures: dict[HostName, int] = field(default_factory=dict)
    left: set[HostName] = field(default_factory=set)
    away: set[HostName] = field(default_factory=set)
    vain: int = 0
    """How often a host was asked that was known to be away."""

    def slots(self, tests: tuple[PlannedTest, ...]) -> Mapping[HostName, int]:
        return self.hosts

    def fits(self, host: HostName, kernel: KernelName, test: PlannedTest) -> bool:
        return test.name not in self.unfit.get(host, frozenset())

    async def back(self, host: HostName) -> bool:
        if host in self.away:
            await asyncio.sleep(self.away_s)
            self.away.discard(host)
        if self.failures.get(host, 0) >= self.patience:
            self.left.add(host)
        return host not in self.left

    def why_left(self, host: HostName) -> str:
        return "it burns" if host in self.left else ""

    def _fail(self, host: HostName, what: str) -> None:
        if self.fails(host, what):
            self.away.add(host)
            self.failures[host] = self.failures.get(host, 0) + 1
            self.templates = {each for each in self.templates if each.host != host}
            raise HostLost(f"host {host} is lost", why="the cable")

    async def prepare(self, template: TemplateId) -> GuestReady | GuestFailed:
        self.vain += template.host in self.away
        await asyncio.sleep(0)
        self._fail(template.host, "")
        self.templates.add(template)
        suite, guest = template.group
        return GuestReady(
            host=template.host,
            suite=suite,
            guest=guest,
            release="6.1",
            build_id="b",
            machine=Machine(accelerator="tcg", guest=f"guest of {template.host}"),
            seconds=0,
        )

    async def run(self, attempt: Attempt) -> TestEnded:
        await asyncio.sleep(self.seconds)
        host, name = attempt.started.host, attempt.test.name
        self._fail(host, name)
        self.failures[host] = 0
        ok, ending = self.ends(name, sum(each == name for _, each in self.ran))
        self.ran.append((host, name))
        parser = ktap.Parser()
        parser.feed(b"TAP version 13\n1..1\n%s 1 a\n" % (b"ok" if ok else b"not ok"))
        return TestEnded(
            name=name,
            attempt=attempt.started.attempt,
            ending=ending,
            report=parser.close(),
            findings=_LOCKUP if ending.starved_s else (),
            total_s=0.0,
        )

    async def check(self, template: TemplateId) -> None:
        pass

    def made_from(self, template: TemplateId) -> frozenset[Entry]:
        return frozenset()

    async def close(self) -> None:
        pass


def go(
    out: Path, played: Played, count: int, repeat: int = 1, suites: int = 3
) -> tuple[Results, list[Record]]:
    """Run *count* tests on the hosts that are *played*; return what came out."""
    tests = tuple(
        PlannedTest(name=f"{suite}:t{n}", suite=suite, program=f"t{n}", path=f"t{n}", timeout_s=1)
        for n in range(count)
        for suite in [f"s{n % suites}"]
    )
    head = RunStarted(
        run="r",
        time="2026-07-01T03:00:00.000Z",
        harness="0",
        command=(),
        kernel=Kernel(release="6.1.0", source="s", base_commit="c"),
        tests=tests,
        repeat=repeat,
    )
    with Journal(out) as book:
        book.write(head)

        async def kernels() -> AsyncIterator[Ready]:
            yield Ready("", head, Attempts(head))

        watcher = Noting()
        try:
            asyncio.run(
                asyncio.wait_for(
                    Schedule(played, book, lambda _: watcher).execute(kernels()), timeout=60
                )
            )
        finally:
            records = book.records()
    assert not played.vain, "what is given to a host that is away is lost for nothing"
    assert len(watcher.told) == len(set(watcher.told)) or repeat > 1
    return verdict.results(records), records


def test_tests_are_spread_and_each_says_where_it_ran(tmp_path: Path) -> None:
    played = Played({"a": 2, "b": 1}, seconds=0.001)
    said, records = go(tmp_path, played, 30)
    assert {test.outcome for test in said.tests} == {Outcome.PASS}
    where = {name: host for host, name in played.ran}
    assert {test.name: test.host for test in said.tests} == where
    assert set(where.values()) == {"a", "b"}
    # Each host has its own templates, and a test is told the machine of its own.
    assert {test.guest for test in said.tests} == {"guest of a", "guest of b"}
    ready = [(each.host, each.suite) for each in records if isinstance(each, GuestReady)]
    assert len(ready) == len(set(ready))


@pytest.mark.parametrize("seed", range(20))
def test_whatever_fails_every_test_has_one_outcome(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)  # noqa: S311  not for secrets
    played = Played(
        {"a": 3, "b": 2, "c": 1},
        fails=lambda _host, _what: chance.random() < 0.15,
        patience=10**9,
    )
    said, records = go(tmp_path, played, 60)
    ended = [each.name for each in records if isinstance(each, TestEnded)]
    assert sorted(ended) == sorted(test.name for test in said.tests)
    lost = [each for each in records if isinstance(each, AttemptLost)]
    assert lost
    assert sum(test.lost for test in said.tests) == len(lost)
    for test in said.tests:
        # Three times lost is no word on the kernel, and no pass either.
        assert test.outcome is (Outcome.PASS if test.lost < 3 else Outcome.ERROR)
    assert any("began again" in note for note in said.notes)


def test_a_host_that_is_left_leaves_its_tests_to_the_others(tmp_path: Path) -> None:
    played = Played({"a": 2, "b": 1}, fails=lambda host, _: host == "a")
    said, _ = go(tmp_path, played, 20)
    assert {test.outcome for test in said.tests} == {Outcome.PASS}
    assert {test.host for test in said.tests} == {"b"}


def test_a_run_does_not_wait_for_a_host_that_it_needs_no_more(tmp_path: Path) -> None:
    lost: list[str] = []

    def fails(host: HostName, what: str) -> bool:
        if host == "a" and what and not lost:
            lost.append(what)
            return True
        return False

    # `go` waits for a minute.
    said, _ = go(tmp_path, Played({"a": 2, "b": 1}, fails=fails, seconds=0.001, away_s=3600), 20)
    assert {test.outcome for test in said.tests} == {Outcome.PASS}
    assert sum(test.lost for test in said.tests) == 1


def test_what_only_a_left_host_could_run_is_an_error_with_the_reason(tmp_path: Path) -> None:
    only_a = frozenset({"s0:t0", "s0:t3"})
    played = Played({"a": 1, "b": 1}, fails=lambda host, _: host == "a", unfit={"b": only_a})
    said, _ = go(tmp_path, played, 12)
    bad = {test.name: test for test in said.tests if test.outcome is not Outcome.PASS}
    assert set(bad) == only_a
    for test in bad.values():
        assert test.outcome is Outcome.ERROR
        assert "a: it burns" in test.reason or "3 times" in test.reason


def test_where_no_host_is_left_the_machine_has_failed(tmp_path: Path) -> None:
    played = Played({"a": 2, "b": 2}, fails=lambda _, what: what == "")
    with pytest.raises(MachineError, match="no host is left") as caught:
        go(tmp_path, played, 12)
    assert "it burns" in caught.value.why
    said = verdict.results(journal.read(tmp_path))
    assert not any(test.outcome is Outcome.PASS for test in said.tests)


def test_a_test_under_which_hosts_die_is_an_error_and_the_others_run(tmp_path: Path) -> None:
    played = Played(
        {"a": 1, "b": 1}, fails=lambda _, what: what == "s1:t4", patience=10**9, seconds=0.001
    )
    said, _ = go(tmp_path, played, 12)
    bad = [test for test in said.tests if test.outcome is not Outcome.PASS]
    assert [(test.name, test.outcome, test.lost) for test in bad] == [("s1:t4", Outcome.ERROR, 3)]
    assert "its host was lost 3 times" in bad[0].reason


_STARVED = Ending(how="exit", status=0, starved_s=18.0)
_LOCKUP = klog.scan(b"[    3.0] watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [p:37]\n")


def test_a_complaint_of_time_in_a_guest_that_was_kept_from_running_begins_again(
    tmp_path: Path,
) -> None:
    def ends(name: str, turn: int) -> tuple[bool, Ending]:
        return (True, _STARVED) if name == "s1:t1" and not turn else (True, _EXIT)

    said, records = go(tmp_path, Played({"": 2}, ends=ends), 6)
    assert {test.outcome for test in said.tests} == {Outcome.PASS}
    assert {test.name: test.lost for test in said.tests if test.lost} == {"s1:t1": 1}
    assert len([each for each in records if isinstance(each, TestEnded)]) == 6
    (note,) = said.notes
    assert "1 attempt began again, because host local was too busy" in note
    assert "only 2 of 20 s" in note


def test_what_always_ends_so_has_that_result_in_the_end(tmp_path: Path) -> None:
    def ends(name: str, turn: int) -> tuple[bool, Ending]:
        return (True, _STARVED) if name == "s1:t1" else (True, _EXIT)

    played = Played({"": 2}, ends=ends)
    said, records = go(tmp_path, played, 6)
    (bad,) = (test for test in said.tests if test.outcome is not Outcome.PASS)
    assert (bad.name, bad.outcome, bad.lost) == ("s1:t1", Outcome.ERROR, 2)
    assert "a busy host" in bad.reason
    assert sum(name == "s1:t1" for _, name in played.ran) == 3
    assert len([each for each in records if isinstance(each, TestEnded)]) == 6


@pytest.mark.parametrize(
    ("ok", "ending", "outcome"),
    [
        # Not starved enough: the complaint is the kernel's own.
        (True, msgspec.structs.replace(_STARVED, starved_s=14.0), Outcome.SPLAT),
        # What failed is not taken back because the host was busy, too.
        (False, _STARVED, Outcome.FAIL),
        (True, msgspec.structs.replace(_STARVED, status=1), Outcome.FAIL),
        (True, msgspec.structs.replace(_STARVED, log_complete=False), Outcome.ERROR),
        (True, Ending(how="signal", status=11, starved_s=18.0), Outcome.FAIL),
    ],
)
def test_what_such_a_guest_cannot_have_brought_about_counts_at_once(
    ok: bool, ending: Ending, outcome: Outcome, tmp_path: Path
) -> None:
    said, _ = go(tmp_path, Played({"": 1}, ends=lambda _name, _turn: (ok, ending)), 1, suites=1)
    assert [(test.outcome, test.lost) for test in said.tests] == [(outcome, 0)]


def test_attempts_of_a_repeated_test_are_each_counted_once(tmp_path: Path) -> None:
    chance = random.Random(7)  # noqa: S311  not for secrets
    played = Played(
        {"a": 2, "b": 2}, fails=lambda _host, _what: chance.random() < 0.1, patience=10**9
    )
    said, records = go(tmp_path, played, 6, repeat=5)
    ended = [(each.name, each.attempt) for each in records if isinstance(each, TestEnded)]
    assert len(ended) == len(set(ended)) == 30
    assert all(len(test.attempts) == 5 for test in said.tests)


def test_a_journal_that_was_cut_off_under_a_lost_attempt_says_notrun(tmp_path: Path) -> None:
    lost: list[str] = []

    def fails(host: HostName, what: str) -> bool:
        if what and not lost:
            lost.append(what)
            return True
        return False

    go(tmp_path, Played({"a": 1}, fails=fails), 3)
    records = journal.read(tmp_path)
    at = next(n for n, each in enumerate(records) if isinstance(each, AttemptLost))
    said = verdict.results(records[: at + 1])
    by_name = {test.name: test for test in said.tests}
    assert by_name[lost[0]].outcome is Outcome.NOTRUN
    assert by_name[lost[0]].host == "a"
    starts = [each for each in records if isinstance(each, TestStarted) and each.name == lost[0]]
    assert len(starts) == 2


class Cluster:
    """A worker that stands for many, of which one fails each time."""

    host, about, notes, lost = "many", "played", (), ""

    def __init__(self) -> None:
        self.closed = False
        self.lost_part = ""

    async def check(self, template: TemplateId) -> None:
        raise PartLost("one of them is lost", where=self.lost_part)

    async def close(self) -> None:
        self.closed = True


def test_a_part_of_a_host_that_fails_leaves_the_others_at_work(tmp_path: Path) -> None:
    from harness.lab.fleet import Member

    async def go() -> None:
        fleet = Fleet(tmp_path, Context(Store(tmp_path / "store"), Quiet()))
        cluster = Cluster()

        async def connect() -> Worker:
            raise MachineError("it is not there")

        played = cast(Worker, cluster)
        fleet.members["many"] = Member("many", connect, worker=played)
        template = TemplateId("", ("s", GuestTable()), "many")
        # Several attempts are lost with one machine.
        cluster.lost_part = "tcp://10.0.0.1:1"
        for _ in range(2 * MOST_FAILURES):
            with pytest.raises(PartLost):
                await fleet.check(template)
            assert not cluster.closed
        cluster.lost_part = ""
        for _ in range(MOST_FAILURES - 2):
            with pytest.raises(PartLost):
                await fleet.check(template)
            assert not cluster.closed
            assert await fleet.back("many")
        # So many without an end between them: the whole of it has failed.
        with pytest.raises(PartLost):
            await fleet.check(template)
        assert cluster.closed
        assert fleet.members["many"].failures == 1

    asyncio.run(go())


def test_a_host_that_never_comes_back_is_asked_three_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.lab.fleet._AGAIN_S", (0.0, 0.0))

    async def check(error: type[MachineError] | type[UserError], times: int) -> None:
        fleet = Fleet(tmp_path, Context(Store(tmp_path / "store"), Quiet()))
        calls = 0

        async def connect() -> RemoteWorker:
            nonlocal calls
            calls += 1
            raise error("it is not there", why="no route")

        from harness.lab.fleet import Member

        fleet.members["far"] = Member("far", connect, failures=1, why="the cable")
        assert not await fleet.back("far")
        assert calls == times
        assert "no route" in fleet.why_left("far")
        assert not await fleet.back("far")
        assert calls == times

    asyncio.run(check(MachineError, MOST_FAILURES - 1))
    # What the user must mend is not tried again, such as another host key.
    asyncio.run(check(UserError, 1))


def joined(
    out: Path, hosts: Mapping[HostName, tuple[str, int | None]], local: LocalExecutor | None = None
) -> tuple[Mapping[HostName, int], list[str]]:
    """Return how many guests *hosts*, each a machine and a number of jobs, run; and all notes."""
    notes: list[str] = []

    class Noted(Quiet):
        def note(self, text: str) -> None:
            notes.append(text)

    @dataclass
    class Carries(Cluster):
        machine: str

        def slots(self, tests: tuple[PlannedTest, ...], most: int | None) -> int:
            return most or 5

    async def go() -> Mapping[HostName, int]:
        fleet = Fleet(out, Context(Store(out / "store"), Noted()), local)
        for name, (machine, jobs) in hosts.items():

            async def connect(machine: str = machine) -> Worker:
                return cast(Worker, Carries(machine))

            await fleet.join(name, connect, jobs)
        return fleet.slots(())

    return asyncio.run(go()), notes


def test_hosts_that_are_one_machine_share_its_guests(tmp_path: Path) -> None:
    hosts = {"a": ("m", None), "b": ("n", None), "c": ("m", None)}
    found, notes = joined(tmp_path, hosts)
    assert found == {"a": 2, "b": 5, "c": 2}
    assert notes == ["hosts c and a are one machine, and share its guests"]


def test_a_number_of_jobs_holds_on_a_shared_machine(tmp_path: Path) -> None:
    found, _ = joined(tmp_path, {"a": ("m", 7), "b": ("m", None)})
    assert found == {"a": 7, "b": 2}


def test_machines_that_are_not_known_share_nothing(tmp_path: Path) -> None:
    found, notes = joined(tmp_path, {"a": ("", None), "b": ("", None)})
    assert found == {"a": 5, "b": 5}
    assert not notes


def test_this_machine_by_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "machine", lambda: "m")
    monkeypatch.setattr(capacity, "jobs", lambda *_: 4)
    found, notes = joined(tmp_path, {"far": ("m", None)}, LocalExecutor(tmp_path))
    assert found == {HERE: 2, "far": 2}
    assert notes == ["hosts far and local are one machine, and share its guests"]

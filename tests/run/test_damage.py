# SPDX-License-Identifier: GPL-2.0-only
"""A failure in a guest that was made from a damaged cache entry tells nothing of the kernel.

The guests are played; the entries are real ones, in which a bit has flipped and nothing else.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import pytest

from harness.context import Context
from harness.errors import MachineError
from harness.guest.qemu import GuestNotBooted
from harness.judge import verdict
from harness.lab.local import Bench as LocalBench
from harness.lab.local import LocalExecutor
from harness.lab.templates import Template
from harness.model.events import (
    Capabilities,
    Command,
    Event,
    Exit,
    Guest,
    GuestDied,
    Hello,
    How,
    Window,
)
from harness.model.ids import ONLY
from harness.model.logfiles import LogFiles
from harness.model.plan import PlannedTest
from harness.model.records import CacheDamaged, GuestFailed, RunStarted, TestEnded
from harness.model.results import Kernel, Machine, Test
from harness.model.spec import GuestTable
from harness.outcome import Outcome
from harness.progress import Quiet
from harness.run import journal
from harness.run.attempts import Attempts, Ready
from harness.run.journal import Journal
from harness.run.schedule import Schedule
from harness.store import Damaged, Entry, Store
from harness.suites import Suite

pytestmark = pytest.mark.unit
ONE, TWO = ("snapshot", "one"), ("snapshot", "two")
KERNEL = ("kernel", "k")


def flip(entry: Path, name: str = "file") -> None:
    """Change one bit of a file and neither its size nor its time."""
    path = entry / name
    before, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def fill(out: Path) -> None:
    (out / "file").write_bytes(b"0123456789" * 1000)


@dataclass(frozen=True)
class Lost:
    """Stands for an end: the snapshot goes while a guest is made from it."""

    store: Store
    made_anew: bool = False


@dataclass
class PlayedGuest:
    """A guest in which each program ends as its name says."""

    ends: dict[str, Event | Lost]
    alive: bool = True

    @property
    def capabilities(self) -> Capabilities:
        raise NotImplementedError

    @property
    def hello(self) -> Hello:
        return Hello(0, 0, b"\1", "Linux", "6.1", "", "")

    @property
    def boot_log(self) -> bytes:
        return b""

    async def run(self, command: Command) -> AsyncGenerator[Event]:
        end = self.ends[command.argv[0].rsplit("/", 1)[1]]
        if isinstance(end, Lost):
            end.store.discard(*ONE)
            if end.made_anew:
                end.store.obtain(*ONE, fill, Quiet())
                yield PANIC
                return
            raise FileNotFoundError(errno.ENOENT, "No such file", "ram0")
        yield end

    def feed(self, data: bytes) -> None:
        raise NotImplementedError

    def resize(self, window: Window) -> None:
        raise NotImplementedError

    async def kill(self) -> None:
        self.alive = False

    async def __aenter__(self) -> PlayedGuest:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.kill()


def ended(status: int) -> Exit:
    return Exit(status, None, False, 0.0, 0.0, 0, 0.1, True)


PANIC = GuestDied(How.PANIC, "the kernel panicked")


@dataclass
class PlayedFactory:
    """Makes guests of suite ``one`` from one snapshot, of ``two`` from another."""

    context: Context
    ends: dict[str, Event | Lost]
    boots: MachineError | None = None
    checks: list[tuple[Entry, ...]] = field(default_factory=list)

    def entries(self, suite: Suite, guest: GuestTable) -> tuple[Entry, ...]:
        # Where no guest boots, an initramfs may not have been made.
        return (KERNEL, *([("initramfs", "none")] if self.boots else []))

    async def template(self, suite: Suite, guest: GuestTable) -> Template:
        if self.boots:
            raise self.boots

        async def start() -> Guest:
            return PlayedGuest(self.ends)

        entries = (*self.entries(suite, guest), ("snapshot", suite.name))
        hello = Hello(0, 0, b"\1", "Linux", "6.1", "", "")
        starter: Callable[[], Awaitable[Guest]] = start
        return Template(hello, Machine(accelerator="tcg"), starter, None, entries, b"")


class Deaf:
    """Sees no test."""

    def planned(self, labels: Sequence[str]) -> None: ...

    def started(self, label: str) -> None: ...

    def finished(self, test: Test, label: str) -> None: ...

    def again(self, test: Test, label: str) -> None: ...


@dataclass
class Bench:
    """A run of the tests whose names and ends are given, in a directory of its own."""

    out: Path
    store: Store

    def run(self, boots: MachineError | None = None, **ends: Event | Lost) -> PlayedFactory:
        suites = {name.partition("_")[0] for name in ends}
        tests = tuple(
            PlannedTest(name=f"{suite}:{name}", suite=suite, program=name, path=name)
            for name in ends
            for suite in [name.partition("_")[0]]
        )
        head = RunStarted(
            run="r",
            time="2026-07-01T03:00:00.000Z",
            harness="0",
            command=(),
            kernel=Kernel(release="6.1.0", source="s", base_commit="c"),
            tests=tests,
        )
        factory = PlayedFactory(Context(self.store, Quiet()), ends, boots)
        real = self.store.check

        def check(entries: tuple[Entry, ...]) -> None:
            factory.checks.append(tuple(entries))
            real(entries)

        self.store.check = check  # type: ignore[method-assign, assignment]
        built = [Suite(name, name, self.out, None, (), ()) for name in sorted(suites)]
        with Journal(self.out) as book:
            book.write(head)
            executor = LocalExecutor(self.out, 1)
            executor.benches[ONLY] = LocalBench(
                factory,  # type: ignore[arg-type]
                {suite.name: suite for suite in built},
                LogFiles(tests, repeated=False),
            )

            async def kernels() -> AsyncIterator[Ready]:
                yield Ready(ONLY, head, Attempts(head))

            asyncio.run(Schedule(executor, book, lambda _: Deaf()).execute(kernels()))
        return factory

    def outcomes(self) -> dict[str, Outcome]:
        results = verdict.results(journal.read(self.out))
        return {test.program: test.outcome for test in results.tests}

    def has(self, kind: type) -> bool:
        return any(isinstance(record, kind) for record in journal.read(self.out))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    store = Store(tmp_path / "cache")
    for entry in (KERNEL, ONE, TWO):
        store.obtain(*entry, fill, Quiet())
    (tmp_path / "out").mkdir()
    return Bench(tmp_path / "out", store)


# The cache


def test_a_flipped_bit_is_found_when_asked_for(bench: Bench) -> None:
    bench.store.check([KERNEL, ONE, TWO])
    flip(bench.store.path(*ONE))
    assert bench.store.find(*ONE), "size and time say that it is whole"
    with pytest.raises(Damaged) as caught:
        bench.store.check([KERNEL, ONE, TWO])
    assert caught.value.entries == {ONE}
    assert "file has changed since it was written" in caught.value.why
    assert bench.store.find(*ONE) is None
    assert bench.store.find(*TWO)
    assert list((bench.store.root / "tmp").iterdir()) == []


@pytest.mark.parametrize("damage", ["gone", "no-file", "no-digest", "manifest"])
def test_what_cannot_be_compared_is_damaged(bench: Bench, damage: str) -> None:
    entry = bench.store.path(*ONE)
    manifest = entry / "manifest.json"
    if damage == "gone":
        bench.store.discard(*ONE)
    elif damage == "no-file":
        (entry / "file").unlink()
    elif damage == "no-digest":
        manifest.write_text(manifest.read_text().replace('"sparse"', '"other"'))
    else:
        flip(entry, "manifest.json")
    with pytest.raises(Damaged):
        bench.store.check([ONE])
    assert bench.store.find(*ONE) is None


# The run


def test_a_failure_in_a_whole_guest_is_believed(bench: Bench) -> None:
    factory = bench.run(one_bad=ended(1), one_dead=PANIC, one_good=ended(0), two_good=ended(0))
    assert bench.outcomes() == {
        "one_bad": Outcome.FAIL,
        "one_dead": Outcome.CRASH,
        "one_good": Outcome.PASS,
        "two_good": Outcome.PASS,
    }
    assert factory.checks == [(KERNEL, ONE)], "once, however many tests of it failed"
    assert not bench.has(CacheDamaged)


def test_a_green_run_compares_nothing(bench: Bench) -> None:
    assert bench.run(one_a=ended(0), one_b=ended(4), two_a=ended(0)).checks == []


@pytest.mark.parametrize("end", [PANIC, ended(1), GuestDied(How.QEMU_DIED, "it is gone")])
def test_a_failure_in_a_damaged_guest_counts_for_nothing(bench: Bench, end: Event) -> None:
    flip(bench.store.path(*ONE))
    with pytest.raises(Damaged):
        # Tests of both suites have ended before.
        bench.run(two_good=ended(0), one_good=ended(0), one_bad=end)
    assert bench.outcomes() == {
        "two_good": Outcome.PASS,
        "one_good": Outcome.NOTRUN,
        "one_bad": Outcome.NOTRUN,
    }
    (note,) = verdict.results(journal.read(bench.out)).notes
    assert "the cache was damaged and has been repaired" in note
    assert "snapshot one: file has changed since it was written" in note
    left = verdict.outcomes(journal.read(bench.out))
    assert left == [("two:two_good", 1, Outcome.PASS)], "--resume begins the others again"


def test_what_all_guests_are_made_from_makes_all_of_them_void(bench: Bench) -> None:
    flip(bench.store.path(*KERNEL))
    with pytest.raises(Damaged):
        bench.run(two_good=ended(0), one_bad=PANIC)
    assert set(bench.outcomes().values()) == {Outcome.NOTRUN}


def not_booted() -> GuestNotBooted:
    return GuestNotBooted(PANIC, b"Kernel panic", "bzImage")


def test_a_damaged_kernel_that_does_not_boot_is_no_finding(bench: Bench) -> None:
    flip(bench.store.path(*KERNEL))
    with pytest.raises(Damaged):
        bench.run(not_booted(), one_a=ended(0))
    assert not bench.has(GuestFailed)
    assert bench.has(CacheDamaged)


def test_a_whole_kernel_that_does_not_boot_is_a_crash(bench: Bench) -> None:
    bench.run(not_booted(), one_a=ended(0))
    assert bench.outcomes() == {"one_a": Outcome.CRASH}


def test_a_machine_error_is_that_of_the_damage_behind_it(bench: Bench) -> None:
    flip(bench.store.path(*KERNEL))
    with pytest.raises(Damaged):
        bench.run(MachineError("the guest runs another kernel"), one_a=ended(0))
    assert not any(isinstance(each, TestEnded) for each in journal.read(bench.out))


def test_a_machine_error_without_damage_is_told_as_it_is(bench: Bench) -> None:
    with pytest.raises(MachineError, match="qemu is not installed"):
        bench.run(MachineError("qemu is not installed"), one_a=ended(0))
    assert not bench.has(CacheDamaged)


def test_a_snapshot_that_another_run_has_removed_is_made_again(bench: Bench) -> None:
    with pytest.raises(Damaged) as caught:
        bench.run(one_good=ended(0), one_lost=Lost(bench.store))
    assert caught.value.entries == {ONE}
    assert set(bench.outcomes().values()) == {Outcome.NOTRUN}


def test_a_crash_is_not_believed_that_another_run_has_mended_the_cause_of(bench: Bench) -> None:
    with pytest.raises(Damaged) as caught:
        bench.run(one_good=ended(0), one_lost=Lost(bench.store, made_anew=True))
    assert "was created again" in caught.value.why
    assert set(bench.outcomes().values()) == {Outcome.NOTRUN}
    assert bench.store.find(*ONE), "what the other run has made stays"

# SPDX-License-Identifier: GPL-2.0-only
"""What earlier runs have observed of the same test on the same, so that it need not run again.

*The same* is told by content: the kernel's image, what the guest boots from (the suite's files
and the agent), its machine, QEMU, what is known of the test, its time limit, and this package.
What is kept are records of the journal, so a verdict that is reused is judged like any other, by
today's date.

Only what ended as expected is reused.  A test that has ended otherwise once, on the same, fails or
is unstable: it runs each time.  So does one whose observation was not whole.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

import harness
from harness.context import Context
from harness.digest import digest, digest_files
from harness.judge import verdict
from harness.judge.verdict import day_of, judge_test
from harness.model.events import STARVED_S
from harness.model.ids import KernelName
from harness.model.logfiles import LogFiles
from harness.model.plan import Group, PlannedTest
from harness.model.records import (
    GuestReady,
    Record,
    RunStarted,
    TestEnded,
    TestStarted,
    kernel_names,
    of_kernel,
    standing,
)
from harness.model.results import Logs
from harness.outcome import Outcome
from harness.run.same import bare

_PLACE = "verdicts"
_MOST_GUESTS = 2000
"""Kinds of guests whose tests are remembered; those not asked for the longest are forgotten."""
_SEEDS = "32 random bytes"
"""What seeds tests get.  A verdict that is reused is that of another one."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """The observations of a test that ended as expected."""

    run: str
    started: TestStarted
    ended: TestEnded


class _Guest(msgspec.Struct, kw_only=True):
    """The stored observations of the tests in one kind of guest."""

    ready: GuestReady
    run: str
    """In which it was up."""
    tests: dict[str, Seen | None]
    """By what has to be the same of a test; None for one that ended otherwise than expected."""
    directories: dict[str, str]
    """Of the runs that are named here; their logs are copied where they are still there."""


class Verdicts(msgspec.Struct, frozen=True):
    """The stored observations."""

    context: Context
    tcg_factor: float
    """How much longer tests may take where the processors are emulated."""

    def records(
        self,
        head: RunStarted,
        left: Sequence[PlannedTest],
        kernel: KernelName,
        identities: Mapping[Group, str],
        out: Path,
    ) -> tuple[Record, ...]:
        """Return what stands for those tests *left* of *head* that need not run, for the journal.

        *identities* has for each kind of guest what :meth:`TemplateFactory.identity` says.  Logs
        that are still there are copied to the run's directory *out*.
        """
        logs = LogFiles(head.tests, repeated=False, kernel=kernel)
        found: list[Record] = []
        for group, identity in identities.items():
            guest = self._load(identity) if identity else None
            if guest is None:
                continue
            seen = [
                (test, each)
                for test in left
                if test.group == group
                and (each := guest.tests.get(_key(test))) is not None
                and _stands(test, each, guest.ready, head)
            ]
            if not seen:
                continue
            self._file(identity).touch()
            found.append(_of_guest(guest, kernel, group, out, logs.boot(group)))
            for test, each in seen:
                directory = Path(guest.directories[each.run])
                found += _of_test(each, kernel, test, directory, out, logs.of(test, 1))
        return tuple(found)

    def remember(self, records: Sequence[Record], directory: Path) -> None:
        """Keep what *records*, of the run in *directory*, say of tests that ran in it."""
        for kernel in kernel_names(records):
            self._remember_kernel(records, kernel, directory)
        self._forget()

    def _remember_kernel(
        self, records: Sequence[Record], kernel: KernelName, directory: Path
    ) -> None:
        mine = standing(of_kernel(records, kernel))
        head = next(each for each in mine if isinstance(each, RunStarted))
        guests = {
            (each.suite, each.guest): each
            for each in mine
            if isinstance(each, GuestReady) and each.identity and not each.reused
        }
        own = [each for each in mine if isinstance(each, TestStarted | TestEnded)]
        own = [each for each in own if not each.reused]
        started = {each.name: each for each in own if isinstance(each, TestStarted)}
        ended = {each.name: each for each in own if isinstance(each, TestEnded)}
        reused = {
            (each.name, each.attempt)
            for each in mine
            if isinstance(each, TestEnded) and each.reused
        }
        outcomes: dict[str, set[Outcome]] = {}
        for name, attempt, outcome in verdict.outcomes(records, kernel):
            if (name, attempt) not in reused:
                outcomes.setdefault(name, set()).add(outcome)
        new: dict[str, tuple[GuestReady, dict[str, Seen | None]]] = {}
        for test in head.tests:
            guest = guests.get(test.group)
            all_of_it = outcomes.get(test.name, set())
            # An error is no evidence about the test.
            if guest is None or not all_of_it - {Outcome.ERROR}:
                continue
            _, tests = new.setdefault(guest.identity, (guest, {}))
            if not all(each.as_expected for each in all_of_it - {Outcome.ERROR}):
                tests[_key(test)] = None
            elif Outcome.ERROR not in all_of_it and test.name in started:
                # Of several that went the same way the last.
                seen = Seen(run=head.run, started=started[test.name], ended=ended[test.name])
                tests[_key(test)] = seen
        for identity, (ready, tests) in new.items():
            self._merge(identity, ready, tests, head.run, directory)

    def _merge(
        self,
        identity: str,
        ready: GuestReady,
        tests: Mapping[str, Seen | None],
        run: str,
        directory: Path,
    ) -> None:
        with self.context.lock(_PLACE):
            guest = self._load(identity)
            if guest is None:
                guest = _Guest(ready=ready, run=run, tests={}, directories={})
            for key, seen in tests.items():
                # A test that has failed once with the same content is not stored as good.
                guest.tests[key] = seen if guest.tests.get(key, seen) is not None else None
            guest.directories[run] = str(directory)
            named = {guest.run, *(seen.run for seen in guest.tests.values() if seen is not None)}
            guest.directories = {
                name: path for name, path in guest.directories.items() if name in named
            }
            path = self._file(identity)
            draft = path.with_suffix(f".{run}")
            draft.write_bytes(msgspec.json.encode(guest))
            draft.rename(path)

    def _forget(self) -> None:
        files = sorted(self.context.store.place(_PLACE).iterdir(), key=_used, reverse=True)
        for path in files[_MOST_GUESTS:]:
            path.unlink(missing_ok=True)

    def _file(self, identity: str) -> Path:
        name = digest(identity, _this_package(), _SEEDS, str(self.tcg_factor))
        return self.context.store.place(_PLACE) / f"{name}.json"

    def _load(self, identity: str) -> _Guest | None:
        """Return what is remembered; None where there is nothing, or it cannot be read."""
        try:
            return msgspec.json.decode(self._file(identity).read_bytes(), type=_Guest)
        except (OSError, msgspec.MsgspecError):
            return None


def _key(test: PlannedTest) -> str:
    """Return what has to be the same of a test, beside its guest."""
    return digest(msgspec.json.encode(bare(test)))


@cache
def _this_package() -> str:
    """Return a digest of all code that plans, runs, observes and judges."""
    root = Path(harness.__file__).parent
    paths = sorted(path for path in root.rglob("*") if "__pycache__" not in path.parts)
    return digest_files((path.relative_to(root).as_posix(), path) for path in paths)


def _stands(test: PlannedTest, seen: Seen, ready: GuestReady, head: RunStarted) -> bool:
    """Whether *seen* is whole, and as expected on the day of this run."""
    ending = seen.ended.ending
    disturbed = ending.stood_still_s or ending.starved_s >= STARVED_S
    if ending.restless or disturbed or not ending.log_complete:
        return False
    judged = judge_test(test, day_of(head), seen.started, seen.ended, boot=ready.boot)
    return judged.outcome.as_expected and all(case.outcome.as_expected for case in judged.cases)


def _of_guest(guest: _Guest, kernel: KernelName, group: Group, out: Path, log: str) -> GuestReady:
    suite, table = group
    boot = guest.ready.boot
    if boot is not None:
        copied = _copied(Path(guest.directories[guest.run]), boot.log, out, log)
        boot = msgspec.structs.replace(boot, log=copied)
    return msgspec.structs.replace(
        guest.ready, kernel=kernel, suite=suite, guest=table, boot=boot, reused=guest.run
    )


def _of_test(
    seen: Seen, kernel: KernelName, test: PlannedTest, directory: Path, out: Path, logs: Logs
) -> Iterator[Record]:
    kept = Logs(
        output=_copied(directory, seen.ended.logs.output, out, logs.output),
        kernel=_copied(directory, seen.ended.logs.kernel, out, logs.kernel),
    )
    same = {"kernel": kernel, "name": test.name, "attempt": 1, "reused": seen.run}
    yield msgspec.structs.replace(seen.started, **same)
    yield msgspec.structs.replace(seen.ended, **same, logs=kept)


def _copied(directory: Path, log: str, out: Path, to: str) -> str:
    """Copy a log of an earlier run; return its new name, or an empty one where it is gone."""
    if not log:
        return ""
    with suppress(OSError):
        (out / to).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(directory / log, out / to)
        return to
    return ""


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()

# SPDX-License-Identifier: GPL-2.0-only
"""This side of a worker: sends orders over a link, and keeps what comes back.

What comes back is checked: it must answer what was asked, a log goes to the name that this side has
for it, and nothing is longer than such a thing can be.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol, TypeVar

import msgspec

from harness import __version__
from harness.digest import DigestingSink, Write
from harness.errors import HarnessError, MachineError, UserError
from harness.foreign import told
from harness.lab import capacity, wire
from harness.lab.clock import check_clock
from harness.lab.executor import Attempt, HostLost, TemplateId
from harness.lab.observe import LOG_HEAD, LOG_TAIL
from harness.lab.templates import TemplateFactory
from harness.model.ids import HostName, KernelName
from harness.model.logfiles import LogNames
from harness.model.plan import PlannedTest
from harness.model.records import Boot, GuestFailed, GuestReady, TestEnded
from harness.model.spec import GuestTable
from harness.store import Damaged, Entry
from harness.suites import Suite

R = TypeVar("R")

MOST_SLOTS = 1024
"""The maximum number of guests at a time on one host."""
_MOST_NOTES = 100
_LONGEST_LOG = LOG_HEAD + LOG_TAIL + 4096
HELLO_S = 120.0
"""Seconds for the start of a worker: on a slow machine Python takes long to load it."""
ANSWER_S = 120.0
"""Seconds for orders that need no guest."""
_PREPARE_S = 1800.0
"""Seconds for a template, which may boot several guests: its own limits are shorter."""
_SLACK_S = 600.0
"""Seconds for an attempt beyond its own time limit, which the worker enforces."""
_CLOCK_NOTE_S = 60.0


class Link(Protocol):
    """A connection to a worker's standard input and output; methods may block."""

    def read(self, size: int) -> bytes:
        """Return at most *size* bytes; none where the link is gone."""
        ...

    def write(self, data: bytes) -> None:
        """Send all of *data*; raises OSError where the link is gone."""
        ...

    def put(self, write: Write, name: str) -> DigestingSink:
        """Write the file *name* there; return size and digest of it.

        Raises HarnessError or OSError.
        """
        ...

    def close(self) -> None:
        """End the worker and the link; a reader gets the end.  Harmless when that was done."""
        ...

    def last_words(self) -> str:
        """Return what the worker, or what should have started it, wrote besides."""
        ...


@dataclass
class _Sink:
    """The paths of the logs of one order."""

    paths: Mapping[str, Path]
    files: dict[str, IO[bytes]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    trouble: HarnessError | None = None
    closed: bool = False

    def write(self, part: wire.LogPart) -> None:
        size = self.sizes.get(part.log, 0) + len(part.data)
        if part.log not in self.paths or size > _LONGEST_LOG:
            raise wire.Broken("a worker sends a log that is not asked for, or too long")
        self.sizes[part.log] = size
        if self.trouble or self.closed:
            return
        path = self.paths[part.log]
        try:
            with told("a log cannot be written", path):
                if part.log not in self.files:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    self.files[part.log] = path.open("wb")
                with contextlib.suppress(ValueError):  # it was closed meanwhile
                    self.files[part.log].write(part.data)
        except HarnessError as error:
            # Of this machine, and not of the worker's.
            self.trouble = error

    def close(self) -> None:
        self.closed = True
        try:
            with told("a log cannot be written"):
                for file in self.files.values():
                    file.close()
        except HarnessError as error:
            self.trouble = self.trouble or error


@dataclass
class _Waiting:
    answer: asyncio.Future[wire.Reply]
    sink: _Sink | None


class RemoteWorker:
    """A worker at the other end of a link; made by :meth:`greet`."""

    def __init__(self, host: HostName, link: Link, hello: wire.Hello) -> None:
        self.host = host
        self.hello = hello
        self.notes: list[str] = []
        self.lost = ""
        """Why the worker cannot be used any more; empty as long as it can."""
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, _Waiting] = {}
        self._made: dict[TemplateId, frozenset[Entry]] = {}
        self._checks: dict[TemplateId, asyncio.Future[wire.Done]] = {}
        self._number = 0
        self._heard = time.monotonic()
        self._closed = threading.Event()
        for target in (self._listen, self._pulse):
            threading.Thread(target=target, name=f"host {host}", daemon=True).start()

    @classmethod
    async def greet(cls, host: HostName, link: Link) -> RemoteWorker:
        """Return the worker that answers over *link*.

        Raises MachineError where none answers, or one that this side cannot work with.
        """

        def read() -> wire.Hello:
            noise = wire.skip_noise(link.read)
            if noise is not None:
                said = link.last_words() or noise[-2000:].decode(errors="replace")
                raise MachineError(
                    "the worker does not start",
                    where=host,
                    why=said.strip() or "it has ended, or the connection to it, without a word",
                )
            hello = wire.receive(link.read, wire.REPLIES)
            if not isinstance(hello, wire.Hello):
                raise MachineError(
                    "the worker does not answer at its start", where=host, why=link.last_words()
                )
            return hello

        reading = asyncio.ensure_future(asyncio.to_thread(read))
        try:
            hello = await asyncio.wait_for(asyncio.shield(reading), HELLO_S)
            _check_hello(host, hello)
        except TimeoutError:
            link.close()
            raise MachineError(
                f"no worker has answered within {HELLO_S:.0f} s", where=host
            ) from None
        except BaseException:
            link.close()
            # The reader ends with the link.
            reading.add_done_callback(lambda each: each.cancelled() or each.exception())
            raise
        worker = cls(host, link, hello)
        off = hello.time - time.time()
        if abs(off) > _CLOCK_NOTE_S:
            worker.notes.append(f"the clock of host {host} is {abs(off):.0f} s off")
        return worker

    @property
    def about(self) -> str:
        """Its machine in a few words."""
        return f"{self.hello.cpus} processors, {self.hello.free_mib} MiB"

    @property
    def machine(self) -> str:
        """What no other machine has in common with it; empty where that is not known."""
        return self.hello.machine

    def slots(self, tests: tuple[PlannedTest, ...], most: int | None) -> int:
        """Return how many of *tests* its machine carries at a time, or *most* if that is given."""
        guests = [test.guest for test in tests if test.runnable]
        carried = capacity.jobs(guests, self.hello.free_mib, self.hello.cpus)
        return most or min(MOST_SLOTS, carried)

    async def lacking(self, entries: Sequence[Entry]) -> tuple[Entry, ...]:
        """Return those of *entries* that its store lacks."""
        answer = await self._ask(lambda number: wire.Need(number, tuple(entries)), wire.Lacking)
        return tuple(each for each in answer.entries if each in entries)

    async def take(self, entry: Entry, write: Write) -> int:
        """Have it unpack *entry*, whose archive *write* writes; return how many bytes that has."""
        name = f"{entry[0]}-{entry[1]}.{self.hello.pid}.tar"
        try:
            sent = await asyncio.to_thread(self._link.put, write, f"{self.hello.incoming}/{name}")
        except OSError as error:
            raise self._gone(f"an entry cannot be copied: {error}") from error
        sha256 = sent.sha256
        await self._ask(lambda number: wire.Take(number, entry, name, sha256), wire.Done, _SLACK_S)
        return sent.size

    async def open(
        self, kernel: KernelName, factory: TemplateFactory, suites: Sequence[Suite]
    ) -> None:
        """Make it ready for tests on a kernel, whose entries it has."""
        keys = {suite.name: suite.key for suite in suites if suite.key}
        await self.open_parts(kernel, factory.kernel.key, factory.boot_limit_s, keys)

    async def open_parts(
        self, kernel: KernelName, key: str, boot_limit_s: float, keys: Mapping[str, str]
    ) -> None:
        """Do :meth:`open` by the keys of the kernel's entry and of those of its suites."""
        suites = dict(keys)
        await self._ask(
            lambda number: wire.Open(number, kernel, key, boot_limit_s, suites), wire.Done, _SLACK_S
        )

    async def lacks(
        self, kernel: KernelName, needs: Sequence[tuple[GuestTable, tuple[str, ...]]]
    ) -> tuple[str, ...]:
        """Return for each of *needs* why a guest there does not meet them, empty if it does."""
        wanted = tuple(needs)
        answer = await self._ask(
            lambda number: wire.Fit(number, kernel, wanted), wire.Fits, _PREPARE_S
        )
        if len(answer.reasons) != len(wanted):
            raise self._gone("a worker has answered another question than the one it was asked")
        return answer.reasons

    async def prepare(
        self, template: TemplateId, names: LogNames, out: Path
    ) -> GuestReady | GuestFailed:
        """Make a template there, or tell why its kernel does not come up; its log is here then."""
        suite, guest = template.group
        log = names.boot(template.group)
        answer = await self._ask(
            lambda number: wire.Prepare(number, template.kernel, suite, guest),
            wire.Prepared,
            _PREPARE_S,
            _Sink({"boot": out / log}),
        )
        made = answer.made
        if (made.kernel, made.suite, made.guest) != (template.kernel, suite, guest):
            raise self._gone("a worker has made another template than the one it was asked for")
        self._made[template] = frozenset(answer.entries)
        if isinstance(made, GuestFailed):
            return msgspec.structs.replace(made, host=self.host, log=log)
        boot = made.boot and msgspec.structs.replace(made.boot, log=log)
        return msgspec.structs.replace(made, host=self.host, boot=boot, reused="")

    async def run(
        self, attempt: Attempt, names: LogNames, out: Path, needs: Sequence[str] = ()
    ) -> TestEnded:
        """Run one attempt there; its logs are here when this returns."""
        test, started = attempt.test, attempt.started
        logs, boot_log = names.of(test, started.attempt), names.boot_of(test, started.attempt)
        paths = {"output": logs.output, "kernel": logs.kernel, "boot": boot_log}
        answer = await self._ask(
            lambda number: wire.Run(number, test, started),
            wire.Ended,
            started.limit_s + _SLACK_S,
            _Sink({log: out / path for log, path in paths.items()}),
        )
        ended = answer.ended
        asked = (started.kernel, started.name, started.attempt)
        if (ended.kernel, ended.name, ended.attempt) != asked:
            raise self._gone("a worker has run another attempt than the one it was asked for")
        boot: Boot | None = ended.boot
        if boot and boot.log:
            boot = msgspec.structs.replace(boot, log=boot_log)
        return msgspec.structs.replace(ended, logs=logs, boot=boot, reused="")

    async def check(self, template: TemplateId) -> None:
        """Have it compare what the guests of *template* are made from; once."""
        if template not in self._checks:
            suite, guest = template.group
            asking = self._ask(
                lambda number: wire.Check(number, template.kernel, suite, guest),
                wire.Done,
                _SLACK_S,
            )
            self._checks[template] = asyncio.ensure_future(asking)
        await asyncio.shield(self._checks[template])

    def made_from(self, template: TemplateId) -> frozenset[Entry]:
        """Return what of its cache the guests of *template* come from."""
        return self._made.get(template, frozenset())

    async def leave(self, kernel: KernelName) -> None:
        """Have it forget a kernel, on which nothing runs any more."""
        self._made = {each: made for each, made in self._made.items() if each.kernel != kernel}
        self._checks = {each: done for each, done in self._checks.items() if each.kernel != kernel}
        await self._ask(lambda number: wire.Leave(number, kernel), wire.Done)

    async def close(self) -> None:
        """End it and its guests."""
        with contextlib.suppress(OSError):
            if not self.lost:
                await asyncio.wait_for(
                    asyncio.to_thread(self._link.write, wire.frame(wire.Close())), 2.0
                )
        self._fail("it was closed")
        await asyncio.to_thread(self._link.close)

    async def _ask(
        self,
        order: _Order,
        kind: type[R],
        limit_s: float = ANSWER_S,
        sink: _Sink | None = None,
    ) -> R:
        if self.lost:
            raise self._gone(self.lost)
        self._number += 1
        number = self._number
        waiting = _Waiting(self._loop.create_future(), sink)
        self._waiting[number] = waiting
        try:
            await asyncio.to_thread(self._send, order(number))
            async with asyncio.timeout(limit_s):
                answer = await waiting.answer
        except TimeoutError:
            raise self._gone(f"no answer came within {limit_s:.0f} s") from None
        except asyncio.CancelledError:
            self._cancel(number)
            raise
        finally:
            self._waiting.pop(number, None)
            if sink:
                sink.close()
        if isinstance(answer, wire.Failed):
            raise self._error(answer)
        if sink and sink.trouble:
            raise sink.trouble
        if not isinstance(answer, kind):
            raise self._gone(f"a worker has answered with {type(answer).__name__}")
        return answer

    def _send(self, order: wire.Order) -> None:
        try:
            self._link.write(wire.frame(order))
        except (OSError, EOFError) as error:
            self._loop.call_soon_threadsafe(self._fail, f"the connection is lost: {error}")

    def _cancel(self, number: int) -> None:
        if not self.lost:
            sending = threading.Thread(target=self._send, args=(wire.Cancel(number),), daemon=True)
            sending.start()

    def _listen(self) -> None:
        why = "the connection is lost"
        try:
            while (reply := wire.receive(self._read, wire.REPLIES)) is not None:
                self._hear(reply)
        except (OSError, EOFError) as error:
            why = f"the connection is lost: {error}"
        except wire.Broken as error:
            why = f"{error.what}: {error.why}"
        words = "" if self._closed.is_set() else self._link.last_words().strip()
        why = f"{why}: {words[-2000:]}" if words else why
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._fail, why)
        self._link.close()

    def _read(self, size: int) -> bytes:
        data = self._link.read(size)
        self._heard = time.monotonic()
        return data

    def _hear(self, reply: wire.Reply) -> None:
        match reply:
            case wire.Pulse():
                pass
            case wire.Note(text=text):
                if len(self.notes) < _MOST_NOTES:
                    self.notes.append(text[:2000])
            case wire.LogPart(id=number):
                waiting = self._waiting.get(number)
                if waiting and waiting.sink:
                    waiting.sink.write(reply)
            case wire.Hello():
                raise wire.Broken("a worker greets a second time")
            case _:
                self._loop.call_soon_threadsafe(self._answered, reply.id, reply)

    def _answered(self, number: int, reply: wire.Reply) -> None:
        waiting = self._waiting.get(number)
        if waiting and not waiting.answer.done():
            waiting.answer.set_result(reply)

    def _fail(self, why: str) -> None:
        """Record the end of the connection, and wake up all waiting calls."""
        self.lost = self.lost or why
        self._closed.set()
        for waiting in self._waiting.values():
            if not waiting.answer.done():
                waiting.answer.set_exception(self._gone(self.lost))

    def _gone(self, why: str) -> HostLost:
        """Return the error for a lost host, and close its connection."""
        self.lost = self.lost or why
        if not self._closed.is_set():
            self._closed.set()
            threading.Thread(target=self._link.close, daemon=True).start()
        return HostLost(f"host {self.host} is lost", where=self.host, why=why)

    def _pulse(self) -> None:
        """Show the worker that this side lives, and see whether the worker does."""
        beat = wire.frame(wire.Pulse())
        while not self._closed.wait(wire.PULSE_S):
            if time.monotonic() - self._heard > wire.SILENCE_S:
                why = f"it has not given a sign of life for {wire.SILENCE_S:.0f} s"
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._fail, why)
                self._link.close()
                return
            with contextlib.suppress(OSError, EOFError):
                self._link.write(beat)

    def _error(self, failed: wire.Failed) -> HarnessError:
        where = " ".join(filter(None, (f"host {self.host}:", failed.where)))
        match failed.kind:
            case "damaged":
                found = {entry: f"{why} (host {self.host})" for entry, why in failed.damaged}
                return Damaged(found, Path(self.hello.incoming))
            case "user":
                return UserError(failed.what, where=where, why=failed.why, hint=failed.hint)
            case "bug":
                return HostLost(
                    "the worker has an internal error", where=self.host, why=failed.what
                )
            case "machine":
                return HostLost(failed.what, where=where, why=failed.why, hint=failed.hint)


class _Order(Protocol):
    def __call__(self, number: int, /) -> wire.Order: ...


def _check_hello(host: HostName, hello: wire.Hello) -> None:
    if (hello.protocol, hello.harness) != (wire.PROTOCOL, __version__):
        raise MachineError(
            "the worker is of another version of the harness",
            where=host,
            why=f"{hello.harness} there, {__version__} here",
        )
    check_clock(hello.time, host)

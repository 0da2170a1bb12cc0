# SPDX-License-Identifier: GPL-2.0-only
"""The worker: takes orders from standard input, runs them, and answers.

A worker lives for its channel.  It ends where the channel ends, where no sign of life came for
:data:`harness.lab.wire.SILENCE_S`, and where it does not get on itself: then its watchdog, a small
process, kills it.  Its guests die with it, as the kernel kills them on the death of its thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from harness import __version__
from harness.context import Context
from harness.digest import digest
from harness.errors import HarnessError, MachineError
from harness.foreign import told
from harness.guest.accel import Probe
from harness.kbuild import load_kernel
from harness.lab import archive, capacity, wire
from harness.lab.executor import Attempt, TemplateId
from harness.lab.local import Bench, LocalExecutor
from harness.lab.templates import TemplateFactory
from harness.model.ids import KernelName
from harness.model.plan import Group, PlannedTest
from harness.model.records import GuestReady
from harness.model.results import Logs
from harness.model.spec import GuestTable
from harness.proc.process import PIPE, Child, kill_group, start
from harness.progress import Quiet
from harness.store import Store
from harness.suites import load as load_suite

INCOMING = "incoming"

_OLD_S = 24 * 3600.0
"""After this time an archive is what a connection that was cut has left."""
_ORDERLY_S = 4.0
"""How long guests and files may take to be put away once the channel has ended."""
# It dies with the worker, whose end of the pipe is closed then.
_WATCHDOG = """
import os, select, signal, sys
worker, limit = int(sys.argv[1]), float(sys.argv[2])
while True:
    ready, _, _ = select.select([0], [], [], limit)
    if not ready:
        if os.getppid() == worker:
            os.kill(worker, signal.SIGKILL)
        sys.exit()
    if not os.read(0, 4096):
        sys.exit()
"""


_Done = tuple[wire.Reply, Mapping[wire.LogKind, str]]


class Channel:
    """Two descriptors, for records in and out; several threads may send."""

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink
        self._lock = threading.Lock()
        self.heard = time.monotonic()
        """When something came last."""

    def receive(self) -> wire.Order | None:
        """Return the next order; None at the end of the channel, or for what is no order."""
        with contextlib.suppress(OSError, wire.Broken):
            return wire.receive(self._read, wire.ORDERS)
        return None

    def send(self, *replies: wire.Reply) -> None:
        """Send *replies* in one go; whether they arrive is not known."""
        self._write(b"".join(map(wire.frame, replies)))

    def pulse(self) -> None:
        """Show that this side lives; where something is being sent, that shows it."""
        if self._lock.acquire(blocking=False):
            try:
                with contextlib.suppress(OSError):
                    self._all(wire.frame(wire.Pulse()))
            finally:
                self._lock.release()

    def begin(self) -> None:
        """Send what comes before the first record."""
        self._write(wire.MAGIC)

    def _read(self, size: int) -> bytes:
        data = os.read(self._source, size)
        self.heard = time.monotonic()
        return data

    def _write(self, data: bytes) -> None:
        # What cannot be sent needs no word: the end of the channel is seen by the reader.
        with self._lock, contextlib.suppress(OSError):
            self._all(data)

    def _all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._sink, view) :]


class _Names:
    """The names of logs in the worker's own directory, until they are sent."""

    def __init__(self, kernel: KernelName) -> None:
        self._kernel = kernel

    def of(self, test: PlannedTest, attempt: int) -> Logs:
        base = digest(self._kernel, test.name, str(attempt))[:32]
        return Logs(output=f"{base}.output", kernel=f"{base}.kernel")

    def boot_of(self, test: PlannedTest, attempt: int) -> str:
        return self.of(test, attempt).kernel + ".boot"

    def boot(self, group: Group) -> str:
        suite, guest = group
        return digest(self._kernel, suite, msgspec.json.encode(guest))[:32] + ".boot"


@dataclass
class Worker:
    """Serves one channel; :meth:`serve` runs in the main thread's event loop."""

    channel: Channel
    store: Store
    out: Path
    """A directory of its own for logs."""
    _executor: LocalExecutor = field(init=False)
    _under_way: dict[int, asyncio.Task[None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._executor = LocalExecutor(self.out)

    async def serve(self) -> None:
        """Take orders until the channel ends; then nothing runs any more."""
        loop = asyncio.get_running_loop()
        orders: asyncio.Queue[wire.Order | None] = asyncio.Queue()

        def listen() -> None:
            while True:
                order = self.channel.receive()
                loop.call_soon_threadsafe(orders.put_nowait, order)
                if order is None or isinstance(order, wire.Close):
                    # Whatever hangs in the event loop does not keep guests alive.
                    end = threading.Timer(_ORDERLY_S, os._exit, [1])
                    end.daemon = True
                    end.start()
                    return

        threading.Thread(target=listen, daemon=True).start()
        self._hello()
        try:
            while (order := await orders.get()) is not None and not isinstance(order, wire.Close):
                self._take(order)
        finally:
            for task in self._under_way.values():
                task.cancel()
            await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _hello(self) -> None:
        incoming = self.store.place(INCOMING)
        for left in incoming.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > _OLD_S:
                    left.unlink()
        self.channel.begin()
        self.channel.send(
            wire.Hello(
                protocol=wire.PROTOCOL,
                harness=__version__,
                pid=os.getpid(),
                cpus=len(os.sched_getaffinity(0)),
                free_mib=capacity.available_mib(),
                incoming=str(incoming),
                time=time.time(),
                machine=capacity.machine(),
            )
        )

    def _take(self, order: wire.Order) -> None:
        match order:
            case wire.Pulse() | wire.Close():
                pass
            case wire.Cancel(id=number):
                if number in self._under_way:
                    self._under_way[number].cancel()
            case _:
                task = asyncio.ensure_future(self._answer(order.id, self._do(order)))
                self._under_way[order.id] = task
                task.add_done_callback(lambda _: self._under_way.pop(order.id, None))

    async def _answer(self, number: int, doing: Coroutine[Any, Any, _Done]) -> None:
        try:
            reply, logs = await doing
        except Exception as error:
            reply, logs = wire.failure(number, error), {}
        try:
            await asyncio.to_thread(self._send, number, reply, logs)
        except (HarnessError, UnicodeError) as error:
            await asyncio.to_thread(self.channel.send, wire.failure(number, error))

    def _send(self, number: int, reply: wire.Reply, logs: Mapping[wire.LogKind, str]) -> None:
        """Send *reply* after the logs, which are removed; in one write, where they are short.

        The network may hold back a second write until the first one is confirmed.
        """
        parts: list[wire.Reply] = []
        size = 0
        for log, name in logs.items():
            path = self.out / name
            with told("a log cannot be read"), path.open("rb") as file:
                # One in any case: an empty log is a file as well.
                data = file.read(wire.PART)
                while True:
                    parts.append(wire.LogPart(number, log, data))
                    size += len(data)
                    if size >= wire.PART:
                        self.channel.send(*parts)
                        parts, size = [], 0
                    if not (data := file.read(wire.PART)):
                        break
                path.unlink()
        self.channel.send(*parts, reply)

    async def _do(
        self,
        order: wire.Open
        | wire.Need
        | wire.Take
        | wire.Fit
        | wire.Prepare
        | wire.Run
        | wire.Check
        | wire.Leave,
    ) -> _Done:
        """Do what is ordered; return the answer, and which logs come before it, by their files."""
        match order:
            case wire.Need(id=number, entries=entries):
                return wire.Lacking(number, await asyncio.to_thread(self._lacking, entries)), {}
            case wire.Take():
                await asyncio.to_thread(self._unpack, order)
            case wire.Open():
                await asyncio.to_thread(self._open, order)
            case wire.Fit():
                return await self._fit(order), {}
            case wire.Prepare():
                return await self._prepare(order)
            case wire.Run():
                return await self._run(order)
            case wire.Check():
                template = TemplateId(order.kernel, (order.suite, order.guest))
                await self._executor.check(template)
            case wire.Leave():
                self._executor.leave(order.kernel)
        return wire.Done(order.id), {}

    def _lacking(self, entries: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        return tuple(each for each in entries if self.store.find(*each) is None)

    def _unpack(self, order: wire.Take) -> None:
        if Path(order.name).name != order.name:
            raise MachineError("an archive has no such name", where=order.name)
        packed = self.store.place(INCOMING) / order.name
        try:
            with told("an entry cannot be unpacked", self.store.root):
                archive.unpack(self.store, order.entry, packed, order.sha256, Quiet())
        finally:
            packed.unlink(missing_ok=True)

    def _open(self, order: wire.Open) -> None:
        kernel = load_kernel(self.store, order.key)
        found = {name: load_suite(self.store, key, name) for name, key in order.suites.items()}
        missing = [name for name, suite in found.items() if suite is None]
        if kernel is None or missing:
            raise MachineError(
                "what tests need is not in the cache of the host",
                where=str(self.store.root),
                why=f"missing: {', '.join(missing) or 'the kernel'}",
                hint="run again; is something else removing files there?",
            )
        self._executor.benches[order.kernel] = Bench(
            factory=TemplateFactory(kernel, order.boot_limit_s, Context(self.store, Quiet())),
            suites={name: suite for name, suite in found.items() if suite is not None},
            logs=_Names(order.kernel),
        )

    async def _fit(self, order: wire.Fit) -> wire.Fits:
        factory = self._bench(order.kernel).factory
        merged: dict[GuestTable, frozenset[str]] = {}
        for guest, needs in order.needs:
            merged[guest] = merged.get(guest, frozenset()).union(needs)
        answers: dict[GuestTable, Probe] = {}
        refused: dict[GuestTable, str] = {}
        for guest, wanted in merged.items():
            try:
                answers.update(await factory.probe({guest: wanted}))
            except MachineError as error:
                # KVM is demanded and does not work: elsewhere it may.
                refused[guest] = f"{error.what}: {error.why}".removesuffix(": ")

        def lacks() -> tuple[str, ...]:
            return tuple(
                refused.get(guest) or factory.lacks(guest, needs, answers)
                for guest, needs in order.needs
            )

        return wire.Fits(order.id, await asyncio.to_thread(lacks))

    async def _prepare(self, order: wire.Prepare) -> _Done:
        bench = self._bench(order.kernel)
        if order.suite not in bench.suites:
            raise MachineError("the worker knows no such suite", where=order.suite)
        template = TemplateId(order.kernel, (order.suite, order.guest))
        made = await self._executor.prepare(template)
        log = made.boot.log if isinstance(made, GuestReady) and made.boot else ""
        log = log if isinstance(made, GuestReady) else made.log
        entries = sorted(self._executor.made_from(template))
        return wire.Prepared(order.id, made, tuple(entries)), {"boot": log} if log else {}

    async def _run(self, order: wire.Run) -> _Done:
        self._bench(order.started.kernel)
        attempt = Attempt(order.test, msgspec.structs.replace(order.started, host=""))
        ended = await self._executor.run(attempt)
        logs: dict[wire.LogKind, str] = {"output": ended.logs.output, "kernel": ended.logs.kernel}
        if ended.boot and ended.boot.log:
            logs["boot"] = ended.boot.log
        return wire.Ended(order.id, ended), {log: name for log, name in logs.items() if name}

    def _bench(self, kernel: KernelName) -> Bench:
        if kernel not in self._executor.benches:
            raise MachineError("the worker knows no such kernel", where=kernel)
        return self._executor.benches[kernel]


def serve(store: Store) -> int:
    """Serve standard input and output until they end; return the exit status."""
    # Nothing else may write there: not a library, not a child.
    source, sink = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    channel = Channel(source, sink)
    watchdog = _watched()
    threading.Thread(target=_pulse, args=(channel, watchdog), daemon=True).start()
    try:
        with store.scratch("worker") as out:
            asyncio.run(Worker(channel, store, out).serve())
    finally:
        kill_group(watchdog)
    return 0


def _watched() -> Child:
    """Start what kills this process when it stops to live, and return that."""
    argv = [sys.executable, "-I", "-S", "-c", _WATCHDOG, str(os.getpid()), str(wire.SILENCE_S + 1)]
    return start(argv, stdin=PIPE, stdout=2, stderr=2)


def _pulse(channel: Channel, watchdog: Child) -> None:
    """Show that this process lives; end it where the other side does not."""
    assert watchdog.stdin is not None  # noqa: S101  asked for
    while True:
        time.sleep(wire.PULSE_S)
        with contextlib.suppress(OSError, ValueError):
            os.write(watchdog.stdin.fileno(), b".")
        if time.monotonic() - channel.heard > wire.SILENCE_S:
            os._exit(1)
        channel.pulse()

# SPDX-License-Identifier: GPL-2.0-only
"""Many attempts on many workers whose guests are sleeps; all else is that of a run.

    python -m tools.bench.many WORKERS ATTEMPTS

runs them and prints :class:`Load` as JSON.  Schedule, journal on the disk, fleet, records on their
way and logs are real; the workers are played by a process of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec

from harness import __version__, ktap
from harness.context import Context
from harness.digest import DigestingSink, Write
from harness.lab import wire
from harness.lab.fleet import Fleet
from harness.lab.local import Bench
from harness.lab.remote import RemoteWorker
from harness.lab.templates import TemplateFactory
from harness.model.ids import ONLY
from harness.model.logfiles import LogFiles
from harness.model.plan import PlannedTest
from harness.model.records import Ending, GuestReady, RunEnded, RunStarted, TestEnded
from harness.model.results import Kernel, Logs, Machine, Test
from harness.outcome import Outcome
from harness.proc.process import check, run
from harness.progress import Progress, Quiet
from harness.run.attempts import Attempts, Ready
from harness.run.journal import Journal
from harness.run.schedule import Schedule, now
from harness.store import Store
from tools.bench.figures import Figure
from tools.bench.measured import Stage

LINEAR_RATIO = 1.5
"""How much more an attempt of many may take than one of few."""
WORKERS = 50
FEW, MANY = 1_000, 10_000
"""Attempts on simulated workers."""
SLEEP_S = 0.25
_LIMIT_S = 900.0
_OUTPUT = b"TAP version 13\n1..1\nok 1 trivial\n"
_PLAY = "--play"


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of so many attempts took."""

    attempts: int
    overhead_s: float
    """Seconds of each attempt by which the run is longer than the sleeps, shared out evenly."""
    cpu_s: float
    """Seconds of the processor for each, without the workers'."""


@dataclass(frozen=True)
class ManyBench:
    """Measures many attempts on simulated workers."""

    progress: Progress

    def check(self) -> None:
        """Do nothing: this needs nothing."""

    @contextmanager
    def stages(self) -> Iterator[Iterator[Stage]]:
        """Yield what measures them."""
        yield iter([("attempts on simulated workers", self._measure)])

    def _measure(self) -> Iterator[Figure]:
        """Compare many attempts with few, in a process each."""
        few, many = (self._load(count) for count in (FEW, MANY))
        title = f"{MANY} attempts on {WORKERS} simulated workers"
        yield Figure(
            name=f"{title}, beyond their sleeps",
            value=1000 * many.overhead_s,
            unit="ms each",
            bound=f"<= {1000 * LINEAR_RATIO * few.overhead_s:.2g}",
            reached=many.overhead_s <= LINEAR_RATIO * few.overhead_s,
            note=f"of {FEW} it is {1000 * few.overhead_s:.2f} ms",
        )
        yield Figure(
            name=f"{title}, processor",
            value=1000 * many.cpu_s,
            unit="ms each",
            bound=f"<= {1000 * LINEAR_RATIO * few.cpu_s:.2g}",
            reached=many.cpu_s <= LINEAR_RATIO * few.cpu_s,
            note=f"of {FEW} it is {1000 * few.cpu_s:.2f} ms",
        )

    def _load(self, attempts: int) -> Load:
        argv = [sys.executable, "-m", "tools.bench.many", str(WORKERS), str(attempts)]
        with self.progress.step(f"{attempts} attempts on {WORKERS} simulated workers"):
            done = check(run(argv, limit_s=_LIMIT_S), "a run that is to be measured failed")
        return msgspec.json.decode(done.output.splitlines()[-1], type=Load)


class _SocketLink:
    """The link to a worker over a socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))

    def read(self, size: int) -> bytes:
        try:
            return self._socket.recv(size)
        except OSError:
            return b""

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def put(self, write: Write, name: str) -> DigestingSink:
        raise OSError("these workers lack nothing")

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def last_words(self) -> str:
        return ""


class _Counting:
    """Counts what has passed."""

    def __init__(self) -> None:
        self.passed = 0

    def planned(self, labels: Sequence[str]) -> None: ...

    def started(self, label: str) -> None: ...

    def finished(self, test: Test, label: str) -> None:
        self.passed += test.outcome is Outcome.PASS

    def again(self, test: Test, label: str) -> None: ...


def measure(workers: int, attempts: int, scratch: Path) -> Load:
    """Run *attempts* on *workers*, with the journal and all logs in the directory *scratch*."""
    plan = tuple(
        PlannedTest(
            name=f"trivial:test_{number:05}",
            suite="trivial",
            program=f"test_{number:05}",
            path=f"test_{number:05}",
            timeout_s=45.0,
        )
        for number in range(attempts)
    )
    head = RunStarted(
        run="r",
        time=now(),
        harness="0",
        command=("harness", "run"),
        kernel=Kernel(release="6.1.0", source="s", base_commit="c"),
        tests=plan,
    )
    out, watcher = scratch / "out", _Counting()
    out.mkdir()
    with _played(scratch / "socket"), Journal(out) as book:
        book.write(head)

        async def kernels() -> AsyncIterator[Ready]:
            yield Ready(ONLY, head, Attempts(head))

        def connect(name: str) -> Callable[[], Awaitable[RemoteWorker]]:
            return lambda: RemoteWorker.greet(name, _SocketLink(scratch / "socket"))

        async def go() -> float:
            fleet = Fleet(out, Context(Store(scratch / "cache"), Quiet()))
            for number in range(workers):
                await fleet.join(f"host{number}", connect(f"host{number}"), jobs=1)
            # No template is made here, so nothing asks what would make one.
            nothing = cast(TemplateFactory, None)
            fleet.ready(ONLY, Bench(nothing, {}, LogFiles(plan, repeated=False)))
            begun = time.monotonic()
            await Schedule(fleet, book, lambda _: watcher).execute(kernels())
            return time.monotonic() - begun

        begun = time.process_time()
        seconds = asyncio.run(go())
        cpu = time.process_time() - begun
        book.write(RunEnded(time=now(), seconds=seconds))
    assert watcher.passed == attempts  # noqa: S101  what was to be measured has happened
    slept = SLEEP_S * attempts / workers
    return Load(attempts=attempts, overhead_s=(seconds - slept) / attempts, cpu_s=cpu / attempts)


@contextmanager
def _played(path: Path) -> Iterator[None]:
    """Have a process play the workers that connect to the socket *path*."""
    argv = [sys.executable, "-m", "tools.bench.many", _PLAY, str(path)]
    process = subprocess.Popen(argv)
    try:
        while not path.exists():
            assert process.poll() is None  # noqa: S101  it has told why
            time.sleep(0.02)
        yield
    finally:
        process.kill()
        process.wait()


def play(path: Path) -> None:
    """Play every worker that connects to the socket *path*, until killed."""

    async def serve() -> None:
        server = await asyncio.start_unix_server(_Played().serve, str(path))
        await server.serve_forever()

    asyncio.run(serve())


class _Played:
    """Workers whose guests are sleeps."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        parser = ktap.Parser()
        parser.feed(_OUTPUT)
        self._report = parser.close()
        self._numbers = itertools.count(2)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(*replies: wire.Reply) -> None:
            if not writer.is_closing():
                writer.writelines(map(wire.frame, replies))

        writer.write(wire.MAGIC)
        say(
            wire.Hello(
                protocol=wire.PROTOCOL,
                harness=__version__,
                pid=next(self._numbers),
                cpus=1,
                free_mib=4096,
                incoming="/nowhere",
                time=time.time(),
            )
        )
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                match wire.ORDERS.decode(await reader.readexactly(size)):
                    case wire.Run() as order:
                        task = asyncio.create_task(self._run(order, say))
                        self._tasks.add(task)
                        task.add_done_callback(self._tasks.discard)
                    case wire.Prepare() as order:
                        say(wire.Prepared(order.id, _ready(order), ()))
                    case wire.Check(id=number):
                        say(wire.Done(number))
                    case wire.Close():
                        break
                    case _:
                        say(wire.Pulse())
        writer.close()

    async def _run(self, order: wire.Run, say: Callable[..., None]) -> None:
        await asyncio.sleep(SLEEP_S)
        ended = TestEnded(
            name=order.started.name,
            attempt=order.started.attempt,
            ending=Ending(how="exit", status=0),
            report=self._report,
            output=_OUTPUT.decode(),
            guest_s=SLEEP_S,
            total_s=SLEEP_S,
            logs=Logs(output="output", kernel="kernel"),
        )
        say(
            wire.LogPart(order.id, "output", _OUTPUT),
            wire.LogPart(order.id, "kernel", b""),
            wire.Ended(order.id, ended),
        )


def _ready(order: wire.Prepare) -> GuestReady:
    return GuestReady(
        kernel=order.kernel,
        suite=order.suite,
        guest=order.guest,
        release="6.1.0",
        build_id="b",
        machine=Machine(accelerator="tcg"),
        seconds=0.0,
    )


if __name__ == "__main__":
    if sys.argv[1] == _PLAY:
        play(Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory(prefix="harness-bench-") as directory:
            said = measure(int(sys.argv[1]), int(sys.argv[2]), Path(directory))
        sys.stdout.write(msgspec.json.encode(said).decode() + "\n")

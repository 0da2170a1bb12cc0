# SPDX-License-Identifier: GPL-2.0-only
"""One QEMU process: started so that it cannot outlive the harness, and always reaped.

All its channels are socket pairs or pipes, whose far ends QEMU inherits: no path in any file
system, and an end of file when either side dies.  The console is a pipe: a socket charges QEMU,
which writes byte by byte, 768 bytes for each, so that it is full after 300; then the guest's
serial driver waits 10 ms, and goes on without the character.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import socket
import tempfile
from collections.abc import Callable
from typing import IO, Any, Self

import msgspec
from qemu.qmp import EventListener, QMPClient, QMPError

from harness.errors import MachineError
from harness.guest.machine import Channels
from harness.guest.starved import GuestTime
from harness.proc.process import Child, find, start
from harness.proc.signals import LoopTimeout, to_the_end

_STREAM_LIMIT = 1 << 20
_CONSOLE_BUFFER = 1 << 20
_REAP_LIMIT_S = 10.0
_MONITOR_LIMIT_S = 30.0
"""How long QEMU may take to greet: it does so in 0.1 s, but the host may be busy."""
_FILE_URI = (9, 1)
"""From this release on a migration to a file has a URI of its own, and others are deprecated."""

NO_ANSWER = "its monitor does not answer"
"""The text if QEMU printed nothing."""

# The kernel is asked to kill QEMU with the harness; this makes sure that the harness did not die
# before it asked.  PR_SET_PDEATHSIG survives exec.  It belongs to the *thread* that started the
# process, so the event loop's thread must live as long as its guests.
_LAUNCHER = ("sh", "-c", 'test "$PPID" = "$1" && shift && exec "$@"', "sh")

_LOG = logging.getLogger(__name__)
_LOG.addHandler(logging.NullHandler())


class Shutdown(msgspec.Struct, frozen=True):
    """The guest was reset, powered off or stopped; QEMU's word for the cause."""

    reason: str


class Exited(msgspec.Struct, frozen=True):
    """QEMU is gone.  ``code`` is its exit status, or minus the signal's number."""

    code: int


class QemuProcess:
    """A running QEMU with its monitor, console and agent channels.

    Made by :meth:`start`; :meth:`kill` must be awaited in the end, from the same event loop.
    """

    def __init__(self, process: Child, errors: IO[bytes]) -> None:
        self._process = process
        self._errors = errors
        self._pidfd = os.pidfd_open(process.pid)
        self._monitor = QMPClient()
        # qemu.qmp fails an assertion where two wait for its disconnection; a connection that is
        # cancelled waits for it, too.
        self._closing = asyncio.Lock()
        self._connecting: asyncio.Task[None] | None = None
        # qemu.qmp logs every lost connection as an error; the harness kills every guest on purpose.
        self._monitor.logger = _LOG.getChild("monitor")
        self._events = EventListener()
        self._monitor.register_listener(self._events)
        self._exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.console: asyncio.StreamReader
        self.agent: asyncio.StreamReader
        self.agent_writer: asyncio.StreamWriter
        self._transports: list[asyncio.BaseTransport] = []
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    @classmethod
    async def start(cls, argv: Callable[[Channels], list[str]]) -> Self:
        """Start QEMU with what *argv* returns for its channels.

        Raises :class:`MachineError` when QEMU is not there, or dies before its monitor answers;
        then with QEMU's own words.
        """
        ends = _Ends.open()
        errors = tempfile.TemporaryFile(prefix="harness-qemu-")  # noqa: SIM115 (closed by kill)
        try:
            command = argv(ends.channels)
            _require(command[0])
            process = start(
                [*_LAUNCHER, str(os.getpid()), *command],
                stdout=errors,
                stderr=errors,
                pass_fds=ends.channels.descriptors,
                on_death=signal.SIGKILL,
            )
        except BaseException:
            errors.close()
            ends.close_ours()
            raise
        finally:
            ends.close_theirs()
        qemu = cls(process, errors)
        try:
            await qemu._connect(ends)
        except BaseException:
            ends.close_ours()
            await qemu.kill()
            raise
        return qemu

    async def _connect(self, ends: _Ends) -> None:
        loop = asyncio.get_running_loop()
        self.console = asyncio.StreamReader(_STREAM_LIMIT)
        console, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self.console), ends.console
        )
        self._transports.append(console)
        self.agent, self.agent_writer = await asyncio.open_connection(
            sock=ends.agent, limit=_STREAM_LIMIT
        )
        self._transports.append(self.agent_writer.transport)
        connecting = asyncio.create_task(self._monitor.connect(ends.monitor))
        self._connecting = connecting

        async def connected() -> None:
            await connecting

        try:
            await self.patience(_MONITOR_LIMIT_S).wait(connected())
        except (QMPError, TimeoutError, OSError) as e:
            await asyncio.wait({self._exited}, timeout=1.0)
            why = self.errors() or f"{NO_ANSWER}: {e}"
            raise MachineError("QEMU does not start", why=why) from e

    @property
    def version(self) -> str:
        """QEMU's version and package, as its monitor says: a snapshot needs the same one."""
        said = self._said
        numbers, package = said["qemu"], said["package"]
        return f"{numbers.get('major')}.{numbers.get('minor')}.{numbers.get('micro')} {package}"

    @property
    def _release(self) -> tuple[int, int]:
        numbers = self._said["qemu"]
        return numbers.get("major", 0), numbers.get("minor", 0)

    @property
    def _said(self) -> Any:
        greeting = self._monitor.greeting
        return greeting.QMP.version if greeting else {"qemu": {}, "package": ""}

    @property
    def pid(self) -> int:
        """QEMU's process."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """QEMU's exit status, minus the signal's number, or None while it runs."""
        return self._exited.result() if self._exited.done() else None

    async def execute(self, command: str, limit_s: float = 10.0, **arguments: object) -> object:
        """Execute a monitor command.

        Raises :class:`TimeoutError` when there is no answer in time, and QMPError when QEMU
        refuses or is gone.
        """
        return await self.patience(limit_s).wait(self._monitor.execute(command, arguments or None))

    def patience(self, limit_s: float) -> LoopTimeout:
        """Return a time limit, in seconds, that runs only while QEMU can."""
        return LoopTimeout(limit_s, GuestTime(self.pid).passed)

    def time(self) -> GuestTime:
        """Return a counter of the time in which the guest can run, from now on."""
        return GuestTime(self.pid, lambda: self._monitor.execute("query-status"))

    async def migration_file(self, fd: int) -> str:
        """Hand an open file over to QEMU; return the URI by which a migration goes to or from it.

        Raises as :meth:`execute`.
        """
        self._monitor.send_fd_scm(fd)
        if self._release < _FILE_URI:
            await self.execute("getfd", fdname="state")
            return "fd:state"
        added: Any = await self.execute("add-fd")
        return f"file:/dev/fdset/{added['fdset-id']}"

    async def gone(self) -> int:
        """Wait until QEMU has exited; return :attr:`returncode`."""
        return await asyncio.shield(self._exited)

    async def wait_event(self, name: str) -> None:
        """Wait for the monitor event *name*, dropping others.

        Raises :class:`MachineError` when QEMU ends before.
        """
        while True:
            message = await self._next_message()
            if isinstance(message, Exited):
                raise MachineError(f"QEMU ended before {name} appeared", why=self.errors())
            if message["event"] == name:
                return

    async def death(self) -> Shutdown | Exited:
        """Wait until the guest has ended in any way.

        QEMU announces a shutdown and then pauses; so this says Exited only where QEMU itself
        failed or was killed.
        """
        while True:
            message = await self._next_message()
            if isinstance(message, Exited):
                return message
            if message["event"] == "SHUTDOWN":
                return Shutdown(str(message["data"]["reason"]))

    async def _next_message(self) -> Any:
        """The next monitor event, or the process's end when there is none before."""
        event = asyncio.ensure_future(self._events.get())
        either: set[asyncio.Future[Any]] = {event, self._exited}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return event.result() if event.done() else Exited(self._exited.result())
        finally:
            event.cancel()

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self._process.wait()
        if not self._exited.done():
            self._exited.set_result(code)

    async def kill(self) -> None:
        """Kill QEMU, reap it, close all channels, also when cancelled.  May be called again.

        Raises :class:`MachineError` when the process does not go away.
        """
        await to_the_end(self._kill())

    async def _kill(self) -> None:
        if not self._exited.done():
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            done, _ = await asyncio.wait({self._exited}, timeout=_REAP_LIMIT_S)
            if not done:
                raise MachineError(
                    "QEMU survives SIGKILL",
                    where=f"process {self._process.pid}",
                    hint="it is stuck in the host's kernel: look at its stack in /proc",
                )
        if self._connecting is not None:
            # QEMU is gone, so this ends at once.
            await asyncio.wait({self._connecting})
            if not self._connecting.cancelled():
                self._connecting.exception()  # has been reported
        async with self._closing:
            with contextlib.suppress(QMPError, OSError, EOFError):
                await self._monitor.disconnect()
        for transport in self._transports:
            transport.close()
        self._errors.close()

    def errors(self) -> str:
        """Return the end of what QEMU wrote to stdout and stderr."""
        if self._errors.closed:
            return ""
        size = os.fstat(self._errors.fileno()).st_size
        text = os.pread(self._errors.fileno(), 4096, max(0, size - 4096))
        return text.decode(errors="replace").strip()


class _Ends(msgspec.Struct, frozen=True):
    """Both ends of QEMU's channels: ours as objects, theirs as descriptors."""

    monitor: socket.socket
    console: IO[bytes]
    agent: socket.socket
    channels: Channels

    @classmethod
    def open(cls) -> Self:
        monitor, monitor_end = socket.socketpair()
        agent, agent_end = socket.socketpair()
        console, console_end = os.pipe()
        # Less than asked for when the user has many pipes already; then it is 64 KiB.
        with contextlib.suppress(OSError):
            fcntl.fcntl(console, fcntl.F_SETPIPE_SZ, _CONSOLE_BUFFER)
        channels = Channels(monitor_end.detach(), console_end, agent_end.detach())
        return cls(monitor, os.fdopen(console, "rb", buffering=0), agent, channels)

    def close_theirs(self) -> None:
        for end in self.channels.descriptors:
            os.close(end)

    def close_ours(self) -> None:
        self.monitor.close()
        self.console.close()
        self.agent.close()


def _require(qemu: str) -> None:
    for program, package in ((qemu, "qemu-system-x86"), ("setpriv", "util-linux")):
        if find(program) is None:
            raise MachineError(
                "a program that guests need is not installed",
                where=program,
                hint=f"on Debian: apt install {package}",
            )

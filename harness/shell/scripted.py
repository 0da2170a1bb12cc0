# SPDX-License-Identifier: GPL-2.0-only
"""A guest for a test that is written in Python: commands, files, the kernel log, and a verdict.

Kernel complaints count against the test, as for a program of a suite.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from harness import klog, ktap
from harness.errors import UserError
from harness.guest.qemu import QemuGuest
from harness.judge.witnesses import AtBoot, judge
from harness.lab.observe import ending_of
from harness.model.events import (
    Command,
    Exit,
    Final,
    GuestDied,
    KernelLog,
    NotStarted,
    Stderr,
    Stdout,
)
from harness.model.records import Ending
from harness.outcome import Outcome
from harness.proc.background import Background
from harness.shell.visit import KernelLogTail

_HOME = "/root"
_MOST = 32 << 20
"""Bytes that are kept of each stream of a command, and of the kernel log."""
_PIECE = 90_000
"""Bytes of a file in one argument, which is at most 128 KiB when encoded (MAX_ARG_STRLEN)."""
_PIECES = 6
"""Arguments of one command, which are at most a megabyte altogether."""
_WRITE = 'for piece; do printf %s "$piece"; done | base64 -d >>"$0"'


class GuestGone(Exception):
    """The guest died under a command; the text has the end of the kernel log."""


class CommandFailed(Exception):
    """A command did not end with status 0; the text has its output."""


class Result(msgspec.Struct, frozen=True):
    """How a command ended."""

    argv: tuple[str, ...]
    status: int | None
    """Its exit status; None if a signal ended it."""
    signal: int | None
    timed_out: bool
    """Whether it reached its time limit, however it ended then."""
    stdout: str
    """Standard output; bytes that are not UTF-8 become ``\\xNN``, here and below."""
    stderr: str
    kernel_log: str
    """The kernel log during the command."""
    seconds: float
    """Duration by the guest's clock."""

    @property
    def ok(self) -> bool:
        """Whether it ended with status 0 and in time."""
        return self.status == 0 and not self.timed_out

    def check(self) -> Result:
        """Return this result; raises :class:`CommandFailed` unless it is :attr:`ok`."""
        if self.ok:
            return self
        how = f"signal {self.signal}" if self.status is None else f"status {self.status}"
        how = "it reached its time limit" if self.timed_out else how
        said = "".join(f"\n{text}" for text in (self.stdout, self.stderr) if text)
        raise CommandFailed(f"{' '.join(self.argv)}: {how}{said}")


class ScriptedGuest:
    """A running guest, for code that is not asynchronous.

    :meth:`start` creates it; :meth:`close` ends it.
    """

    def __init__(
        self, guest: QemuGuest, background: Background, path: str, at_boot: AtBoot
    ) -> None:
        self._guest = guest
        self._background = background
        self._path = path
        self._at_boot = at_boot
        self._log = bytearray(guest.boot_log)
        self._told: list[tuple[Ending, tuple[klog.Finding, ...]]] = []
        self._allowed: list[re.Pattern[str]] = []

    @classmethod
    def start(
        cls,
        starter: Callable[[], Awaitable[QemuGuest]],
        background: Background,
        path: str,
        at_boot: Callable[[QemuGuest], AtBoot],
    ) -> ScriptedGuest:
        """Return a guest that *starter* has started; *path* is its ``PATH``.

        *at_boot* returns what of its boot counts against the test.  Raises MachineError if the
        guest does not start.
        """

        async def begin() -> QemuGuest:
            return await starter()

        guest = background.run(begin())
        return cls(guest, background, path, at_boot(guest))

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = False,
        timeout_s: float = 60.0,
        cwd: str = _HOME,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a command and return how it ended.

        A name without a slash is searched in the directories of the suite, then of the system.
        *timeout_s* is in seconds in which the guest could run; *env* is added to ``PATH``, ``HOME``
        and ``TERM``.  With *check*, raises :class:`CommandFailed` if the command does not end
        with status 0.  Raises :class:`GuestGone` if the guest dies, and OSError if the program
        cannot be started.
        """
        words = tuple(argv)
        if not words:
            raise UserError("there is no command to run", where="guest.run([])")
        if "/" not in words[0]:
            words = ("/bin/sh", "-c", 'exec "$0" "$@"', *words)
        variables = {"PATH": self._path, "HOME": _HOME, "TERM": "dumb", **(env or {})}
        command = Command(
            argv=words,
            timeout_s=timeout_s,
            seed=secrets.token_bytes(32),
            wall_clock_ns=time.time_ns(),
            env=tuple(variables.items()),
            cwd=cwd,
        )
        if not self._guest.alive:
            raise GuestGone(f"the guest is dead\n{self._last_words()}")
        out, err, log = bytearray(), bytearray(), bytearray()
        end = self._background.run(self._hear(command, out, err, log))
        room = _MOST - len(self._log)
        self._log += log[: max(0, room)]
        if isinstance(end, GuestDied):
            raise GuestGone(
                f"{' '.join(argv)}: the guest died ({end.how}): {end.detail}\n{self._last_words()}"
            )
        if isinstance(end, NotStarted):
            raise OSError(end.errno, f"{os.strerror(end.errno)} in the guest", words[0])
        result = Result(
            argv=tuple(argv),
            status=end.status,
            signal=end.signal,
            timed_out=end.timed_out,
            stdout=_text(out),
            stderr=_text(err),
            kernel_log=_text(log),
            seconds=end.wall_s,
        )
        return result.check() if check else result

    def write_file(self, path: str, data: str | bytes, mode: int = 0o644) -> None:
        """Write *data* to *path* in the guest; the directory must exist.

        Raises :class:`CommandFailed` if that fails.
        """
        raw = data.encode() if isinstance(data, str) else data
        absolute = path if path.startswith("/") else f"{_HOME}/{path}"
        self.run(["/bin/sh", "-c", ': >"$0"', absolute], check=True)
        step = _PIECE * _PIECES
        for start in range(0, len(raw), step):
            batch = raw[start : start + step]
            pieces = [batch[at : at + _PIECE] for at in range(0, len(batch), _PIECE)]
            encoded = [base64.b64encode(piece).decode() for piece in pieces]
            self.run(["/bin/sh", "-c", _WRITE, absolute, *encoded], check=True)
        self.run(["/bin/sh", "-c", 'chmod "$1" "$0"', absolute, f"{mode:o}"], check=True)

    @property
    def kernel_log(self) -> str:
        """The kernel log from the boot until now, at most 32 MiB."""
        return _text(self._log)

    @property
    def release(self) -> str:
        """The kernel's release, as in ``uname -r``."""
        return self._guest.hello.release

    def allow(self, pattern: str) -> None:
        """Ignore kernel reports whose title contains a match of the regular expression.

        This also holds for earlier reports.
        """
        self._allowed.append(re.compile(pattern))

    def complaint(self) -> str:
        """Return the kernel's complaint that was not allowed; empty if there is none.

        It also returns a text if complaints cannot be read, or may still come.
        """
        reasons = []
        # A guest in which nothing ran has booted, so its boot counts.
        told = self._told or [(Ending(how="exit", status=0), ())]
        for number, (ending, findings) in enumerate(told):
            allowed = [each for each in findings if self._allows(each)]
            remaining = [each for each in findings if each not in allowed]
            if ending.how == "died" and allowed:
                continue  # these are allowed
            at_boot = self._at_boot if number == 0 else None
            clean = ktap.Parser().close()
            outcome, reason = judge(ending, clean, remaining, allowed, at_boot=at_boot)
            if outcome is not Outcome.PASS:
                reasons.append(f"{outcome}: {reason}")
        return "\n".join(dict.fromkeys(reasons))

    def close(self) -> None:
        """End the guest; does nothing if it is dead."""
        self._background.run(self._guest.kill())

    def _allows(self, finding: klog.Finding) -> bool:
        return any(pattern.search(finding.title) for pattern in self._allowed)

    async def _hear(
        self, command: Command, out: bytearray, err: bytearray, log: bytearray
    ) -> Final:
        scanner = klog.Scanner()
        async with contextlib.aclosing(self._guest.run(command)) as events:
            async for event in events:
                match event:
                    case Stdout(data):
                        out += data[: _MOST - len(out)]
                    case Stderr(data):
                        err += data[: _MOST - len(err)]
                    case KernelLog(data):
                        log += data[: _MOST - len(log)]
                        scanner.feed(data)
                    case Exit() | NotStarted() | GuestDied() as end:
                        self._told.append((_kernels_part(end), scanner.close()))
                        return end
                    case _:
                        pass
        raise AssertionError("a run without an end")  # excluded by Guest.run

    def _last_words(self) -> str:
        tail = KernelLogTail()
        tail.add(bytes(self._log))
        return tail.last_words


def _kernels_part(end: Final) -> Ending:
    """Return the kernel's part of *end*: the test itself judges how the command ended."""
    ending = ending_of(end)
    if isinstance(end, GuestDied):
        return ending
    return Ending(
        how="exit",
        status=0,
        log_complete=ending.log_complete,
        taint=ending.taint,
        restless=ending.restless,
        stood_still_s=ending.stood_still_s,
        starved_s=ending.starved_s,
    )


def _text(data: bytes | bytearray) -> str:
    return data.decode(errors="backslashreplace")

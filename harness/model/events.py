# SPDX-License-Identifier: GPL-2.0-only
"""What every guest offers, whatever runs it: plain values in, plain values out.

All dataclasses here are frozen and hold only numbers, text, bytes, enums and tuples of these, so
that they can be written to a journal or sent to another host.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from enum import IntFlag, StrEnum
from types import TracebackType
from typing import Protocol, Self

import msgspec


class Accelerator(StrEnum):
    """What executes the guest's instructions."""

    KVM = "kvm"
    TCG = "tcg"


class Capability(msgspec.Struct, frozen=True):
    """A capability of a guest; if it is not available, ``reason`` says why."""

    available: bool
    reason: str = ""


class Capabilities(msgspec.Struct, frozen=True):
    """What the planner reads to skip, before a guest starts, tests that cannot run in it."""

    accelerator: Accelerator
    snapshot: Capability
    nested_kvm: Capability
    tdx: Capability
    host_root: Capability


class Window(msgspec.Struct, frozen=True):
    """The size of a terminal, in characters."""

    rows: int
    columns: int


class Faults(msgspec.Struct, frozen=True):
    """Which calls of a program fail on purpose: settings of the kernel's fault injection.

    ``settings`` are values by files below debugfs; they hold for the program, its threads and what
    it forks.  ``counter`` is the file that says how many failures are left.
    """

    settings: tuple[tuple[str, str], ...]
    counter: str


class Command(msgspec.Struct, frozen=True):
    """One program to run.

    ``argv[0]`` is the program's path in the guest.  ``env`` is the whole environment, as pairs of
    name and value.  After ``timeout_s`` seconds in which the guest could run the process group gets
    SIGTERM, ``grace_s`` later everything gets SIGKILL.  ``seed`` (32 bytes) is mixed into the
    guest's random number generator, ``wall_clock_ns`` becomes its clock.

    With ``merge_output`` standard error goes into the pipe of standard output, so that the order of
    what was written to both is kept, and everything comes as :class:`Stdout`.

    With ``terminal`` the program has a terminal of that size instead, as standard input, output and
    error; all that is written to it comes as :class:`Stdout`.  See :meth:`Guest.feed`.

    ``files`` are written before it starts, as pairs of name and content: so the kernel can be set
    up for it by way of sysfs.  Where that fails the program does not start.  No name has a ``=``.

    ``faults`` make calls of it fail; with ``watch_left`` a :class:`Left` says what it has left in
    the kernel's memory, where the kernel knows.

    With ``points`` it is preempted there: pairs of ns from its start and of ns for which the task
    that ran stands back.  Without any, but not None, the guest is the same and nothing stands back.

    The seed makes two restored guests differ, and not more than that: the kernel also mixes
    cycle counters into its generator, so the same seed does not give the same random numbers.
    """

    argv: tuple[str, ...]
    timeout_s: float
    seed: bytes
    wall_clock_ns: int
    env: tuple[tuple[str, str], ...] = ()
    cwd: str = "/"
    grace_s: float = 2.0
    merge_output: bool = False
    terminal: Window | None = None
    files: tuple[tuple[str, str], ...] = ()
    faults: Faults | None = None
    watch_left: bool = False
    points: tuple[tuple[int, int], ...] | None = None


class Stdout(msgspec.Struct, frozen=True):
    """Bytes that the test wrote to its standard output, cut anywhere."""

    data: bytes


class Stderr(msgspec.Struct, frozen=True):
    """Bytes that the test wrote to its standard error, cut anywhere."""

    data: bytes


class Left(msgspec.Struct, frozen=True):
    """Lines about what the test has left in the kernel's memory, cut anywhere."""

    data: bytes


class KernelLog(msgspec.Struct, frozen=True):
    """Whole lines of the kernel log, each with its newline; only the very last may lack it."""

    data: bytes


class Heartbeat(msgspec.Struct, frozen=True):
    """The agent lives; ``monotonic_s`` is the guest's clock since its boot."""

    monotonic_s: float


class Exit(msgspec.Struct, frozen=True):
    """The test ended, and the guest lives.

    One of ``status`` (0 to 255) and ``signal`` is None.  ``timed_out`` says that the limit was
    reached, however the program ended then.  Times are in seconds; user and system time count
    the program and the children it waited for, ``wall_s`` is guest time.

    ``log_complete`` is False when the end of the kernel log did not arrive: the test has turned
    the console off, or the console is stuck.  Then it is not known what the kernel said.

    ``taint`` has the flags that the kernel got during the test, bit by bit as in
    /proc/sys/kernel/tainted: it has complained, whether that was to be read or not.

    ``restless`` says what of the kernel was still busy with the test when its log ended, so that a
    complaint may have come later: ``busy`` for kernel threads, ``rcu`` for a grace period.

    ``stood_still_s`` is how long, in seconds, the guest did not run while its clock did.
    ``starved_s`` is for how many of any :data:`STARVED_WITHIN_S` seconds, at most, it was ready to
    run and its host did not let it.

    ``faults_left`` is how many of the failures of :class:`Faults` did not come about; None where
    that is not known.
    """

    status: int | None
    signal: int | None
    timed_out: bool
    utime_s: float
    stime_s: float
    maxrss_kib: int
    wall_s: float
    log_complete: bool
    taint: int = 0
    restless: tuple[str, ...] = ()
    stood_still_s: float = 0.0
    starved_s: float = 0.0
    faults_left: int | None = None


class NotStarted(msgspec.Struct, frozen=True):
    """The program could not be executed: ``errno`` of execve() or chdir(); the guest lives."""

    errno: int
    detail: str


class How(StrEnum):
    """How a guest died."""

    PANIC = "panic"
    """The kernel panicked and reported it."""
    RESET = "reset"
    """The machine was reset without a panic: reboot(2), or a triple fault."""
    POWER_OFF = "power-off"
    """The machine was powered off from within."""
    HANG = "hang"
    """No heartbeat although the processors ran."""
    CRASHED = "crashed"
    """Its kernel has crashed and is unusable, although processors run and the agent answers."""
    UNKILLABLE = "unkillable"
    """A process of the test survived SIGKILL: it is stuck in the kernel."""
    QEMU_DIED = "qemu-died"
    """QEMU exited, or was killed by something other than the harness."""
    QEMU_STUCK = "qemu-stuck"
    """QEMU lives and does not answer its monitor."""
    PROTOCOL = "protocol"
    """The agent sent something that is not in the protocol, or no end of the test."""
    AGENT_FAILED = "agent-failed"
    """The agent reported a fatal error."""
    NOT_BOOTED = "not-booted"
    """The guest never sent its hello frame."""

    @property
    def in_guest(self) -> bool:
        """Whether the cause lies in the guest: what runs there, or its kernel.

        Otherwise (QEMU or the agent failed) nothing is known about the kernel.
        """
        return self in _IN_GUEST


_IN_GUEST = frozenset({How.PANIC, How.RESET, How.POWER_OFF, How.HANG, How.CRASHED, How.UNKILLABLE})


class GuestDied(msgspec.Struct, frozen=True):
    """The guest is gone, and the test with it.  ``detail`` is text for people.

    ``stood_still_s`` and ``starved_s`` are as in :class:`Exit`.
    """

    how: How
    detail: str
    stood_still_s: float = 0.0
    starved_s: float = 0.0


Final = Exit | NotStarted | GuestDied
Event = Stdout | Stderr | KernelLog | Left | Heartbeat | Final


class Guest(Protocol):
    """A running guest.  Leaving the ``async with`` block kills it and leaves nothing behind."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def alive(self) -> bool:
        """Whether :meth:`run` may be called."""
        ...

    @property
    def hello(self) -> Hello:
        """The agent's frame when user space was ready."""
        ...

    @property
    def boot_log(self) -> bytes:
        """The console's log until then."""
        ...

    def run(self, command: Command) -> AsyncGenerator[Event, None]:
        """Run one program; yield its events, the last of which is a :data:`Final`.

        All kernel-log lines of the test come before the final event.  Closing the generator
        early kills the guest, because its test cannot be called back.
        """
        ...

    def feed(self, data: bytes) -> None:
        """Type *data* on the terminal of the command that runs; it is lost if that has ended."""
        ...

    def resize(self, window: Window) -> None:
        """Change the size of that terminal, and tell the program in its foreground."""
        ...

    async def kill(self) -> None:
        """Kill the guest, at once and without a trace.  Harmless when it is dead."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class BootFlag(IntFlag):
    """The state of the kernel after its boot."""

    LOCKDEP_OFF = 1
    """The kernel has lockdep, and it is off since it complained or the kernel was tainted."""
    ONCE_RESET = 2
    """The agent reset the WARN_ONCE()s that were printed during the boot."""
    UNQUIET = 4
    """The kernel did not become idle before the hello."""


class Unquiet(IntFlag):
    """What was still busy after a test, so that the kernel may complain later."""

    BUSY = 1
    """Kernel threads that stay busy."""
    RCU = 2
    """A grace period of RCU that does not end."""


class Hello(msgspec.Struct, frozen=True):
    """First frame of the guest.  ``build_id`` is empty when the kernel has none.

    ``taint`` has the flags of /proc/sys/kernel/tainted, ``boot`` those of :class:`BootFlag`.
    """

    realtime_ns: int
    monotonic_ns: int
    build_id: bytes
    sysname: str
    release: str
    version: str
    machine: str
    taint: int = 0
    boot: int = 0


STOOD_STILL_S = 1.0
"""After so long a stop a guest's kernel may report that something takes too long."""
STARVED_WITHIN_S = 20.0
"""The shortest time after which a kernel reports that by itself."""
STARVED_S = 15.0
"""A guest that had to wait for so much of that time had too little left to show anything."""

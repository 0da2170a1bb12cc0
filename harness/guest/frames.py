# SPDX-License-Identifier: GPL-2.0-only
"""Frames between the host and the agent; ``agent/frames.h`` is the other side.

A frame is a header of 8 bytes (version u8, type u8, reserved u16 = 0, payload length u32) and a
payload, little endian.  A string or blob is a u32 length and that many bytes, without NUL.
Everything is checked: what does not parse is a :class:`FrameError`, and after one the stream is
useless, because nothing says where the next frame starts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any

import msgspec

from harness.model.events import Hello

VERSION = 10
HEADER = struct.Struct("<BBHI")
MAX_OUTPUT = 32768 - 8
MAX_INPUT = 4096
MAX_PAYLOAD = 1024 * 1024
MAX_ARGS = 4096
MAX_POINTS = 4096
MAX_GRACE_MS = 7 * 24 * 3600 * 1000
SEED_SIZE = 32
TOKEN_SIZE = 16
_MAX_ERRNO = 4095
UNKNOWN = 2**32 - 1
"""Stands for a number that the agent does not know."""
PORT_NAME = "harness.agent"

READY_LINE = b"harness-agent: ready"
"""What the agent writes to the kernel log before it says hello."""
STARTED_LINE = b"harness-agent: the program has started"
"""What it writes there while the program of a run starts."""


def end_line(token: bytes) -> bytes:
    """Return the line that the agent writes to the kernel log at the end of a run."""
    return b"harness-agent: end " + token.hex().encode()


class FrameError(Exception):
    """The other side violates the protocol."""


class FrameType(IntEnum):
    HELLO = 1
    RUN = 2
    STDOUT = 3
    STDERR = 4
    EXIT = 5
    HEARTBEAT = 6
    POWEROFF = 7
    ERROR = 8
    INPUT = 9
    WINDOW = 10
    TIME_IS_UP = 11
    LEFT = 12


class ErrorCode(IntEnum):
    START = 1
    UNKILLABLE = 2
    PROTOCOL = 3
    AGENT = 4


class Io(IntEnum):
    """The standard input, output and error of a program."""

    PIPES = 0
    """/dev/null, and a pipe for each of the others."""
    MERGED = 1
    """/dev/null, and one pipe for both."""
    TERMINAL = 2
    """A terminal; its output comes as standard output."""


class Run(msgspec.Struct, frozen=True):
    """Start a program.  Times in the units of their names; strings as bytes without NUL.

    ``rows`` and ``columns`` are those of the terminal, if there is one.
    """

    grace_ms: int
    wall_clock_ns: int
    seed: bytes
    token: bytes
    cwd: bytes
    argv: tuple[bytes, ...]
    env: tuple[bytes, ...]
    io: Io = Io.PIPES
    rows: int = 0
    columns: int = 0
    files: tuple[bytes, ...] = ()
    """``FILE=VALUE``: what is written to files before the program starts."""
    counter: bytes = b""
    """The file of debugfs that says how many faults are left; empty where no call is to fail."""
    watch_left: bool = False
    """Whether to send :class:`Left`."""
    points: tuple[tuple[int, int], ...] | None = None
    """Where to preempt the program: ns from its start, and ns for which the task stands back.  None
    where nothing looks after that."""


class Left(msgspec.Struct, frozen=True):
    """Lines that say what a run has left in the kernel's memory, before its end."""

    data: bytes


class Output(msgspec.Struct, frozen=True):
    """Bytes that the program wrote to stdout, or to stderr."""

    data: bytes
    stderr: bool


class Ended(msgspec.Struct, frozen=True):
    """Last frame of a run: ``code`` is a signal number or an exit status.

    ``token`` is the run's, which only the agent knows: a test that got hold of the port does not.
    """

    signaled: bool
    timed_out: bool
    code: int
    utime_us: int
    stime_us: int
    maxrss_kib: int
    wall_ns: int
    token: bytes
    taint: int = 0
    """Flags that the kernel got during the run (Documentation/admin-guide/tainted-kernels.rst)."""
    unquiet: int = 0
    """:class:`Unquiet`."""
    lost_ns: int = 0
    """Time in which the agent did not get to run, gaps of more than 1.5 s only."""
    faults_left: int = UNKNOWN
    """How many calls had yet to fail when the run was over."""


class Beat(msgspec.Struct, frozen=True):
    """Sign of life, about every second of a run."""

    monotonic_ns: int


class PowerOff(msgspec.Struct, frozen=True):
    """Ask the guest to power off; there is no answer."""


class AgentError(msgspec.Struct, frozen=True):
    """Something the agent cannot do; ``errno`` is 0 where no system call failed.

    ``token`` is the run's as in :class:`Ended`, and all zero before the first run.  ``text`` may
    name a file: bytes that are not UTF-8 come as ``\\xNN``.
    """

    code: ErrorCode
    errno: int
    text: str
    token: bytes


class Input(msgspec.Struct, frozen=True):
    """What was typed on the terminal of a run: 1 to ``MAX_INPUT`` bytes."""

    data: bytes


class Resize(msgspec.Struct, frozen=True):
    """The terminal of a run has another size now."""

    rows: int
    columns: int


class TimeIsUp(msgspec.Struct, frozen=True):
    """Say that a run has had its limit by the host's clock.

    As soon as it has had ``limit_ns`` by the guest's clock, too, its program is asked to end; after
    the grace it is killed.
    """

    limit_ns: int


Frame = (
    Hello | Run | Output | Left | Ended | Beat | PowerOff | AgentError | Input | Resize | TimeIsUp
)

_U32 = struct.Struct("<I")
_HELLO = struct.Struct("<QQII")
_RUN = struct.Struct(f"<QQ{SEED_SIZE}s{TOKEN_SIZE}sIHH")
_PREEMPT = struct.Struct("<II")
_POINT = struct.Struct("<QQ")
_EXIT = struct.Struct(f"<BBHIIQQQQQI{TOKEN_SIZE}s")
_BEAT = struct.Struct("<Q")
_ERROR = struct.Struct(f"<II{TOKEN_SIZE}s")
_WINDOW = struct.Struct("<HH")
_TIME_IS_UP = struct.Struct("<Q")


def encode(frame: Frame) -> bytes:
    """Return *frame* as bytes.

    Raises :class:`FrameError` when a field is out of its range or the payload too large.
    """
    try:
        kind, payload = _encode(frame)
    except (struct.error, UnicodeEncodeError) as e:
        raise FrameError(f"{type(frame).__name__}: {e}") from e
    limit = MAX_OUTPUT if isinstance(frame, Output | Left) else MAX_PAYLOAD
    if len(payload) > limit:
        raise FrameError(f"{kind.name}: {len(payload)} bytes, at most {limit} fit")
    return HEADER.pack(VERSION, kind, 0, len(payload)) + payload


def _encode(frame: Frame) -> tuple[FrameType, bytes]:
    match frame:
        case Hello():
            names = (frame.sysname, frame.release, frame.version, frame.machine)
            texts = b"".join(_pack_string(name.encode()) for name in names)
            head = _HELLO.pack(frame.realtime_ns, frame.monotonic_ns, frame.taint, frame.boot)
            return FrameType.HELLO, head + _pack_blob(frame.build_id) + texts
        case Run():
            _check_run(frame)
            head = _RUN.pack(
                frame.grace_ms,
                frame.wall_clock_ns,
                frame.seed,
                frame.token,
                frame.io,
                frame.rows,
                frame.columns,
            )
            lists = _pack_strings(frame.argv) + _pack_strings(frame.env)
            fault = _pack_strings(frame.files) + _pack_string(frame.counter)
            fault += _U32.pack(frame.watch_left)
            points = _pack_points(frame.points)
            return FrameType.RUN, head + _pack_string(frame.cwd) + lists + fault + points
        case Output():
            if not frame.data:
                raise FrameError("output without a byte")
            return FrameType.STDERR if frame.stderr else FrameType.STDOUT, frame.data
        case Left():
            if not frame.data:
                raise FrameError("nothing left, in no words")
            return FrameType.LEFT, frame.data
        case Ended():
            return FrameType.EXIT, _EXIT.pack(
                frame.signaled,
                frame.timed_out,
                frame.code,
                frame.taint,
                frame.unquiet,
                frame.utime_us,
                frame.stime_us,
                frame.maxrss_kib,
                frame.wall_ns,
                frame.lost_ns,
                frame.faults_left,
                frame.token,
            )
        case Beat():
            return FrameType.HEARTBEAT, _BEAT.pack(frame.monotonic_ns)
        case PowerOff():
            return FrameType.POWEROFF, b""
        case AgentError():
            head = _ERROR.pack(frame.code, frame.errno, frame.token)
            return FrameType.ERROR, head + _pack_string(frame.text.encode())
        case Input():
            if not 0 < len(frame.data) <= MAX_INPUT:
                raise FrameError(f"{len(frame.data)} bytes of input")
            return FrameType.INPUT, frame.data
        case Resize():
            return FrameType.WINDOW, _WINDOW.pack(frame.rows, frame.columns)
        case TimeIsUp():
            return FrameType.TIME_IS_UP, _TIME_IS_UP.pack(frame.limit_ns)


def _pack_points(points: Sequence[tuple[int, int]] | None) -> bytes:
    head = _PREEMPT.pack(points is not None, len(points or ()))
    return head + b"".join(_POINT.pack(*each) for each in points or ())


def _check_run(run: Run) -> None:
    if not run.argv:
        raise FrameError("no program to run")
    if max(len(run.argv), len(run.env), len(run.files)) > MAX_ARGS:
        raise FrameError(f"more than {MAX_ARGS} arguments, variables or settings")
    if len(run.seed) != SEED_SIZE or len(run.token) != TOKEN_SIZE:
        raise FrameError(f"seed and token have {SEED_SIZE} and {TOKEN_SIZE} bytes")
    if not 0 <= run.grace_ms <= MAX_GRACE_MS:
        raise FrameError("a grace is at most a week")
    points = run.points or ()
    if len(points) > MAX_POINTS or list(points) != sorted(points):
        raise FrameError(f"at most {MAX_POINTS} points of preemption, and one after the other")


def _pack_blob(data: bytes) -> bytes:
    return _U32.pack(len(data)) + data


def _pack_string(data: bytes) -> bytes:
    if b"\0" in data:
        raise FrameError("a string with a NUL byte")
    return _pack_blob(data)


def _pack_strings(items: Sequence[bytes]) -> bytes:
    return _U32.pack(len(items)) + b"".join(map(_pack_string, items))


def decode(kind: int, payload: bytes) -> Frame:
    """Return the frame of type *kind* with *payload*; raise :class:`FrameError` otherwise."""
    reader = _Reader(payload)
    try:
        frame = _decode(FrameType(kind), payload, reader)
    except (struct.error, ValueError) as e:
        raise FrameError(f"type {kind}, {len(payload)} bytes: {e}") from e
    if not isinstance(frame, Output | Input | Left) and not reader.at_end:
        raise FrameError(f"{type(frame).__name__}: bytes left over")
    return frame


def _decode(kind: FrameType, payload: bytes, reader: _Reader) -> Frame:
    match kind:
        case FrameType.HELLO:
            realtime, monotonic, taint, boot = reader.unpack(_HELLO)
            build_id = reader.blob()
            sysname, release, version, machine = (reader.string().decode() for _ in range(4))
            return Hello(
                realtime, monotonic, build_id, sysname, release, version, machine, taint, boot
            )
        case FrameType.RUN:
            grace_ms, clock_ns, seed, token, io, *window = reader.unpack(_RUN)
            cwd, argv, env = reader.string(), reader.strings(), reader.strings()
            files, counter, (watch_left,) = reader.strings(), reader.string(), reader.unpack(_U32)
            preempt, count = reader.unpack(_PREEMPT)
            if watch_left > 1 or preempt > 1 or count > (MAX_POINTS if preempt else 0):
                raise FrameError("RUN: a field out of range")
            points = tuple(reader.unpack(_POINT) for _ in range(count))
            rows, columns = window
            run = Run(
                grace_ms,
                clock_ns,
                seed,
                token,
                cwd,
                argv,
                env,
                Io(io),
                rows,
                columns,
                files,
                counter,
                bool(watch_left),
                points if preempt else None,
            )
            _check_run(run)
            return run
        case FrameType.STDOUT | FrameType.STDERR:
            if not 0 < len(payload) <= MAX_OUTPUT:
                raise FrameError(f"{kind.name}: {len(payload)} bytes of output")
            return Output(payload, stderr=kind is FrameType.STDERR)
        case FrameType.LEFT:
            if not 0 < len(payload) <= MAX_OUTPUT:
                raise FrameError(f"LEFT: {len(payload)} bytes")
            return Left(payload)
        case FrameType.EXIT:
            signaled, timed_out, code, taint, unquiet, *rest = reader.unpack(_EXIT)
            utime, stime, rss, wall, lost, faults_left, token = rest
            if signaled > 1 or timed_out > 1 or code > (64 if signaled else 255):
                raise FrameError("EXIT: a field out of range")
            return Ended(
                bool(signaled),
                bool(timed_out),
                code,
                utime,
                stime,
                rss,
                wall,
                token,
                taint,
                unquiet,
                lost,
                faults_left,
            )
        case FrameType.HEARTBEAT:
            return Beat(*reader.unpack(_BEAT))
        case FrameType.POWEROFF:
            return PowerOff()
        case FrameType.ERROR:
            code, errno, token = reader.unpack(_ERROR)
            if errno > _MAX_ERRNO:
                raise FrameError("ERROR: a field out of range")
            text = reader.string().decode(errors="backslashreplace")
            return AgentError(ErrorCode(code), errno, text, token)
        case FrameType.INPUT:
            if not 0 < len(payload) <= MAX_INPUT:
                raise FrameError(f"INPUT: {len(payload)} bytes")
            return Input(payload)
        case FrameType.WINDOW:
            return Resize(*reader.unpack(_WINDOW))
        case FrameType.TIME_IS_UP:
            return TimeIsUp(*reader.unpack(_TIME_IS_UP))


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at == len(self._data)

    def unpack(self, what: struct.Struct) -> tuple[Any, ...]:
        values = what.unpack_from(self._data, self._at)
        self._at += what.size
        return values

    def blob(self) -> bytes:
        (length,) = self.unpack(_U32)
        if length > len(self._data) - self._at:
            raise FrameError("a string longer than its frame")
        self._at += length
        return self._data[self._at - length : self._at]

    def string(self) -> bytes:
        data = self.blob()
        if b"\0" in data:
            raise FrameError("a string with a NUL byte")
        return data

    def strings(self) -> tuple[bytes, ...]:
        (count,) = self.unpack(_U32)
        if count > MAX_ARGS:
            raise FrameError(f"more than {MAX_ARGS} strings")
        return tuple(self.string() for _ in range(count))


class Decoder:
    """Cuts a stream into frames.  Holds at most one incomplete frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Bytes of an incomplete frame; not 0 at end of file means a frame was cut off."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with *data*; raise :class:`FrameError`."""
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            version, kind, reserved, length = HEADER.unpack_from(self._buffer)
            if version != VERSION:
                raise FrameError(f"protocol version {version}, this side speaks {VERSION}")
            if reserved or length > MAX_PAYLOAD:
                raise FrameError(f"bad header: type {kind}, reserved {reserved}, length {length}")
            end = HEADER.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[HEADER.size : end])
            del self._buffer[:end]
            yield decode(kind, payload)

# SPDX-License-Identifier: GPL-2.0-only
"""The protocol between the harness and a worker: records, each preceded by its length.

A worker may be on a machine that is not trusted as this one is.  So records are decoded strictly,
none is longer than :data:`MOST`, and no record holds a path that the other side writes to.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Literal, TypeVar

import msgspec

from harness.errors import HarnessError, MachineError, UserError
from harness.foreign import translate
from harness.model.ids import KernelName
from harness.model.plan import PlannedTest
from harness.model.records import GuestFailed, GuestReady, TestEnded, TestStarted
from harness.model.spec import GuestTable
from harness.store import Damaged

T = TypeVar("T")

PROTOCOL = 1
MAGIC = b"\nharness-worker 1\n"
"""Comes before the first record: what a login shell prints before it is left out."""
NOISE = 64 << 10
"""Bytes that may come before :data:`MAGIC`."""
MOST = 64 << 20
"""Bytes of a record."""
PART = 256 << 10
"""Bytes of a log in one record."""
PULSE_S = 1.0
"""Seconds between the signs of life of each side."""
SILENCE_S = 8.0
"""After how long without a sign of life a side takes the other for lost."""

_WORDS = 8192
"""Characters of an error's part."""
_HEAD = struct.Struct("!I")
_Pair = tuple[str, str]
LogKind = Literal["output", "kernel", "boot"]


class _Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="is"):
    pass


class Open(_Wire, frozen=True, tag="open"):
    """Make ready to run tests on a kernel, from entries that are in the worker's store."""

    id: int
    kernel: KernelName
    key: str
    boot_limit_s: float
    suites: dict[str, str]
    """Keys of the suites' entries by the suites' names."""


class Need(_Wire, frozen=True, tag="need"):
    """Ask which entries are not in the worker's store."""

    id: int
    entries: tuple[_Pair, ...]


class Take(_Wire, frozen=True, tag="take"):
    """Unpack an archive, which was put into the worker's ``incoming``, as an entry."""

    id: int
    entry: _Pair
    name: str
    sha256: str


class Fit(_Wire, frozen=True, tag="fit"):
    """Ask why guests do not meet needs on a kernel."""

    id: int
    kernel: KernelName
    needs: tuple[tuple[GuestTable, tuple[str, ...]], ...]


class Prepare(_Wire, frozen=True, tag="prepare"):
    """Make the template of a suite's guest."""

    id: int
    kernel: KernelName
    suite: str
    guest: GuestTable


class Run(_Wire, frozen=True, tag="run"):
    """Run an attempt."""

    id: int
    test: PlannedTest
    started: TestStarted


class Check(_Wire, frozen=True, tag="check"):
    """Compare what guests are made from with what was written."""

    id: int
    kernel: KernelName
    suite: str
    guest: GuestTable


class Leave(_Wire, frozen=True, tag="leave"):
    """Forget a kernel: no order comes for it any more."""

    id: int
    kernel: KernelName


class Cancel(_Wire, frozen=True, tag="cancel"):
    """Cancel the order with an id."""

    id: int


class Pulse(_Wire, frozen=True, tag="pulse"):
    """A sign of life."""


class Close(_Wire, frozen=True, tag="close"):
    """End, guests included."""


Order = Open | Need | Take | Fit | Prepare | Run | Check | Leave | Cancel | Pulse | Close


class Hello(_Wire, frozen=True, tag="hello"):
    """The first record of a worker."""

    protocol: int
    harness: str
    """Version of the harness."""
    pid: int
    cpus: int
    free_mib: int
    incoming: str
    """Where archives of entries are put."""
    time: float
    """Its clock, in seconds since 1970."""
    machine: str = ""
    """:func:`harness.lab.capacity.machine` there."""


class Done(_Wire, frozen=True, tag="done"):
    """The order is done."""

    id: int


class Lacking(_Wire, frozen=True, tag="lacking"):
    """Answers :class:`Need`."""

    id: int
    entries: tuple[_Pair, ...]


class Fits(_Wire, frozen=True, tag="fits"):
    """Answers :class:`Fit`: a reason for each, empty where all is met."""

    id: int
    reasons: tuple[str, ...]


class Prepared(_Wire, frozen=True, tag="prepared"):
    """Answers :class:`Prepare`."""

    id: int
    made: GuestReady | GuestFailed
    entries: tuple[_Pair, ...]
    """What its guests are made from."""


class Ended(_Wire, frozen=True, tag="ended"):
    """Answers :class:`Run`; the logs came before it."""

    id: int
    ended: TestEnded


class LogPart(_Wire, frozen=True, tag="log"):
    """A part of a log of what runs under that id."""

    id: int
    log: LogKind
    data: bytes


class Failed(_Wire, frozen=True, tag="failed"):
    """What was asked for cannot be done; of what kind that is, and its error in four parts."""

    id: int
    kind: Literal["user", "machine", "damaged", "bug"]
    what: str
    where: str = ""
    why: str = ""
    hint: str = ""
    damaged: tuple[tuple[_Pair, str], ...] = ()
    """Entries that were damaged, each with what was wrong."""


class Note(_Wire, frozen=True, tag="note"):
    """A line for the user."""

    text: str


def failure(number: int, error: Exception) -> Failed:
    """Return *error* as the answer to the order *number*."""
    meaning = translate(error)
    if isinstance(meaning, Damaged):
        damaged = tuple(sorted(meaning.found.items()))
        return Failed(number, "damaged", meaning.what, damaged=damaged)
    if isinstance(meaning, HarnessError):
        return Failed(
            number,
            "user" if isinstance(meaning, UserError) else "machine",
            what=meaning.what[:_WORDS],
            where=meaning.where[:_WORDS],
            why=meaning.why[:_WORDS],
            hint=meaning.hint[:_WORDS],
        )
    return Failed(number, "bug", repr(error)[:_WORDS])


Reply = Hello | Done | Lacking | Fits | Prepared | Ended | LogPart | Failed | Note | Pulse

_ENCODER = msgspec.msgpack.Encoder()
ORDERS: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
REPLIES: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


class Broken(MachineError):
    """The data of the channel are not a record of this protocol."""


def frame(record: Order | Reply) -> bytes:
    """Return *record* as it goes over the channel; raises Broken where it is too long."""
    data = _ENCODER.encode(record)
    if len(data) > MOST:
        raise Broken("a record is too long to be sent", why=f"{len(data)} bytes")
    return _HEAD.pack(len(data)) + data


def receive(read: Callable[[int], bytes], decoder: msgspec.msgpack.Decoder[T]) -> T | None:
    """Return the next record that *read* gives; None at the end of the channel.

    *read* returns at most so many bytes, and none at the end.  Raises Broken for what is no record.
    """
    head = _exactly(read, _HEAD.size)
    if len(head) < _HEAD.size:
        return None
    (size,) = _HEAD.unpack(head)
    if size > MOST:
        raise Broken("a record is too long", why=f"{size} bytes")
    data = _exactly(read, size)
    if len(data) < size:
        return None
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise Broken("a record cannot be decoded", why=str(error)) from None


def skip_noise(read: Callable[[int], bytes]) -> bytes | None:
    """Read up to and with :data:`MAGIC`; return None then, and else what came in its place."""
    seen = bytearray()
    while not seen.endswith(MAGIC):
        # One by one: what follows is not ours to take.
        byte = read(1)
        if not byte or len(seen) >= NOISE:
            return bytes(seen)
        seen += byte
    return None


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        data = read(min(size - len(parts), 1 << 20))
        if not data:
            break
        parts += data
    return bytes(parts)

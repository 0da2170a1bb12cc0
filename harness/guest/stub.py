# SPDX-License-Identifier: GPL-2.0-only
"""The protocol of gdb: packets, and the few of them that the harness itself sends to QEMU."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Self

_CHUNK = 1024
"""How many bytes of memory are written at once: QEMU takes packets of 4096 characters."""
_ESCAPED = re.compile(rb"\}(.)", re.DOTALL)
_RUN_LENGTH = re.compile(rb"(.)\*(.)", re.DOTALL)
_LIMIT_S = 30.0
"""How long QEMU may take for an answer: milliseconds, but the host may be busy."""


class StubError(Exception):
    """The other side does not answer as the protocol wants it, or is gone."""


def packet(payload: bytes) -> bytes:
    """Return *payload*, which is escaped already, as a packet."""
    return b"$%b#%02x" % (payload, sum(payload) % 256)


def plain(payload: bytes) -> bytes:
    """Return what a packet says, its run lengths written out and its escapes undone."""
    spread = _RUN_LENGTH.sub(lambda run: run[1] * (run[2][0] - 28), payload)
    return _ESCAPED.sub(lambda found: bytes([found[1][0] ^ 0x20]), spread)


async def receive(reader: asyncio.StreamReader) -> bytes:
    """Return the payload of the next packet, raw; ``b"\\x03"`` for an interrupt.

    Raises :class:`StubError` at the end of the stream.
    """
    try:
        while True:
            first = await reader.readexactly(1)
            if first == b"\x03":
                return first
            if first == b"$":
                payload = (await reader.readuntil(b"#"))[:-1]
                await reader.readexactly(2)
                return payload
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
        raise StubError(f"the connection ended: {error}") from error


class Stub:
    """A connection to QEMU's gdbstub; while there is one, the guest stands still by itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, path: Path) -> Self:
        """Connect to the socket *path*; raises :class:`StubError` where none listens."""
        try:
            return cls(*await asyncio.open_unix_connection(path, limit=1 << 20))
        except OSError as error:
            raise StubError(f"QEMU does not wait for gdb: {error}") from error

    async def ask(self, request: bytes) -> bytes:
        """Send *request* and return the answer, raw.  Raises :class:`StubError`."""
        self.send(request)
        return await self.answer()

    def send(self, request: bytes) -> None:
        """Send *request*, a raw payload, and acknowledge what came before."""
        self._writer.write(b"+" + packet(request))

    def interrupt(self) -> None:
        """Make a guest stop that runs; :meth:`answer` then says where."""
        self._writer.write(b"\x03")

    async def answer(self, limit_s: float | None = _LIMIT_S) -> bytes:
        """Return the next packet, raw.  Raises :class:`StubError`, also after *limit_s* seconds."""
        try:
            payload = await asyncio.wait_for(receive(self.reader), limit_s)
        except TimeoutError:
            raise StubError(f"no answer for {limit_s:g} s") from None
        self._writer.write(b"+")
        return payload

    async def demand(self, request: bytes) -> None:
        """Send *request*; raises :class:`StubError` where the answer is not OK."""
        answer = await self.ask(request)
        if answer != b"OK":
            raise StubError(f"{request[:40]!r} is answered with {answer[:40]!r}")

    async def physical(self, *, on: bool) -> None:
        """Let addresses of memory be physical ones from now on, or not.  Raises StubError."""
        await self.demand(b"Qqemu.PhyMemMode:%d" % on)

    async def read(self, address: int, length: int) -> bytes:
        """Return what is in the guest's memory; nothing where there is none."""
        answer = plain(await self.ask(b"m%x,%x" % (address, length)))
        try:
            return bytes.fromhex(answer.decode())
        except ValueError:
            return b""

    async def write(self, address: int, data: bytes) -> None:
        """Write *data* to the guest's memory.  Raises :class:`StubError`."""
        for start in range(0, len(data), _CHUNK):
            part = data[start : start + _CHUNK]
            await self.demand(b"M%x,%x:%b" % (address + start, len(part), part.hex().encode()))

    async def close(self) -> None:
        """Close the connection: the guest goes on."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return

# SPDX-License-Identifier: GPL-2.0-only
"""Packets of gdb's protocol."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from harness.guest.stub import Stub, StubError, packet, plain, receive

pytestmark = pytest.mark.unit


def read(*data: bytes) -> list[bytes]:
    """Return the packets in *data*, which comes piece by piece and then ends."""

    async def receive_all() -> list[bytes]:
        reader = asyncio.StreamReader()
        for piece in data:
            reader.feed_data(piece)
        reader.feed_eof()
        found = []
        try:
            while True:
                found.append(await receive(reader))
        except StubError:
            return found

    return asyncio.run(receive_all())


def test_a_packet_has_a_sum() -> None:
    assert packet(b"OK") == b"$OK#9a"
    assert packet(b"") == b"$#00"


def test_packets_come_in_pieces_and_with_acknowledgements() -> None:
    assert read(b"+$O", b"K#", b"9a++$T05#b9", b"\x03") == [b"OK", b"T05", b"\x03"]


def test_half_a_packet_is_none() -> None:
    assert read(b"$OK#9") == []
    assert read(b"$OK") == []


def test_run_lengths_and_escapes_are_undone() -> None:
    assert plain(b"0* ") == b"0000"
    assert plain(b"a}\x03b") == b"a#b"
    assert plain(b"xyz") == b"xyz"


def test_memory_is_read_and_written_in_packets_that_qemu_takes() -> None:
    memory = {0x1000: b"\x00\xff#}"}
    written: list[bytes] = []

    async def talk() -> None:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=theirs)
        stub = Stub(*await asyncio.open_connection(sock=ours))

        async def qemu() -> None:
            with contextlib.suppress(StubError):
                while request := await receive(reader):
                    if request.startswith(b"m1000,4"):
                        writer.write(b"+" + packet(memory[0x1000].hex().encode()))
                    elif request.startswith(b"m"):
                        writer.write(b"+" + packet(b"E14"))
                    else:
                        written.append(request)
                        writer.write(b"+" + packet(b"OK"))

        answering = asyncio.create_task(qemu())
        assert await stub.read(0x1000, 4) == memory[0x1000]
        assert await stub.read(0x2000, 4) == b""
        await stub.physical(on=True)
        await stub.write(0x5000, bytes(2500))
        await stub.close()
        await answering
        writer.close()

    asyncio.run(talk())
    assert written[0] == b"Qqemu.PhyMemMode:1"
    assert [each.partition(b":")[0] for each in written[1:]] == [
        b"M5000,400",
        b"M5400,400",
        b"M5800,1c4",
    ]
    assert max(map(len, written)) < 4096


def test_what_is_refused_is_an_error() -> None:
    async def talk() -> None:
        ours, theirs = socket.socketpair()
        _, writer = await asyncio.open_connection(sock=theirs)
        stub = Stub(*await asyncio.open_connection(sock=ours))
        writer.write(packet(b"E22"))
        try:
            await stub.demand(b"M0,1:00")
        finally:
            await stub.close()
            writer.close()

    with pytest.raises(StubError, match="E22"):
        asyncio.run(talk())

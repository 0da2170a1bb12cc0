# SPDX-License-Identifier: GPL-2.0-only
"""Packets of gdb's protocol."""

from __future__ import annotations

import asyncio

import pytest

from harness.guest.stub import StubError, packet, plain, receive

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

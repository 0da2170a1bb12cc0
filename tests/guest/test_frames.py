# SPDX-License-Identifier: GPL-2.0-only
"""Frames survive the way there and back, and nothing else is taken for a frame."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.guest import frames
from harness.guest.frames import (
    AgentError,
    Beat,
    Decoder,
    Ended,
    ErrorCode,
    Frame,
    FrameError,
    FrameType,
    Left,
    Output,
    PowerOff,
    Run,
    TimeIsUp,
)
from harness.model.events import Hello

pytestmark = pytest.mark.unit

u64 = st.integers(0, 2**64 - 1)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
strings = st.binary().map(lambda b: b.replace(b"\0", b"0"))
limits = st.integers(0, frames.MAX_GRACE_MS)
u32 = st.integers(0, 2**32 - 1)
string_lists = st.lists(strings, max_size=5).map(tuple)

any_frame: st.SearchStrategy[Frame] = st.one_of(
    st.builds(Hello, u64, u64, st.binary(max_size=64), texts, texts, texts, texts, u32, u32),
    st.builds(
        Run,
        limits,
        u64,
        st.binary(min_size=32, max_size=32),
        st.binary(min_size=16, max_size=16),
        strings,
        string_lists.filter(len),
        string_lists,
        files=string_lists,
        counter=strings,
        watch_left=st.booleans(),
    ),
    st.builds(Left, st.binary(min_size=1, max_size=frames.MAX_OUTPUT)),
    st.builds(Output, st.binary(min_size=1, max_size=frames.MAX_OUTPUT), st.booleans()),
    st.builds(
        Ended,
        st.booleans(),
        st.booleans(),
        st.integers(0, 64),
        u64,
        u64,
        u64,
        u64,
        st.binary(min_size=16, max_size=16),
        u32,
        u32,
        u64,
        u32,
    ),
    st.builds(Beat, u64),
    st.just(PowerOff()),
    st.builds(TimeIsUp, u64),
    st.builds(
        AgentError,
        st.sampled_from(ErrorCode),
        st.integers(0, 4095),
        texts,
        st.binary(min_size=16, max_size=16),
    ),
)


@given(st.lists(any_frame, max_size=4), st.integers(1, 50))
def test_round_trip_in_pieces(sent: list[Frame], size: int) -> None:
    stream = b"".join(map(frames.encode, sent))
    decoder = Decoder()
    received: list[Frame] = []
    for at in range(0, len(stream), size):
        received.extend(decoder.feed(stream[at : at + size]))
    assert received == sent
    assert decoder.pending == 0


@given(any_frame, st.data())
def test_a_cut_payload_is_refused(frame: Frame, data: st.DataObject) -> None:
    wire = frames.encode(frame)
    payload = wire[frames.HEADER.size :]
    if isinstance(frame, Output | Left | PowerOff):
        return
    cut = data.draw(st.integers(0, len(payload) - 1))
    with pytest.raises(FrameError):
        frames.decode(wire[1], payload[:cut])


@given(any_frame)
def test_bytes_left_over_are_refused(frame: Frame) -> None:
    wire = frames.encode(frame)
    if isinstance(frame, Output | Left):
        return
    with pytest.raises(FrameError):
        frames.decode(wire[1], wire[frames.HEADER.size :] + b"\0")


@given(st.integers(0, 255), st.binary(max_size=400))
def test_noise_is_a_frame_or_an_error(kind: int, payload: bytes) -> None:
    with contextlib.suppress(FrameError):
        frame = frames.decode(kind, payload)
        if isinstance(frame, AgentError):
            return  # its text is for people: what is not UTF-8 comes as \\xNN
        assert frames.encode(frame)[frames.HEADER.size :] == payload


@given(st.binary(max_size=200))
def test_a_noisy_stream_never_raises_anything_else(noise: bytes) -> None:
    with contextlib.suppress(FrameError):
        list(Decoder().feed(noise))


@pytest.mark.parametrize(
    ("version", "reserved", "length"),
    [
        (0, 0, 8),
        (frames.VERSION + 1, 0, 8),
        (frames.VERSION, 1, 8),
        (frames.VERSION, 0, frames.MAX_PAYLOAD + 1),
    ],
)
def test_a_bad_header_is_refused_before_its_payload_comes(
    version: int, reserved: int, length: int
) -> None:
    header = frames.HEADER.pack(version, FrameType.HEARTBEAT, reserved, length)
    with pytest.raises(FrameError):
        list(Decoder().feed(header))


def _run(**changes: object) -> Run:
    fields: dict[str, object] = {
        "grace_ms": 0,
        "wall_clock_ns": 0,
        "seed": bytes(32),
        "token": bytes(16),
        "cwd": b"/",
        "argv": (b"/x",),
        "env": (),
        "io": frames.Io.TERMINAL,
    }
    return Run(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"argv": ()},
        {"argv": (b"a\0b",)},
        {"argv": (b"x",) * (frames.MAX_ARGS + 1)},
        {"argv": (b"x" * frames.MAX_PAYLOAD,)},
        {"grace_ms": -1},
        {"grace_ms": frames.MAX_GRACE_MS + 1},
        {"seed": b"short"},
        {"token": bytes(17)},
        {"wall_clock_ns": -1},
    ],
)
def test_a_senseless_run_is_not_sent(changes: dict[str, object]) -> None:
    frames.encode(_run())
    with pytest.raises(FrameError):
        frames.encode(_run(**changes))


def test_empty_output_is_neither_sent_nor_taken() -> None:
    with pytest.raises(FrameError):
        frames.encode(Output(b"", stderr=False))
    with pytest.raises(FrameError):
        frames.decode(FrameType.STDOUT, b"")


def test_an_error_number_that_no_kernel_has_is_refused() -> None:
    payload = b"\1" + bytes(3) + (2**32 - 1).to_bytes(4, "little") + bytes(frames.TOKEN_SIZE + 4)
    with pytest.raises(FrameError, match="out of range"):
        frames.decode(FrameType.ERROR, payload)


@given(strings)
def test_an_error_that_is_not_utf8_can_be_written_down(text: bytes) -> None:
    """A test that got hold of the port may send anything; the journal takes UTF-8 only."""
    payload = bytes(8 + frames.TOKEN_SIZE) + len(text).to_bytes(4, "little") + text
    frame = frames.decode(FrameType.ERROR, b"\1" + payload[1:])
    assert isinstance(frame, AgentError)
    assert frame.text.encode().decode() == frame.text

# SPDX-License-Identifier: GPL-2.0-only
"""A command as the order that the agent gets."""

from __future__ import annotations

from collections.abc import Iterator

from harness.guest import frames
from harness.model.events import Command

_DEBUG_FS = "/sys/kernel/debug"


def order_of(command: Command, token: bytes) -> frames.Run:
    """Return what has the agent run *command*; its end has to show *token*."""
    terminal, faults = command.terminal, command.faults
    return frames.Run(
        grace_ms=round(command.grace_s * 1000),
        wall_clock_ns=command.wall_clock_ns,
        seed=command.seed,
        token=token,
        cwd=_encode(command.cwd),
        argv=tuple(map(_encode, command.argv)),
        env=tuple(_encode(f"{name}={value}") for name, value in command.env),
        io=_io(command),
        rows=terminal.rows if terminal else 0,
        columns=terminal.columns if terminal else 0,
        files=tuple(_encode(f"{file}={value}") for file, value in _files(command)),
        counter=_encode(faults.counter) if faults else b"",
        watch_left=command.watch_left,
        points=command.points,
    )


def _files(command: Command) -> Iterator[tuple[str, str]]:
    """Yield what is written before the program starts: the names of files, and their content."""
    yield from command.files
    for file, value in command.faults.settings if command.faults else ():
        yield f"{_DEBUG_FS}/{file}", value


def _io(command: Command) -> frames.Io:
    if command.terminal:
        return frames.Io.TERMINAL
    return frames.Io.MERGED if command.merge_output else frames.Io.PIPES


def _encode(text: str) -> bytes:
    return text.encode(errors="surrogateescape")

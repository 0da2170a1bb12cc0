# SPDX-License-Identifier: GPL-2.0-only
"""Capabilities of an output stream, and a writer that never fails."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TextIO

import msgspec

from harness.report.text import WIDEST_LOG
from harness.visible import defuse

_SIGNS = "✓✗⠋━─…"


class Terminal(msgspec.Struct, frozen=True):
    """The capabilities of a stream."""

    live: bool
    """Whether the cursor can be moved, so that lines may change after they were written."""
    colour: bool
    unicode: bool
    """Whether the signs used here exist in the stream's encoding."""
    columns: int = WIDEST_LOG
    """The maximum length of a line."""

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str] | None = None) -> Terminal:
        """Ask *stream* and the environment.

        ``TERM=dumb`` means plain lines.  ``NO_COLOR`` (no-color.org) switches colour off and wins
        over ``FORCE_COLOR``, which switches it on in a log; lines that move stay off there.
        """
        env = os.environ if environ is None else environ
        live = stream.isatty() and env.get("TERM", "dumb") not in ("dumb", "unknown", "")
        forced = env.get("FORCE_COLOR", "") not in ("", "0")
        return cls(
            live=live,
            colour=(live or forced) and not env.get("NO_COLOR"),
            unicode=_encodes(_SIGNS, stream.encoding),
            columns=_width(stream) if live else WIDEST_LOG,
        )


class Safe:
    """A text stream that takes any character and outlives its reader.

    What the encoding cannot say becomes an escape, and so does a command to a CI system, of which
    the parts may come from different places.  When the other end is gone (a closed pipe, a
    full disk) the rest is dropped: a run is not lost for want of someone to watch it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = stream.encoding or "utf-8"
        self.errors = "backslashreplace"
        self.lost = False
        """Whether something could not be written."""

    def write(self, text: str) -> int:
        """Write *text* as far as possible; return its length."""
        if not self.lost:
            try:
                said = defuse(text).encode(self.encoding, self.errors)
                self._stream.write(said.decode(self.encoding))
            except OSError:
                self._give_up()
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        if not self.lost:
            try:
                self._stream.flush()
            except OSError:
                self._give_up()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the stream's file descriptor."""
        return self._stream.fileno()

    def _give_up(self) -> None:
        self.lost = True
        # What is still buffered would fail once more when Python closes the stream at exit, and
        # replace the exit status by 120 (Python's documentation, "Note on SIGPIPE").
        try:
            target = self._stream.fileno()
        except (OSError, ValueError):
            return
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, target)
        os.close(null)


def _width(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or WIDEST_LOG
    except (OSError, ValueError):
        return WIDEST_LOG


def _encodes(text: str, encoding: str | None) -> bool:
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True

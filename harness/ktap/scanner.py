# SPDX-License-Identifier: GPL-2.0-only
"""Splits bytes into lines, in constant memory; output that cannot be KTAP is handled fast.

Most output is neither a result nor similar to one.  A few substring searches over a whole block
find the lines that may be; the others are passed on as one piece and are never split.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from harness.ktap.lexer import printable
from harness.ktap.limits import MAX_EXCERPT, MAX_LINE

_SEGMENT = MAX_LINE // 2
_CARRY = 32
# Each pattern starts with a literal, which makes the search fast; one alternation of all of them
# ran at a third of the speed.
_WORDS = tuple(
    re.compile(word)
    for word in (
        rb"ok[ \t\r\n\x1b\[]",
        rb"not ?\[",
        rb"1\.\.",
        rb"AP version",
        rb"ail out!",
        rb"AIL OUT!",
        rb"Subtest:",
        rb"Totals:",
        rb"pass:\d",
        rb"Planned tests",
        rb" OK ",
        rb" FAIL ",
        rb" RUN ",
        # A printk stamp in mid-line may have cut a line that has no other such word yet.
        rb"\[(?:(?<=[^\s\]>]\[)|(?<=[ #] \[)) {0,8}\d{1,8}\.\d{6}\]",
    )
)
_DROPPED = re.compile(rb"not {1,8}ok|ok \d|bail out!", re.IGNORECASE)


class Scanner:
    """Splits a byte stream into lines, whatever pieces it arrives in.

    *on_line* gets (line number from 1, line without its end, bytes dropped, whether a result may
    be among them); *on_dull* gets whole lines without any word of KTAP.  While ``attentive`` is
    true, these lines go to *on_line* too; once ``counting`` is true, lines are only counted.
    """

    def __init__(
        self,
        on_line: Callable[[int, bytes, int, bool], None],
        on_dull: Callable[[bytes], None],
    ) -> None:
        self._on_line = on_line
        self._on_dull = on_dull
        self._buffer = bytearray()
        self._dropped = 0
        self._carry = b""
        self._suspicious = False
        self._open = False
        self.attentive = False
        self.counting = False
        self.lines = 0
        self.size = 0

    def feed(self, data: bytes) -> None:
        """Read the next bytes of the stream, any number of them."""
        self.size += len(data)
        for start in range(0, len(data), _SEGMENT):
            if self.counting:
                self._count(data[start:])
                return
            self._segment(data[start : start + _SEGMENT])

    def close(self) -> None:
        """End the stream; a last line without an end counts as a line."""
        if self.counting:
            self.lines += bool(self._buffer) or self._open
        elif self._buffer:
            self._end_line()

    def _count(self, data: bytes) -> None:
        if data:
            self.lines += data.count(b"\n")
            self._open = not data.endswith(b"\n")
            self._buffer.clear()

    def _segment(self, data: bytes) -> None:
        begin = 0
        if self._buffer:
            end = data.find(b"\n")
            self._extend(data if end < 0 else data[:end])
            if end < 0:
                return
            self._end_line()
            begin = end + 1
        last = data.rfind(b"\n") + 1
        if last > begin:
            self._block(data[begin:last])
        if last < len(data):
            self._extend(data[max(last, begin) :])

    def _extend(self, data: bytes) -> None:
        room = MAX_LINE - len(self._buffer)
        self._buffer += data[:room]
        if len(data) > room:
            rest = data[room:]
            window = (self._carry or bytes(self._buffer[-_CARRY:])) + rest
            self._suspicious = self._suspicious or bool(_DROPPED.search(window))
            self._carry = window[-_CARRY:]
            self._dropped += len(rest)

    def _end_line(self) -> None:
        line, dropped = bytes(self._buffer), self._dropped
        suspicious = bool(dropped) and (self._suspicious or bool(_starts(line + b"\n")))
        self._buffer.clear()
        self._dropped, self._carry, self._suspicious = 0, b"", False
        if dropped or self.attentive or _starts(line + b"\n"):
            self.lines += 1
            self._on_line(self.lines, line, dropped, suspicious)
        else:
            self._dull(line + b"\n")

    def _dull(self, data: bytes) -> None:
        self.lines += data.count(b"\n")
        self._on_dull(data)

    def _block(self, data: bytes) -> None:
        """Read *data*, which starts at the start of a line and ends at the end of one."""
        at = 0
        for start in [*_starts(data), len(data)]:
            while self.attentive and at < start:
                at = self._line(data, at)
            if start > at:
                self._dull(data[at:start])
            if start < len(data):
                at = self._line(data, start)

    def _line(self, data: bytes, start: int) -> int:
        end = data.index(b"\n", start)
        self.lines += 1
        self._on_line(self.lines, data[start:end], 0, False)
        return end + 1


def _starts(data: bytes) -> list[int]:
    """Return the start of every line of *data* that may be KTAP; *data* ends with a line end."""
    starts = set()
    for word in _WORDS:
        found = word.search(data)
        while found:
            starts.add(data.rfind(b"\n", 0, found.start()) + 1)
            found = word.search(data, data.index(b"\n", found.start()) + 1)
    return sorted(starts)


class Excerpt:
    """The start and the end of some output; of the middle only the size is kept."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._size = 0

    def add(self, data: bytes) -> None:
        """Append *data*."""
        self._size += len(data)
        room = MAX_EXCERPT - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail += data[-MAX_EXCERPT:]
            if len(self._tail) > 8 * MAX_EXCERPT:
                del self._tail[:-MAX_EXCERPT]

    def clear(self) -> None:
        """Forget everything."""
        self._head.clear()
        self._tail.clear()
        self._size = 0

    def text(self) -> str:
        """Return what was kept; a line in the middle has the number of bytes left out."""
        tail = bytes(self._tail[-MAX_EXCERPT:])
        head = _readable(bytes(self._head))
        missing = self._size - len(self._head) - len(tail)
        gap = f"\n[... {missing} bytes not kept ...]\n" if missing else ""
        return (head + gap + _readable(tail)).rstrip()


def _readable(raw: bytes) -> str:
    return printable(raw.replace(b"\r\n", b"\n"), 4 * len(raw) + 1)

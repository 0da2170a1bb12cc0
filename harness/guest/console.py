# SPDX-License-Identifier: GPL-2.0-only
"""Cuts a serial console into lines and finds the agent's marks among them."""

from __future__ import annotations

from harness.guest.frames import STARTED_LINE

PANIC = b"Kernel panic - not syncing"
_AGENT = b"harness-agent: "
_MAX_LINE = 1 << 16


class ConsoleLines:
    """Collects console bytes; gives whole lines, without carriage returns and the agent's marks.

    ``panicked`` turns true with the kernel's panic line.  ``complaint`` is what the agent last
    wrote to the log, without its name: it does so where it cannot reach the host any more.
    """

    def __init__(self) -> None:
        self._partial = b""
        self.panicked = False
        self.complaint = ""

    def feed(self, data: bytes, mark: bytes) -> tuple[bytes, bool]:
        """Return the lines that are complete with *data*, and whether *mark* was among them.

        A line that holds *mark*, or says that the program has started, is left out.  A line of more
        than 64 KiB is given in pieces.
        """
        text, newline, partial = (self._partial + data).rpartition(b"\n")
        self._partial = partial
        found = mark in text
        lines = (text + newline).replace(b"\r", b"")
        marks = (mark, STARTED_LINE)
        if found or STARTED_LINE in text:
            kept = [
                line
                for line in lines.splitlines(keepends=True)
                if not any(each in line for each in marks)
            ]
            lines = b"".join(kept)
        if len(self._partial) > _MAX_LINE:
            lines += self.rest()
        if PANIC in lines:
            self.panicked = True
        if _AGENT in lines:
            line, _, _ = lines.rpartition(_AGENT)[2].partition(b"\n")
            self.complaint = line.decode(errors="replace")
        return lines, found

    def rest(self) -> bytes:
        """Return what came after the last newline."""
        rest, self._partial = self._partial, b""
        return rest.replace(b"\r", b"")

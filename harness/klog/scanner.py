# SPDX-License-Identifier: GPL-2.0-only
"""Console bytes in, findings out: a push parser with constant memory.

Most of a console has no report.  So whole blocks are searched for the needles of the rules, and
only lines with a needle are read.  While a report is open, every line is read.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import msgspec

from harness.klog import lines
from harness.klog.lines import Line, Title
from harness.klog.model import Finding, Severity
from harness.klog.report import Report
from harness.klog.rules import CUT_HERE, FLOOD, NEEDLES, End

MAX_LINE = 8192
"""Bytes of a line that are read at once; a longer line is read in overlapping pieces."""
_OVERLAP = 1024
"""Longer than any line that printk writes (CONSOLE_LOG_MAX, 1024 with its prefix)."""
_STEP = MAX_LINE - _OVERLAP
_WINDOW = 1 << 18
"""Bytes handled at a time, so that a large feed() does not double its memory."""
MAX_FINDINGS = 256
"""Distinct findings that are kept; one finding of kind ``flood`` counts the rest."""
_MAX_OPEN = 8
_NEEDLES = tuple(n.encode() for n in NEEDLES)


@dataclass(slots=True)
class _Counted:
    finding: Finding
    count: int = 1


class Scanner:
    """Takes the console's bytes in chunks of any size by :meth:`feed`, then :meth:`close`.

    The result does not depend on the chunks.  Memory is limited to ``MAX_FINDINGS`` times about
    64 kB; normally it is the size of the findings.
    """

    def __init__(self) -> None:
        self._carry = b""
        self._piece = False
        """The carry continues a line whose beginning was already read."""
        self._floor = 0
        """Titles of the next piece before this offset were found in the previous piece."""
        self._number = 1
        self._stamped = False
        self._before = b""
        self._marker = 0
        """The number of the last line that ended a report."""
        self._open: list[Report] = []
        self._found: dict[tuple[str, str, str], _Counted] = {}
        self._closed = False

    def feed(self, data: bytes) -> None:
        """Read the next bytes of the console.  Raises ValueError after :meth:`close`."""
        if self._closed:
            raise ValueError("feed() after close()")
        for start in range(0, len(data), _WINDOW):
            self._window(data[start : start + _WINDOW])

    def close(self) -> tuple[Finding, ...]:
        """End the input and return the findings in the order of their first lines.

        Further calls return the same.
        """
        if not self._closed:
            if self._carry:
                self._window(b"\n")
            self._closed = True
            while self._open:
                self._finish(self._open[0])
        found = [msgspec.structs.replace(c.finding, count=c.count) for c in self._found.values()]
        return tuple(sorted(found, key=lambda f: f.line))

    def findings(self) -> tuple[Finding, ...]:
        """Return the complete findings so far, without reports that are still being printed."""
        found = [msgspec.structs.replace(c.finding, count=c.count) for c in self._found.values()]
        return tuple(sorted(found, key=lambda f: f.line))

    def severity(self) -> Severity | None:
        """Return the highest severity so far, including reports without an end; None without any.

        A report stays open until other text is printed, which after a crash may not happen.
        """
        seen = [c.finding.severity for c in self._found.values()]
        seen += [report.severity for report in self._open if report.title]
        return max(seen, key=lambda severity: severity.rank, default=None)

    def _window(self, data: bytes) -> None:
        data = self._carry + data
        cut = data.rfind(b"\n") + 1
        self._carry = data[cut:]
        block = data[:cut] if self._carry else data
        if self._piece and block:
            end = block.index(b"\n")
            self._long(block[:end], continued=True, speaks=True)
            self._next(b"")
            self._piece = False
            block = block[end + 1 :]
        self._block(block)
        if len(self._carry) >= MAX_LINE and self._silent(self._carry):
            if not self._piece and not self._stamped:
                self._stamped = lines.has_stamp(self._carry, 0, len(self._carry))
            pieces = (len(self._carry) - MAX_LINE) // _STEP + 1
            self._carry = self._carry[pieces * _STEP :]
            self._piece = True
        while len(self._carry) >= MAX_LINE:
            begins = not self._piece
            self._one(self._carry[:MAX_LINE], whole=False, begins=begins, speaks=True)
            self._carry = self._carry[_STEP:]
            self._piece = True

    def _block(self, block: bytes) -> None:
        position, size, hit = 0, len(block), -1
        hits = dict.fromkeys(_NEEDLES, -1)
        while position < size:
            if hit < position:
                hit = self._hit(block, position, hits)
            if not self._open:
                start = block.rfind(b"\n", position, hit) + 1 or position
                self._skip(block, position, start)
                position = start
                if hit == size:
                    return
            end = block.index(b"\n", position)
            line = block[position:end]
            self._long(line, continued=False, speaks=hit < end)
            self._next(line)
            position = end + 1

    @staticmethod
    def _hit(block: bytes, position: int, hits: dict[bytes, int]) -> int:
        size = len(block)
        for needle, at in hits.items():
            if at < position:
                found = block.find(needle, position)
                hits[needle] = found if found >= 0 else size
        return min(hits.values())

    def _skip(self, block: bytes, start: int, end: int) -> None:
        """Count the lines of ``block[start:end]``, which contain no needle."""
        if start == end:
            return
        self._number += block.count(b"\n", start, end)
        if not self._stamped:
            self._stamped = lines.has_stamp(block, start, end)
        begin = block.rfind(b"\n", start, end - 1) + 1 or start
        self._before = block[begin : end - 1] if end - 1 - begin < MAX_LINE else b""

    def _next(self, line: bytes) -> None:
        self._number += 1
        self._before = line if len(line) < MAX_LINE else b""

    def _long(self, line: bytes, *, continued: bool, speaks: bool) -> None:
        while len(line) >= MAX_LINE:
            self._one(line[:MAX_LINE], whole=False, begins=not continued, speaks=speaks)
            line = line[_STEP:]
            continued = True
        self._one(line, whole=True, begins=not continued, speaks=speaks)

    def _silent(self, data: bytes) -> bool:
        """Return whether no report is open and *data*, at most one line, cannot begin one."""
        return not self._open and not any(needle in data for needle in _NEEDLES)

    def _one(self, data: bytes, *, whole: bool, begins: bool, speaks: bool) -> None:
        """Read one line, or a piece of an overlong line; *speaks*: it may contain a needle."""
        if begins and not self._stamped:
            self._stamped = lines.has_stamp(data, 0, len(data))
        if not speaks and not self._open:
            self._floor = 0
            return
        line = lines.read_line(data if whole else data[:_STEP])
        found = None
        if speaks:
            found = lines.find_title(
                line if whole else lines.read_line(data),
                stamped=self._stamped,
                begins=begins,
                floor=0 if begins else self._floor,
                limit=sys.maxsize if whole else _STEP,
            )
        self._floor = 0
        if found is not None:
            self._floor = max(0, len(found.line.raw) - len(found.line.text) + 1 - _STEP)
            self._title(found)
        elif line.text.rstrip() == CUT_HERE and not self._cut_expected(line):
            self._begin(Report(line, self._number, None, None))
        else:
            self._line(line)

    def _cut_expected(self, line: Line) -> bool:
        return any(r.wants_cut() and r.hears(line) for r in self._open)

    def _line(self, line: Line) -> None:
        if line.caller and line.text.startswith(lines.NMI_STACK):
            self._adopt(line.caller)
        # One end marker ends one report, the oldest: reports of several CPUs usually alternate.
        may_end = True
        for report in tuple(self._open):
            ends = may_end and report.hears(line) and report.is_end(line.text)
            if not report.take(line, may_end=may_end):
                self._finish(report)
            if ends:
                self._marker = self._number
            if ends and not line.text.startswith(lines.END_PANIC):
                may_end = False

    def _adopt(self, caller: str) -> None:
        """Assign the stack that *caller* is about to print to the report that requested it."""
        asked = [report for report in self._open if report.asked]
        for report in asked[-1:]:
            report.adopt(caller)
            for other in tuple(self._open):
                if other is not report and other.caller == caller and not other.marked:
                    self._finish(other)

    def _title(self, title: Title) -> None:
        mine = [r for r in self._open if r.hears(title.line)]
        if title.rule.cut:
            for report in mine:
                if report.title is None:
                    report.entitle(title, self._number)
                    return
        for report in reversed(mine):
            if report.absorb(title, self._number):
                return
        report = Report(title.line, self._number, title, self._banner())
        if title.rule.end is End.LINE:
            self._count(report.finish())
        else:
            self._begin(report)

    def _banner(self) -> Line | None:
        if self._marker == self._number - 1:
            return None
        line = lines.read_line(self._before)
        return line if lines.BANNER.match(line.text.rstrip()) else None

    def _begin(self, report: Report) -> None:
        for other in tuple(self._open):
            if not other.hears(report.first):
                continue
            if other.marked:
                other.interleaved = report.interleaved = True
            else:
                self._finish(other)
        self._open.append(report)
        if len(self._open) > _MAX_OPEN:
            self._finish(self._open[0])

    def _finish(self, report: Report) -> None:
        self._open.remove(report)
        self._count(report.finish())

    def _count(self, finding: Finding) -> None:
        key = (finding.fingerprint, finding.location, finding.rule)
        if key in self._found:
            self._found[key].count += 1
        elif len(self._found) < MAX_FINDINGS:
            self._found[key] = _Counted(finding)
        else:
            self._flood(finding)

    def _flood(self, finding: Finding) -> None:
        key = ("flood", "", "")
        if key in self._found:
            old = self._found[key]
            old.count += 1
            worst = max(old.finding.severity, finding.severity, key=lambda s: s.rank)
            old.finding = msgspec.structs.replace(old.finding, severity=worst)
            return
        self._found[key] = _Counted(
            msgspec.structs.replace(
                finding,
                kind=FLOOD.kind,
                rule=FLOOD.id,
                title=f"more than {MAX_FINDINGS} different findings, the next was: {finding.title}",
                fingerprint="f" * 16,
            )
        )


def scan(data: bytes) -> tuple[Finding, ...]:
    """Return the findings in a whole console log."""
    scanner = Scanner()
    scanner.feed(data)
    return scanner.close()


def worst(findings: tuple[Finding, ...]) -> Severity | None:
    """Return the highest severity among *findings*, None if there are none."""
    return max((f.severity for f in findings), key=lambda s: s.rank, default=None)

# SPDX-License-Identifier: GPL-2.0-only
"""One report while it is printed: collects its lines and detects its end."""

from __future__ import annotations

import hashlib
from collections import deque

from harness.klog import lines
from harness.klog.lines import Line, Title
from harness.klog.model import Finding, Severity
from harness.klog.rules import BODY, LONELY_CUT, REGISTERS, End, Rule

HEAD_CHARS = 32_768
TAIL_CHARS = 32_768
"""A longer report keeps this much of its beginning and of its end."""
LINE_LIMIT = 4000
"""A report ends after this many lines, whatever the lines look like."""
_STRANGERS = 8
"""This many consecutive lines that fit no report end a report without an end marker."""
_STRANGERS_MARKED = 60
"""The same for a report whose end marker is still expected."""
_ELSEWHERE = 1000
"""Lines of other tasks or CPUs (PRINTK_CALLER) after the last own line."""
_CUT_PATIENCE = 12
"""Lines between a cut line and its title: the message of WARN()."""
_STACK_DEPTH = 3
"""Stack functions that count for the fingerprint."""


class _Text:
    """Lines with a memory limit: the whole head, then as much of the tail as fits."""

    def __init__(self) -> None:
        self._head: list[str] = []
        self._head_size = 0
        self._tail: deque[str] = deque()
        self._tail_size = 0
        self._lost = 0

    def add(self, text: str) -> None:
        if not self._tail and self._head_size + len(text) < HEAD_CHARS:
            self._head.append(text)
            self._head_size += len(text) + 1
            return
        self._tail.append(text)
        self._tail_size += len(text) + 1
        while self._tail_size > TAIL_CHARS and len(self._tail) > 1:
            self._tail_size -= len(self._tail.popleft()) + 1
            self._lost += 1

    def __str__(self) -> str:
        gap = [f"[... {self._lost} lines left out ...]"] if self._lost else []
        return "\n".join([*self._head, *gap, *self._tail])


class Report:
    """A report that has begun.  It has no title yet if it began with a ``cut here`` line."""

    def __init__(self, first: Line, number: int, title: Title | None, before: Line | None) -> None:
        self.caller = first.caller
        self.title: Title | None = None
        self.interleaved = False
        self.ended = False
        """The end marker was seen; only the register lines of an oops may follow."""
        self._number = number
        self.first = first
        self._stamped = first.stamp is not None
        self._text = _Text()
        self._waiting: list[str] = []
        self._since = 0
        self._elsewhere = 0
        self._total = 0
        self._absorbed: set[str] = set()
        self._named: Rule | None = None
        self._severity = Severity.NOTE
        self._message: list[str] = []
        self._stack: list[str] = []
        self._place: tuple[str, str] | None = None
        self._pointer: tuple[str, str] | None = None
        self._tainted = ""
        self._until = False
        self._adopted: set[str] = set()
        self.asked = False
        """The report has sent an NMI to other CPUs, so their stacks are part of it."""
        if before is not None:
            self._text.add(before.raw)
        if title is not None:
            self.entitle(title, number)
        else:
            self._text.add(first.raw)

    @property
    def rule(self) -> Rule:
        """The rule of the title; before the title, the rule of a cut line without title."""
        return self.title.rule if self.title else LONELY_CUT

    @property
    def severity(self) -> Severity:
        """The highest severity of its titles so far."""
        return self._severity

    @property
    def kind(self) -> Rule:
        """The rule that determines the kind: a message in the report may be more exact."""
        return self._named or self.rule

    @property
    def marked(self) -> bool:
        """Whether the report has an end marker that was not seen yet."""
        return not self.ended and (
            self.rule.end in (End.TRACE, End.BANNER, End.PANIC)
            or bool(self.rule.until and not self._until)
        )

    def hears(self, line: Line) -> bool:
        """Return whether *line* may belong here: it is not known to be of another task or CPU."""
        if not self.caller or not line.caller:
            return True
        return line.caller == self.caller or line.caller in self._adopted

    def adopt(self, caller: str) -> None:
        """Count lines of *caller* as part of this report from now on."""
        self._adopted.add(caller)

    def entitle(self, title: Title, number: int) -> None:
        """Set *title* as the title of this report."""
        self.title = title
        self._number = number
        self.first = title.line
        self._stamped = title.line.stamp is not None
        self._severity = title.rule.severity
        self._flush()
        self._keep(title.line)

    def absorb(self, title: Title, number: int) -> bool:
        """Return whether *title* is added as a later line: its rule allows it, once per rule."""
        rule = title.rule
        if self.title is None:
            if not rule.names or self._named is not None:
                return False
            self._named = rule
            self._message.append(title.line.text)
            self._flush()
            self._keep(title.line)
            return True
        if rule.kind != "taint":
            again = rule.id in self._absorbed and rule.id != self.rule.id
            if self.ended or again or rule.id not in self.kind.absorbs | self.rule.absorbs:
                return False
        self._absorbed.add(rule.id)
        if rule.names and self._named is None:
            self._named = rule
        if title.location and not self._place:
            self._place = (title.function, title.location)
        self._severity = max(self._severity, rule.severity, key=lambda s: s.rank)
        self._flush()
        self._keep(title.line)
        if rule.end is End.PANIC:
            self._until = True
        if rule.renames:
            self.title, self.first, self._number = title, title.line, number
        return True

    def wants_cut(self) -> bool:
        """Return whether a ``cut here`` line belongs here: some checks print and then BUG()."""
        return (
            self.title is not None
            and self.rule.names
            and not self._absorbed
            and self._total < _CUT_PATIENCE
        )

    def take(self, line: Line, *, may_end: bool = True) -> bool:
        """Add *line*; return False if the report had already ended.

        With *may_end* false, an end marker is an ordinary line, because it ended another report.
        """
        if not self.hears(line):
            self._elsewhere += 1
            return self._elsewhere <= _ELSEWHERE
        self._elsewhere = 0
        self._total += 1
        if self._total > LINE_LIMIT:
            return False
        if self.title is None:
            return self._take_message(line)
        own = line.kernel or not self._stamped
        if self.ended:
            return own and self._take_if(line, bool(REGISTERS.match(line.text)))
        if may_end and self.is_end(line.text):
            self._flush()
            self._keep(line)
            self.ended = True
            return True
        if not self.marked and lines.BANNER.match(line.text.rstrip()):
            # This line is as often above the next report's title as within this report.
            self._waiting.append(line.raw)
            return True
        if own and line.text.strip() and BODY.match(line.text):
            self._flush()
            self._keep(line)
            return True
        self._waiting.append(line.raw)
        self._since += 1
        return self._since <= (_STRANGERS_MARKED if self.marked else _STRANGERS)

    def finish(self) -> Finding:
        """Return the finding of this report."""
        title = lines.readable(self.title.line.text.rstrip() if self.title else self.first.text)
        function = location = ""
        if self.title:
            function, location = self.title.function, self.title.location
        if self._place and not location:
            function, location = self._place
        if self._pointer:
            function = function or self._pointer[0]
            location = location or "".join(self._pointer)
        message = lines.readable("\n".join(self._message))
        parts = [
            self.kind.kind,
            lines.normalise(title),
            lines.normalise(message),
            function,
            *self._stack,
        ]
        return Finding(
            kind=self.kind.kind,
            severity=self._severity if self.title else LONELY_CUT.severity,
            title=title,
            message=message,
            location=location,
            function=function,
            tainted=self._tainted,
            report=lines.readable(str(self._text)),
            fingerprint=hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16],
            rule=self.kind.id,
            line=self._number,
            timestamp=self.first.stamp,
            truncated=self.title is None or (self.marked and self.rule.end is not End.PANIC),
            interleaved=self.interleaved,
        )

    def _take_message(self, line: Line) -> bool:
        self._since += 1
        self._waiting.append(line.raw)
        if (line.kernel or not self._stamped) and len(self._message) < _CUT_PATIENCE:
            self._message.append(line.text.rstrip())
        return self._since <= _CUT_PATIENCE

    def _take_if(self, line: Line, wanted: bool) -> bool:
        if wanted:
            self._keep(line)
        return wanted

    def is_end(self, text: str) -> bool:
        """Return whether *text* is the end marker of this report."""
        if self.ended or self.title is None:
            return False
        if text.startswith(lines.END_PANIC):
            return True
        if self.rule.end is End.TRACE:
            return text.startswith(lines.END_TRACE)
        return self.rule.end is End.BANNER and bool(lines.BANNER.match(text.rstrip()))

    def _flush(self) -> None:
        for raw in self._waiting:
            self._text.add(raw)
        self._waiting.clear()
        self._since = 0

    def _keep(self, line: Line) -> None:
        self._text.add(line.raw)
        self._tainted = self._tainted or lines.taint(line.text)
        if not (self.asked and self._stack):
            self._look_for_function(line.text)
        if self.rule.until and self.rule.until in line.text:
            self._until = True
        self.asked = self.asked or line.text.startswith(lines.SENDING_NMI)

    def _look_for_function(self, text: str) -> None:
        # The stacks of other CPUs differ from run to run.  They count only if the report has no
        # stack of its own: then another CPU has detected that one CPU does not run.
        if self._pointer is None:
            self._pointer = lines.pointer(text)
        if len(self._stack) < _STACK_DEPTH and (name := lines.frame(text)):
            self._stack.append(name)

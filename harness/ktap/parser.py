# SPDX-License-Identifier: GPL-2.0-only
"""The push parser: takes bytes in pieces and returns a :class:`~harness.ktap.model.Report`."""

from __future__ import annotations

from collections.abc import Callable

from harness.ktap import lexer, stamps
from harness.ktap.builder import Builder, Finished
from harness.ktap.ledger import no_output
from harness.ktap.limits import MAX_KERNEL_LINES, MAX_LINE
from harness.ktap.model import Kind, Report
from harness.ktap.scanner import Excerpt, Scanner
from harness.ktap.stamps import Prefix


class Parser:
    """Reads one stream of KTAP or TAP.

    Memory is limited for any input: see :mod:`harness.ktap.limits`.  No input raises an exception.
    The report does not depend on the pieces in which the stream arrives.

    *on_case* is called for every case when its outcome is known, from within ``feed`` or ``close``.
    """

    def __init__(self, on_case: Callable[[Finished], None] | None = None) -> None:
        self._builder = Builder(on_case)
        self._output = Excerpt()
        self._scanner = Scanner(self._line, self._output.add)
        # The first line is always read: its prefix may be the prefix of every line.
        self._scanner.attentive = True
        self._first = b""
        self._prefix: Prefix | None = None
        self._head: tuple[int, bytes] | None = None
        self._skipped = 0
        self._report: Report | None = None

    def feed(self, data: bytes) -> None:
        """Read the next bytes of the stream.

        Raises ValueError after :meth:`close`.
        """
        if self._report is not None:
            raise ValueError("the parser is closed")
        self._scanner.feed(data)

    def close(self) -> Report:
        """End the stream and return its report; a second call returns the same report."""
        if self._report is None:
            self._scanner.close()
            if self._head is not None:
                line, head = self._head
                self._text(line, head, head, True)  # the rest, perhaps a directive, is missing
            self._report = Report(
                self._builder.close(self._output.text),
                tuple(self._builder.ledger.diagnostics),
                self._builder.ledger.broken,
                self._scanner.lines,
                self._scanner.size,
            )
        return self._report

    def _line(self, number: int, raw: bytes, dropped: int, suspicious: bool) -> None:
        if self._builder.ledger.full:
            self._scanner.counting = True
            return
        if dropped:
            kind = Kind.LIMIT if suspicious else Kind.LINE_CUT
            said = f"a line of {MAX_LINE + dropped} bytes; {MAX_LINE} were read"
            self._builder.ledger.note(kind, number, said)
        text, stamped = self._unprefixed(number, raw)
        if self._head is not None and self._continue(text, stamped, raw):
            return
        split = lexer.split_kernel_message(text)
        if split is None:
            self._text(number, text, raw, bool(dropped))
            return
        head, message = split
        if not lexer.is_lead(head):
            self._builder.ledger.note(Kind.KERNEL_MESSAGE, number, lexer.printable(message, 100))
        self._output.add(message + b"\n")
        if stamped:
            # The kernel's own lines are complete, so the rest of this one cannot follow later.
            self._text(number, head, head, bool(dropped))
        else:
            self._head, self._skipped = (number, head), 0
            self._scanner.attentive = True

    def _unprefixed(self, number: int, raw: bytes) -> tuple[bytes, bool]:
        """Return a line without the prefix of a log, and whether printk stamped it."""
        text, stamped = lexer.clean(raw)
        if not self._first and text.strip():
            self._first = text
            self._scanner.attentive = self._head is not None
        if self._prefix is None and not self._builder.started and (prefix := self._learn(text)):
            self._prefix = prefix
            self._note_prefix(number, prefix.shown)
        rest = self._prefix.strip(text) if self._prefix else None
        if rest is None:
            return text, stamped
        text, again = lexer.clean(rest)
        return text, stamped or again

    def _note_prefix(self, number: int, prefix: bytes) -> None:
        self._builder.ledger.note(Kind.PREFIX, number, lexer.printable(prefix, 100))
        for glued in lexer.glued_results(prefix, 0):
            self._builder.stray(glued, number)

    def _learn(self, text: bytes) -> Prefix | None:
        """Return the prefix of every line, if *text* proves that there is one."""
        header = lexer.glued_header(text)
        if header is not None and lexer.tokenise(text) is None:
            return stamps.generalise(text[:header])
        for lead in stamps.leading(text):
            prefix = stamps.generalise(lead)
            if prefix is None or prefix.strip(self._first) is None:
                continue
            if lexer.opens(lexer.clean(text[len(lead) :])[0]):
                return prefix
        return None

    def _continue(self, text: bytes, stamped: bool, raw: bytes) -> bool:
        """Join a line that a kernel message interrupted; return whether *raw* was consumed."""
        if self._head is None:
            return False
        number, head = self._head
        if stamped and self._skipped < MAX_KERNEL_LINES:
            self._skipped += 1
            self._output.add(raw + b"\n")
            return True
        self._head = None
        self._scanner.attentive = False
        joined = not stamped and lexer.continues(head, text, self._builder.started)
        if lexer.is_lead(head):
            if not joined:
                return False
            self._builder.ledger.note(Kind.KERNEL_MESSAGE, number, "between '# ' and its line")
        whole = head + text if joined else head
        self._text(number, whole, whole, stamped)
        return joined

    def _text(self, number: int, text: bytes, raw: bytes, damaged: bool) -> None:
        token = lexer.tokenise(text)
        if isinstance(token, lexer.Result):
            if self._builder.result(token, number, self._output.text, damaged):
                self._output.clear()
                self._behind(number, text, token)
                return
            for glued in lexer.glued_results(text, text.index(b"ok") + 2):
                self._builder.glued(glued, number, self._output.text)
        elif token is not None:
            self._builder.token(token, number)
            for glued in lexer.glued_results(text):
                self._builder.stray(glued, number)
            if isinstance(token, lexer.Header | lexer.Plan | lexer.Subtest):
                return
        else:
            self._odd(number, text)
        self._output.add(raw + b"\n")

    def _behind(self, number: int, text: bytes, token: lexer.Result) -> None:
        """Search the end of a result line without line end for the next result."""
        for glued in lexer.glued_results(text, text.index(b"ok") + 2):
            if token.number is not None and glued.number == token.number + 1:
                self._builder.glued(glued, number, no_output, self._builder.last_node())
            else:
                self._builder.stray(glued, number)
        self._refusal(number, text, text.index(b"ok") + 2)

    def _odd(self, number: int, text: bytes) -> None:
        """Search for KTAP after other text."""
        header = None if self._builder.started else lexer.glued_header(text)
        if header is not None:
            self._note_prefix(number, text[:header])
            token = lexer.tokenise(text[header:])
            if token is not None:
                self._builder.token(token, number)
            return
        bail = lexer.glued_bail(text)
        if bail is not None:
            self._builder.bail(bail, number)
        for glued in lexer.glued_results(text):
            self._builder.glued(glued, number, self._output.text)
        if self._builder.started:
            self._refusal(number, text)

    def _refusal(self, number: int, text: bytes, first: int = 0) -> None:
        """Record a ``not ok`` that is no result, at or after position *first*."""
        if lost := lexer.lost_refusal(text[first:]):
            said = f"{lost}: {lexer.printable(text, 80)}"
            self._builder.ledger.note(Kind.LOST_RESULT, number, said)


def parse(data: bytes, on_case: Callable[[Finished], None] | None = None) -> Report:
    """Return the report of a whole stream; see :class:`Parser`."""
    parser = Parser(on_case)
    parser.feed(data)
    return parser.close()

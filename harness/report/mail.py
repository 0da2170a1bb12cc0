# SPDX-License-Identifier: GPL-2.0-only
"""A reply to the posted series: plain text that says what is true, what shows it, how to try it.

The mail is only written, never sent: `git send-email` or b4 can do that.  It answers the cover
letter and goes to whom that went.  Lines have at most 72 columns, also those of the evidence, which
are broken where they are longer.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterable, Iterator
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import parseaddr

from harness.model.results import Results, Test
from harness.outcome import Outcome
from harness.report.evidence import evidence, excused, not_as_expected
from harness.report.findings import Section, compared, figures, measured
from harness.report.fold import fold
from harness.report.text import COMMAND, columns, count, one_line
from harness.report.verdict import complaints_at_boot, verdict
from harness.visible import visible

COLUMNS = 72
_MOST_TESTS = 10
"""Tests that are shown with their evidence; of the others there is the name."""
_MOST_NAMES = 50
_MOST_LINES = 120
"""Lines of a section that the console has as well."""
_MESSAGE_ID = re.compile(r"<[!-;=?A-~]+@[!-;=?A-~]+>")
_ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[A-Za-z0-9][A-Za-z0-9.-]*", re.ASCII)
_NAMED = re.compile(r"(.*)<([^<>]*)> *")
_REPLY = re.compile(r"(?:re|aw|sv|antw): *", re.IGNORECASE)
_UNSAFE = re.compile(r"[^\w@%+=:,./-]", re.ASCII)


def render(results: Results) -> bytes:
    """Return the mail, its lines ending in LF as `git send-email` and editors have them.

    A series that was not read from posted mails gives a mail that answers none.  Log files are not
    named: who reads the mail does not have them.
    """
    cover = results.kernel.cover_mail
    mail = EmailMessage(policy=SMTP.clone(linesep="\n", cte_type="8bit", max_line_length=78))
    title = one_line(cover.subject or results.kernel.series or results.kernel.release, 900)
    mail["Subject"] = f"Re: {_REPLY.sub('', title, count=1)}" if cover.message_id else title
    sender = _addresses([cover.sender])
    others = _addresses([cover.sender, *cover.to, *cover.cc])[len(sender) :]
    if sender:
        mail["To"] = sender
    if others:
        mail["Cc"] = others
    if _MESSAGE_ID.fullmatch(cover.message_id):
        mail["In-Reply-To"] = cover.message_id
        mail["References"] = cover.message_id
    body = "\n".join(line.rstrip() for line in _body(results)).rstrip("\n") + "\n"
    mail.set_content(body, charset="utf-8", cte="8bit")
    return mail.as_bytes()


def _addresses(people: Iterable[str]) -> list[Address]:
    """Return those of *people* that have an address, each once."""
    found: dict[str, Address] = {}
    for each in people:
        named = _NAMED.fullmatch(one_line(each))
        # A name may have a comma in it here, at which the library would take it apart.
        name, address = (named[1].strip('" '), named[2]) if named else parseaddr(one_line(each))
        if _ADDRESS.fullmatch(address):
            user, _, domain = address.rpartition("@")
            found.setdefault(address.lower(), Address(one_line(name, 200), user, domain))
    return list(found.values())


def _body(results: Results) -> Iterator[str]:
    kernel = results.kernel
    for line in reversed(verdict(results)):
        yield from _wrapped("".join(text for text, _ in line))
    yield ""
    release = f"Kernel {one_line(kernel.release)}" if kernel.release else ""
    yield from _wrapped(", ".join(filter(None, (release, one_line(kernel.source)))))
    if kernel.patches:
        applied = count(len(kernel.patches), "patch", "patches")
        series = one_line(kernel.series)
        yield from _wrapped(f"with {series} ({applied})" if series else f"with {applied}")
    for section in compared(results, log=False):
        yield from _section(section)
    news, known = not_as_expected(results)
    for boot in complaints_at_boot(results):
        counts = not results.outcome_at_boot(boot).as_expected
        if counts and not results.excused_at_boot(boot):
            yield from ("", "At boot, before any test:")
            yield from _broken(one_line(boot.report.title), "  ")
    for test in news[:_MOST_TESTS]:
        yield from ("", "-" * COLUMNS)
        yield from _of_test(test)
    named = [*news[_MOST_TESTS:], *known]
    if named:
        yield from ("", "-" * COLUMNS, "Also not as expected:", "")
        for test in named[:_MOST_NAMES]:
            yield from _wrapped(f"{one_line(test.name)}: {test.outcome}", "  ")
        if len(named) > _MOST_NAMES:
            yield f"  and {len(named) - _MOST_NAMES} more"
    yield from _excused(results)
    for section in (*figures(results), *measured(results, COLUMNS)):
        yield from _section(section)
    yield from ("", "-" * COLUMNS)
    if results.command:
        yield from ("How to reproduce all of it:", "")
        yield from _command(shlex.join(results.command))
        yield ""
    yield from _facts(results)


def _section(section: Section) -> Iterator[str]:
    """Yield what the console says as well, without commands: they stand beside the evidence."""
    yield from ("", "-" * COLUMNS, f"{section.title}:", "")
    for line in section.lines[:_MOST_LINES]:
        if any(style == COMMAND for _, style in line):
            continue
        for part in fold(line, COLUMNS):
            yield from _broken("".join(text for text, _ in part).rstrip(), "")
    if len(section.lines) > _MOST_LINES:
        yield f"... {count(len(section.lines) - _MOST_LINES, 'more line')} in the console's report"


def _excused(results: Results) -> Iterator[str]:
    """Yield what fails and is not the series' fault, by name."""
    tests = excused(results)
    if not tests:
        return
    yield from ("", "-" * COLUMNS, "Not as expected without the series either:", "")
    for test in tests[:_MOST_NAMES]:
        said = f"{one_line(test.name)}: {test.outcome}; {one_line(test.excused)}"
        yield from _wrapped(said, "  ")
    if len(tests) > _MOST_NAMES:
        yield f"  and {len(tests) - _MOST_NAMES} more"


def _of_test(test: Test) -> Iterator[str]:
    yield from _wrapped(f"{one_line(test.name)}: {test.outcome}")
    if test.reason:
        yield from _wrapped(one_line(test.reason), "  ")
    if test.elsewhere:
        yield from _wrapped(f"verdict: {one_line(test.elsewhere)}", "  ")
    if test.outcome is Outcome.NOTRUN:
        return
    for each in evidence(test):
        yield ""
        yield from _wrapped(each.title, "  ")
        for line in each.lines:
            yield from _broken(line, "    ")
        if each.command:
            yield from ("", "  The same again:", "", *_command(each.command))
    if test.rerun:
        yield from ("", "  To reproduce:", "", *_command(test.rerun))


def _facts(results: Results) -> Iterator[str]:
    kernel, machine = results.kernel, results.machine
    guest = ", ".join(filter(None, (machine.accelerator, machine.qemu, machine.guest)))
    for name, said in (
        ("base", kernel.base_commit),
        ("config", ", ".join(kernel.config)),
        ("compiler", kernel.toolchain),
        ("guest", guest),
        ("run", results.run),
    ):
        if said:
            yield from _wrapped(f"{name}: {one_line(said)}")
    for note in results.notes:
        yield from _wrapped(f"note: {one_line(note, 1000)}")


def _wrapped(text: str, indent: str = "") -> Iterator[str]:
    """Yield *text* broken between words; lines behind the first are indented further."""
    words = textwrap.wrap(
        text,
        COLUMNS,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_on_hyphens=False,
    )
    for line in words or [indent]:
        # It counts characters, and some take two columns.
        yield from _broken(line, "") if columns(line) > COLUMNS else [line]


def _broken(line: str, indent: str) -> Iterator[str]:
    """Yield *line* in pieces that fit, broken at a blank in the second half of a piece if any."""
    room = COLUMNS - columns(indent)
    while columns(line) > room:
        size, wide = 0, 0
        while wide + columns(line[size]) <= room:
            wide += columns(line[size])
            size += 1
        blank = line.rfind(" ", size // 2, size + 1)
        cut = blank if blank > 0 else size
        yield indent + line[:cut]
        line = line[cut:].removeprefix(" ")
    yield indent + line


def _command(line: str) -> Iterator[str]:
    """Yield *line* as a shell takes it, broken by backslashes, within a word if that is long."""
    line = visible(line)
    try:
        words = shlex.split(line)
    except ValueError:
        yield from _broken(one_line(line, 4000), "    ")
        return
    row, fresh = "    ", True
    for word in words:
        first, *rest = _pieces(word)
        if not fresh and columns(row) + 1 + columns(first) > COLUMNS - 2:
            yield f"{row} \\"
            row, fresh = " " * 8, True
        row += first if fresh else f" {first}"
        fresh = False
        for piece in rest:
            # Blanks before it would end the word.
            yield f"{row}\\"
            row = piece
    yield row


def _pieces(word: str) -> list[str]:
    """Return *word* quoted for a shell; of a long one the pieces, each for a line of its own."""
    most = COLUMNS - 10
    quoted = shlex.quote(word)
    if columns(quoted) <= most:
        return [quoted]
    pieces = [""]
    for char in word:
        # No quotes, for between them a backslash would not join lines.
        unit = f"\\{char}" if _UNSAFE.match(char) else char
        if columns(pieces[-1] + unit) > most:
            pieces.append("")
        pieces[-1] += unit
    return pieces

# SPDX-License-Identifier: GPL-2.0-only
"""From a mail to the patch that is applied, with no trace of how it was sent.

Author, subject and message are found by ``git mailinfo``, so they are what ``git am`` would take:
headers at the top of the text count, and what stands above a scissors line does not.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath

from harness.errors import UserError
from harness.proc.git import GitResult, git
from harness.series import diff, subject
from harness.series.files import Files
from harness.series.mail import Content, Mail, content_of
from harness.series.model import Patch, Trailer

UNDATED = datetime(2000, 1, 1, tzinfo=UTC)
"""The date of a patch that has none: git would take the time of day."""
_NO_AUTHOR = "unknown author <unknown@localhost>"
_MOST_LETTERS = 500
"""Patches of which it is remembered how git takes them apart."""
_IN_BODY = re.compile(r"\s*(?:>?From |From:|Subject:|Date:|\[PATCH\])", re.I)
_AUTHOR = re.compile(r"^(?:From|Author): *(.+@.+)$", re.M | re.I)
_TITLE = re.compile(r"^(?:Subject|Description): *(.+)$", re.M | re.I)


def make(
    files: Files,
    mail: Mail,
    number: int,
    total: int,
    version: int,
    *,
    lenient: bool,
    trailers: tuple[Trailer, ...] = (),
) -> tuple[Patch, tuple[str, ...]]:
    """Return the patch in *mail*, and notes on what had to be made up.

    A *lenient* reading is for patches that need not be mails (quilt): author and subject may be
    absent.  Raises UserError for a mail that is no whole patch.
    """
    content = content_of(files, mail)
    _check_charset(files, mail, content)
    title, author, date, message, patch = _mailinfo(mail, content)
    notes: list[str] = []
    bare = content.headers is None or lenient
    if author in ("", " <>"):
        if not bare:
            header = content.header("From")
            raise UserError(
                "the patch has no author",
                where=mail.where,
                why=f"no address in From: {header}" if header else "it has no From: header",
            )
        named = _AUTHOR.search(content.text)
        author = named[1].strip() if named else _NO_AUTHOR
        if not named:
            notes.append(f"{mail.where} names no author")
    if not title:
        if not bare:
            raise UserError("the patch has no subject", where=mail.where)
        title, message = _title_of(content, message, mail)
    when, bad = _date(date)
    if bad:
        notes.append(
            f"{mail.where} has a Date: that cannot be read ({bad}): {when:%Y-%m-%d} counts"
        )
    found = diff.find(patch)
    if found is None:
        raise _no_diff(mail)
    if found.damage:
        raise _damaged(files, mail, content, patch, found.damage)
    _check_names(mail, number, total, title, found)
    _check_modes(mail, number, total, title, found)
    lines = patch.split("\n")[found.start : found.end]
    at = _diff_line(files, mail, lines)
    for index in found.empty:
        lines[index - found.start] = " "
    data = _data(author, when, title, message, lines, (number, total, version))
    return (
        Patch(
            number=number,
            total=total,
            subject=title,
            author=author,
            path=mail.raw.path,
            where=mail.where,
            files=found.names,
            data=data,
            sha256=hashlib.sha256(data).hexdigest(),
            sender=mail.sender,
            diff_line=at,
            trailers=trailers,
        ),
        tuple(notes),
    )


@lru_cache(maxsize=_MOST_LETTERS)
def _ask_git(letter: bytes) -> tuple[GitResult, str, str]:
    """Return what git says of *letter*: facts, the message, and what stands below it.

    The same bytes have the same answer, and a matrix reads each patch for each of its kernels.
    """
    with tempfile.TemporaryDirectory(prefix="series-") as name:
        scratch = Path(name)
        # -k keeps the brackets that are the title's own.
        argv = ("mailinfo", "-k", "--scissors", "--encoding=UTF-8", "msg", "diff")
        info = git(*argv, cwd=scratch, stdin=letter)
        if not info.ok:
            return info, "", ""
        message = (scratch / "msg").read_bytes().decode(errors="surrogateescape")
        return info, message, (scratch / "diff").read_bytes().decode(errors="surrogateescape")


def _mailinfo(mail: Mail, content: Content) -> tuple[str, str, str, str, str]:
    """Return title, author, date, message and what stands below, as git understands them."""
    if "\0" in content.text:
        raise UserError("the patch holds a NUL byte, so it is not text", where=mail.where)
    about = subject.parse(content.header("Subject"))
    head = "MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n"
    head += "Content-Transfer-Encoding: 8bit\n"
    for name, value in (("From", content.header("From")), ("Subject", about.title)):
        head += f"{name}: {value}\n" if value else ""
    letter = f"{head}\n{content.text}".encode(errors="surrogateescape")
    info, message, patch = _ask_git(letter)
    if not info.ok:
        raise UserError("git cannot read this mail", where=mail.where, why=info.stderr)
    fields: dict[str, str] = {}
    for line in info.stdout.decode(errors="surrogateescape").splitlines():
        name, _, value = line.partition(": ")
        # Behind a subject from below a scissors line git says the one from above it, emptied.
        fields.setdefault(name, value)
    title = fields.get("Subject", "").strip()
    if title and title != about.title:
        title = subject.parse(title).title  # one at the top of the text has its own prefix
    author, address = fields.get("Author", ""), fields.get("Email", "")
    date = fields.get("Date", "") or content.header("Date")
    if content.headers is None:
        author = address = ""  # git takes what it can get
    return title, f"{author} <{address}>" if address else "", date, message.strip("\n"), patch


def _title_of(content: Content, message: str, mail: Mail) -> tuple[str, str]:
    """Return a title and the rest of the message for a patch that has no subject."""
    named = _TITLE.search(content.text[: content.text.find("\n\n") + 1])
    if named:
        return subject.parse(named[1]).title, message
    first, _, rest = message.strip().partition("\n")
    if first:
        return subject.parse(first).title or first, rest.strip("\n")
    return mail.raw.path.stem, message


def _date(text: str) -> tuple[datetime, str]:
    """Return the date in *text*, or a fixed one, and what of *text* could not be read."""
    if not text:
        return UNDATED, ""
    try:
        when = parsedate_to_datetime(text)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        if 1970 < when.year < 2100:
            return when, ""
    except (TypeError, ValueError, OverflowError, IndexError):
        pass
    return UNDATED, repr(text[:60])


def _data(
    author: str,
    when: datetime,
    title: str,
    message: str,
    lines: list[str],
    place: tuple[int, int, int],
) -> bytes:
    number, total, version = place
    prefix = "PATCH" + (f" v{version}" if version > 1 else "")
    prefix += f" {number}/{total}" if total > 1 else ""
    head = f"From: {author}\nDate: {format_datetime(when)}\nSubject: [{prefix}] {title}\n"
    head += "MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n"
    head += "Content-Transfer-Encoding: 8bit\n\n"
    if _IN_BODY.match(message):
        head += f"From: {author}\n\n"  # or git would take the message's first line for a header
    text = f"{head}{message}\n---\n\n" + "\n".join(lines) + "\n"
    return text.encode(errors="surrogateescape")


def _check_names(mail: Mail, number: int, total: int, title: str, found: diff.Diff) -> None:
    """Refuse a patch that would write elsewhere than into the tree."""
    for name in found.names:
        parts = name.lower().rstrip("/").split("/")
        # ".git ", ".git." and "git~1" are the same directory to some file systems.
        odd = {part for part in parts if part.rstrip(" .") in (".git", "git~1") or part == ".."}
        if odd or name.startswith("/"):
            raise UserError(
                f'patch {number}/{total} "{title}" reaches outside the tree',
                where=mail.where,
                why=f"it writes to {name}",
                hint="do not use this series before you know why",
            )


_MODES = frozenset({"100644", "100755", "120000"})
"""What a kernel tree has: files, programs, symbolic links."""
_HOOK = re.compile(r"(?:^|/)hooks/[^/]+$")


def _check_modes(mail: Mail, number: int, total: int, title: str, found: diff.Diff) -> None:
    """Refuse a patch whose modes make more than files, programs and links within the tree."""
    why = ""
    for name, mode in found.modes:
        if mode not in _MODES:
            why = f"it gives {name} the mode {mode}"
        elif mode == "100755" and _HOOK.search(name):
            why = f"it makes {name} a program, as a hook of git is"
    for name, target in found.targets:
        parts = PurePosixPath(name).parent.joinpath(target).parts
        depth = 0
        for part in parts:
            depth += -1 if part == ".." else 1
            if depth < 0 or target.startswith("/") or part.lower() == ".git":
                why = f"it makes {name} a symbolic link to {target}"
    if why:
        raise UserError(
            f'patch {number}/{total} "{title}" reaches outside the tree',
            where=mail.where,
            why=why,
            hint="do not use this series before you know why",
        )


def _no_diff(mail: Mail) -> UserError:
    return UserError(
        "this mail holds no diff",
        where=mail.where,
        why=f"Subject: {mail.subject.raw or '(none)'}",
        hint="take it out of the series if it is no patch",
    )


def _damaged(
    files: Files, mail: Mail, content: Content, patch: str, damage: diff.Damage
) -> UserError:
    culprit = patch.split("\n")[damage.line]
    where = mail.where
    for number, line in enumerate(_plain(files, mail).split("\n")):
        if culprit and line == culprit:
            where = f"{mail.where}:{files.line_of(mail.raw) + number}"
            break
    why = damage.why
    if content.flowed:
        why += "\nthe mail is format=flowed, which breaks long lines"
    return UserError(
        "the diff is damaged",
        where=where,
        why=f"{why}\nlines were broken, joined or cut, as mail programs do",
        hint="take the original from its author (git format-patch) or from lore.kernel.org",
    )


def _plain(files: Files, mail: Mail) -> str:
    data = files.bytes_of(mail.raw).replace(b"\r\n", b"\n")
    return data.decode(errors="surrogateescape")


def _diff_line(files: Files, mail: Mail, lines: list[str]) -> int | None:
    text = _plain(files, mail)
    at = text.find("\n" + "\n".join(lines[:-1]) if len(lines) > 1 else lines[0])
    return None if at < 0 else files.line_of(mail.raw) + text.count("\n", 0, at + 1)


def _check_charset(files: Files, mail: Mail, content: Content) -> None:
    """Refuse bytes that are not of the declared charset, and say where they are."""
    data = files.bytes_of(mail.raw)
    declared = content.headers.charset if content.headers else ""
    blank = re.search(rb"\r?\n\r?\n", data)
    # A declared charset is that of the text; a header has an encoding of its own (RFC 2047).
    head = blank.end() if blank and content.headers else 0
    start = 0
    try:
        data[:head].decode()
        start = head
        if not re.search("[\udc80-\udcff]", content.text):
            return
        data[head:].decode()
        why = "its text, once decoded, is not in the declared charset"
        where = mail.where
    except UnicodeDecodeError as error:
        at = start + error.start
        line = files.line_of(mail.raw) + data.count(b"\n", 0, at)
        column = at - (data.rfind(b"\n", 0, at) + 1) + 1
        where = f"{mail.where}:{line}"
        why = f"byte {data[at]:#04x} at offset {mail.raw.start + at} of the file "
        why += f"(line {line}, byte {column} of it)"
    raise UserError(
        "the patch is not UTF-8",
        where=where,
        why=f"{why}; " + (f"declared is {declared}" if declared else "no charset is declared"),
        hint="convert it, or declare its charset in a Content-Type header",
    )

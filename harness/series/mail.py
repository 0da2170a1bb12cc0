# SPDX-License-Identifier: GPL-2.0-only
"""From bytes to patch mails, as `git am` would understand them.

Where mails begin follows git's own rule; transfer encodings and flowed text are undone by `git
mailinfo`, so that the diff that is judged here is the one that is applied.
"""

from __future__ import annotations

import email.policy
import re
import tempfile
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import Path

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchSet

from harness.errors import UserError
from harness.source.git import git

# What git's mailsplit takes for the first line of a mail: "From", a time of day, a year.
_FROM_LINE = re.compile(rb"^From \S.*\d:\d\d(?::\d\d)?.* (?:19|20)\d\d\b.*$", re.M)
_HEADER = re.compile(rb"[!-9;-~]+:")
_BRACKETS = re.compile(r"\s*\[([^\]]*)\]")
_COUNT = re.compile(r"(?<![\d.])(\d+)/(\d+)(?!\d)")
_VERSION = re.compile(r"\bv(\d+)\b", re.I)
_REPLY = re.compile(r"(?:re|aw|fwd?)(?:\[\d+\])?:", re.I)


@dataclass(frozen=True)
class Mail:
    """One mail of a file."""

    path: Path
    where: str
    """The file, and which mail of it if it holds several."""
    first_line: int
    """Its first line in the file, from 1."""
    first_byte: int
    """The same in bytes, from 0."""
    data: bytes
    raw_subject: str
    """With the bracketed prefix."""
    subject: str
    author: str
    version: int
    number: int | None
    """0 is a cover letter; None if the subject has no N/M."""
    total: int | None
    diff: str
    """What git would apply, transfer encoding undone; bytes that are not UTF-8 are surrogates."""


def split(path: Path, data: bytes) -> list[Mail]:
    """Return the mails of a file: one of `git format-patch`, or an mbox.

    Raises UserError for a file that is empty, not mail, or not text.
    """
    if not data.strip():
        raise UserError("the patch file is empty", where=str(path))
    starts = [match.start() for match in _FROM_LINE.finditer(data)]
    if not starts or data[: starts[0]].strip():
        starts.insert(0, 0)
    ends = [*starts[1:], len(data)]
    mails = []
    for count, (start, end) in enumerate(zip(starts, ends, strict=True), 1):
        where = str(path) if len(starts) == 1 else f"{path}, mail {count}"
        line = data.count(b"\n", 0, start) + 1
        mails.append(_parse(path, where, line, start, data[start:end]))
    return mails


def _parse(path: Path, where: str, first_line: int, first_byte: int, data: bytes) -> Mail:
    text = data.replace(b"\r\n", b"\n")  # as git am does, unless it is told to keep them
    head = text.split(b"\n", 1)[1] if text.startswith(b"From ") else text
    if not _HEADER.match(head.lstrip(b"\n")):
        raise UserError(
            "this is not a patch mail",
            where=where,
            why=f"it begins with {head.strip()[:60].decode(errors='replace')!r}, not with headers",
            hint="write the patches with git format-patch",
        )
    _check_charset(where, first_line, first_byte, data, _declared_charset(head))
    with tempfile.TemporaryDirectory(prefix="series-") as scratch:
        # -k keeps the subject's prefix, which holds the number.
        info = git(
            "mailinfo", "-k", "--encoding=UTF-8", "msg", "diff", cwd=Path(scratch), stdin=text
        )
        if not info.ok:
            raise UserError("git cannot read this mail", where=where, why=info.stderr)
        diff = Path(scratch, "diff").read_bytes().decode(errors="surrogateescape")
    fields = dict(
        line.split(": ", 1)
        for line in info.stdout.decode(errors="replace").splitlines()
        if ": " in line
    )
    raw_subject = fields.get("Subject", "").strip()
    prefix, subject = _prefix(raw_subject)
    count, version = _COUNT.search(prefix), _VERSION.search(prefix)
    return Mail(
        path=path,
        where=where,
        first_line=first_line,
        first_byte=first_byte,
        data=data,
        raw_subject=raw_subject,
        subject=subject,
        author=f"{fields.get('Author', '')} <{fields.get('Email', '')}>",
        version=int(version[1]) if version else 1,
        number=int(count[1]) if count else None,
        total=int(count[2]) if count else None,
        diff=diff,
    )


def _declared_charset(head: bytes) -> str | None:
    parser = BytesParser(policy=email.policy.default)
    return parser.parsebytes(head.split(b"\n\n", 1)[0], headersonly=True).get_content_charset()


def _check_charset(
    where: str, first_line: int, first_byte: int, data: bytes, declared: str | None
) -> None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        # A declared charset is that of the body; a header has an encoding of its own (RFC 2047).
        head_ends = re.search(rb"\r?\n\r?\n", data)
        in_body = head_ends is not None and error.start > head_ends.start()
        if in_body and declared and declared not in ("utf-8", "us-ascii"):
            try:
                data.decode(declared)
            except (UnicodeDecodeError, LookupError):
                pass
            else:
                return
        line = first_line + data.count(b"\n", 0, error.start)
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise UserError(
            "the patch is not UTF-8",
            where=f"{where}:{line}",
            why=f"byte {data[error.start]:#04x} at offset {first_byte + error.start} of the file "
            f"(line {line}, byte {column} of it); "
            + (f"declared is {declared}" if declared else "no other charset is declared"),
            hint="convert it, or declare its charset in a Content-Type header",
        ) from None


def _prefix(raw: str) -> tuple[str, str]:
    """Split ``[RFC][PATCH v2 1/3] mm: do this`` into the brackets' words and the rest."""
    words, rest = [], raw
    while match := _BRACKETS.match(rest):
        words.append(match[1])
        rest = rest[match.end() :]
    return " ".join(words), " ".join(rest.split())


def changed_files(mail: Mail) -> tuple[str, ...]:
    """Return the files that the mail's diff names, sorted.

    Raises UserError, with the reason, for a mail that holds no diff or a damaged one.
    """
    if _REPLY.match(mail.raw_subject):
        raise UserError(
            "this mail is a reply, not a patch",
            where=mail.where,
            why=f"Subject: {mail.raw_subject}",
            hint="take it out of the series",
        )
    try:
        parsed = PatchSet(mail.diff)
    except UnidiffParseError as error:
        raise _damaged(mail, str(error)) from error
    names = set()
    for file in parsed:
        for name in (file.source_file, file.target_file):
            if name and name != "/dev/null":
                names.add(name.removeprefix("a/").removeprefix("b/"))
    if not names:
        raise UserError(
            "this mail holds no diff",
            where=mail.where,
            why=f"Subject: {mail.raw_subject or '(none)'}",
            hint="take it out of the series if it is no patch",
        )
    if mail.author in (" <>", " <None>"):
        raise UserError("the patch has no author", where=mail.where, why="it has no From: header")
    if not mail.subject:
        raise UserError("the patch has no subject", where=mail.where)
    return tuple(sorted(names))


def _damaged(mail: Mail, words: str) -> UserError:
    where, why = mail.where, words.strip()
    culprit = words.partition(": ")[2].rstrip("\n")
    for number, line in enumerate(mail.data.decode(errors="replace").splitlines()):
        if culprit and line == culprit:
            where = f"{mail.where}:{mail.first_line + number}"
            break
    if re.search(rb"^Content-Type:.*format=flowed", mail.data, re.M | re.I):
        why += "\nthe mail is format=flowed, which breaks long lines"
    return UserError(
        "the diff is damaged",
        where=where,
        why=f"{why}\nlines were broken, joined or cut, as mail programs do",
        hint="take the original from its author (git format-patch) or from lore.kernel.org",
    )

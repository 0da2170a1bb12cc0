# SPDX-License-Identifier: GPL-2.0-only
"""What each mail of a file is: a patch, a cover letter, a reply, or something else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.utils import mktime_tz, parseaddr, parsedate_tz
from enum import Enum

import msgspec

from harness.digest import digest
from harness.errors import UserError
from harness.series import diff, mime, subject, trailers
from harness.series.files import MOST_MAIL_BYTES, Files, Raw
from harness.series.model import Trailer
from harness.series.subject import Subject

_ID = re.compile(r"<([^<>\s]+)>")
_REQUEST = re.compile(
    r"^The following changes since commit\b.*?^are available in the .*?repository at", re.M | re.S
)
_DIFFSTAT = re.compile(r"^ *\d+ files? changed, \d+ (?:insertion|deletion)", re.M)
_OF_ROBOTS = re.compile(
    r"\[tip:|(?:[+-]|\[[^\]]*\]) \S+\.patch (?:added to|removed from)"
    r"|Patch \".*\" has been added to|FAILED: patch |linux-next: ",
    re.I,
)
"""Subjects of mails that hold a patch which is somewhere already."""
_SCISSORS = re.compile(r"^[-\s]*(?:>8|8<|>%|%<)[-\s]*(?:cut here[-\s]*)?$", re.M)


_CHANGE = re.compile(r"^change-id:\s*(\S+)", re.M | re.I)
_NUMBERS = re.compile(r"^@@ -[\d,]+ \+[\d,]+ @@.*")


class Kind(Enum):
    """What a mail is, in words for a person."""

    PATCH = "patch"
    COVER = "cover letter"
    REPLY = "reply"
    PULL = "pull request"
    OTHER = "mail without a diff"
    ROBOT = "mail of a robot"
    TOO_LARGE = "mail that is too large"


class Content(msgspec.Struct, frozen=True):
    """A mail's headers and its relevant text."""

    headers: mime.Message | None
    """None for a patch that is no mail."""
    text: str
    diff: diff.Diff | None
    attachment: str = ""
    flowed: bool = False

    def header(self, name: str) -> str:
        """Return a header in one line; empty if there is none."""
        return self.headers.header(name) if self.headers else ""


class Mail(msgspec.Struct, frozen=True):
    """The stored facts about a mail; its text can be read again."""

    raw: Raw
    part: int
    """Which of the patches that are attached to it; 0 is the first, or the mail itself."""
    where: str
    kind: Kind
    subject: Subject
    sender: str
    """The From: header."""
    message_id: str
    parents: tuple[str, ...]
    """Message ids that it replies to, the nearest first."""
    date: float | None
    """Seconds since 1970; None where it has no date that can be read."""
    fingerprint: str
    """Digest of what its diff changes, wherever in the files that is."""
    change_id: str
    """``change-id:``, the same for all versions of a series."""
    has_diffstat: bool
    scissors: bool
    """There is a scissors line, and a diff below it."""
    trailers: tuple[Trailer, ...]

    @property
    def address(self) -> str:
        """The sender's address in lower case."""
        return parseaddr(self.sender)[1].lower()


def index(files: Files, raw: Raw) -> Iterator[Mail]:
    """Yield what is in the mail *raw*; several where patches are attached to it.

    Raises UserError for a file that is neither mail nor patch.
    """
    if raw.size > MOST_MAIL_BYTES:
        yield _too_large(raw, files)
        return
    for part, content in enumerate(contents(files.bytes_of(raw), raw.where)):
        yield _describe(raw, part, content)


def content_of(files: Files, mail: Mail) -> Content:
    """Read the mail again."""
    return contents(files.bytes_of(mail.raw), mail.where)[mail.part]


_BUNDLE = re.compile(rb"# v\d+ git bundle\n")


def contents(data: bytes, where: str) -> list[Content]:
    """Return the mail in *data*, or each of the patches that are attached to it as mails."""
    message = mime.read(data)
    if message is None or not (message.header("From") or message.header("Subject")):
        return [_bare(data, where)]
    attached = []
    for text in message.texts if len(message.texts) > 1 else ():
        inner = mime.as_mail(text.text)
        inside = mime.read(inner) if inner else None
        if inside and inside.texts:
            found = _chosen(inside, text.name or "attachment")
            if found.diff:
                attached.append(found)
    return attached or [_chosen(message)]


def _bare(data: bytes, where: str) -> Content:
    text = data.replace(b"\r\n", b"\n").decode(errors="surrogateescape")
    text += "" if text.endswith("\n") else "\n"
    found = diff.find(text)
    if found is None:
        begins = data.strip()[:60].decode(errors="replace")
        if _BUNDLE.match(data):
            raise UserError(
                "this is a bundle of git, not a patch",
                where=where,
                hint=f"fetch it, git -C REPOSITORY fetch {where} '+refs/*:refs/bundle/*', "
                "and name its commits: --series REPOSITORY#BASE..TIP",
            )
        raise UserError(
            "this is not a patch mail",
            where=where,
            why=f"it begins with {begins!r}, not with headers, and holds no diff",
            hint="write the patches with git format-patch",
        )
    return Content(None, text, found)


def _chosen(message: mime.Message, attachment: str = "") -> Content:
    """Return the text of the mail that holds its diff: of several, the last."""
    first = message.texts[0] if message.texts else mime.Text("")
    for text in reversed(message.texts):
        plain, found = text.text, diff.find(text.text)
        if text.flowed:
            # Not all mails that say so are: the reading that leaves a whole diff is right.
            joined = mime.unflow(text)
            whole = diff.find(joined)
            if whole and (whole.damage is None or found is None):
                plain, found = joined, whole
        if found is None:
            continue
        if text is not first and found.start == 0 and not diff.find(first.text):
            # A bare diff is attached: the message is in the mail's own text.
            plain = f"{first.text}---\n{plain}"
            found = diff.find(plain)
        return Content(message, plain, found, attachment, text.flowed)
    return Content(message, mime.unflow(first) if first.flowed else first.text, None, attachment)


def _describe(raw: Raw, part: int, content: Content) -> Mail:
    about = subject.parse(content.header("Subject"))
    text, found = content.text, content.diff
    sender = content.header("From")
    message_id = next(iter(_ID.findall(content.header("Message-ID"))), "")
    if part:
        message_id += f"#{part}" if message_id else ""
    answers = _ID.findall(content.header("In-Reply-To"))
    references = _ID.findall(content.header("References"))
    given = trailers.of_reply(text, sender, message_id) if about.reply or found is None else ()
    kind = _kind(about, text, found, bool(answers or references), bool(given))
    parsed = parsedate_tz(content.header("Date"))
    try:
        date = float(mktime_tz(parsed)) if parsed else None
    except (OverflowError, ValueError):
        date = None
    change = _CHANGE.search(text)
    scissors = [match.start() for match in _SCISSORS.finditer(text)] if found else []
    return Mail(
        raw=raw,
        part=part,
        where=f"{raw.where}, {content.attachment}" if content.attachment else raw.where,
        kind=kind,
        subject=about,
        sender=sender,
        message_id=message_id,
        parents=tuple(dict.fromkeys([*answers, *reversed(references)])),
        date=date,
        fingerprint=_fingerprint(text, found) if found else "",
        change_id=change[1] if change else "",
        has_diffstat=bool(_DIFFSTAT.search(text)),
        scissors=bool(scissors) and found is not None,
        trailers=given if kind is Kind.REPLY else (),
    )


def _fingerprint(text: str, found: diff.Diff) -> str:
    lines = text.split("\n")[found.start : found.end]
    changed = (_NUMBERS.sub("@@", line) for line in lines if not line.startswith("index "))
    return digest("\n".join(changed).encode(errors="surrogateescape"))


def _kind(about: Subject, text: str, found: diff.Diff | None, answers: bool, given: bool) -> Kind:
    if about.reply or (answers and given and found is None and about.number != 0):
        return Kind.REPLY
    if about.number == 0:
        return Kind.COVER
    numbered = about.number is not None and found is not None
    if _REQUEST.search(text) and (about.pull or not numbered):
        return Kind.PULL
    if about.pull and not numbered:
        return Kind.PULL
    if found is None:
        return Kind.OTHER
    return Kind.ROBOT if _OF_ROBOTS.match(about.raw) else Kind.PATCH


def _too_large(raw: Raw, files: Files) -> Mail:
    head = Raw(raw.path, raw.where, raw.start, min(raw.size, 1 << 16), raw.escaped)
    message = mime.read(files.bytes_of(head))
    return Mail(
        raw=raw,
        part=0,
        where=raw.where,
        kind=Kind.TOO_LARGE,
        subject=subject.parse(message.header("Subject") if message else ""),
        sender=message.header("From") if message else "",
        message_id="",
        parents=(),
        date=None,
        fingerprint="",
        change_id="",
        has_diffstat=False,
        scissors=False,
        trailers=(),
    )

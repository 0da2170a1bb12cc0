# SPDX-License-Identifier: GPL-2.0-only
"""Where the mails of a mailbox file begin and end.

All kinds are read: mboxrd and mboxo, which put ``>`` before a line of the text that begins with
``From ``; mboxcl, which says how long a mail is; what ``git format-patch --stdout`` and b4 write,
which do neither.  Only a ``From `` line that ends in a date and that headers follow begins a mail,
so such words in a message or a patch do not cut it in two.

Content-Length may be a header of the sender.  So it is not believed in a mailbox that has no need
of it, nor where it would make another mail a part of this one's text.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator

import msgspec

Buffer = bytes | mmap.mmap

_FROM = re.compile(
    rb"^From \S[^\n]*\d:\d\d(?::\d\d)?[^\n]* (?:19|20)\d\d(?: [+-]\d{4}| [A-Z]{3,4})?[ \t]*\r?\n"
    rb"(?=(?:(?:[!-9;-~]+:|[ \t]|>From )[^\n]*\n){0,1000}?(?:From|Subject|Date|Message-ID):)",
    re.M | re.I,
)
_REST = re.compile(rb"^From [^\n]*\d:\d\d[^\n]* (?:19|20)\d\d[^\n]*(?:\n|\Z)", re.M)
"""A ``From `` line without a mail, as a program leaves that writes one of its own as well."""
_GIT = re.compile(rb"From (?:[0-9a-f]{40,64} Mon Sep 17 00:00:00 2001|git@z )")
_UNCOUNTED = re.compile(rb"From mboxrd@z |" + _GIT.pattern)
"""``From `` lines of mailboxes whose mails have no Content-Length header."""
_IDENTITY = re.compile(rb"^Message-ID:", re.M | re.I)
_BLANK = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"^Content-Length:[ \t]*(\d+)[ \t]*\r?$", re.M | re.I)
_BOUNDARY = re.compile(
    rb"^Content-Type:[ \t]*multipart/(?:[^\n]|\n[ \t])*?boundary=\"?([^\"\s;]+)", re.M | re.I
)
_ESCAPED = re.compile(rb"^>(>*From )", re.M)
_BARE = re.compile(rb"^From ", re.M)
_MOST_HEADER = 1 << 16


class Span(msgspec.Struct, frozen=True):
    """A mail in a mailbox, without its ``From `` line."""

    start: int
    end: int
    escaped: bool
    """Whether the ``>`` before ``From `` lines of its text is the mailbox's."""


def split(data: Buffer) -> Iterator[Span]:
    """Yield the mails of *data*; all of it is one mail where no line begins another."""
    mark = _FROM.search(data)
    if mark is None or _REST.sub(b"", data[: mark.start()]).strip():
        mark = None
        start = 0
    else:
        start = mark.end()
    while True:
        git = mark is None or bool(_GIT.match(data, mark.start()))
        header = _header(data, start)
        counted = mark is None or not _UNCOUNTED.match(data, mark.start())
        by_length = _end_by_length(data, start, header) if counted else None
        following = by_length[1] if by_length else _next(data, start, header)
        end = by_length[0] if by_length else following.start() if following else len(data)
        escaped = not git
        if by_length and escaped:
            # mboxcl2 escapes nothing, as it counts.
            escaped = _BARE.search(data, start + len(header), end) is None
        yield Span(start, end, escaped)
        if following is None:
            return
        mark, start = following, following.end()


def unescape(data: bytes) -> bytes:
    """Take one ``>`` from each ``>From `` line of the text of a mail."""
    blank = _BLANK.search(data)
    if blank is None or b"From " not in data:
        return data
    return data[: blank.end()] + _ESCAPED.sub(rb"\1", data[blank.end() :])


def _header(data: Buffer, start: int) -> bytes:
    blank = _BLANK.search(data, start, start + _MOST_HEADER)
    return data[start : blank.end()] if blank else b""


def _end_by_length(
    data: Buffer, start: int, header: bytes
) -> tuple[int, re.Match[bytes] | None] | None:
    """Return the end that a Content-Length header says, and the next mail, if that is true."""
    found = _LENGTH.search(header)
    if found is None or len(found[1]) > 15:
        return None
    end = start + len(header) + int(found[1])
    if _holds_mail(data, start + len(header), end):
        return None
    gap = re.compile(rb"[\r\n]*").match(data, end) if end <= len(data) else None
    if gap is None:
        return None
    if gap.end() == len(data):
        return end, None
    following = _FROM.match(data, gap.end()) if data[end - 1 : gap.end()].count(b"\n") else None
    return (end, following) if following else None


def _holds_mail(data: Buffer, start: int, end: int) -> bool:
    """Return whether a mail with an identity of its own begins between *start* and *end*."""
    return any(
        _IDENTITY.search(_header(data, mark.end())) for mark in _FROM.finditer(data, start, end)
    )


def _next(data: Buffer, start: int, header: bytes) -> re.Match[bytes] | None:
    """Return the ``From `` line of the next mail.

    A patch of git format-patch that is attached to a mail is a part of that mail.
    """
    boundary = _BOUNDARY.search(header)
    close = b"\n--" + boundary[1] + b"--" if boundary else b""
    at = start
    while following := _FROM.search(data, at):
        inside = (
            boundary is not None
            and bool(_GIT.match(data, following.start()))
            and data.find(close, start, following.start()) < 0
            and data.find(close, following.end()) >= 0
        )
        if not inside:
            return following
        at = following.end()
    return None

# SPDX-License-Identifier: GPL-2.0-only
"""From the bytes of a mail to its headers and texts: transfer encodings and charsets undone."""

from __future__ import annotations

import base64
import binascii
import email.message
import quopri
import re
from collections.abc import Iterator
from contextlib import suppress
from email.parser import BytesHeaderParser, BytesParser
from email.policy import compat32

import msgspec

_HEADER = re.compile(rb"[!-9;-~]+:")
_BLANK = re.compile(rb"\n\n")
_FROM_LINE = re.compile(r"From [0-9a-f]{40,64} .*\n")
_HEADER_BLOCK = re.compile(r"(?:[!-9;-~]+:.*\n(?:[ \t].*\n)*)+(?:\n|\Z)")
_PATCH_NAME = re.compile(r"\.(?:patch|diff|mbox|eml)$|^\d{4}-", re.I)
_WORD = re.compile(r"=\?([^?\s]+)\?([bBqQ])\?([^?\s]*)\?=")
_WORDS = re.compile(rf"(?:{_WORD.pattern})+")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/= \t\r\n]")
_DIFF = re.compile(rb"^(?:diff --git |--- )", re.M)
_TEXTS = ("text/plain", "text/x-patch", "text/x-diff", "application/x-patch", "text/patch")


class Text(msgspec.Struct, frozen=True):
    """A text of a mail, with lines that end in a newline alone."""

    text: str
    """Bytes that are not of its charset are surrogates."""
    name: str = ""
    """That of the attachment."""
    flowed: bool = False
    delsp: bool = False


class Message(msgspec.Struct, frozen=True):
    """A mail, read."""

    headers: email.message.Message
    texts: tuple[Text, ...]
    """In their order; what is no text is left out."""

    def header(self, name: str) -> str:
        """Return a header in one line, encoded words (RFC 2047) decoded; empty if there is none."""
        for key, value in self.headers.raw_items():
            if key.lower() == name.lower():
                return decode_words(str(value))
        return ""

    @property
    def charset(self) -> str:
        """The charset that the mail declares for its text; empty for none."""
        return (self.headers.get_content_charset() or "").lower()


def read(data: bytes) -> Message | None:
    """Return the mail in *data*; None if it does not begin with headers."""
    data = data.replace(b"\r\n", b"\n").lstrip(b"\n")
    if not _HEADER.match(data):
        return None
    blank = _BLANK.search(data)
    head, body = (data[: blank.start() + 1], data[blank.end() :]) if blank else (data, b"")
    headers = BytesHeaderParser(policy=compat32).parsebytes(head)
    if headers.get_content_maintype() in ("multipart", "message"):
        whole = BytesParser(policy=compat32).parsebytes(data)
        return Message(headers, tuple(_texts(whole)))
    encoding = str(headers.get("Content-Transfer-Encoding", "")).strip().lower()
    return Message(headers, (_text(headers, _transfer(body, encoding)),))


def decode_words(value: str) -> str:
    """Return a header's value with its encoded words decoded, in one line."""
    value = value.encode(errors="surrogateescape").decode(errors="surrogateescape")
    # Space between two encoded words is no part of the text.
    value = re.sub(r"(\?=)\s+(?==\?)", r"\1", value)
    # git refuses what looks like an encoded word and is none.
    return " ".join(_WORDS.sub(_words, value).replace("=?", "= ?").split())


def _words(run: re.Match[str]) -> str:
    """Decode words that follow each other; one character may be in two of them."""
    parts: list[tuple[str, bytes]] = []
    for charset, encoding, text in _WORD.findall(run[0]):
        data = text.encode(errors="surrogateescape")
        try:
            if encoding in "bB":
                data = base64.b64decode(data + b"=" * (-len(data) % 4))
            else:
                data = quopri.decodestring(data, header=True)
        except binascii.Error:
            return run[0]
        name = charset.partition("*")[0].lower()
        if parts and parts[-1][0] == name:
            data = parts.pop()[1] + data
        parts.append((name, data))
    text = "".join(_decode(data, charset) for charset, data in parts)
    # What is no text in its charset must not look like raw bytes of the mail.
    return text.encode(errors="surrogateescape").decode(errors="replace")


def as_mail(text: str) -> bytes | None:
    """Return *text* as a mail of its own if it is one, as an attached format-patch file is."""
    text = _FROM_LINE.sub("", text, count=1) if _FROM_LINE.match(text) else text
    block = _HEADER_BLOCK.match(text)
    if not block or not re.search(r"^From:", block[0], re.M | re.I):
        return None
    if not re.search(r"^Subject:", block[0], re.M | re.I):
        return None
    return text.encode(errors="surrogateescape")


def unflow(text: Text) -> str:
    """Return the text as its writer saw it (RFC 3676): flowed lines joined, stuffing removed."""
    lines: list[str] = []
    joined = ""
    for line in text.text.split("\n"):
        line = line.removeprefix(" ")
        if line.endswith(" ") and line != "-- ":
            joined += line[:-1] if text.delsp else line
            continue
        lines.append(joined + line)
        joined = ""
    if joined:
        lines.append(joined)
    return "\n".join(lines)


def _texts(message: email.message.Message) -> Iterator[Text]:
    for part in message.walk():
        kind, name = part.get_content_type(), part.get_filename() or ""
        if part.is_multipart() or not (kind in _TEXTS or _PATCH_NAME.search(name)):
            continue
        payload = part.get_payload(decode=True)
        if isinstance(payload, bytes):
            yield _text(part, payload, name)


def _text(part: email.message.Message, payload: bytes, name: str = "") -> Text:
    text = _decode(payload, part.get_content_charset() or "utf-8")
    text = text.replace("\r\n", "\n").removeprefix("\ufeff")
    if text and not text.endswith("\n"):
        text += "\n"
    flowed = str(part.get_param("format", "")).lower() == "flowed"
    delsp = str(part.get_param("delsp", "")).lower() == "yes"
    return Text(text, name, flowed, delsp)


def _decode(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset)
    except (LookupError, ValueError):  # no such charset, or not its text
        return data.decode(errors="surrogateescape")


def _base64(body: bytes) -> tuple[bytes, bytes]:
    """Return the lines of base64 in one, and what a mailing list has put below them.

    Padding may be missing, and there may be blank lines, and blanks at their ends.
    """
    foreign = _NOT_BASE64.search(body)
    end = body.rfind(b"\n", 0, foreign.start()) + 1 if foreign else len(body)
    return body[:end].rstrip(b"= \t\r\n"), body[end:]


def _transfer(body: bytes, encoding: str) -> bytes:
    if encoding == "quoted-printable":
        return quopri.decodestring(body)
    if encoding == "base64":
        lines, rest = _base64(body)
        # Not all mails that say so are.
        if not lines or _DIFF.search(rest):
            return body
        with suppress(binascii.Error):
            # More padding than there is does no harm.
            return base64.b64decode(lines + b"==")
    return body

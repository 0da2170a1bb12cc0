# SPDX-License-Identifier: GPL-2.0-only
"""Parse the subject of a mail: ``[RFC net-next v10 03/12] net: do this``."""

from __future__ import annotations

import re

import msgspec

_COUNT = re.compile(r"(?<![\d./])(\d{1,4})\s*(?:/|of)\s*(\d{1,4})(?![\d./])", re.I)
_VERSION = re.compile(
    r"(?:(?<![a-z\d.])|(?<=patch)|(?<=rfc)|(?<=resend))(?:v|ver|version|rev|take)\.?\s?"
    r"(\d{1,3})(?:\.(\d{1,3}))?(?!\.?\w|-rc)",
    re.I,
)
"""``v6.1.y`` and ``v6.1-rc3`` name a kernel.  So may ``v6.1``, which only its company tells."""
_TAG = re.compile(r"\[(?![^\]]*(?:patch|rfc|pull|\d/\d))[^\]\[]+\]\s*", re.I)
"""What a mailing list or a mail server puts in front."""
_REPLY = re.compile(
    r"(?:re|aw|fwd?|sv|vs|vb|antw|antwort|odp|pd|res|enc|rif|tr|rv|ynt|ilt|wg|回复|回覆|答复|答覆"
    r"|转发|轉寄|отв|ответ)\s*(?:\[\d+\]|\^\d+|\(\d+\))?\s*[:：]",  # noqa: RUF001 (it is theirs)
    re.I,
)
_SHORT_WORD = re.compile(r"\w{2,3}\s*[:：]\s*\[")  # noqa: RUF001
"""``XX: [PATCH]`` is a reply in a language that the list above does not have."""
_PULL = re.compile(r"\bpull\b", re.I)
_RESEND = re.compile(r"resen[dt]|repost", re.I)


class Subject(msgspec.Struct, frozen=True):
    """A subject, taken apart."""

    raw: str
    title: str
    """Without the bracketed prefixes."""
    reply: bool = False
    pull: bool = False
    """The prefix says that it is a pull request, or a mail that goes with one."""
    resend: bool = False
    number: int | None = None
    """The N of N/M; 0 is a cover letter, None is none."""
    total: int | None = None
    version: int | None = None
    """The N of vN; None where there is none."""
    minor: int | None = None
    """The M of vN.M: a new version of a part of the series, or a kernel."""


def parse(raw: str) -> Subject:
    """Return what *raw*, decoded and in one line, says."""
    raw = " ".join(raw.split())
    untagged = raw
    while tag := _TAG.match(untagged):
        untagged = untagged[tag.end() :]
    reply = bool(_REPLY.match(untagged) or _SHORT_WORD.match(untagged))
    rest = untagged if reply else raw
    while reply and (found := _REPLY.match(rest) or re.match(r"\w{2,3}\s*[:：]\s*", rest)):  # noqa: RUF001
        rest = rest[found.end() :].lstrip()
    prefix, title = _brackets(rest)
    counts = _COUNT.findall(prefix)
    # A count can stand right before a version: 1/3v2.
    versions = _VERSION.findall(_COUNT.sub(" ", prefix))
    major, minor = versions[-1] if versions else ("", "")
    return Subject(
        raw=raw,
        title=title,
        reply=reply,
        pull=bool(_PULL.search(prefix)),
        resend=bool(_RESEND.search(prefix)),
        number=int(counts[-1][0]) if counts else None,
        total=int(counts[-1][1]) if counts else None,
        version=int(major) if major else None,
        minor=int(minor) if minor else None,
    )


def _brackets(text: str) -> tuple[str, str]:
    """Split ``[RFC][PATCH v2 [resend] 1/3] mm: do this`` into the brackets' words and the rest."""
    words: list[str] = []
    while text.startswith("[") and (size := _closing(text)):
        words.append(text[1 : size - 1].replace("[", " ").replace("]", " "))
        text = text[size:].lstrip()
    return " ".join(words).strip(), text.strip()


def _closing(text: str) -> int:
    """Return how long the bracket is with which *text* begins; 0 if it does not close."""
    depth = 0
    for size, char in enumerate(text, 1):
        depth += (char == "[") - (char == "]")
        if depth == 0:
            return size
    return 0

# SPDX-License-Identifier: GPL-2.0-only
"""Trailers such as Reviewed-by in replies: collected and shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.utils import parseaddr

from harness.series.model import Trailer

_TRAILER = re.compile(r"\s*([A-Za-z][\w-]*[A-Za-z]):\s+(\S.*)")
_WRAPPED = re.compile(r"^(\S+-by: [^<\n]+)\n(<[^>\n]+>)$", re.M | re.I)
_PERSON = re.compile(r"\S+@\S+\.\S+")
_HASH = re.compile(r"[0-9a-f]{6,}\b")
_OF_LINKS = frozenset({"link", "closes", "buglink"})
_NO_TRAILERS = frozenset(
    {"from", "author", "cc", "to", "date", "subject", "sender", "reply-to", "message-id", "mail"}
    | {"email", "e-mail", "phone", "subscribe", "unsubscribe", "base-commit", "change-id"}
    | {"prerequisite-message-id", "prerequisite-patch-id"}
)


def of_reply(text: str, sender: str, message_id: str) -> tuple[Trailer, ...]:
    """Return the trailers that a reply gives in lines of its own (not in what it quotes).

    *sender* is its From: header.  A trailer that names a person other than the sender is marked so.
    """
    own = text.split("\n-- \n", 1)[0]
    return tuple(_own(_WRAPPED.sub(r"\1 \2", own), sender, message_id))


def _own(text: str, sender: str, message_id: str) -> Iterator[Trailer]:
    for line in text.split("\n"):
        found = _TRAILER.match(line)
        if not found or found[1].lower() in _NO_TRAILERS:
            continue
        name, value = found[1], found[2].strip()
        # The rest of the line is a remark: "Tested-by: A <a@example.org> # on a board".
        person = _PERSON.search(value)
        key = name.lower()
        link = re.match(r"https?://", value)
        if link or key in _OF_LINKS:
            if link and key in _OF_LINKS:
                yield Trailer(name, value, sender, message_id)
        elif key == "fixes":
            if _HASH.match(value):
                yield Trailer(name, value, sender, message_id)
        elif person:
            yield Trailer(name, value, sender, message_id, not _same_person(value, sender))


def _same_person(value: str, sender: str) -> bool:
    (name, address), (other_name, other) = parseaddr(value.partition(" #")[0]), parseaddr(sender)
    if address.lower() == other.lower():
        return True
    return bool(name) and name.lower() == other_name.lower()

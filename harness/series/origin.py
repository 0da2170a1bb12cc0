# SPDX-License-Identifier: GPL-2.0-only
"""How far a series is trusted, by how it came: what was delivered as mail is a stranger's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from harness.model.spec import Trust
from harness.series.files import Files, Found, without_packing
from harness.series.mail import Mail

_OF_DEVELOPERS = (".patch", ".diff")
_DELIVERED = re.compile(
    rb"^(?:Received|Return-Path|Delivered-To|X-Received|X-Original-To|Envelope-To|List-Id|Archived-At"
    rb"|X-Mailing-List|X-Patchwork-[\w-]+|X-Mozilla-Status):",
    re.M | re.I,
)
_BLANK = re.compile(rb"\r?\n\r?\n")


def trust_of(found: Found, opened: Files, mails: Sequence[Mail]) -> Trust:
    """Return whose patches these are if nothing else is said.

    The user's own are files of patches and quilt directories, unless their headers say that a mail
    server has delivered them; all that is a mailbox or a mail is a stranger's.
    """
    if found.each_one_mail or not (found.quilt or all(map(_is_own_kind, found.paths))):
        return Trust.STRANGER
    return Trust.STRANGER if any(_was_delivered(opened, mail) for mail in mails) else Trust.OWN


def _is_own_kind(path: Path) -> bool:
    return without_packing(path).suffix in _OF_DEVELOPERS


def _was_delivered(opened: Files, mail: Mail) -> bool:
    data = opened.bytes_of(mail.raw)
    blank = _BLANK.search(data)
    return bool(_DELIVERED.search(data[: blank.start() if blank else len(data)]))

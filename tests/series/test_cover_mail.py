# SPDX-License-Identifier: GPL-2.0-only
"""What a reply to a series needs to know: whom it answers, and who is to read it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.model.results import CoverMail
from harness.series import read, read_stack
from tests.series import mails as m

pytestmark = pytest.mark.unit
PEOPLE = (
    'To: "Other, Bob" <bob@example.org>, =?utf-8?q?Ren=C3=A9=2C_X?= <rene@example.org>,',
    "\tlinux-mm@example.org",
    "Cc: kvm@example.org",
)


def keep(path: Path, letters: list[m.Letter]) -> Path:
    """Write a mailbox of *letters*."""
    path.write_bytes(m.mboxrd([letter.bytes() for letter in letters]))
    return path


def test_the_cover_letter_of_a_thread(tmp_path: Path) -> None:
    cover, *patches = m.Thread(prefix="PATCH v3").letters()
    path = keep(
        tmp_path / "thread.mbox", [msgspec.structs.replace(cover, headers=PEOPLE), *patches]
    )
    assert read(path).cover_mail == CoverMail(
        message_id="<s-0@example.org>",
        subject="[PATCH v3 0/3] mm: three changes",
        sender=m.ADA,
        to=("Other, Bob <bob@example.org>", "René, X <rene@example.org>", "linux-mm@example.org"),
        cc=("kvm@example.org",),
    )


def test_the_first_patch_where_there_is_no_cover_letter(tmp_path: Path) -> None:
    letter = msgspec.structs.replace(
        m.patch("[PATCH] mm: one", 3, message_id="p@example.org"), headers=PEOPLE
    )
    found = read(keep(tmp_path / "one.mbox", [letter])).cover_mail
    assert (found.message_id, found.subject) == ("<p@example.org>", "[PATCH] mm: one")
    assert found.cc == ("kvm@example.org",)


def test_of_a_stack_the_topmost_that_was_posted(tmp_path: Path) -> None:
    posted = keep(tmp_path / "posted.mbox", m.Thread().letters())
    mine = keep(tmp_path / "mine.mbox", [m.patch("[PATCH] mm: mine", 7)])
    assert read_stack("s", [posted, mine]).cover_mail.message_id == "<s-0@example.org>"
    assert read_stack("s", [mine]).cover_mail == CoverMail()
    assert read_stack("s", []).cover_mail == CoverMail()

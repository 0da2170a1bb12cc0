# SPDX-License-Identifier: GPL-2.0-only
"""However a series is sent and kept, the same patches come out."""

from __future__ import annotations

import random
import tempfile
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.context import Context
from harness.errors import UserError
from harness.proc.git import git
from harness.progress import Quiet
from harness.series import Series, apply, read
from harness.source import Source
from harness.store import Store
from tests.series import mails as m

pytestmark = [pytest.mark.unit, pytest.mark.slow]

THREAD = m.Thread("PATCH v3").letters()
REPLY = m.reply(THREAD[1], f"> {m.diff(3)}Acked-by: {m.BOB}\n")


def read_bytes(data: bytes, version: int | None = None) -> Series:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "thread.mbox"
        path.write_bytes(data)
        return read(path, version=version)


WHOLE = read_bytes(m.mboxrd([letter.bytes() for letter in THREAD]))


def test_the_thread_is_what_it_is_meant_to_be() -> None:
    assert (WHOLE.version, WHOLE.total, WHOLE.title) == (3, 3, "mm: three changes")
    assert [p.subject for p in WHOLE.patches] == ["mm: change 3", "mm: change 5", "mm: change 9"]
    assert WHOLE.notes == ()


@pytest.mark.parametrize("kind", m.STORES)
def test_however_it_is_kept(tmp_path: Path, kind: str) -> None:
    path = m.STORES[kind]([letter.bytes() for letter in [*THREAD, REPLY]], tmp_path / "thread")
    series = read(path)
    assert series.digest == WHOLE.digest
    assert series.notes == ('thread: v3 of "mm: three changes" is read; left out: 1 reply',)


@pytest.mark.parametrize("kind", m.SENDINGS)
def test_however_it_is_sent(kind: str) -> None:
    letters = [
        msgspec.structs.replace(each, text=each.text.replace("Why.", "Why: é.")) for each in THREAD
    ]
    plain = read_bytes(m.mboxrd([letter.bytes() for letter in letters]))
    assert "Why: é." in plain.patches[0].data.decode()
    sent = [m.SENDINGS[kind](letter) for letter in letters[1:]]
    for escaping in m.MBOXES.values():
        assert read_bytes(escaping([letters[0].bytes(), *sent])).digest == plain.digest


def test_beside_patches_other_files_are_left_out(tmp_path: Path) -> None:
    for number, letter in enumerate(THREAD):
        (tmp_path / f"{number}.patch").write_bytes(
            msgspec.structs.replace(letter, message_id="").bytes()
        )
    (tmp_path / "v2-v3.diff").write_text(m.diff(7))
    (tmp_path / "thread.mbox").write_bytes(m.mboxrd([letter.bytes() for letter in THREAD]))
    (tmp_path / "README").write_text("no patch\n")
    series = read(tmp_path)
    assert series.digest == WHOLE.digest
    assert [note.rpartition(": ")[2] for note in series.notes] == ["thread.mbox, v2-v3.diff"]


def test_a_file_of_one_mail_is_one_mail_whatever_it_quotes(tmp_path: Path) -> None:
    quoted = m.mboxrd([REPLY.bytes()]).decode().split("> diff")[0]
    assert "\nFrom: " in quoted
    for number, letter in enumerate(THREAD):
        text = letter.text.replace("Why.\n", f"Why.\n\n{quoted}\nend.\n", 1)
        (tmp_path / f"{number}.eml").write_bytes(msgspec.structs.replace(letter, text=text).bytes())
    series = read(tmp_path)
    assert [patch.subject for patch in series.patches] == [p.subject for p in WHOLE.patches]
    assert all(b"\nFrom mboxrd@z Thu" in patch.data for patch in series.patches)


@given(st.permutations([*THREAD, REPLY]), st.sampled_from(sorted(m.STORES)))
def test_in_whatever_order_it_comes(order: list[m.Letter], kind: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = m.STORES[kind]([letter.bytes() for letter in order], Path(name) / "thread")
        assert read(path).digest == WHOLE.digest


OLD = m.Thread("PATCH v2", name="old", new="1").letters()
STRAYS = [
    REPLY,
    m.patch("[PATCH] mm: change 5", 5, message_id="stray@x", answers=THREAD[2].message_id),
    m.patch("[PATCH] mm: other", 7, message_id="bob@x", answers=OLD[0].message_id, sender=m.BOB),
    m.patch("[PATCH 2/4] net: other", 8, message_id="net@x", sender=m.BOB),
    m.Letter("[PATCH v3 2/3] mm: change 5", "No diff.\n", m.BOB, "no@x", THREAD[2].message_id),
]
WHOLES = {
    read_bytes(m.mboxrd([letter.bytes() for letter in letters])).digest for letters in (THREAD, OLD)
}


@given(st.sets(st.sampled_from([*THREAD, *OLD, *STRAYS])))
def test_of_whatever_is_there_a_whole_series_is_read_or_none(letters: set[m.Letter]) -> None:
    """A part of a series must never pass for the series."""
    refused, series = "", None
    try:
        series = read_bytes(m.mboxrd([letter.bytes() for letter in letters]))
    except UserError as error:
        refused = error.what
    whole = letters >= set(THREAD)
    if series is None:
        assert not whole or "different series" in refused
    else:
        alone = len(series.patches) == 1 and not letters & {*THREAD[1:], *OLD[1:]}
        assert series.digest in WHOLES or alone
        assert series.version == 3 or not whole


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("=?utf-8?q?mm:_a_=E2=9C=93?= end", "mm: a ✓ end"),
        ("=?UTF-8?B?bW06IOKc?=\n =?utf-8?b?kyBlbmQ=?=", "mm: ✓ end"),
        ("=?iso-8859-1?q?mm:_=E9?= =?utf-8?q?_=E2=9C=93?=", "mm: é ✓"),
        ("=?utf-8?q?mm:_=FF?=", "mm: \ufffd"),
        ("=?no-such?q?mm:_x?=", "mm: x"),
        ("mm: raw ✓\n folded", "mm: raw ✓ folded"),
        ("mm: =?utf-8?x?no?= word", "mm: = ?utf-8?x?no?= word"),
    ],
)
def test_encoded_headers(header: str, text: str) -> None:
    letter = m.patch(f"[PATCH] {header}", 3, sender=f"{header.split()[-1]} <a@example.org>")
    (patch,) = read_bytes(letter.bytes()).patches
    assert patch.subject == text
    assert patch.author.endswith(" <a@example.org>")


def test_a_sender_without_an_address() -> None:
    with pytest.raises(UserError, match="no address in From: Ada"):
        read_bytes(m.patch("[PATCH] mm: x", 3, sender="Ada").bytes())


LINES = st.sampled_from(
    [
        "From here on it is so.",
        "From ada@example.org Thu Jan  1 00:00:00 1970 is how it began",
        "From ada@example.org Thu Jan  1 00:00:00 1970",
        "from: nobody",
        "Text with an equals sign = and é.",
        "> quoted",
        "",
        "A line. ",
        "\ttab",
        "=3D",
        ".",
    ]
)


@given(
    st.lists(LINES, min_size=1, max_size=6),
    st.sampled_from(sorted(m.MBOXES)),
    st.sampled_from(sorted(set(m.SENDINGS) - {"flowed"})),
)
def test_whatever_the_message_says(rows: list[str], escaping: str, sending: str) -> None:
    text = "Why.\n\n" + "\n".join(rows) + "\nend.\n"
    letters = [m.patch(f"[PATCH {n}/2] mm: x", 2 * n + 1, message=text) for n in (1, 2)]
    series = read_bytes(m.MBOXES[escaping]([m.SENDINGS[sending](letter) for letter in letters]))
    assert len(series.patches) == 2
    for patch in series.patches:
        wanted = [row.rstrip() for row in text.strip().splitlines() if row.rstrip()]
        body = patch.data.decode().split("\n\n", 1)[1].split("\nSigned-off-by", 1)[0]
        assert [row.rstrip() for row in body.splitlines() if row.rstrip()] == wanted


@pytest.mark.parametrize("lines", [1, 2, 3])
@pytest.mark.parametrize("place", [0, 1])
def test_from_lines_without_a_mail_are_none(lines: int, place: int) -> None:
    """A program that saves a mailbox as one mail writes a line of its own above the first."""
    mails = [m.patch(f"[PATCH {n}/2] mm: {n}", 2 + n, message_id=f"{n}@x") for n in (1, 2)]
    box = [m.mboxrd([mail.bytes()]) for mail in mails]
    box[place] = b"From b@example.org Thu Jan  1 00:00:01 1970\n" * lines + box[place]
    read = read_bytes(b"".join(box))
    assert [patch.subject for patch in read.patches] == ["mm: 1", "mm: 2"]
    assert read.digest == read_bytes(m.mboxrd([mail.bytes() for mail in mails])).digest


@pytest.mark.parametrize("word", [">From the start", ">>From", "From the start"])
def test_mboxrd_is_undone_once(word: str) -> None:
    letter = m.patch("[PATCH] mm: x", 3, message=f"Why.\n\n{word} it was so.\n")
    (patch,) = read_bytes(m.mboxrd([letter.bytes()])).patches
    assert f"\n{word} it was so.\n" in patch.data.decode()


def test_what_is_counted_need_not_be_escaped() -> None:
    text = "Why.\n\nFrom the start\n>From a quotation\n\n"
    text += "From a@example.org Tue Nov 14 22:13:20 2023\nFrom: a\nSubject: quoted\n"
    letter = m.patch("[PATCH] mm: x", 3, message=text)
    (patch,) = read_bytes(m.mboxcl2([letter.bytes()])).patches
    assert text in patch.data.decode()


@pytest.mark.parametrize("kind", [m.mboxrd, m.mboxo, m.mboxcl])
@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_a_length_that_is_not_true_hides_no_mail(
    kind: Callable[[Sequence[bytes]], bytes], at: int
) -> None:
    """The sender may say it, such that the mail would end where the next one does."""
    new = m.Thread("PATCH v2", name="new", answers="s-0@example.org", new="n")
    mails = [each.bytes() for each in (*m.Thread().letters(), *new.letters())]
    line = kind([b""]).partition(b"\n")[0] + b"\n"
    head, _, body = mails[at].partition(b"\n\n")
    counted = kind([mails[at + 1]]).removeprefix(line).rstrip(b"\n")
    size = len(body) + 1 + len(line) + len(counted) + 1
    mails[at] = head + b"\nContent-Length: %d\n\n" % size + body
    series = read_bytes(kind(mails))
    assert (series.version, len(series.patches)) == (2, 3)
    assert series.cover_mail.message_id == "<new-0@example.org>"
    older = read_bytes(kind(mails), version=1)
    assert len(older.patches) == 3


@pytest.mark.parametrize(
    "line", [b"From 0000 Mon Sep 17 00:00:00 2001\n", b"From git@z Thu Jan  1 00:00:00 1970\n"]
)
def test_what_git_and_b4_write_has_no_escapes(line: bytes) -> None:
    line = line.replace(b"0000 ", b"0" * 40 + b" ", 1)
    letter = m.patch("[PATCH] mm: x", 3, message="Why.\n\n>From the start.\n")
    (patch,) = read_bytes(line + letter.bytes()).patches
    assert "\n>From the start.\n" in patch.data.decode()


def test_messages_that_look_like_mail_apply_as_they_are(
    source: Source, store: Store, tmp_path: Path
) -> None:
    """A line of the message must not become a header, or the first line of another mail."""
    message = "From: the start.\n\nFrom ada@example.org Thu Jan  1 00:00:00 1970\n>From: x\n"
    letter = m.patch("[PATCH] mm: x", 3, message=f"From: {m.BOB}\n\n{message}")
    path = tmp_path / "x.mbox"
    path.write_bytes(m.mboxrd([letter.bytes()]))
    series = read(path)
    assert series.patches[0].author == m.BOB
    tree = apply([series], source, Context(store, Quiet()))
    said = git("log", "-1", "--format=%an%n%B", tree.commit, repo=tree.repo).text
    assert said.startswith(f"Bob Other\nmm: x\n\n{message}")


@pytest.mark.parametrize(
    ("date", "told"),
    [
        ("yesterday", True),
        ("Thu, 32 Foo 2023 25:00:00 +0000", True),
        ("Tue, 14 Nov 1823 22:13:20 +0000", True),
        ("Tue, 14 Nov 2823 22:13:20 +0000", True),
        ("Tue, 14 Nov 2023 22:13:20 -9900", True),
        ("", False),
    ],
)
def test_a_date_that_cannot_be_read_is_a_fixed_one(
    source: Source, store: Store, tmp_path: Path, date: str, told: bool
) -> None:
    path = tmp_path / "x.patch"
    path.write_bytes(m.patch("[PATCH] mm: x", 3, date=date).bytes())
    series = read(path)
    tree = apply([series], source, Context(store, Quiet()))
    said = git("log", "-1", *m.RAW_DATES, tree.commit, repo=tree.repo).text
    assert said == m.NO_DATE
    assert any("has a Date: that cannot be read" in note for note in series.notes) is told


def test_the_date_keeps_its_time_zone(source: Source, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "x.patch"
    path.write_bytes(m.patch("[PATCH] x", 3, date="Tue, 14 Nov 2023 22:13:20 -0730").bytes())
    tree = apply([read(path)], source, Context(store, Quiet()))
    said = git("log", "-1", "--format=%aI", tree.commit, repo=tree.repo).text
    assert said == "2023-11-14T22:13:20-07:30"


def test_one_mail_too_large_is_told_and_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "large.patch"
    with path.open("wb") as file:
        file.write(m.patch("[PATCH] mm: huge", 3).bytes())
        file.truncate(100 << 20)
    with pytest.raises(UserError, match="too large") as caught:
        read(path)
    assert "mm: huge" in caught.value.why


def test_memory_is_flat(tmp_path: Path) -> None:
    """A mailbox of 12 MB takes a twentieth of it."""
    padding = "A long text, and nobody reads it.\n" * 600
    mails = [letter.bytes() for letter in THREAD]
    random.seed(1)
    others = [
        msgspec.structs.replace(REPLY, text=padding, message_id=f"{n}@example.org").bytes()
        for n in range(600)
    ]
    path = tmp_path / "many.mbox"
    path.write_bytes(m.mboxrd([*others[:300], *mails, *others[300:]]))
    assert path.stat().st_size > 12e6
    tracemalloc.start()
    try:
        assert read(path).digest == WHOLE.digest
        assert tracemalloc.get_traced_memory()[1] < 0.6e6 + 600 * 3000
    finally:
        tracemalloc.stop()

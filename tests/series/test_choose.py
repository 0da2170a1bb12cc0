# SPDX-License-Identifier: GPL-2.0-only
"""Whole threads: which version is read, what is left out, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from harness.errors import ExitCode, UserError
from harness.series import Series, read
from harness.series.subject import parse
from tests.series import mails as m
from tests.series.mails import Letter, Thread

pytestmark = pytest.mark.unit
V3 = Thread("PATCH v3").letters()


@pytest.fixture
def read_all(tmp_path: Path) -> Callable[..., Series]:
    def call(*letters: Letter | Sequence[Letter], **options: int) -> Series:
        flat = [
            each for group in letters for each in ([group] if isinstance(group, Letter) else group)
        ]
        path = tmp_path / "thread.mbox"
        path.write_bytes(m.mboxrd([letter.bytes() for letter in flat]))
        return read(path, **options)

    return call


@pytest.mark.parametrize(
    ("prefix", "version"),
    [
        ("[PATCH v2 1/3]", 2),
        ("[PATCHv2 1/3]", 2),
        ("[PATCH V2 1/3]", 2),
        ("[patch V2 01/03]", 2),
        ("[PATCH 1/3 v2]", 2),
        ("[PATCH 1/3v2]", 2),
        ("[PATCH,v2,1/3]", 2),
        ("[PATCH-v2 1/3]", 2),
        ("[PATCH v2][1/3]", 2),
        ("[PATCH v2] [1/3]", 2),
        ("[RFC net-next v2 01/3]", 2),
        ("[RFC/PATCHv2 1/3]", 2),
        ("[RFCv2 PATCH 1/3]", 2),
        ("[PATCHv2 RESEND 1/3]", 2),
        ("[RESEND PATCHv2 1/3]", 2),
        ("[PATCH v2 [RESEND] 1/3]", 2),
        ("[linux-mm] [PATCH v2 1/3]", 2),
        ("[PATCH net-next/v2 1/3]", 2),
        ("[PATCH 1 of 3]", 1),
        ("[PATCH v6.1 1/3]", 1),
        ("[PATCH v6.1.y 1/3]", 1),
        ("[PATCH v6.1-rc3 1/3]", 1),
        ("[PATCH 5.10/5.15 1/3]", 1),
        ("[PATCH v6.1 v2 1/3]", 2),
        ("[PATCH v4l2 1/3]", 1),
        ("[PATCH 6.1 1/3]", 1),
        ("[PATCH AUTOSEL 6.1 1/3]", 1),
    ],
)
def test_spellings(read_all: Callable[..., Series], prefix: str, version: int) -> None:
    letters = []
    for number, function in ((1, 3), (2, 5), (3, 9)):
        own = re.sub(r"1(/0?3\b|/3v| of)", rf"{number}\1", prefix)
        letters.append(m.patch(f"{own} mm: x {number}", function, message_id=f"{number}@x"))
    series = read_all(letters[::-1])
    assert (series.version, series.total) == (version, 3)
    assert [patch.subject for patch in series.patches] == ["mm: x 1", "mm: x 2", "mm: x 3"]


@pytest.mark.parametrize(
    "before",
    [
        "Re: ", "RE: ", "re: ", "Re[2]: ", "Re:Re: ", "Re : ", "AW: ", "Aw: ", "SV: ", "VS: ",
        "Antw: ", "Odp: ", "RES: ", "Fwd: ", "FW: ", "TR: ", "答复: ", "Отв: ", "XY: ",
        "回复\uff1a", "[linux-mm] Re: ", "[External] RE: ",
    ],
)  # fmt: skip
def test_replies(read_all: Callable[..., Series], before: str) -> None:
    """Also those with a diff, which is what a reviewer would like better."""
    other = m.reply(V3[1], "Try this:\n---\n" + m.diff(4), re_=before)
    series = read_all(V3, other)
    assert [patch.subject for patch in series.patches] == [
        "mm: change 3", "mm: change 5", "mm: change 9",
    ]  # fmt: skip
    assert "left out: 1 reply" in series.notes[0]


def test_a_title_may_begin_with_what_others_say_in_replies() -> None:
    assert not parse("[PATCH v3] Re: something").reply
    assert not parse("[PATCH] re-enable the thing").reply
    assert parse("[PATCH] Re: x").title == "Re: x"


ROBOTS = [
    Letter("[GIT PULL] mm updates", "The following changes since commit 01:\n\nare available "
           "in the Git repository at:\n\n  git://x y\n\n---\n" + m.diff(6), m.BOB, "pull@x"),
    Letter("Updates for mm", "Hi.\n\nThe following changes since commit 01:\n\nare available in "
           "the git repository at:\n\n  git://x y\n\n---\n" + m.diff(6), m.BOB, "pull2@x"),
    Letter("[tip: mm/urgent] mm: change 3", "Committed.\n---\n" + m.diff(3), m.BOB, "tip@x",
           "s-1@example.org"),
    Letter("+ mm-change-3.patch added to mm-unstable branch", m.diff(3), m.BOB, "mmots@x"),
    Letter('Patch "mm: change 3" has been added to the 6.1-stable tree', m.diff(3), m.BOB, "st@x"),
    Letter("a test hangs", "--- SIGABRT {si_signo=SIGABRT} ---\n+++ killed by SIGABRT +++\n",
           m.BOB, "trace@x", "s-0@example.org"),
    Letter("[syzbot] KASAN: use-after-free", "No diff.\n", m.BOB, "syz@x", "s-0@example.org"),
]  # fmt: skip


@pytest.mark.parametrize("robot", ROBOTS, ids=[each.subject for each in ROBOTS])
def test_what_else_is_in_a_thread(read_all: Callable[..., Series], robot: Letter) -> None:
    series = read_all(robot, V3)
    assert [patch.subject for patch in series.patches] == [
        "mm: change 3", "mm: change 5", "mm: change 9",
    ]  # fmt: skip
    assert "left out" in series.notes[-1]


@pytest.mark.parametrize("robot", ROBOTS, ids=[each.subject for each in ROBOTS])
def test_what_else_is_in_a_thread_is_no_series(
    read_all: Callable[..., Series], robot: Letter
) -> None:
    with pytest.raises(UserError) as caught:
        read_all(robot)
    assert caught.value.exit_code is ExitCode.USER
    with pytest.raises(UserError, match="no patch among these 3 mails"):
        read_all(robot, m.reply(V3[1]), V3[0])


def test_patches_sent_with_a_pull_request_are_patches(read_all: Callable[..., Series]) -> None:
    letters = Thread("GIT PULL").letters()
    request = "The following changes since commit 01:\n\nare available in the repository at:\n"
    letters[0] = msgspec.structs.replace(letters[0], text=request + letters[0].text)
    assert len(read_all(letters).patches) == 3


@pytest.mark.parametrize("with_ids", [True, False])
def test_the_newest_whole_version_is_read(read_all: Callable[..., Series], with_ids: bool) -> None:
    versions = [
        Thread(f"PATCH v{n}", name=f"v{n}", new=f"{n}", with_ids=with_ids, day=10 + n).letters()
        for n in (2, 3)
    ]
    late = Thread("PATCH v4", name="v4", with_ids=with_ids, day=20, skip=(2, 3)).letters()
    series = read_all(*versions, late)
    assert (series.version, len(series.patches)) == (3, 3)
    assert "+\treturn a + 3;" in series.patches[0].data.decode()
    assert "v2 (3 patches)" in series.notes[0]
    assert "v4 (1 of 3 patches)" in series.notes[0]
    assert read_all(*versions, late, version=2).version == 2
    with pytest.raises(UserError, match="incomplete"):
        read_all(*versions, late, version=4)
    with pytest.raises(UserError, match="no v7 of this series") as caught:
        read_all(*versions, late, version=7)
    assert 'v2 of "mm: three changes", 3 patches' in caught.value.why


def test_a_version_in_a_thread_of_its_own_or_below_the_old_one(
    read_all: Callable[..., Series],
) -> None:
    old = Thread("PATCH", name="v1").letters()
    for answers in ("", old[0].message_id):
        new = Thread("PATCH v2", name="v2", answers=answers, new="2", day=15).letters()
        assert read_all(new, old).version == 2


def test_a_few_new_patches_replace_old_ones(read_all: Callable[..., Series]) -> None:
    old = Thread("PATCH v2", name="v2").letters()
    new = m.patch(
        "[PATCH v3 2/3] mm: change 5", 5, message_id="new@x", answers=old[2].message_id, new="v3"
    )
    series = read_all(old, m.reply(old[2]), new)
    assert series.version == 3
    assert [patch.subject for patch in series.patches] == [
        "mm: change 3", "mm: change 5", "mm: change 9",
    ]  # fmt: skip
    assert "return a + v3;" in series.patches[1].data.decode()
    assert series.title == "mm: three changes"
    assert series.notes[0] == "v3 replaces patch 2; the others are of v2"
    newer = m.patch("[PATCH v4 2/3] mm: change 5", 5, message_id="n4@x", answers="new@x", new="v4")
    series = read_all(old, new, newer)
    assert (series.version, "a + v4;" in series.patches[1].data.decode()) == (4, True)


def test_a_new_patch_that_answers_to_a_review_replaces_too(
    read_all: Callable[..., Series],
) -> None:
    old = Thread("PATCH v2", name="v2").letters()
    review = m.reply(old[3], "No.\n")
    new = m.patch(
        "[PATCH v3] mm: change 9", 9, message_id="new@x", answers=review.message_id, new="v3"
    )
    series = read_all(old, review, new)
    assert [len(series.patches), series.version] == [3, 3]
    assert "return a + v3;" in series.patches[2].data.decode()


def test_a_hole_in_a_version_below_the_old_one_is_not_filled(
    read_all: Callable[..., Series],
) -> None:
    """Each patch answers to the one before it, so all old ones are above each new one."""

    def chained(letters: list[Letter], above: tuple[str, ...] = ()) -> list[Letter]:
        done = []
        for letter in letters:
            *before, last = above or ("",)
            done.append(msgspec.structs.replace(letter, answers=last, references=tuple(before)))
            above = (*above, letter.message_id)
        return done

    old = chained(Thread("PATCH v2", name="v2").letters())
    ids = tuple(letter.message_id for letter in old)
    new = chained(Thread("PATCH v3", name="v3", new="n").letters(), ids)
    assert read_all(old, new).version == 3
    series = read_all(old, new[:2], new[3])
    assert series.version == 2
    assert "v3 (2 of 3 patches)" in series.notes[0]
    (one,) = chained([new[2]], ids[:3])
    assert read_all(old, one).notes[0] == "v3 replaces patch 2; the others are of v2"


def test_a_new_patch_that_answers_to_nothing_replaces_nothing(
    read_all: Callable[..., Series],
) -> None:
    old = Thread("PATCH v2", name="v2").letters()
    new = m.patch("[PATCH v3 2/3] mm: change 5", 5, message_id="new@x", new="v3")
    series = read_all(old, new)
    assert series.version == 2
    assert "v3 (1 of 3 patches)" in series.notes[0]


@pytest.mark.parametrize("answers", ["v2-2@example.org", ""])
def test_a_version_with_a_point_is_of_a_few_patches(
    read_all: Callable[..., Series], answers: str
) -> None:
    old = Thread("PATCH v2", name="v2").letters()
    new = m.patch(
        "[PATCH v2.1 2/3] mm: change 5", 5, message_id="new@x", answers=answers, new="new"
    )
    series = read_all(new, old)
    assert series.version == 2
    assert ["new;" in patch.data.decode() for patch in series.patches] == [False, True, False]
    assert series.notes[0] == "v2.1 replaces patch 2; the others are of v2"


def test_what_is_sent_again_is_read_once(read_all: Callable[..., Series]) -> None:
    again = Thread("PATCH RESEND v3", name="again", day=20, new="again").letters()
    for order in ([V3, again], [again, V3]):
        series = read_all(*order)
        assert "return a + again;" in series.patches[0].data.decode()
        assert "another sending of v3 (3 patches)" in series.notes[0]


def test_the_same_mail_over_two_lists(read_all: Callable[..., Series]) -> None:
    footer = [
        msgspec.structs.replace(each, text=each.text + "___\na-list mailing list\n") for each in V3
    ]
    series = read_all(V3, footer)
    assert len(series.patches) == 3
    assert series.notes == ()


def test_a_cover_letter_without_a_number(read_all: Callable[..., Series]) -> None:
    letters = Thread("PATCH v2", cover="[PATCH v2] mm: all of it").letters()
    series = read_all(letters[::-1])
    assert series.title == "mm: all of it"
    assert series.notes == ()
    loose = Thread("PATCH v2", cover="[PATCH v2] mm: all of it", with_ids=False).letters()
    assert read_all(loose).title == "mm: all of it"


@pytest.mark.parametrize("with_ids", [True, False])
def test_only_the_cover_letter_has_the_version(
    read_all: Callable[..., Series], with_ids: bool
) -> None:
    old = Thread("PATCH", name="old").letters() if with_ids else []
    new = Thread(
        "PATCH", name="n", cover="[PATCH v2 0/3] mm: three changes", with_ids=with_ids, new="n"
    )
    series = read_all(old, new.letters())
    assert (series.version, series.title) == (2, "mm: three changes")
    assert "return a + n;" in series.patches[0].data.decode()
    assert "what the cover letter says" in series.notes[0]


def test_one_more_than_the_subjects_count(read_all: Callable[..., Series]) -> None:
    more = m.patch("[PATCH v3 4/3] mm: more", 7, message_id="4@x", answers="s-0@example.org")
    series = read_all(V3, more)
    assert [patch.number for patch in series.patches] == [1, 2, 3, 4]
    assert series.total == 4
    assert "4/3 is read as the last of 4" in series.notes[0]
    with pytest.raises(UserError, match="number 5 of 3"):
        read_all(V3, msgspec.structs.replace(more, subject="[PATCH v3 5/3] mm: more"))


def test_a_counter_proposal_is_left_out(read_all: Callable[..., Series]) -> None:
    other = m.patch(
        "[PATCH] mm: do it otherwise", 7, message_id="b@x", answers="s-1@example.org", sender=m.BOB
    )
    own = m.patch("[PATCH] mm: and a fix", 8, message_id="a@x", answers="s-2@example.org")
    series = read_all(other, own, V3)
    assert len(series.patches) == 3
    assert 'v1 of "mm: do it otherwise" (1 patch)' in series.notes[0]
    assert 'v1 of "mm: and a fix" (1 patch)' in series.notes[0]


@pytest.mark.parametrize("with_ids", [True, False])
@pytest.mark.parametrize("total", [2, 3])
def test_two_series_are_named_and_one_can_be_chosen(
    tmp_path: Path, with_ids: bool, total: int
) -> None:
    one = Thread("PATCH", name="one", with_ids=with_ids).letters()
    two = Thread(
        "PATCH", name="two", title="net: other", words="other", total=total, with_ids=with_ids,
        sender=m.BOB,
    ).letters()  # fmt: skip
    path = tmp_path / "both.mbox"
    path.write_bytes(m.mboxrd([letter.bytes() for letter in [*one, *two]]))
    with pytest.raises(UserError, match="2 different series") as caught:
        read(path)
    assert '1: v1 of "mm: three changes", 3 patches, from ada@example.org' in caught.value.why
    assert f'2: v1 of "net: other", {total} patches, from bob@example.org' in caught.value.why
    assert f"--series '{path}#1'" in caught.value.hint
    assert read(tmp_path / "both.mbox#1").title == "mm: three changes"
    second = read(tmp_path / "both.mbox#2")
    assert (second.title, len(second.patches)) == ("net: other", total)
    assert 'v1 of "mm: three changes" (3 patches)' in second.notes[0]
    with pytest.raises(UserError, match="no series 3"):
        read(tmp_path / "both.mbox#3")


def test_a_part_of_another_series_is_left_out(read_all: Callable[..., Series]) -> None:
    stray = m.patch("[PATCH 4/7] net: stray", 7, message_id="stray@x", sender=m.BOB)
    series = read_all(stray, V3)
    assert series.title == "mm: three changes"
    assert 'v1 of "net: stray" (1 of 7 patches)' in series.notes[0]


def test_a_hole_in_a_thread(read_all: Callable[..., Series]) -> None:
    with pytest.raises(UserError, match="incomplete: 1 of 3 patches missing") as caught:
        read_all(V3[:2], V3[3], m.reply(V3[2], "I have it.\n"))
    assert caught.value.why.startswith("missing: 2/3")
    assert "left out: 1 reply" in caught.value.why


@pytest.mark.parametrize("answers", ["s-0@example.org", "s-2@example.org", ""])
@pytest.mark.parametrize("title", ["mm: do it otherwise", "mm: change 9"])
@pytest.mark.parametrize("sender", [m.ADA, m.BOB])
def test_a_hole_is_not_made_good_by_a_stray_patch(
    read_all: Callable[..., Series], answers: str, title: str, sender: str
) -> None:
    stray = m.patch(f"[PATCH] {title}", 7, message_id="b@x", answers=answers, sender=sender)
    for order in ([stray, *V3[:2], V3[3]], [*V3[:2], V3[3], stray]):
        with pytest.raises(UserError, match=r"missing: 2/3|2 different series"):
            read_all(order)


def test_a_series_may_become_one_patch(read_all: Callable[..., Series]) -> None:
    new = m.patch("[PATCH v4] mm: change 3", 3, new="4", message_id="4@x")
    assert (read_all(V3, new).version, len(read_all(V3, new).patches)) == (4, 1)


def test_a_series_may_become_one_patch_with_another_title(
    read_all: Callable[..., Series],
) -> None:
    """As an answer to its cover letter; one to a patch may be a new version of a fix on top."""
    new = m.patch("[PATCH v4] mm: all of it", 3, message_id="4@x", answers=V3[0].message_id)
    assert [p.subject for p in read_all(V3, new).patches] == ["mm: all of it"]
    fix = msgspec.structs.replace(new, answers=V3[2].message_id)
    series = read_all(V3, fix)
    assert (series.version, len(series.patches)) == (3, 3)
    assert 'left out: v4 of "mm: all of it" (1 patch)' in series.notes[0]


def test_one_version_twice_in_a_thread(read_all: Callable[..., Series]) -> None:
    """What was sent for comments, and in answer to it what is to be applied."""
    asked = Thread("RFC PATCH", name="rfc").letters()
    meant = Thread("PATCH", name="meant", answers="rfc-0@example.org", new="m", day=20).letters()
    series = read_all([*meant, *asked])
    assert all(b"return a + m;" in patch.diff for patch in series.patches)
    assert series.cover_mail.message_id == "<meant-0@example.org>"
    assert "left out: another sending of v1 (3 patches)" in series.notes[0]
    # A word that some mails do not have parts nothing.
    letters = Thread("PATCH", name="x", cover="[RFC PATCH 0/3] mm: three changes").letters()
    letters[2] = msgspec.structs.replace(letters[2], subject=f"[RFC {letters[2].subject[1:]}")
    assert read_all(letters).notes == ()


def test_a_version_from_another_address(read_all: Callable[..., Series]) -> None:
    new = Thread(
        "PATCH v4", name="v4", sender="Ada Example <ada@work.example.org>", title="mm: renamed",
        words="other", answers=V3[0].message_id, day=20,
    )  # fmt: skip
    assert read_all(V3, new.letters()).version == 4


def test_without_threading_patches_of_one_sender_belong_together(
    read_all: Callable[..., Series],
) -> None:
    letters = [msgspec.structs.replace(each, answers="") for each in V3]
    series = read_all(letters)
    assert (series.title, len(series.patches)) == ("mm: three changes", 3)


@pytest.mark.parametrize("re_", ["", "Re: "])
def test_what_stands_above_the_scissors_is_no_message(
    read_all: Callable[..., Series], re_: str
) -> None:
    text = f"Hello, how about this?\n\n-- >8 --\nFrom: {m.BOB}\nSubject: [PATCH] mm: new\n\nWhy.\n"
    letter = Letter(re_ + "[PATCH v3] mm: old", text + "---\n" + m.diff(3), message_id="x@x")
    series = read_all(letter)
    (patch,) = series.patches
    assert (patch.subject, patch.author) == ("mm: new", m.BOB)
    assert "Hello" not in patch.data.decode()
    assert any("scissors" in note for note in series.notes) is bool(re_)
    if re_:
        # Beside a series it is a reply like any other.
        assert read_all(V3, letter).version == 3


def test_several_patches_attached_to_one_mail(tmp_path: Path) -> None:
    parts = []
    for letter in V3[1:]:
        parts.append(
            b"--=_b\nContent-Type: text/x-patch\n\nFrom " + b"1" * 40
            + b" Mon Sep 17 00:00:00 2001\n" + letter.bytes() + b"\n"
        )  # fmt: skip
    head = (
        b"From: a <a@example.org>\nMessage-ID: <o@x>\nSubject: three patches\nMIME-Version: 1.0\n"
    )
    head += b'Content-Type: multipart/mixed; boundary="=_b"\n\n'
    text = b"--=_b\nContent-Type: text/plain\n\nSee below.\n"
    mail = head + text + b"".join(parts) + b"--=_b--\n"
    for name, data in (
        ("a.eml", mail),
        ("a.txt", mail),
        ("a.mbox", m.mboxrd([mail])),
        ("b.mbox", m.mboxo([mail])),
        ("c.mbox", m.mboxcl2([mail])),
    ):
        (tmp_path / name).write_bytes(data)
        series = read(tmp_path / name)
        assert [patch.subject for patch in series.patches] == [
            "mm: change 3", "mm: change 5", "mm: change 9",
        ]  # fmt: skip
        assert series.version == 3


def test_trailers_are_collected_and_not_applied(read_all: Callable[..., Series]) -> None:
    carl = "Carl C <carl@example.org>"
    replies = [
        m.reply(V3[1], f"> Signed-off-by: {m.ADA}\nReviewed-by: {m.BOB}\n"),
        m.reply(V3[0], f"For all:\n\nTested-by: {carl} # on a board\nCc: {m.ADA}\n", carl),
        m.reply(V3[2], f"Acked-by: {carl}\n", m.BOB),
        m.reply(V3[3], 'Fixes: 0123456789ab ("x")\nLink: https://example.org/x\nNote: no\n'),
    ]
    thanks = m.reply(replies[0], f"Thanks.\nAcked-by: {carl}\n", carl)
    series = read_all(V3, replies, thanks)
    given = [[(t.name, t.value, t.foreign) for t in p.trailers] for p in series.patches]
    assert given == [
        [("Reviewed-by", m.BOB, False), ("Acked-by", carl, False)],
        [("Acked-by", carl, True)],
        [("Fixes", '0123456789ab ("x")', False), ("Link", "https://example.org/x", False)],
    ]
    assert [(t.name, t.value) for t in series.trailers] == [("Tested-by", f"{carl} # on a board")]
    assert series.digest == read_all(V3).digest


def test_trailers_stay_with_a_patch_that_has_not_changed(
    read_all: Callable[..., Series],
) -> None:
    old = Thread("PATCH v2", name="v2").letters()
    new = Thread("PATCH v3", name="v3").letters()
    new[2] = m.patch(
        "[PATCH v3 2/3] mm: change 5", 5, new="6", message_id="new@x", answers=new[0].message_id
    )
    replies = [m.reply(each, f"Reviewed-by: {m.BOB}\n") for each in (*old[1:], new[1])]
    series = read_all(old, new, replies)
    assert series.version == 3
    assert [len(patch.trailers) for patch in series.patches] == [1, 0, 1]


def test_a_reply_need_not_say_that_it_is_one(read_all: Callable[..., Series]) -> None:
    for to in (V3[1], m.patch("[PATCH v3] mm: x", 3, message_id="x@x")):
        thread = V3 if to is V3[1] else [to]
        series = read_all(thread, m.reply(to, f"Reviewed-by: {m.BOB}\n", re_=""))
        assert [trailer.value for trailer in series.patches[0].trailers] == [m.BOB]
        assert "left out: 1 reply" in series.notes[0]


def test_versions_with_other_titles_are_known_by_their_change_id(
    read_all: Callable[..., Series],
) -> None:
    old = Thread("PATCH", name="v1", title="mm: old", words="old").letters()
    new = Thread("PATCH v2", name="v2", title="mm: new", words="new").letters()
    with pytest.raises(UserError, match="2 different series"):
        read_all(old, new)
    told = [
        [msgspec.structs.replace(each[0], text=each[0].text + "change-id: 2023-abc\n"), *each[1:]]
        for each in (old, new)
    ]
    series = read_all(*told)
    assert (series.version, series.change_id) == (2, "2023-abc")


def test_what_the_cover_letter_says_of_the_base(read_all: Callable[..., Series]) -> None:
    text = f"Text.\nLink: https://example.org/v2\n\nbase-commit: {'ab' * 20}\nchange-id: 2023-x\n"
    letters = [msgspec.structs.replace(V3[0], text=text), *V3[1:]]
    series = read_all(letters)
    assert (series.base_commit, series.change_id) == ("ab" * 20, "2023-x")
    assert series.links == ("https://example.org/v2",)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"From mboxrd@z Thu Jan  1 00:00:00 1970\n", "not a patch mail|empty"),
        (b"\x1f\x8bnot gzip", "damaged"),
        (b"\xfd7zXZ\x00not xz", "damaged"),
        (b"\x7fELF\x00\x01", "not a patch mail"),
        (b"From: a <a@x>\nSubject: [PATCH] x\n\n\0" + m.diff(3).encode(), "NUL"),
    ],
)
def test_files_that_hold_no_series(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "x.mbox"
    path.write_bytes(content)
    with pytest.raises(UserError, match=what) as caught:
        read(path)
    assert str(path) in caught.value.where

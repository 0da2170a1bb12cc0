# SPDX-License-Identifier: GPL-2.0-only
"""Reading a series: order, completeness, and every kind of bad input."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.series import read
from harness.source import Source
from tests.kerneltree import commit, format_patch, replace, sh

pytestmark = pytest.mark.unit


def patch_file(directory: Path, number: int) -> Path:
    return next(directory.glob(f"*{number:04d}-*.patch"))


def edit(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


def test_reads_a_directory(patches: Path) -> None:
    series = read(patches)
    assert (series.version, series.total) == (10, 3)
    assert [p.number for p in series.patches] == [1, 2, 3]
    assert [p.subject for p in series.patches] == [
        "mm: change three",
        "mm: add, rename, delete",
        "mm: change nine",
    ]
    assert series.title == "*** SUBJECT HERE ***"
    assert series.cover is not None
    assert "mm: change nine" in series.cover
    assert series.patches[0].author == "Ada Example <ada@example.org>"
    assert series.patches[1].files == (
        "mm/memfd.c",
        "mm/shmem.c",
        "mm/shmem2.c",
        "scripts/check.sh",
    )


def test_order_is_by_number_not_by_name(patches: Path) -> None:
    expected = read(patches)
    patch_file(patches, 1).rename(patches / "zz.patch")
    patch_file(patches, 3).rename(patches / "aa.patch")
    assert [p.subject for p in read(patches).patches] == [p.subject for p in expected.patches]
    assert read(patches).digest == expected.digest


def test_digest_follows_content(patches: Path) -> None:
    before = read(patches).digest
    edit(patch_file(patches, 3), b"return a + 99;", b"return a + 98;")
    assert read(patches).digest != before


def test_without_numbers_the_names_decide(linux: Path, patches: Path, tmp_path: Path) -> None:
    format_patch(linux, tmp_path / "plain", "-N", count=3)
    series = read(tmp_path / "plain")
    assert series.patches[0].subject == "mm: change three"
    assert [(p.number, p.total) for p in series.patches] == [(1, 3), (2, 3), (3, 3)]
    assert (series.title, series.version) == ("plain", 1)


def test_mbox_and_single_patch(linux: Path, patches: Path, tmp_path: Path) -> None:
    mbox = tmp_path / "series.mbox"
    mbox.write_bytes(b"".join(file.read_bytes() for file in sorted(patches.glob("*.patch"))))
    series = read(mbox)
    assert series.digest == read(patches).digest
    assert series.patches[0].path == mbox
    (single,) = format_patch(linux, tmp_path / "one", count=1)
    assert read(single).title == "mm: change nine"


def test_a_from_in_the_message_does_not_split_it(linux: Path, tmp_path: Path) -> None:
    replace(linux / "mm/memory.c", "return a + 3;", "return a + 33;")
    commit(linux, "mm: x\n\nFrom here on, things are different.\nFrom 1 to 2 as well.")
    (single,) = format_patch(linux, tmp_path / "one", count=1)
    assert len(read(single).patches) == 1


def test_hole_is_named_with_its_title(patches: Path) -> None:
    patch_file(patches, 2).unlink()
    with pytest.raises(UserError, match="incomplete") as caught:
        read(patches)
    assert caught.value.why == "missing: 2/3 mm: add, rename, delete"


def test_missing_tail_is_an_error_unless_declared(patches: Path) -> None:
    patch_file(patches, 3).unlink()
    with pytest.raises(UserError) as caught:
        read(patches)
    assert "3/3 mm: change nine" in caught.value.why
    assert "--upto 2" in caught.value.hint
    series = read(patches, upto=2)
    assert (len(series.patches), series.total) == (2, 3)


def test_upto_leaves_out_what_follows(patches: Path) -> None:
    assert [p.number for p in read(patches, upto=1).patches] == [1]
    assert read(patches, upto=3).digest == read(patches).digest
    assert read(patches, upto=2).digest != read(patches).digest


@pytest.mark.parametrize("upto", [0, -1])
def test_upto_out_of_range(patches: Path, upto: int) -> None:
    with pytest.raises(UserError, match=str(upto)):
        read(patches, upto=upto)


def test_upto_more_than_present(patches: Path) -> None:
    patch_file(patches, 3).unlink()
    with pytest.raises(UserError, match="incomplete"):
        read(patches, upto=3)


def test_two_with_one_number_names_both(patches: Path) -> None:
    (patches / "again.patch").write_bytes(patch_file(patches, 2).read_bytes())
    with pytest.raises(UserError, match="two patches are number 2 of 3") as caught:
        read(patches)
    assert "again.patch" in caught.value.where
    assert patch_file(patches, 2).name in caught.value.where


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (b"[PATCH v10 3/3]", b"[PATCH v9 3/3]", "different versions"),
        (b"[PATCH v10 3/3]", b"[PATCH v10 3/4]", "different lengths"),
        (b"[PATCH v10 3/3]", b"[PATCH v10 5/3]", "number 5 of 3"),
        (b"[PATCH v10 3/3]", b"[PATCH v10]", "some have none"),
        (b"[PATCH v10 3/3]", b"[PATCH v10 0/3]", "two mails are the cover letter"),
        (b"Subject: [PATCH v10 3/3]", b"Subject: Re: [PATCH v10 3/3]", "reply|some have none"),
        (b"From: Ada Example <ada@example.org>\n", b"", "no author"),
    ],
)
def test_bad_headers(patches: Path, old: bytes, new: bytes, what: str) -> None:
    edit(patch_file(patches, 3), old, new)
    with pytest.raises(UserError, match=what):
        read(patches)


def test_reply_instead_of_a_patch(patches: Path, tmp_path: Path) -> None:
    reply = tmp_path / "reply.patch"
    reply.write_bytes(
        b"From: Bob <bob@example.org>\nSubject: Re: [PATCH] mm: x\n\n> --- a/mm/memory.c\nNo.\n"
    )
    with pytest.raises(UserError, match="a reply") as caught:
        read(reply)
    assert caught.value.where == str(reply)


def test_not_utf8_names_line_and_offset(patches: Path) -> None:
    file = patch_file(patches, 3)
    edit(file, b"return a + 99;", b"return a + 99; /* \xe9 */")
    data = file.read_bytes()
    offset = data.index(b"\xe9")
    line = data.count(b"\n", 0, offset) + 1
    with pytest.raises(UserError, match="not UTF-8") as caught:
        read(patches)
    assert caught.value.where == f"{file}:{line}"
    assert f"offset {offset} " in caught.value.why
    assert "0xe9" in caught.value.why


def test_not_utf8_in_an_mbox_counts_from_the_file(patches: Path, tmp_path: Path) -> None:
    edit(patch_file(patches, 3), b"return a + 99;", b"return a + 99; /* \xe9 */")
    mbox = tmp_path / "all.mbox"
    mbox.write_bytes(b"".join(file.read_bytes() for file in sorted(patches.glob("*.patch"))))
    data = mbox.read_bytes()
    offset = data.index(b"\xe9")
    with pytest.raises(UserError, match="not UTF-8") as caught:
        read(mbox)
    line = data.count(b"\n", 0, offset) + 1
    assert caught.value.where.endswith(f":{line}")
    assert f"offset {offset} " in caught.value.why


@pytest.mark.parametrize(
    ("charset", "good"), [(b"iso-8859-1", True), (b"utf-8", False), (b"no-such-charset", False)]
)
def test_declared_charset_counts(patches: Path, charset: bytes, good: bool) -> None:
    header = b"MIME-Version: 1.0\nContent-Type: text/plain; charset=%s\n" % charset
    header += b"Content-Transfer-Encoding: 8bit\nSubject: "
    file = patch_file(patches, 3)
    edit(file, b"Subject: ", header)
    edit(file, b"\n\n---\n", b"\n\nAd\xe9.\n---\n")
    if good:
        assert "Adé" in read(patches).patches[2].data.decode()
    else:
        with pytest.raises(UserError, match="not UTF-8"):
            read(patches)


def test_a_header_must_be_utf8_whatever_is_declared(patches: Path) -> None:
    header = b"MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\nSubject: "
    edit(patch_file(patches, 3), b"Subject: ", header)
    edit(patch_file(patches, 3), b"From: Ada Example", b"From: Ad\xe9 Example")
    with pytest.raises(UserError, match="not UTF-8"):
        read(patches)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"From: A <a@example.org>\nSubject: [PATCH] mm: x\n\nNo diff here.\n", "no diff"),
        (b"#!/bin/sh\necho hello\n", "not a patch mail"),
        (b"# v2 git bundle\n-" + b"0" * 40 + b" mm\n\nPACK", "a bundle of git"),
        (b"diff --git a/x b/x\n--- a/x\n+++ b/x\n", "not a patch mail"),
        (b"From: A <a@example.org>\nSubject: [PATCH 0/2] mm: x\n\nCover.\n", "no patch"),
    ],
)
def test_files_that_are_no_patch(tmp_path: Path, content: bytes, what: str) -> None:
    file = tmp_path / "x.patch"
    file.write_bytes(content)
    with pytest.raises(UserError, match=what):
        read(file)


def test_wrapped_lines_are_told(patches: Path) -> None:
    file = patch_file(patches, 3)
    edit(file, b"+\treturn a + 99;\n", b"+\treturn a\n+ 99;\nbroken here\n")
    with pytest.raises(UserError, match="diff is damaged") as caught:
        read(patches)
    assert re.fullmatch(rf"{re.escape(str(file))}(:\d+)?", caught.value.where)


def test_cut_patch_is_told(patches: Path) -> None:
    file = patch_file(patches, 3)
    data = file.read_bytes()
    file.write_bytes(data[: data.index(b"+\treturn a + 99;")])
    with pytest.raises(UserError, match="diff is damaged"):
        read(patches)


def test_flowed_mail_with_broken_lines_is_told(patches: Path) -> None:
    file = patch_file(patches, 3)
    flowed = b'Content-Type: text/plain; charset="utf-8"; format=flowed\nSubject: '
    edit(file, b"Subject: ", flowed)
    edit(file, b"-\treturn a + 9;\n", b"-\treturn \na + 9;\n")
    with pytest.raises(UserError, match="diff is damaged") as caught:
        read(patches)
    assert "format=flowed" in caught.value.why


def test_quoted_printable_is_undone(linux: Path, source: Source, tmp_path: Path) -> None:
    replace(linux / "mm/memory.c", "return a + 3;", "return a + 33; /* = é */")
    commit(linux, "mm: x")
    (single,) = format_patch(linux, tmp_path / "one", count=1)
    head, body = single.read_bytes().split(b"\n\n", 1)
    import quopri

    # Content-* of git format-patch would stand twice.
    kept = [line for line in head.split(b"\n") if not line.startswith((b"Content-", b"MIME"))]
    kept += [b"MIME-Version: 1.0", b"Content-Type: text/plain; charset=utf-8"]
    kept += [b"Content-Transfer-Encoding: quoted-printable"]
    single.write_bytes(b"\n".join(kept) + b"\n\n" + quopri.encodestring(body))
    assert read(single).patches[0].files == ("mm/memory.c",)


def test_paths_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read(tmp_path / "nothing")
    (tmp_path / "README").write_text("no patch\n")
    with pytest.raises(UserError, match="holds no patches"):
        read(tmp_path)


def test_subject_forms(linux: Path, tmp_path: Path) -> None:
    long = "mm: a subject that is so long that git format-patch folds it: " + "word " * 20 + "end"
    replace(linux / "mm/memory.c", "return a + 3;", "return a + 33;")
    commit(linux, long, GIT_AUTHOR_NAME="Žofie Ünal")
    (single,) = format_patch(
        linux, tmp_path / "one", "--subject-prefix=RFC PATCH net-next", count=1
    )
    patch = read(single).patches[0]
    assert patch.subject == long
    assert patch.author == "Žofie Ünal <ada@example.org>"


def test_from_in_the_body_is_the_author(linux: Path, tmp_path: Path) -> None:
    replace(linux / "mm/memory.c", "return a + 3;", "return a + 33;")
    commit(linux, "mm: x")
    sender = "--from=Sender <sender@example.org>"
    (single,) = format_patch(linux, tmp_path / "one", sender, count=1)
    assert b"\n\nFrom: Ada Example" in single.read_bytes()
    assert read(single).patches[0].author == "Ada Example <ada@example.org>"


def test_user_configuration_has_no_say(
    patches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "gitconfig"
    sh("git", "config", "-f", str(config), "mailinfo.scissors", "false", cwd=tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    edit(patch_file(patches, 3), b"\n\n---\n", b"\n\nAbove.\n-- >8 --\nSubject: other\n\n---\n")
    assert read(patches).patches[2].subject == "other"


_LINK = """\
diff --git a/{name} b/{name}
new file mode 120000
index 0000000..1111111
--- /dev/null
+++ b/{name}
@@ -0,0 +1 @@
+{target}
\\ No newline at end of file
"""
_EMPTY = "diff --git a/{name} b/{name}\nnew file mode {mode}\nindex 0000000..e69de29\n"


@pytest.mark.parametrize(
    ("diff", "words"),
    [
        (_LINK.format(name="mm/x", target="/etc/passwd"), "symbolic link to /etc/passwd"),
        (_LINK.format(name="mm/x", target="../../home"), "symbolic link to ../../home"),
        (_LINK.format(name="x", target="mm/../../y"), "symbolic link to mm/../../y"),
        (_LINK.format(name="x", target=".git/hooks"), "symbolic link to .git/hooks"),
        (_EMPTY.format(name="mm/x", mode="104755"), "the mode 104755"),
        (_EMPTY.format(name="mm/x", mode="160000"), "the mode 160000"),
        (_EMPTY.format(name="hooks/post-checkout", mode="100755"), "as a hook of git is"),
        ("diff --git a/hooks/x b/hooks/x\nold mode 100644\nnew mode 100755\n", "a hook of git"),
    ],
)
def test_modes_and_links_that_lead_out_of_the_tree_are_refused(
    tmp_path: Path, diff: str, words: str
) -> None:
    path = tmp_path / "a.patch"
    path.write_text(f"From: A <a@example.org>\nSubject: [PATCH] mm: x\n\nWhy.\n---\n{diff}")
    with pytest.raises(UserError, match="reaches outside the tree") as caught:
        read(path)
    assert words in caught.value.why


@pytest.mark.parametrize(
    "diff",
    [
        _LINK.format(name="mm/x", target="../scripts/dtc"),
        _LINK.format(name="a/b/c", target="../../d"),
        _EMPTY.format(name="scripts/x.sh", mode="100755"),
        _EMPTY.format(name="drivers/hooks.c", mode="100644"),
    ],
)
def test_links_within_the_tree_and_programs_are_taken(tmp_path: Path, diff: str) -> None:
    path = tmp_path / "a.patch"
    path.write_text(f"From: A <a@example.org>\nSubject: [PATCH] mm: x\n\nWhy.\n---\n{diff}")
    assert len(read(path).patches) == 1


@pytest.mark.parametrize(
    ("name", "headers", "trust"),
    [
        ("a.patch", "", "own"),
        ("a.patch", "Message-ID: <a@example.org>\n", "own"),  # git format-patch --thread
        ("a.patch", "Received: from a by b; Tue, 14 Nov 2023 22:13:20 +0000\n", "stranger"),
        ("a.patch", "List-Id: <linux-mm.example.org>\n", "stranger"),
        ("a.mbox", "", "stranger"),
        ("a.eml", "", "stranger"),
        ("a", "", "stranger"),
    ],
)
def test_what_came_as_mail_is_a_strangers(
    tmp_path: Path, name: str, headers: str, trust: str
) -> None:
    path = tmp_path / name
    diff = _EMPTY.format(name="mm/x", mode="100644")
    head = f"{headers}From: A <a@example.org>\nSubject: [PATCH] mm: x\n\n"
    path.write_text(f"{head}Received: a word of the message\n---\n{diff}")
    assert str(read(path).trust) == trust

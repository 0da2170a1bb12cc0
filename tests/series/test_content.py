# SPDX-License-Identifier: GPL-2.0-only
"""The content of a series: what it changes, and nothing that is said about it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from harness.series import read
from harness.series.content import changes
from tests.series.test_read import edit, patch_file

pytestmark = pytest.mark.unit

HUNK = """\
diff --git a/mm/shmem.c b/mm/shmem.c
--- a/mm/shmem.c
+++ b/mm/shmem.c
@@ -10,3 +10,3 @@
 one
-two
+three
 four
"""


def test_words_about_a_patch_are_not_its_content(patches: Path) -> None:
    before, mails = read(patches).content, read(patches).digest
    first = patch_file(patches, 1)
    edit(first, b"mm: change three", b"mm: Change all three of them")
    edit(first, b"\n---\n", b"\nA reason.\n---\n")
    edit(first, b"\n-- \n", b"\n-- \n3.")
    text = first.read_bytes()
    first.write_bytes(b"\n".join(x for x in text.split(b"\n") if not x.startswith(b"index ")))
    cover = next(patches.glob("*0000-*.patch"))
    edit(cover, b"*** BLURB HERE ***", b"Something else.")
    assert read(patches).content == before
    assert read(patches).digest != mails


@pytest.mark.parametrize(("old", "new"), [(b"return a + 99;", b"return a + 98;"), (b" 9;", b" 8;")])
def test_a_changed_line_is_another_content(patches: Path, old: bytes, new: bytes) -> None:
    before = read(patches).content
    edit(patch_file(patches, 3), old, new)
    assert read(patches).content != before


def test_a_part_is_another_content_than_the_whole(patches: Path) -> None:
    assert read(patches, upto=2).content != read(patches).content


def test_the_transfer_encoding_is_no_content(patches: Path) -> None:
    before = read(patches).content
    path = patch_file(patches, 3)
    head, _, body = path.read_bytes().partition(b"\n\n")
    headers = b"\nMIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8"
    headers += b"\nContent-Transfer-Encoding: base64\n\n"
    path.write_bytes(head + headers + base64.encodebytes(body))
    assert read(patches).content == before


def test_what_counts_of_a_diff() -> None:
    said = " mm/shmem.c | 2 +-\n 1 file changed\n\n" + HUNK + "-- \n2.39.5\n\n"
    assert changes(said) == HUNK.rstrip("\n")
    # The function behind the numbers, and object names.
    more = HUNK.replace("@@\n", "@@ int f(void)\n").replace("--- a", "index 12..34 100644\n--- a")
    assert changes(more) == changes(HUNK)
    for old, new in (
        ("-10,3", "-11,3"),
        (" four", " five"),
        ("+three", "+three "),
        ("+three\n four\n", "+three\n four\n\\ No newline at end of file\n"),
        ("--- a/mm", "old mode 100644\nnew mode 100755\n--- a/mm"),
    ):
        assert changes(HUNK.replace(old, new)) != changes(HUNK)


def test_a_removed_line_may_look_like_a_signature() -> None:
    diff = HUNK.replace("-two", "-- ")
    assert changes(diff + "-- \n2.39.5\n") == diff.rstrip("\n")
    # And so may the content of a binary patch.
    binary = "diff --git a/x b/x\nGIT binary patch\nliteral 3\nKcmZQzWMT#Y01f~L\n\n-- \n2.39.5\n"
    assert "KcmZQz" in changes(binary)
    assert changes(binary) != changes(binary.replace("KcmZQz", "KcmZQy"))
    assert changes(binary) == changes(binary.replace("2.39.5", ""))

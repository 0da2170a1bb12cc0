# SPDX-License-Identifier: GPL-2.0-only
"""A matrix reads the same patches for each of its kernels, and git takes them apart once."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import series
from harness.series import diff, patch

pytestmark = pytest.mark.unit

MAIL = """\
From: A <a@example.org>
Date: Wed, 1 Jul 2026 03:00:00 +0000
Subject: [PATCH {number}/2] mm: Part {number}

Text {text}.
---
diff --git a/mm/f{number}.c b/mm/f{number}.c
new file mode 100644
--- /dev/null
+++ b/mm/f{number}.c
@@ -0,0 +1 @@
+int f{number};
"""


def write(directory: Path, text: str = "of it") -> None:
    for number in (1, 2):
        mail = MAIL.format(number=number, text=text)
        (directory / f"{number:04}.patch").write_text(mail)


def test_a_patch_that_was_read_before_starts_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    first = series.read(tmp_path)

    def none(*_argv: object, **_options: object) -> None:
        raise AssertionError("git was asked again")

    monkeypatch.setattr(patch, "git", none)
    assert series.read(tmp_path).patches == first.patches
    assert series.read(tmp_path, upto=1).patches == first.patches[:1]
    # Nor is a diff gone over again.
    monkeypatch.setattr(diff, "_Scan", none)
    assert series.read(tmp_path).patches == first.patches
    monkeypatch.undo()
    monkeypatch.setattr(patch, "git", none)
    write(tmp_path, "that is another")
    with pytest.raises(AssertionError, match="asked again"):
        series.read(tmp_path)

# SPDX-License-Identifier: GPL-2.0-only
"""What is made of measured seconds, and the threads that are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.series import read
from tools.bench.reading import _write_mailbox, _write_threads
from tools.bench.series import of_sandbox

pytestmark = pytest.mark.unit

V10 = Path(__file__).parents[2] / "patches/v10"


def test_the_sandbox_is_compared_pair_by_pair() -> None:
    own = [20.0, 22.0, 40.0]
    figure = of_sandbox(own, [20.4, 22.44, 60.0])
    assert figure.value == pytest.approx(1.02)
    assert figure.reached
    assert not of_sandbox(own, [22.0, 24.2, 40.0]).reached


def test_threads_and_mailboxes_hold_the_series(tmp_path: Path) -> None:
    posted = read(V10)
    threads = _write_threads(posted, tmp_path)
    assert len(read(next(threads)).patches) == len(posted.patches)
    (patch,) = read(next(threads)).patches
    assert patch.subject in {each.subject for each in posted.patches}
    path = tmp_path / "large.mbox"
    _write_mailbox(posted, path, 1 << 20)
    assert path.stat().st_size > 1 << 20
    assert read(path).content == posted.content

# SPDX-License-Identifier: GPL-2.0-only
"""Which reports get their lines at once, and which on demand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness import kbuild, klog, ktap
from harness.context import Context
from harness.errors import UserError
from harness.kbuild import Kernel, Slot
from harness.kbuild.kernel import Meta
from harness.kbuild.lines import Decoded as Lines
from harness.model.plan import PlannedTest
from harness.model.records import (
    Decoded,
    Ending,
    GuestReady,
    Record,
    RunEnded,
    RunStarted,
    TestEnded,
)
from harness.model.results import Kernel as Facts
from harness.model.results import Machine
from harness.model.spec import GuestTable
from harness.progress import Quiet
from harness.run import journal, symbolize
from harness.run.journal import Journal
from harness.run.symbolize import decode_all, decode_unexpected
from harness.store import Store

pytestmark = pytest.mark.unit
WARNING = (
    b"[    1.000000] ------------[ cut here ]------------\n"
    b"[    1.000000] WARNING: CPU: 0 PID: 9 at mm/x.c:5 f+0x1/0x2\n"
)
META = Meta(
    release="6.1", build_id="b1", commit="c", tree="t", config_digest="d", toolchain="gcc",
    headers_digest="h", warnings=(),
)  # fmt: skip
KERNEL = Kernel("key", Path("/nonexistent"), META)
PLACE = Slot("build-x", Path("/nonexistent"), Path("/nonexistent"))


def head(*names: str) -> RunStarted:
    return RunStarted(
        run="r1",
        time="2026-07-01T03:00:00.000Z",
        harness="0",
        command=("harness", "run"),
        kernel=Facts(release="6.1.0", source="s", base_commit="c"),
        tests=tuple(PlannedTest(name=name, suite="s", program=name) for name in names),
    )


def ended(name: str, status: int, log: bytes, attempt: int = 1) -> TestEnded:
    scanner = klog.Scanner()
    scanner.feed(log)
    return TestEnded(
        name=name,
        attempt=attempt,
        ending=Ending(how="exit", status=status),
        report=ktap.Parser().close(),
        findings=scanner.close(),
        total_s=1.0,
    )


READY = GuestReady(
    suite="s", guest=GuestTable(), release="6.1", build_id="b1", machine=Machine(), seconds=1.0
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many reports were looked up, by call."""
    calls: list[int] = []

    def fake(kernel: Kernel, place: Slot, context: Context, reports: Sequence[str]) -> Lines:
        assert (kernel, place) == (KERNEL, PLACE)
        calls.append(len(reports))
        return Lines(tuple(report + " (mm/x.c:5)" for report in reports))

    monkeypatch.setattr(symbolize, "decode_reports", fake)
    return calls


def write(directory: Path, *records: Record) -> list[Record]:
    with Journal(directory) as book:
        for record in records:
            book.write(record)
    return journal.read(directory)


def decoded(directory: Path) -> list[tuple[str, int]]:
    records = journal.read(directory)
    return [(each.name, each.attempt) for each in records if isinstance(each, Decoded)]


def test_only_what_did_not_end_as_expected_is_looked_up_at_once(
    tmp_path: Path, asked: list[int]
) -> None:
    # A skip ends as expected, whatever the kernel noted under it; a second attempt may not.
    note = b"[    1.0] Out of memory: Killed process 31 (hog) total-vm:5kB, anon-rss:4kB\n"
    records = write(
        tmp_path,
        head("s:skip", "s:splat", "s:clean"),
        ended("s:skip", 4, note),
        ended("s:splat", 0, note),
        ended("s:splat", 0, WARNING, attempt=2),
        ended("s:clean", 1, b""),
    )
    with Journal(tmp_path) as book:
        decode_unexpected(
            records, book, KERNEL, lambda: PLACE, Context(Store(tmp_path / "c"), Quiet())
        )
    assert asked == [1]
    assert decoded(tmp_path) == [("s:splat", 2)]


def test_a_run_as_expected_looks_nothing_up(tmp_path: Path, asked: list[int]) -> None:
    records = write(tmp_path, head("s:a"), ended("s:a", 4, b""))
    with Journal(tmp_path) as book:
        decode_unexpected(
            records, book, KERNEL, lambda: PLACE, Context(Store(tmp_path / "c"), Quiet())
        )
    assert asked == []


def test_the_others_are_looked_up_on_demand_and_once(
    tmp_path: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kbuild, "find", lambda _, shown: {"b1": KERNEL}.get(shown))
    monkeypatch.setattr(symbolize, "find_slot", lambda *_: PLACE)
    end = RunEnded(time="2026-07-01T03:01:00.000Z", seconds=60.0)
    write(
        tmp_path,
        head("s:a", "s:b"),
        READY,
        ended("s:a", 0, WARNING),
        ended("s:b", 0, WARNING),
        Decoded(name="s:a", reports=("known",)),
        end,
    )
    store = Store(tmp_path / "c")
    decode_all(tmp_path, Context(store, Quiet()))
    decode_all(tmp_path, Context(store, Quiet()))
    assert asked == [1]
    assert decoded(tmp_path) == [("s:a", 1), ("s:b", 1)]


@pytest.mark.parametrize("there", ["kernel", "nothing"])
def test_on_demand_says_what_is_gone(
    tmp_path: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    monkeypatch.setattr(kbuild, "find", lambda *_: KERNEL if there == "kernel" else None)
    write(tmp_path, head("s:a"), READY, ended("s:a", 0, WARNING))
    what = "holds another one now" if there == "kernel" else "no longer in the cache"
    with pytest.raises(UserError, match=what):
        decode_all(tmp_path, Context(Store(tmp_path / "c"), Quiet()))
    assert asked == []

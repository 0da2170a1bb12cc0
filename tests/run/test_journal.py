# SPDX-License-Identifier: GPL-2.0-only
"""A journal that was cut off: every planned test is reported, and none better than it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import ktap
from harness.errors import UserError
from harness.judge import verdict
from harness.model.plan import PlannedTest
from harness.model.records import (
    Ending,
    Record,
    Requested,
    RunEnded,
    RunResumed,
    RunStarted,
    TestEnded,
    TestStarted,
)
from harness.model.results import Kernel
from harness.outcome import Outcome
from harness.run import journal
from harness.run.journal import FILE_NAME, Journal

pytestmark = pytest.mark.unit
STATUSES = {"s:a": 0, "s:b": 1, "s:c": 4, "s:d": 0}
OUTCOMES = {"s:a": Outcome.PASS, "s:b": Outcome.FAIL, "s:c": Outcome.SKIP, "s:d": Outcome.PASS}
ASKED = Requested(command=("harness", "run"), working_dir="/", project_file="/harness.toml")
PLAN = RunStarted(
    run="r",
    time="2026-07-01T03:00:00.000Z",
    harness="0",
    command=("harness", "run"),
    kernel=Kernel(release="6.1.0", source="s", base_commit="c"),
    tests=tuple(PlannedTest(name=name, suite="s", program=name[2:]) for name in STATUSES),
)


def started(name: str) -> TestStarted:
    return TestStarted(name=name, time="t", seed="5a")


def ended(name: str) -> TestEnded:
    ending = Ending(how="exit", status=STATUSES[name])
    return TestEnded(name=name, ending=ending, report=ktap.Parser().close(), total_s=1.0)


RECORDS: list[Record] = [
    ASKED,
    PLAN,
    started("s:a"),
    started("s:b"),
    ended("s:b"),
    ended("s:a"),
    started("s:c"),
    RunEnded(time="t", seconds=1.0, interrupted=True),
    RunResumed(time="t"),
    started("s:c"),
    started("s:d"),
    ended("s:d"),
    ended("s:c"),
    RunEnded(time="t", seconds=1.0),
]


def written(directory: Path) -> bytes:
    with Journal(directory) as book:
        for record in RECORDS:
            book.write(record)
    return (directory / FILE_NAME).read_bytes()


def lengths(whole: bytes) -> list[int]:
    """Return where a file may end: around the end of each record, and amidst it."""
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    found = {end + off for end in ends for off in (-20, -2, -1, 0, 1, 20)}
    return sorted(length for length in found | {0} if length <= len(whole))


def test_cut_off_anywhere(tmp_path: Path) -> None:
    whole = written(tmp_path)
    planned_at = whole.index(b"\n", whole.index(b"\n") + 1) + 1
    for length in lengths(whole):
        (tmp_path / FILE_NAME).write_bytes(whole[:length])
        records = journal.read(tmp_path)
        if length < planned_at:
            with pytest.raises(ValueError, match="without a plan"):
                verdict.results(records)
            continue
        said = verdict.results(records)
        assert [test.name for test in said.tests] == list(STATUSES)
        for test in said.tests:
            over = whole[:length].count(
                b'{"type":"test-ended","kernel":"","name":"%s"' % test.name.encode()
            )
            complete = over and any(
                isinstance(r, TestEnded) and r.name == test.name for r in records
            )
            assert test.outcome is (OUTCOMES[test.name] if complete else Outcome.NOTRUN)
        assert said.interrupted is (length < len(whole))


def test_more_is_written_behind_whole_records_only(tmp_path: Path) -> None:
    whole = written(tmp_path)
    for length in lengths(whole):
        (tmp_path / FILE_NAME).write_bytes(whole[:length])
        with Journal(tmp_path) as book:
            book.write(ended("s:a"))
        records = journal.read(tmp_path)
        assert isinstance(records[-1], TestEnded)
        assert records[:-1] == RECORDS[: len(records) - 1]


def test_damage_in_the_middle_is_no_end(tmp_path: Path) -> None:
    lines = written(tmp_path).split(b"\n")
    lines[3] = lines[3][:-5]
    (tmp_path / FILE_NAME).write_bytes(b"\n".join(lines))
    with pytest.raises(UserError, match="damaged") as caught:
        journal.read(tmp_path)
    assert caught.value.where.endswith(f"{FILE_NAME}:4")

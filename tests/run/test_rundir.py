# SPDX-License-Identifier: GPL-2.0-only
"""Whose a run's directory is, and what becomes of what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.model.records import RunEnded
from harness.run import journal, rundir
from harness.run.journal import FILE_NAME, Journal
from tests.run.test_journal import ASKED, PLAN

pytestmark = pytest.mark.unit


def files(directory: Path) -> dict[str, bytes]:
    """Return all files below *directory* by name."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def earlier(directory: Path) -> dict[str, bytes]:
    """Make *directory* that of a run which has ended; return its files."""
    (directory / "logs" / "s").mkdir(parents=True)
    with Journal(directory) as book:
        for record in (ASKED, PLAN, RunEnded(time="t", seconds=1.0)):
            book.write(record)
    (directory / "logs" / "s" / "a.output.log").write_bytes(b"earlier")
    (directory / "notes.txt").write_bytes(b"the user's")
    return files(directory)


USERS = ["logs/mine.log", "junit.xml", "results.json", "a.c", ".git/config", "deep/er/file"]


@pytest.mark.parametrize("name", USERS)
def test_a_directory_of_the_user_is_refused_and_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(UserError) as caught, rundir.fresh(tmp_path):
        raise AssertionError
    assert name in caught.value.why
    assert files(tmp_path) == {name: b"mine"}


@pytest.mark.parametrize(
    "text", [b"hello\n", b'{"type":"other"}\n', b'{"level":"info"}\n', b"\0" * 100]
)
def test_another_programs_journal_makes_no_run(tmp_path: Path, text: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(text)
    with pytest.raises(UserError), rundir.fresh(tmp_path):
        raise AssertionError
    assert files(tmp_path) == {FILE_NAME: text}


def test_links_are_not_followed(tmp_path: Path) -> None:
    there = earlier(tmp_path / "there")
    (tmp_path / "link").symlink_to("there")
    with pytest.raises(UserError, match="link"), rundir.fresh(tmp_path / "link"):
        raise AssertionError
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / FILE_NAME).symlink_to(f"../there/{FILE_NAME}")
    with pytest.raises(UserError), rundir.fresh(tmp_path / "other"):
        raise AssertionError
    (tmp_path / "only-a-link").mkdir()
    (tmp_path / "only-a-link" / "logs").symlink_to("../there/logs")
    with pytest.raises(UserError), rundir.fresh(tmp_path / "only-a-link"):
        raise AssertionError
    assert files(tmp_path / "there") == there


def test_logs_that_are_a_link_are_not_followed(tmp_path: Path) -> None:
    earlier(tmp_path / "run")
    (tmp_path / "run" / "logs").rename(tmp_path / "elsewhere")
    (tmp_path / "run" / "logs").symlink_to("../elsewhere")
    with pytest.raises(UserError, match="link"), rundir.again(tmp_path / "run"):
        raise AssertionError
    with rundir.fresh(tmp_path / "run") as place, Journal(place.work) as book:
        (place.work / "logs").mkdir()
        (place.work / "logs" / "new.log").write_bytes(b"new")
        book.write(ASKED)
        place.planned(book)
    assert not (tmp_path / "run" / "logs").is_symlink()
    assert files(tmp_path / "elsewhere") == {"s/a.output.log": b"earlier"}


@pytest.mark.parametrize("made", ["absent", "empty", "empty directories", "begun", "its report"])
def test_a_directory_that_is_new_or_a_runs_is_taken(tmp_path: Path, made: str) -> None:
    run = tmp_path / "run"
    if made != "absent":
        run.mkdir()
    if made == "empty directories":
        (run / "logs" / "s").mkdir(parents=True)
    if made == "begun":
        (run / FILE_NAME).write_bytes(b'{"type":"reques')
    if made == "its report":
        (run / "ci.xml").write_bytes(b"old")
    with rundir.fresh(run, run / "ci.xml") as place:
        assert place.path == run
        assert (place.work / FILE_NAME).read_bytes() == b""


def test_an_earlier_run_stays_until_the_plan_stands(tmp_path: Path) -> None:
    before = earlier(tmp_path)
    with rundir.fresh(tmp_path) as place, Journal(place.work) as book:
        book.write(ASKED)
        (place.work / "logs").mkdir()
    now = files(tmp_path)
    assert {name: now[name] for name in before} == before
    assert set(now) - set(before) == {f"next/{FILE_NAME}"}
    # The run of this directory is the newer one, which has no plan: never the earlier one's result.
    assert rundir.find(str(tmp_path), tmp_path, None) == tmp_path / "next"

    with rundir.fresh(tmp_path) as place, Journal(place.work) as book:
        book.write(ASKED)
        (place.work / "logs" / "s").mkdir(parents=True)
        (place.work / "logs" / "s" / "build.log").write_bytes(b"new")
        book.write(PLAN)
        place.planned(book)
        book.write(RunEnded(time="t", seconds=2.0))
    assert journal.read(tmp_path) == [ASKED, PLAN, RunEnded(time="t", seconds=2.0)]
    assert set(files(tmp_path)) == {FILE_NAME, "notes.txt", "logs/s/build.log"}
    assert rundir.find(str(tmp_path), tmp_path, None) == tmp_path


def test_a_run_without_a_plan_goes_on_and_then_replaces_the_earlier_one(tmp_path: Path) -> None:
    earlier(tmp_path)
    with rundir.fresh(tmp_path) as place, Journal(place.work) as book:
        book.write(ASKED)
    with rundir.again(rundir.find(str(tmp_path), tmp_path, None)) as place:
        assert (place.path, place.work) == (tmp_path, tmp_path / "next")
        with Journal(place.work) as book:
            book.write(PLAN)
            place.planned(book)
    assert journal.read(tmp_path) == [ASKED, PLAN]
    assert not (tmp_path / "next").exists()


def test_a_second_run_in_a_directory_changes_nothing(tmp_path: Path) -> None:
    earlier(tmp_path)
    with rundir.fresh(tmp_path):
        during = files(tmp_path)
        with pytest.raises(UserError, match="another run"), rundir.fresh(tmp_path):
            raise AssertionError
        assert files(tmp_path) == during


def test_a_journal_outlives_its_directory(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with Journal(run) as book:
        book.write(ASKED)
        (run / FILE_NAME).unlink()
        run.rmdir()
        book.write(PLAN)
        assert book.records() == [ASKED, PLAN]
        book.keep()
        assert journal.read(run) == [ASKED, PLAN]
        inode = (run / FILE_NAME).stat().st_ino
    with Journal(run) as book:
        book.keep()
    assert (run / FILE_NAME).stat().st_ino == inode


def test_the_link_to_the_newest_run(tmp_path: Path) -> None:
    for name in ("one", "two"):
        rundir.point(tmp_path / "latest", name)
        assert (tmp_path / "latest").readlink() == Path(name)
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").mkdir()
    rundir.point(tmp_path / "latest", "three")
    assert [path.name for path in tmp_path.iterdir()] == ["latest"]

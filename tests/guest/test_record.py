# SPDX-License-Identifier: GPL-2.0-only
"""What a recording is on disk, and what QEMU is told for one."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from harness.digest import digest_file, digest_sparse
from harness.errors import MachineError
from harness.guest import record
from harness.guest.record import Recording
from harness.guest.replay import Tape

pytestmark = pytest.mark.unit
FILES = (record.EVENTS, record.LETTER, record.CONSOLE, record.AGENT)
ONE = Recording(
    start=1000,
    end=2000,
    halted=False,
    console="c" * 64,
    agent="a" * 64,
    qemu="7.2.22",
    ending="",
    about={"test": "s:p"},
)


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    record.save(tmp_path, ONE)
    assert record.load(tmp_path) == ONE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        json.dumps({"format": 99}),
        json.dumps({"format": 1, "start": 1}),
        json.dumps({"format": 1, **msgspec.structs.asdict(ONE), "start": "1000"}),
        json.dumps({"format": 1, **msgspec.structs.asdict(ONE), "about": ["s:p"]}),
        json.dumps({"format": 1, **msgspec.structs.asdict(ONE), "end": 10}),
    ],
)
def test_one_that_is_damaged_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / record.META).write_text(text)
    with pytest.raises(MachineError, match="cannot be read"):
        record.load(tmp_path)


def test_one_that_never_ended_is_none(tmp_path: Path) -> None:
    (tmp_path / record.EVENTS).write_bytes(b"\0" * 100)
    with pytest.raises(MachineError, match="cannot be read"):
        record.load(tmp_path)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", ["cut off", "changed", "gone"])
def test_files_that_are_not_what_was_recorded_are_refused(
    tmp_path: Path, name: str, change: str
) -> None:
    """QEMU itself would wait for ever, or replay something else."""
    for each in FILES:
        (tmp_path / each).write_bytes(b"0123456789" * 10)
    known = digest_file(tmp_path / name)
    one = msgspec.structs.replace(ONE, events=known, letter=known, console=known, agent=known)
    record.save(tmp_path, one)
    record.check(tmp_path, record.load(tmp_path))
    if change == "gone":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(b"0123456789" * 9 + (b"x" * 10) * (change == "changed"))
    with pytest.raises(MachineError) as told:
        record.check(tmp_path, one)
    assert "recording" in told.value.what
    assert str(tmp_path / name) in told.value.where


def test_one_of_before_their_digests_were_noted_is_taken(tmp_path: Path) -> None:
    for each in FILES:
        (tmp_path / each).write_bytes(b"some")
    some = digest_file(tmp_path / record.CONSOLE)
    record.check(tmp_path, msgspec.structs.replace(ONE, console=some, agent=some))


def test_what_is_missing_of_a_recording_is_told_with_what_to_do(tmp_path: Path) -> None:
    record.save(tmp_path, msgspec.structs.replace(ONE, console="", agent=""))
    with pytest.raises(MachineError, match="guest of the recording cannot be read") as told:
        Tape.load(tmp_path)
    assert "record the test again" in told.value.hint


def test_qemu_is_told_where_to_record() -> None:
    argv = record.argv(Path("/t/gdb"), Path("/a,b/events"), "record")
    counted = argv[argv.index("-icount") + 1]
    assert counted == "shift=3,align=off,sleep=off,rr=record,rrfile=/a,,b/events"
    assert "-S" in argv
    assert argv[argv.index("-gdb") + 1] == "unix:/t/gdb,server=on,wait=off"


def test_the_guest_of_a_recording_stays_when_the_cache_forgets_it(tmp_path: Path) -> None:
    snapshot, kept = tmp_path / "snapshot", tmp_path / "kept"
    snapshot.mkdir()
    kept.mkdir()
    (snapshot / "ram0").write_bytes(b"memory")
    (snapshot / "machine.json").write_text("{}")
    record.keep_guest(kept, snapshot)
    record.keep_guest(kept, snapshot)
    for file in snapshot.iterdir():
        file.unlink()
    assert (kept / record.GUEST / "ram0").read_bytes() == b"memory"
    assert (kept / record.GUEST / "machine.json").read_text() == "{}"


def test_a_guest_that_cannot_be_linked_is_copied_with_its_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot, kept = tmp_path / "snapshot", tmp_path / "kept"
    snapshot.mkdir()
    kept.mkdir()
    ram = snapshot / "ram0"
    with ram.open("wb") as file:
        file.truncate(1 << 28)
        file.seek(1 << 20)
        file.write(b"memory")

    def refuse(source: Path, to: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    record.keep_guest(kept, snapshot)
    copy = kept / record.GUEST / "ram0"
    assert copy.stat().st_size == ram.stat().st_size
    assert copy.stat().st_mtime_ns == ram.stat().st_mtime_ns
    assert copy.stat().st_blocks * 512 < 1 << 21
    assert digest_sparse(copy) == digest_sparse(ram)


def test_half_a_guest_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot, kept = tmp_path / "snapshot", tmp_path / "kept"
    for directory in (snapshot, kept):
        directory.mkdir()
    (snapshot / "ram0").write_bytes(b"memory")

    def refuse(source: Path, to: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    def full(file: Path, to: Path) -> None:
        to.write_bytes(b"mem")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.link", refuse)
    monkeypatch.setattr("harness.guest.sparse.copy", full)
    with pytest.raises(MachineError, match="no space is left"):
        record.keep_guest(kept, snapshot)
    assert not (kept / record.GUEST).exists()

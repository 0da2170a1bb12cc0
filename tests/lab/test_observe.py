# SPDX-License-Identifier: GPL-2.0-only
"""A test that falls silent once its kernel has crashed is not waited for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.lab.observe import CappedLog, Observer
from harness.model.events import Exit, Heartbeat, How, KernelLog, Stdout

pytestmark = pytest.mark.unit

OOPS = Path(__file__).parents[1] / "klog" / "samples" / "x86" / "access-null.log"
WARNING = OOPS.with_name("caller-refcount.log")


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[tuple[CappedLog, CappedLog]]:
    with CappedLog(tmp_path / "output") as output, CappedLog(tmp_path / "kernel") as kernel:
        yield output, kernel


def beats(observer: Observer, count: int, says: bytes = b"") -> bool:
    """Let the guest live on for *count* seconds; return whether the test has ended by then."""
    for second in range(count):
        if says:
            observer.hear(Stdout(says))
        observer.hear(Heartbeat(float(second)))
        if observer.ending is not None:
            return True
    return False


def test_the_end_comes_after_three_seconds_of_silence(logs: tuple[CappedLog, CappedLog]) -> None:
    observer = Observer(*logs)
    assert not beats(observer, 100)
    observer.hear(KernelLog(OOPS.read_bytes()))
    assert not beats(observer, 2)
    assert beats(observer, 1)
    assert observer.ending is not None
    assert (observer.ending.how, observer.ending.death) == ("died", How.CRASHED)


def test_other_cases_have_their_time(logs: tuple[CappedLog, CappedLog]) -> None:
    observer = Observer(*logs)
    observer.hear(KernelLog(OOPS.read_bytes()))
    assert not beats(observer, 2)
    assert not beats(observer, 100, b"ok 2 another\n")
    assert not beats(observer, 1)
    assert beats(observer, 1)


def test_a_report_without_an_end_is_a_crash(logs: tuple[CappedLog, CappedLog]) -> None:
    observer = Observer(*logs)
    title = OOPS.read_bytes().partition(b"Call Trace")[0]
    observer.hear(KernelLog(title))
    assert beats(observer, 3)


def test_a_test_that_ends_meanwhile_ends_as_it_does(logs: tuple[CappedLog, CappedLog]) -> None:
    observer = Observer(*logs)
    observer.hear(KernelLog(OOPS.read_bytes()))
    assert not beats(observer, 2)
    observer.hear(Exit(1, None, False, 0.1, 0.1, 900, 2.5, True))
    assert observer.ending is not None
    assert observer.ending.how == "exit"


def test_a_complaint_is_no_crash(logs: tuple[CappedLog, CappedLog]) -> None:
    observer = Observer(*logs)
    observer.hear(KernelLog(WARNING.read_bytes()))
    assert not beats(observer, 100)


def test_who_crashes_on_purpose_has_time(logs: tuple[CappedLog, CappedLog]) -> None:
    observer = Observer(*logs, patient=True)
    observer.hear(KernelLog(OOPS.read_bytes()))
    assert not beats(observer, 100)


def test_a_test_that_does_not_end_with_its_time_is_cut_off_if_that_is_wanted(
    logs: tuple[CappedLog, CappedLog],
) -> None:
    observer = Observer(*logs, cut_off_s=5.0)
    # What its end takes is left to it.
    assert not beats(observer, 8, b"still here\n")
    assert beats(observer, 10, b"still here\n")
    assert observer.ending is not None
    assert observer.ending.how == "timeout"
    assert "5.0 s" in observer.ending.detail


def test_it_is_waited_for_otherwise(logs: tuple[CappedLog, CappedLog]) -> None:
    assert not beats(Observer(*logs), 1000)


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_a_long_log_keeps_its_beginning_and_its_end_and_no_more(tmp_path: Path, chunk: int) -> None:
    """A worker that sends more than head and tail is taken for a broken one."""
    data = bytes(number % 251 for number in range(5000))
    with CappedLog(tmp_path / "log", head=100, tail=50) as log:
        for at in range(0, len(data), chunk):
            log.write(data[at : at + chunk])
    note = b"\n[harness: 4850 bytes left out here]\n"
    assert (tmp_path / "log").read_bytes() == data[:100] + note + data[-50:]


def test_a_log_that_is_just_short_enough_is_whole(tmp_path: Path) -> None:
    with CappedLog(tmp_path / "log", head=100, tail=50) as log:
        log.write(b"x" * 150)
    assert (tmp_path / "log").read_bytes() == b"x" * 150

# SPDX-License-Identifier: GPL-2.0-only
"""Which of the recordings of a run is kept, and how it is asked for again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from harness import ktap
from harness.errors import MachineError, UserError
from harness.guest import record
from harness.guest.replay import Check, Replay, Tape
from harness.model.ids import KernelName
from harness.model.recording import RecordSpec
from harness.model.records import Ending, Requested, TestEnded
from harness.model.results import Attempt, Logs
from harness.model.spec import KernelSpec
from harness.outcome import Outcome
from harness.run import replay
from tests.report.samples import program, run

pytestmark = pytest.mark.unit
NAME = "kvm:unstable"
MADE: Any = ("a checkpoint",)


def ended(attempt: int, recording: str = "logs/=replay/=/t.{}") -> TestEnded:
    return TestEnded(
        name=NAME,
        attempt=attempt,
        ending=Ending(how="exit", status=0),
        report=ktap.Parser().close(),
        total_s=1.0,
        logs=Logs(recording=recording.format(attempt)),
    )


def chosen(*outcomes: Outcome, passes: bool = False) -> int | None:
    """Return the attempt whose recording is kept."""
    attempts = tuple(Attempt(outcome=each, reason=each) for each in outcomes)
    test = program("unstable", outcomes[-1], attempts=attempts if len(attempts) > 1 else ())
    records = [ended(number) for number in range(1, len(outcomes) + 1)]
    kept = replay.choose(run(test), records, passes=passes)
    return kept.attempt if kept else None


def test_the_first_failure_is_kept() -> None:
    assert chosen(Outcome.FAIL) == 1
    assert chosen(Outcome.PASS, Outcome.PASS, Outcome.CRASH, Outcome.FAIL) == 3
    assert chosen(Outcome.PASS, Outcome.SKIP) is None


def test_a_pass_is_kept_where_that_is_asked_for_and_nothing_failed() -> None:
    assert chosen(Outcome.PASS, Outcome.PASS, passes=True) == 1
    assert chosen(Outcome.PASS, Outcome.FAIL, passes=True) == 2


@pytest.mark.parametrize(
    ("played", "wrong"),
    [
        ((Check("r", ()), Check("r", (), MADE)), ""),
        ((Check("r", ()), Check("r", ("the console",))), "the console"),
        ((Check("r", ("the agent",)),), "the agent"),
        ((Check("r", ()), Check("s", ())), "the processor's registers"),
    ],
)
def test_a_replay_that_ends_otherwise_is_no_recording(
    monkeypatch: pytest.MonkeyPatch, played: tuple[Check, ...], wrong: str
) -> None:
    left = list(played)

    asked: list[Path | None] = []

    async def check(tape: object, into: Path | None = None) -> Check:
        asked.append(into)
        return left.pop(0)

    none: Any = None
    tape = Tape(Path("recording"), none, none, b"")
    monkeypatch.setattr("harness.guest.replay.check", check)
    monkeypatch.setattr("harness.guest.replay.Tape.load", lambda _: tape)
    if not wrong:
        checked = asyncio.run(replay.check(Path("recording"), len(played), Path("checkpoints")))
        assert checked.checkpoints == played[-1].checkpoints
        # One replay makes them, and that is enough.
        assert asked == [*[None] * (len(played) - 1), Path("checkpoints")]
        return
    with pytest.raises(MachineError, match="not replayed to the same end") as caught:
        asyncio.run(replay.check(Path("recording"), len(played)))
    assert wrong in caught.value.why


@pytest.mark.parametrize(
    ("was", "least", "now", "same"),
    [
        (b"as it was", 9, b"as it was", True),
        (b"as it was", 9, b"otherwise", False),
        (b"as it was", 9, b"as it", False),
        # It ran on after its end, and printed something.
        (b"as it was\nRT throttling", 9, b"as it was", True),
        (b"as it was\nRT throttling", 9, b"as it was\nRT", True),
        (b"as it was\nRT throttling", 9, b"as it was\nXX", False),
        (b"as it was", 9, b"as it was, and more", False),
    ],
)
@pytest.mark.parametrize("which", [0, 1])
def test_what_a_guest_sends_is_compared(
    tmp_path: Path, which: int, was: bytes, least: int, now: bytes, *, same: bool
) -> None:
    there, here = tmp_path / "recording", tmp_path / "replay"
    for directory, changed in ((there, was), (here, now)):
        directory.mkdir()
        for number, path in enumerate(record.outputs(directory)):
            path.write_bytes(changed if number == which else b"always")
    sent = (least, 6) if which == 0 else (6, least)
    tape = SimpleNamespace(directory=there, recording=SimpleNamespace(sent=sent))
    stood: Any = SimpleNamespace(tape=tape, _scratch=here)
    expected = () if same else (("the console", "the agent")[which],)
    assert Replay.differences(stood) == expected


def test_a_known_failure_is_a_failure() -> None:
    assert chosen(Outcome.XFAIL) == 1


def test_what_was_not_recorded_is_not_kept() -> None:
    test = program("unstable", Outcome.ERROR)
    assert replay.choose(run(test), [ended(1, "")], passes=True) is None


def test_all_other_recordings_go(tmp_path: Path) -> None:
    for number in range(1, 4):
        directory = tmp_path / f"logs/=replay/=/t.{number}"
        directory.mkdir(parents=True)
        (directory / record.META).write_text("{}")
    test = program("unstable", Outcome.FAIL)
    kept = replay.choose(run(test), [ended(1)], passes=False)
    replay.keep_only(tmp_path, kept)
    assert [each.name for each in (tmp_path / "logs/=replay/=").iterdir()] == ["t.1"]
    assert replay.is_recording(tmp_path / "logs/=replay/=/t.1")
    replay.keep_only(tmp_path, None)
    assert not list((tmp_path / "logs/=replay/=").iterdir())


def test_each_attempt_has_a_seed_of_its_own_and_always_the_same() -> None:
    spec = RecordSpec(seed=5)
    seeds = {spec.seed_of("s:p", attempt) for attempt in range(1, 101)}
    assert len(seeds) == 100
    assert spec.seed_of("s:p", 3) == RecordSpec(seed=7).seed_of("s:p", 1)
    assert spec.seed_of("s:p", 1) != spec.seed_of("s:q", 1)
    assert len(bytes.fromhex(spec.seed_of("s:p", 1))) == 32


def test_kernel_and_suites_are_taken_from_a_run() -> None:
    spec = KernelSpec(series=("v11",), config=("guest",))
    asked = Requested(
        schema=2,
        command=(),
        time="t",
        working_dir="/w",
        project_file="/p/harness.toml",
        kernels=(spec,),
        suites=("a", "b"),
        cost=True,
    )
    taken = replay.tested_in(asked)
    assert taken["kernels"] == (spec,)
    assert taken["suites"] == ("a", "b")
    assert "cost" not in taken
    several = msgspec.structs.replace(
        asked, kernels=(KernelSpec(name=KernelName("base")), KernelSpec(name=KernelName("tip")))
    )
    with pytest.raises(UserError, match="several kernels"):
        replay.tested_in(several)

# SPDX-License-Identifier: GPL-2.0-only
"""Recordings and replays from the command line, on the project's own kernel, and with gdb itself.

One sample is part of ``make test``; the proofs are on a kernel with a planted write that goes too
far, ``selftests/faults/replay``, and on its suite.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from harness.errors import ExitCode
from harness.guest import record
from harness.guest.replay import Replay, Tape
from harness.model import results
from harness.outcome import Outcome
from harness.run import replay as replays
from tests.guest.test_timetravel import Gdb
from tests.run.commands import harness, needs_replay
from tests.run.test_faults import FAULTS, REPOSITORY
from tests.run.test_main_job import suite

pytestmark = [pytest.mark.kernel, needs_replay]
PLANTED = FAULTS / "replay"
FAILS = """
	int wait(int *status);

	printf("TAP version 13\\n1..1\\n");
	fflush(stdout);
	for (int i = 0; i < 3; i++) {
		if (!fork())
			usleep(3000), _exit(0);
		wait(NULL);
	}
	/* So long that there is a checkpoint within. */
	for (volatile long i = 0; i < 10 * 1000 * 1000; i++)
		;
	printf("not ok 1 sample\\n");
	return 1;
"""


def replay(where: Path, *arguments: str) -> tuple[int, str]:
    """Return exit code and output of ``harness replay``, called in the directory *where*."""
    return harness(where, "replay", *arguments)


def only(out: Path) -> Path:
    """Return the one recording of the run in *out*."""
    (found,) = (out / "logs/=replay").glob("*/*")
    assert (found / record.META).is_file()
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with a suite of its own, and the kernel that other tests have."""
    root = tmp_path_factory.mktemp("project")
    text = (REPOSITORY / "harness.toml").read_text()
    kernel, _, _ = text.partition("\n[suites.")
    kernel = kernel.replace('"patches/', f'"{REPOSITORY}/patches/')
    (root / "harness.toml").write_text(f'{kernel}\n[suites.mine]\npath = "mine"\n')
    fragments = root / "kernel-configs"
    fragments.mkdir()
    for file in (REPOSITORY / "kernel-configs").iterdir():
        # A kernel of its own, for lines that this sample does not need.
        if file.name != "replay.config":
            (fragments / file.name).symlink_to(file)
    suite(root / "mine", fails=FAILS, fails_never='printf("1..1\\nok 1 it\\n"); return 0;')
    return root


def test_a_failure_is_replayed_to_the_same_end_and_gdb_goes_back(project: Path) -> None:
    out = project / "out"
    status, text = replay(project, "mine:fails", "--out", str(out), "--times", "3")
    assert status == ExitCode.NOT_AS_EXPECTED, text
    assert "recorded: mine:fails: fail" in text
    assert "replayed: 3 of 3 to the same end" in text
    assert "harness replay" in text.replace("-m harness", "harness")  # the report's own line
    said = results.decode((out / "results.json").read_bytes())
    assert [test.outcome for test in said.tests] == [Outcome.FAIL]
    assert out / said.tests[0].logs.recording == only(out)
    # A fork of the test is the last that writes there.
    status, text = replay(project, str(only(out)), "--until", "write *(long *)&total_forks")
    assert status == ExitCode.AS_EXPECTED, text
    assert "<copy_process+" in text
    before, after = map(int, re.findall(r"^  (\d+) -> (\d+)$", text, re.MULTILINE)[0])
    assert after == before + 1
    status, text = replay(project, "mine:fail", "--out", str(project / "several"))
    assert status == ExitCode.USER
    assert "several have this in their names" in text
    assert "mine:fails, mine:fails_never" in text
    status, text = replay(project, str(only(out)), "--until", "write no_such_thing")
    assert status == ExitCode.USER
    assert "gdb does not find the last write of no_such_thing" in text
    # The previous breakpoint, one step back, and forward again, in gdb itself.
    here = "print $rip == (long)&copy_process"
    commands = ("break *copy_process", "reverse-continue", here, "reverse-stepi", here)
    talk = gdb(only(out), *commands, "stepi", here, "continue", "continue", "continue")
    assert counts(talk) == [1, 0, 1], talk
    # That of the last of three forks: the next stop is the end.
    assert talk.count("Breakpoint 1, ") == 2, talk
    assert "No more reverse-execution history" in talk
    # From a checkpoint a replay comes to the same as from the start.
    (project / "checkpoints").mkdir()
    tape = asyncio.run(replays.check(only(out), 1, project / "checkpoints"))
    assert tape.checkpoints
    first, end = tape.checkpoints[0].count, tape.recording.end
    for count in (first, first + 1, (first + end) // 2, end):
        assert tape.begin(count) > tape.recording.start
        assert registers(tape, count) == registers(
            msgspec.structs.replace(tape, checkpoints=()), count
        )


def registers(tape: Tape, count: int) -> bytes:
    """Return the registers of the processor after *count* instructions."""

    async def look() -> bytes:
        async with await Replay.at(tape, count) as standing:
            return await standing.stub.ask(b"g")

    return asyncio.run(look())


def planted(out: Path, test: str, *options: str) -> tuple[int, str]:
    stack = ("--series", "v10+test-vm", "--series", str(PLANTED / "kernel"))
    suite_of = ("--suite", str(PLANTED / "suite"), "--out", str(out))
    return replay(REPOSITORY, f"suite:{test}", *stack, *suite_of, *options)


def gdb(recording: Path, *commands: str) -> str:
    """Return what gdb says, which is started as ``--gdb`` says it."""
    with serving(recording) as (vmlinux, socket):
        more = [word for each in commands for word in ("-ex", each)]
        argv = ["gdb", "-nx", "-q", "-batch", "-ex", f"target remote {socket}", *more, vmlinux]
        return subprocess.run(argv, capture_output=True, text=True, timeout=600, check=True).stdout


@contextlib.contextmanager
def serving(recording: Path) -> Iterator[tuple[str, str]]:
    """Give the kernel and the socket of ``--gdb``, which ends when the connection does."""
    waiting = subprocess.Popen(
        [sys.executable, "-u", "-m", "harness", "replay", str(recording), "--gdb"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert waiting.stdout
    try:
        words = next(line.split() for line in waiting.stdout if line.startswith("  gdb "))
        yield words[1], words[-1].rstrip("'")
    except BaseException:
        waiting.terminate()
        raise
    finally:
        waiting.wait(60)


def counts(said: str) -> Sequence[int]:
    """Return what ``print`` has said in gdb, one after the other."""
    return [int(each) for each in re.findall(r"^\$\d+ = (\d+)", said, re.MULTILINE)]


@pytest.mark.proof
@pytest.mark.long(900)
def test_a_planted_corruption_is_traced_to_the_write(tmp_path: Path) -> None:
    out = tmp_path / "out"
    wanted = "write replay_record.limit"
    status, text = planted(out, "corrupt", "--times", "20", "--until", wanted)
    assert status == ExitCode.NOT_AS_EXPECTED, text
    assert "replayed: 20 of 20 to the same end" in text
    assert "the last write of replay_record.limit" in text
    found = text[text.index("the last write") :]
    assert "replay_rename" in found
    assert re.search(r"harness_replay\.c:\d+", found)
    assert "replay_write" in found
    # Through gdb itself: the previous breakpoint, one step back, and forward again.
    said = gdb(
        only(out),
        "break *replay_rename",
        "reverse-continue",
        "print $rsi",
        "reverse-continue",
        "reverse-continue",
        "print $rsi",
        "print replay_record.limit",
        "reverse-stepi",
        "stepi",
        "print $rsi",
        "watch replay_record.limit",
        "delete 1",
        "continue",
        "print replay_record.limit == 4096",
    )
    assert counts(said) == [4, 20, 4096, 20, 0], said


@pytest.mark.proof
@pytest.mark.long(600)
def test_in_a_long_recording_the_way_back_is_short(tmp_path: Path) -> None:
    """What jumps take, ``-s`` shows: docs/failures.md has the figures of a quiet machine."""
    out = tmp_path / "out"
    wanted = "write replay_record.limit"
    status, text = planted(out, "late", "--until", wanted)
    assert status == ExitCode.NOT_AS_EXPECTED, text
    assert "replay_rename" in text[text.index("the last write") :]
    far = int(re.findall(r"limit: instruction ([\d,]+)", text)[0].replace(",", ""))
    length = int(re.findall(r"([\d,]+) instructions after the start", text)[0].replace(",", ""))
    assert length - far > 1_000_000_000
    with serving(only(out)) as (vmlinux, socket):
        jumps = asyncio.run(jump(socket, address(vmlinux, "replay_read")))
    for name, seconds, at in jumps:
        print(f"{name}: {seconds:.2f} s, to {at:,}")
    steps = [at for name, _, at in jumps if name == "step"]
    assert steps == [length - 1, length - 2, length - 3]
    took = {name: seconds for name, seconds, _ in jumps}
    (near,) = [at for name, _, at in jumps if name == "breakpoint"]
    assert far < near < length
    (begin,) = [at for name, _, at in jumps if name == "start"]
    assert begin == 0
    # There is nothing before, which takes a replay of all.
    assert took["breakpoint"] < took["start"] / 2


async def jump(socket: str, function: int) -> list[tuple[str, float, int]]:
    """Go back as gdb does, and return what each jump took and where it led."""
    reader, writer = await asyncio.open_unix_connection(socket)
    asking, found = Gdb(reader, writer), []

    async def go(name: str, request: bytes) -> None:
        begun = time.monotonic()
        await asking.ask(request, limit_s=300)
        took = time.monotonic() - begun
        found.append((name, took, await asking.where()))

    for _ in range(3):
        await go("step", b"bs")
    assert await asking.ask(b"Z0,%x,1" % function) == b"OK"
    await go("breakpoint", b"bc")
    await go("step from there", b"bs")
    await go("start", b"bc")
    writer.close()
    return found


def address(vmlinux: str, function: str) -> int:
    """Return where *function* begins."""
    said = subprocess.run(["nm", vmlinux], capture_output=True, text=True, check=True).stdout
    return int(re.findall(rf"^([0-9a-f]+) . {function}$", said, re.MULTILINE)[0], 16)


@pytest.mark.proof
@pytest.mark.long(600)
def test_a_failure_by_chance_is_hunted_and_becomes_a_stable_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    status, text = planted(out, "unstable", "--hunt", "400", "--times", "20")
    assert status == ExitCode.NOT_AS_EXPECTED, text
    found = re.search(r"recorded: suite:unstable \(seed (\d+), run (\d+) of (\d+)\): fail", text)
    assert found, text
    # Which seed it is depends on the kernel, and guests beside that one may have begun.
    assert found[1] == found[2]
    assert int(found[2]) <= int(found[3]) <= 400
    assert "replayed: 20 of 20 to the same end" in text
    assert only(out).name.endswith(f".{found[2]}")
    # Its seed alone shows it again, too.
    status, text = planted(tmp_path / "again", "unstable", "--seed", found[1])
    assert status == ExitCode.NOT_AS_EXPECTED, text
    # And others do not: one in fifty does.
    others = [
        planted(tmp_path / f"other{n}", "unstable", "--seed", str(int(found[1]) + n))
        for n in (1, 2, 3)
    ]
    assert (
        ExitCode.USER,
        True,
    ) in [(status, "the test does not fail" in text) for status, text in others]


@pytest.mark.proof
@pytest.mark.long(300)
def test_what_passes_is_no_failure_to_replay(tmp_path: Path) -> None:
    status, text = planted(tmp_path / "one", "passes")
    assert status == ExitCode.USER
    assert "the test does not fail, so there is no failure to replay" in text
    status, text = planted(tmp_path / "hunt", "passes", "--hunt", "5")
    assert status == ExitCode.AS_EXPECTED
    assert "none of 5 runs failed" in text
    assert not list((tmp_path / "hunt/logs/=replay").glob("*/*"))
    status, text = planted(tmp_path / "any", "passes", "--any")
    assert status == ExitCode.AS_EXPECTED
    assert only(tmp_path / "any")

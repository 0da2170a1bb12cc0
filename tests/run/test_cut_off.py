# SPDX-License-Identifier: GPL-2.0-only
"""Runs that are killed at any moment, taken up again, and rendered in between."""

from __future__ import annotations

import os
import random
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from harness.errors import ExitCode
from harness.model import results
from harness.model.records import KernelBuilt, RunEnded, TestEnded, kernel_names
from harness.model.results import Results
from harness.outcome import Outcome
from harness.run import journal
from harness.run.prepare import Prepared
from tests.run.commands import LIMIT_S

pytestmark = [pytest.mark.kernel, pytest.mark.long(50)]
REPOSITORY = Path(__file__).parents[2]

PROGRAMS = {
    "a_good": ("return 0;", Outcome.PASS),
    "b_fails": ("return 1;", Outcome.FAIL),
    "c_slow": ("usleep(700000); return 0;", Outcome.PASS),
    "d_crashes": (
        'int fd = open("/sys/kernel/debug/provoke-crash/DIRECT", O_WRONLY);\n'
        'return write(fd, "PANIC\\n", 6) < 0;',
        Outcome.CRASH,
    ),
    "e_skips": ("return 4;", Outcome.SKIP),
    "f_late": ("for (;;) ;", Outcome.TIMEOUT),
    "g_slow": ("usleep(400000); return 0;", Outcome.PASS),
    "h_broken": ("return no_such_thing;", Outcome.ERROR),
    "i_good": ("return 0;", Outcome.PASS),
}
EXPECTED = {name: outcome for name, (_, outcome) in PROGRAMS.items()}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("suites") / "cut"
    directory.mkdir()
    names = " ".join(PROGRAMS)
    (directory / "Makefile").write_text(f"TEST_GEN_PROGS := {names}\ninclude ../lib.mk\n")
    (directory / "settings").write_text("timeout=1\n")
    for name, (body, _) in PROGRAMS.items():
        head = "#include <fcntl.h>\n#include <unistd.h>\n"
        (directory / f"{name}.c").write_text(f"{head}int main(void)\n{{\n{body}\n}}\n")
    return directory


def harness(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *words],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(*words: str) -> tuple[int, str]:
    process = harness(*words)
    text = process.communicate(timeout=LIMIT_S)[0]
    assert "Traceback" not in text, text
    return process.returncode, text


def descendants(pid: int) -> list[int]:
    """Return all processes below *pid*; they are found before it dies, for they lose it then."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, tail = status.read_text().rpartition(")")
        except OSError:
            continue
        children.setdefault(int(tail.split()[1]), []).append(int(head.split()[0]))
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def gone(pids: list[int], limit_s: float = 20.0) -> bool:
    """Guests are killed with the harness; a compiler that was at work may end what it does."""
    deadline = time.monotonic() + limit_s
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def finished(out: Path) -> dict[str, str]:
    """Return what the journal holds of every test that has ended, as it stands there."""
    return {each.name: repr(each) for each in journal.read(out) if isinstance(each, TestEnded)}


def said(out: Path) -> Results:
    return results.decode((out / "results.json").read_bytes())


def by_program(found: Results) -> dict[str, Outcome]:
    return {test.program: test.outcome for test in found.tests}


@pytest.mark.parametrize("wanted", [4, pytest.param(30, marks=pytest.mark.proof)])
def test_a_run_killed_at_any_moment_goes_on_where_it_was(
    prepared: Prepared, suite: Path, tmp_path: Path, wanted: int
) -> None:
    whole = 0.0
    # The first run builds the suite and boots its guest: moments drawn from that time would mostly
    # come after the end of the others.
    for _ in range(2):
        whole = time.monotonic()
        assert ended("run", "--suite", str(suite), "--out", str(tmp_path / "whole"))[0] == 1
        whole = time.monotonic() - whole
        assert by_program(said(tmp_path / "whole")) == EXPECTED

    seed = secrets.randbits(32)
    print(f"seed {seed}; a whole run takes {whole:.1f} s")
    moments = random.Random(seed)  # noqa: S311  nothing secret
    kills = cut = runs = 0
    while kills < wanted:
        runs += 1
        out = tmp_path / f"run-{runs}"
        before: dict[str, str] = {}
        words = ["run", "--suite", str(suite), "--out", str(out)]
        while True:
            process = harness(*words)
            wait = moments.uniform(0.1, whole) if kills < wanted else LIMIT_S
            try:
                text = process.communicate(timeout=wait)[0]
            except subprocess.TimeoutExpired:
                family = descendants(process.pid)
                process.kill()
                kills += 1
                process.communicate()
                assert gone(family), f"left behind after {wait:.3f} s"
            else:
                assert process.returncode == ExitCode.NOT_AS_EXPECTED, text
                break
            if not (out / journal.FILE_NAME).exists() or not journal.read(out):
                continue  # killed before anything was promised
            words = ["run", "--resume", str(out)]
            now = finished(out)
            assert before.items() <= now.items()
            records = journal.read(out)
            planned = bool(kernel_names(records))
            known = any(isinstance(each, KernelBuilt) for each in records)
            expected = ExitCode.INTERRUPTED if planned else ExitCode.USER
            if isinstance(records[-1], RunEnded):
                expected = ExitCode.NOT_AS_EXPECTED  # killed while it wrote its reports
            status, text = ended("report", str(out), "--format", "json")
            assert status == expected, text
            if planned:
                cut += 1
                told = results.decode(text.encode())
                # Between the two halves of the plan, the suite stands for its tests.
                programs = sorted(PROGRAMS) if known else ["*"]
                assert sorted(test.program for test in told.tests) == programs
                for test in told.tests:
                    if test.name in now or test.program == "h_broken":
                        assert test.outcome is EXPECTED[test.program]
                    else:
                        assert test.outcome is Outcome.NOTRUN
            before = now
        assert by_program(said(out)) == EXPECTED
        times = Counter(each.name for each in journal.read(out) if isinstance(each, TestEnded))
        assert set(times.values()) == {1}
        assert finished(out).items() >= before.items()
    print(f"{kills} kills in {runs} runs, {cut} of them after the plan was made")
    assert cut >= wanted // 4


@pytest.mark.parametrize(
    # In each run tests/run/test_main_job.py has both signals, without what comes after them.
    "number",
    [pytest.param(signal.SIGINT, marks=pytest.mark.proof), signal.SIGTERM],
)
def test_an_interrupted_run_can_be_taken_up_again(
    prepared: Prepared, suite: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    process = harness("run", "--suite", str(suite), "--out", str(out), "--jobs", "1")
    deadline = time.monotonic() + LIMIT_S
    while not (out / journal.FILE_NAME).exists() or len(finished(out)) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    family = descendants(process.pid)
    os.kill(process.pid, number)
    text = process.communicate(timeout=30)[0]
    assert process.returncode == ExitCode.INTERRUPTED, text
    assert not any(Path(f"/proc/{pid}").exists() for pid in family)
    assert ended("report", str(out))[0] == ExitCode.INTERRUPTED
    kept = finished(out)
    assert ended("run", "--resume", str(out))[0] == ExitCode.NOT_AS_EXPECTED
    assert by_program(said(out)) == EXPECTED
    assert kept.items() <= finished(out).items()
    # Nothing is left: taken up once more, nothing runs.
    assert ended("run", "--resume", str(out))[0] == ExitCode.NOT_AS_EXPECTED
    assert len([r for r in journal.read(out) if isinstance(r, TestEnded)]) == len(PROGRAMS) - 1


def test_what_has_changed_since_is_not_taken_up(
    prepared: Prepared, suite: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "cut"
    out = tmp_path / "out"
    subprocess.run(["cp", "-r", str(suite), str(directory)], check=True)
    assert ended("run", "--suite", str(directory), "-k", "a_good", "--out", str(out))[0] == 0
    (directory / "a_good.c").write_text("int main(void) { return 7; }\n")
    status, text = ended("run", "--resume", str(out))
    assert status == ExitCode.USER, text
    assert "the test cut:a_good has changed since the run began" in text
    assert by_program(said(out)) == {"a_good": Outcome.PASS}
    for words in (["-k", "b"], ["--repeat", "3"], ["--series", "none"]):
        status, text = ended("run", "--resume", str(out), *words)
        assert status == ExitCode.USER
        assert f"{words[0]} cannot be given with --resume" in text


def test_an_unstable_test_is_no_pass(prepared: Prepared, tmp_path: Path) -> None:
    directory = tmp_path / "shaky"
    directory.mkdir()
    (directory / "Makefile").write_text("TEST_GEN_PROGS := coin good\ninclude ../lib.mk\n")
    # The guest's clock differs from one attempt to the next; its seed would do as well.
    (directory / "coin.c").write_text(
        "#include <time.h>\n"
        "int main(void)\n{\n\tstruct timespec now;\n\n"
        "\tclock_gettime(CLOCK_REALTIME, &now);\n\treturn now.tv_nsec / 1000 % 2;\n}\n"
    )
    (directory / "good.c").write_text("int main(void) { return 0; }\n")
    out = tmp_path / "out"
    # 20 tosses with one result come once in 500 thousand times.
    status, text = ended("run", "--suite", str(directory), "--repeat", "20", "--out", str(out))
    coin, good = said(out).tests
    passed = sum(each.outcome is Outcome.PASS for each in coin.attempts)
    assert status == ExitCode.NOT_AS_EXPECTED
    assert len(coin.attempts) == len(good.attempts) == 20
    assert 0 < passed < 20
    assert coin.outcome is Outcome.FAIL
    assert coin.reason == f"{passed}/20 passed; exit status 1"
    assert (good.outcome, good.reason) == (Outcome.PASS, "")
    assert f"{passed}/20 passed" in text
    assert len({each.logs.output for each in coin.attempts}) == 20
    assert all((out / each.logs.output).exists() for each in coin.attempts)
    for options in (["--until-fail"], ["--until-fail", "--repeat", "200"]):
        words = ["run", "--suite", str(directory), "-k", "coin", "--jobs", "1", *options]
        status, text = ended(*words, "--out", str(out))
        (coin,) = said(out).tests
        assert status == ExitCode.NOT_AS_EXPECTED
        outcomes = [each.outcome for each in coin.attempts]
        assert outcomes == [Outcome.PASS] * (len(outcomes) - 1) + [Outcome.FAIL], shlex.join(words)

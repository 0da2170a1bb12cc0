# SPDX-License-Identifier: GPL-2.0-only
"""``harness shell`` as a user meets it, on a pseudo-terminal, with guests of a real run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import termios
from pathlib import Path

import pexpect
import pytest

from harness.errors import ExitCode
from harness.model import results
from harness.run import rundir
from harness.run.prepare import Prepared
from tests.cli.test_report import END, PLAN, REQUESTED, exited, write
from tests.cli.test_report import harness as harness_in
from tests.guest.test_host import children_of, qemus
from tests.run.commands import LIMIT_S

REPOSITORY = Path(__file__).parents[2]
FAULTS = REPOSITORY / "selftests" / "faults"
ANSWER_LIMIT_S = 600
FAILED = ("exit_1", "exit_0_after_failure", "kernel_panic", "kernel_oops")
HOME, SUITE = "guest:~# ", "guest:/selftests/faults# "


def harness(*words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def shell(run: Path, *words: str) -> pexpect.spawn[str]:
    argv = ["-m", "harness", "shell", str(run), *words]
    return pexpect.spawn(
        sys.executable,
        argv,
        cwd=str(REPOSITORY),
        timeout=ANSWER_LIMIT_S,
        dimensions=(30, 100),
        encoding="utf-8",
    )


def status(child: pexpect.spawn[str]) -> int | None:
    child.expect(pexpect.EOF)
    child.close()
    assert child.signalstatus is None
    code: int | None = child.exitstatus
    return code


@pytest.fixture(scope="module")
def faults(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run in which two tests failed, and two killed their kernel."""
    out = tmp_path_factory.mktemp("run") / "out"
    done = harness(
        *("run", "--out", str(out), "--suite", str(FAULTS)),
        *("-k", " or ".join(f"faults:{name}" for name in FAILED)),
    )
    assert done.returncode == ExitCode.NOT_AS_EXPECTED, done.stderr
    # Whoever reads of a failure reads how to look at it.
    lines = [line.split("shell:")[1] for line in done.stdout.splitlines() if " shell: " in line]
    wanted = {f"shell {out} --test faults:{name}" for name in FAILED}
    assert wanted <= {" ".join(shlex.split(line)[-4:]) for line in lines}
    return out


@pytest.mark.kernel
def test_a_session(faults: Path) -> None:
    child = shell(faults)
    modes = termios.tcgetattr(child.child_fd)
    child.expect_exact("Ctrl-]")
    child.expect_exact(HOME)
    (guest,) = children_of(child.pid)
    assert termios.tcgetattr(child.child_fd) != modes
    child.sendline("uname -r; tty; stty size")
    child.expect(r"\r\n6\.1\.\d+\S*\r\n/dev/pts/0\r\n30 100\r\n")
    child.expect_exact(HOME)
    # The programs of the suites are there, and the kernel log is not on the terminal.
    child.sendline("exit_1; echo ended with $?; echo a line for the log >/dev/kmsg")
    child.expect_exact("ended with 1\r\n")
    child.expect_exact(HOME)
    assert "a line for the log" not in str(child.before)
    child.sendline("dmesg | tail -n 1")
    child.expect(r"\] a line for the log\r\n")
    child.setwinsize(44, 120)
    child.sendline("sleep 1; stty size")
    child.expect_exact("44 120\r\n")
    # Ctrl-C goes to what runs in the guest, also where that fills the terminal.
    # Once it speaks it has the terminal: before that, the shell itself would be interrupted.
    child.sendline("""sh -c "echo it is star''ted; exec sleep 1000" """)
    child.expect_exact("it is started\r\n")
    child.sendcontrol("c")
    child.expect_exact(HOME)
    child.sendline("hexdump -C /dev/urandom")
    child.expect_exact("00001000")
    child.sendcontrol("c")
    child.expect_exact(f"^C\r\n{HOME}")
    child.sendline("sleep 1000 & jobs")
    child.expect_exact("Running")
    child.expect_exact(HOME)
    assert termios.tcgetattr(child.child_fd) != modes
    child.sendline("exit 9")
    child.expect(pexpect.EOF)
    assert termios.tcgetattr(child.child_fd) == modes
    assert status(child) == ExitCode.AS_EXPECTED
    assert guest not in qemus()


@pytest.mark.kernel
def test_the_failed_test_runs_first_and_the_user_can_leave(faults: Path) -> None:
    ran = next(
        test
        for test in results.decode((faults / "results.json").read_bytes()).tests
        if test.program == "exit_0_after_failure"
    )
    child = shell(faults, "--test", "exit_0_after_failure")
    child.expect_exact(f"seed {ran.seed}")
    child.expect_exact("not ok")
    child.expect_exact("faults:exit_0_after_failure ended with status 0")
    child.expect_exact(SUITE)
    (guest,) = children_of(child.pid)
    child.sendcontrol("]")
    child.expect_exact("left")
    assert status(child) == ExitCode.AS_EXPECTED
    assert guest not in qemus()


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("test", "how", "said"),
    [
        ("kernel_panic", "panic", "Kernel panic - not syncing: dumptest"),
        # The kernel lives on, and so does the shell.
        ("kernel_oops", "", "BUG: kernel NULL pointer dereference"),
    ],
)
def test_a_test_that_kills_its_kernel(
    faults: Path, tmp_path: Path, test: str, how: str, said: str
) -> None:
    log = tmp_path / "kernel.log"
    done = harness(
        *("shell", str(faults), "--test", f"faults:{test}", "--kernel-log", str(log)),
        *("--command", "echo alive; echo aside >&2; exit 7"),
    )
    assert done.returncode == ExitCode.NOT_AS_EXPECTED
    assert said in log.read_text()
    assert "Linux version" in log.read_text()
    if how:
        assert f"the guest died ({how})" in done.stderr
        assert said in done.stderr
        assert "alive" not in done.stdout
    else:
        assert done.stdout.endswith("alive\n")
        assert "aside\nthe command ended with status 7\n" in done.stderr


@pytest.mark.kernel
def test_gdb(faults: Path) -> None:
    child = shell(faults, "--gdb")
    child.expect(r"\n  (gdb [^\r]+)\r\n")
    commands = ["hbreak start_kernel", "continue", "bt", "detach"]
    done = subprocess.run(
        [*shlex.split(str(child.match[1])), "-batch", *(w for c in commands for w in ("-ex", c))],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert re.search(r"^#0 .*\bstart_kernel \(", done.stdout, re.MULTILINE), done.stdout
    child.expect_exact(HOME)
    child.sendeof()
    assert status(child) == ExitCode.AS_EXPECTED


@pytest.mark.kernel
def test_ctrl_c_while_gdb_is_awaited(faults: Path) -> None:
    child = shell(faults, "--gdb")
    child.expect(r"target remote ([^\r']+)'\r\n")
    socket = Path(str(child.match[1]))
    (guest,) = children_of(child.pid)
    child.sendcontrol("c")
    assert status(child) == ExitCode.INTERRUPTED
    assert guest not in qemus()
    assert not socket.parent.exists()


@pytest.mark.unit
def test_no_terminal(tmp_path: Path) -> None:
    run = write(tmp_path / "run", REQUESTED, PLAN, exited("s:a"), END)
    done = harness("shell", str(run))
    assert done.returncode == ExitCode.USER
    assert "standard input is not a terminal" in done.stderr
    assert "--command" in done.stderr


@pytest.mark.unit
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nosuch",), "there is no run 'nosuch'"),
        ((), f"there is no run '{rundir.LATEST}'"),
        (("cut",), "cut off before it had a plan"),
        (("run", "--test", "s:c"), "did you mean s:b or s:a?"),
        (("run", "--suite", "t"), "the run has no suite 't'"),
        (("run",), "is no longer in the cache"),
        (("run", "--guest", "docker"), "'docker' is not one of"),
        (("run", "--project", "nosuch.toml"), "nosuch.toml"),
    ],
)
def test_bad_input(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    write(tmp_path / "run", REQUESTED, PLAN, exited("s:a"), END)
    write(tmp_path / "cut", REQUESTED)
    code, text = harness_in(tmp_path, "shell", *words, "--command", "true")
    assert code == ExitCode.USER, text
    assert told in text

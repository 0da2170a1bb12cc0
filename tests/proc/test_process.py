# SPDX-License-Identifier: GPL-2.0-only
"""Children: their output, their limits, and that none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import MachineError
from harness.proc import process

pytestmark = [pytest.mark.unit, pytest.mark.slow]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_output_lines_and_log(tmp_path: Path) -> None:
    lines: list[str] = []
    done = process.run(
        ["sh", "-c", "echo one; echo two >&2; printf three; exit 3"],
        log=tmp_path / "log",
        on_line=lines.append,
    )
    assert (done.status, done.ok) == (3, False)
    assert lines == ["one", "two"]
    assert done.output == "one\ntwo\nthree"
    assert (tmp_path / "log").read_text() == "one\ntwo\nthree"


def test_death_by_signal_is_no_success() -> None:
    assert process.run(["sh", "-c", "kill -9 $$"]).status == -9


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MachineError) as caught:
        process.run(["qemu-system-x86_64", "--version"])
    assert "qemu-system-x86_64 is not installed" in caught.value.what
    assert "apt-get install qemu-system-x86 " in caught.value.hint


def test_the_limit_ends_children_that_ignore_term(tmp_path: Path) -> None:
    script = (
        f"trap '' TERM; sh -c 'echo $$ >{tmp_path}/pid; trap \"\" TERM; while :; do sleep 1; done'"
    )
    with pytest.raises(MachineError, match="did not end within 1 s"):
        process.run(["sh", "-c", script], limit_s=1)
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_full_disk_is_recognised(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="no space is left"):
        process.run(["sh", "-c", "head -c 1 /dev/zero > /dev/full"], cwd=tmp_path)


def test_a_disk_is_full_also_if_git_has_removed_what_did_not_fit(tmp_path: Path) -> None:
    """git then says "unable to write file" and no more, and there is space again."""
    repository, full = tmp_path / "repository", tmp_path / "full"
    full.mkdir()
    for words in (["init", "-q", "."], ["add", "."], ["commit", "-q", "-m", "m"]):
        argv = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org"]
        repository.mkdir(exist_ok=True)
        (repository / "file").write_bytes(os.urandom(5 << 20))
        subprocess.run([*argv, *words], cwd=repository, check=True)
    script = (
        "from pathlib import Path\n"
        "from harness.proc.git import git\n"
        f"words = 'worktree', 'add', '--detach', {str(full / 'tree')!r}\n"
        f"print(git(*words, repo=Path({str(repository / '.git')!r}), cwd=Path({str(full)!r})))\n"
    )
    mounted = f'mount -t tmpfs -o size=4m none {full}; exec "$@"'
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-ec", mounted, "sh", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no space is left" in done.stderr, done.stdout + done.stderr


def test_children_die_with_a_killed_harness(tmp_path: Path) -> None:
    script = (
        "from harness.proc import process\n"
        f"process.run(['sh', '-c', 'echo $$ >{tmp_path}/pid; exec sleep 60'])\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 10
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert gone(int((tmp_path / "pid").read_text()))

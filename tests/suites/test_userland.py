# SPDX-License-Identifier: GPL-2.0-only
"""Scripts run as they are, and what one calls in vain does not look like a pass."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.suites import userland

pytestmark = pytest.mark.unit


def run_script(files: Path, text: str, path: str = "s.sh", mode: int = 0o755) -> tuple[int, str]:
    """Run a script in nothing but a packed root, as a guest does."""
    root = files.parent / "root"
    root.mkdir()
    userland.pack_shell(root)
    script = files / path
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(text)
    script.chmod(mode)
    wrapper = userland.wrap(files, path)
    (root / "tmp").mkdir()
    files.rename(root / "suite")
    argv = ["unshare", "-Ur", "chroot", str(root), f"/suite/{wrapper}"]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash", "/usr/bin/env bash"])
@pytest.mark.parametrize("status", [0, 1, 4])
def test_a_script_ends_as_it_ends(files: Path, shell: str, status: int) -> None:
    text = f"#!{shell}\nset -e\nseq 2 | wc -l | grep -q 2 && echo fine\nexit {status}\n"
    assert run_script(files, text) == (status, "fine\n")


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_a_command_that_is_missing_makes_a_pass_a_skip(files: Path, shell: str) -> None:
    text = f"#!{shell}\nfusermount -u x || true\n(python3 -c 1; fusermount)\nexit 0\n"
    status, said = run_script(files, text)
    assert status == 4
    assert "ok 1 commands # SKIP needs fusermount python3, which a sealed guest" in said
    assert "run with --guest vng" in said


def test_a_script_that_ends_because_a_command_is_missing_is_a_skip(files: Path) -> None:
    status, said = run_script(files, "#!/bin/sh\nset -e\nfusermount -u mnt\nexit 0\n")
    assert status == 4
    assert "# SKIP needs fusermount" in said


def test_a_command_that_only_shows_something_on_a_terminal_is_not_missed(files: Path) -> None:
    text = """#!/bin/sh
set -e
bold=$(tput bold)
dircolors
toe && exit 1
echo "fine$bold"
"""
    assert run_script(files, text) == (0, "fine\n")


def test_a_command_that_is_missing_does_not_hide_a_failure(files: Path) -> None:
    status, said = run_script(files, "#!/bin/sh\npython3\nexit 1\n")
    assert status == 1
    assert "# it needs python3" in said
    assert "SKIP" not in said


def test_asking_whether_a_command_is_there_is_allowed(files: Path) -> None:
    text = "#!/bin/sh\ncommand -v python3 || exit 4\nexit 0\n"
    assert run_script(files, text) == (4, "")


def test_it_runs_in_its_directory_executable_or_not(files: Path) -> None:
    (files / "sub").mkdir()
    (files / "sub" / "sibling").write_text("#!/bin/sh\necho called\n")
    (files / "sub" / "sibling").chmod(0o755)
    assert run_script(files, "./sibling\n", "sub/s.sh", 0o644) == (0, "called\n")

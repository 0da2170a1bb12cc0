# SPDX-License-Identifier: GPL-2.0-only
"""Set-up and make in a clone of any name, called from any shell.

What takes the network is played: a Python that notes how it was called, and a dpkg-query that has
every package.  The makefile, the script and the program that it leaves are the real ones.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.unit, pytest.mark.slow]
REPOSITORY = Path(__file__).parents[1]
FILES = ("Makefile", "constraints.txt", "packages.txt", "pyproject.toml", "scripts/setup.sh")
PYTHON = """\
for word; do printf '%s\\n' "$word"; done >>"{log}.argv"
case "$*" in
*"-m venv"*) mkdir -p .venv/bin; cp "{python}" .venv/bin/python; env >"{log}.env" ;;
*"-m pip"*) cat "$PIP_CONSTRAINT" >"{log}.pins" ;;
*sys.version*) echo 3.11 ;;
*) exec "{real}" "$@" ;;
esac
"""
NAMES = [
    "clone",
    "my checkout",
    "-dash",
    'it\'s "quoted" $HOME #1 %s',
    "n\u00e4ive \u4e2d",
    "back\\slash",
]


@dataclass(frozen=True)
class Clone:
    """A directory with what set-up needs, and what it noted."""

    path: Path
    env: dict[str, str]

    def make(self, *arguments: str, **env: str) -> tuple[int, str]:
        done = subprocess.run(
            ["make", "-C", str(self.path), *arguments],
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout

    def play(self, program: str, script: str) -> None:
        """Put a program before that of the machine."""
        path = self.path.parent / "tools" / program
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    @property
    def environment_made(self) -> bool:
        return (self.path / ".venv").exists()


def make_clone(root: Path, name: str) -> Clone:
    path = root / name
    for file in FILES:
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / file, path / file)
    tools = root / "tools"
    tools.mkdir()
    python = tools / "python"
    variables = {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(root), "PYTHON": str(python)}
    clone = Clone(path, variables)
    clone.play("python", PYTHON.format(log=root / "called", python=python, real=sys.executable))
    clone.play("dpkg-query", "echo installed")
    return clone


@pytest.mark.parametrize("name", NAMES)
def test_a_clone_of_any_name(tmp_path: Path, name: str) -> None:
    clone = make_clone(tmp_path, name)
    status, text = clone.make("setup")
    assert (status, "making the Python environment" in text) == (0, True), text
    assert (tmp_path / "called.pins").read_text() == (clone.path / "constraints.txt").read_text()
    status, text = clone.make("setup")
    assert (status, "making the Python environment" in text) == (0, False), text
    status, text = clone.make("test-kernel", "ARGS=--help")
    assert (status, "Usage: harness run" in text) == (0, True), text
    assert "Install Debian packages" in clone.make("help")[1]


def test_what_only_tests_of_extras_need_is_installed_once_and_for_them(tmp_path: Path) -> None:
    clone = make_clone(tmp_path, "clone")
    assert clone.make("setup")[0] == 0
    called = tmp_path / "called.argv"
    assert "mcp" not in called.read_text()
    before = (clone.path / ".venv" / "bin" / "harness").read_text()
    script = ["sh", str(clone.path / "scripts" / "setup.sh"), "extra"]
    for _ in range(2):
        done = subprocess.run(script, env=clone.env, capture_output=True, text=True, check=True)
        assert called.read_text().count(".[dev,dask,mcp,docs,consumers,statistics]") == 1, (
            done.stdout
        )
    assert (clone.path / ".venv" / "bin" / "harness").read_text() == before
    # What belongs to an environment of another day is gone with it.
    (clone.path / ".venv" / "setup-stamp").write_text("older")
    subprocess.run(script, env=clone.env, capture_output=True, text=True, check=True)
    assert called.read_text().count(".[dev,dask,mcp,docs,consumers,statistics]") == 2


@pytest.mark.parametrize("name", ["a:b", "a\nb"])
def test_a_clone_that_python_refuses_is_told_at_once(tmp_path: Path, name: str) -> None:
    clone = make_clone(tmp_path, name)
    status, text = clone.make("setup")
    assert status != 0
    assert "move the clone" in text
    assert not (tmp_path / "called.argv").exists()


def test_nothing_outside_of_the_clone_is_touched(tmp_path: Path) -> None:
    clone = make_clone(tmp_path, "clone")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "scripts").mkdir(parents=True)
    (elsewhere / ".venv").mkdir()
    (elsewhere / ".venv" / "precious").write_text("mine")
    status, text = clone.make("setup", CDPATH=str(elsewhere))
    assert status == 0, text
    assert [path.name for path in (elsewhere / ".venv").iterdir()] == ["precious"]
    assert (clone.path / ".venv" / "bin" / "harness").is_file()


def test_set_up_gets_what_is_allowed_and_nothing_else(tmp_path: Path) -> None:
    clone = make_clone(tmp_path, "clone")
    names = (
        *("PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV"),
        *("CFLAGS", "BASH_ENV", "ENV", "GREP_OPTIONS", "POSIXLY_CORRECT", "LD_LIBRARY_PATH"),
        *("TMPDIR", "VIRTUAL_ENV", "SETUPTOOLS_USE_DISTUTILS", "GIT_DIR", "TAR_OPTIONS"),
    )
    hostile = dict.fromkeys(names, "/nonexistent")
    wanted = {"PIP_INDEX_URL": "https://mirror.example/a b", "https_proxy": "http://p.example:1"}
    status, text = clone.make("setup", **hostile, **wanted)
    assert status == 0, text
    lines = (tmp_path / "called.env").read_text().splitlines()
    seen = dict(line.split("=", 1) for line in lines)
    own = {"SETUP_ENVIRONMENT", "PATH", "LC_ALL", "HOME", "PYTHON", "PWD", "OLDPWD", "SHLVL", "_"}
    assert seen.keys() - own == wanted.keys()
    assert seen["PIP_INDEX_URL"] == wanted["PIP_INDEX_URL"]


def test_an_ordinary_user_without_sudo_is_told_what_to_ask_for(tmp_path: Path) -> None:
    clone = make_clone(tmp_path, "my checkout")
    clone.play("dpkg-query", 'case $* in *" flex" | *" bc") exit 1 ;; esac; echo installed')
    clone.play("id", "echo 1000")
    clone.play("sudo", "exit 1")
    status, text = clone.make("setup")
    assert status != 0
    assert "setup: these Debian packages are missing: bc flex\n" in text
    assert "apt-get install --no-install-recommends bc flex\n" in text
    assert not clone.environment_made
    # Where the packages are there, neither matters.
    clone.play("dpkg-query", "echo installed")
    status, text = clone.make("setup")
    assert (status, clone.environment_made) == (0, True), text


# Distributions without dpkg


def on_another_distribution(clone: Clone) -> None:
    """Fedora has a package with dpkg-query, which knows of no package."""
    clone.play("dpkg-query", "echo 'no packages found' >&2; exit 1")
    clone.play("apt-get", "exit 100")


def test_another_distribution_that_has_everything_is_set_up(tmp_path: Path) -> None:
    """All that packages.txt looks for is found on a machine that has its packages."""
    clone = make_clone(tmp_path, "my checkout")
    on_another_distribution(clone)
    status, text = clone.make("setup")
    assert (status, clone.environment_made) == (0, True), text


def test_another_distribution_is_told_what_is_missing_and_how_it_was_looked_for(
    tmp_path: Path,
) -> None:
    clone = make_clone(tmp_path, "my checkout")
    on_another_distribution(clone)
    things = "nosuch-program no/such.h libnosuch.a python:nosuch"
    with (clone.path / "packages.txt").open("a") as rows:
        rows.write(f"nosuch-dev | nosuch-devel nosuch-static | {things} | a test\n")
        rows.write("only-debian | - | - | a test\n")
    status, text = clone.make("setup")
    assert (status != 0, clone.environment_made) == (True, False), text
    said = [line.split(maxsplit=2) for line in text.splitlines() if line.startswith("setup:     ")]
    assert [thing for _, thing, _ in said] == things.split()
    for _, thing, command in said:
        assert thing.removeprefix("python:") in command
        assert subprocess.run(["sh", "-c", command], env=clone.env, check=False).returncode
    assert "dnf install nosuch-devel nosuch-static\n" in text
    assert "the packages of Debian: nosuch-dev\n" in text


def test_a_browser_is_asked_for_only_by_the_tests_that_open_one(tmp_path: Path) -> None:
    clone = make_clone(tmp_path, "clone")
    on_another_distribution(clone)
    assert clone.make("setup", HARNESS_BROWSER="no-such-browser")[0] == 0
    status, text = clone.make("test-browser", HARNESS_BROWSER="no-such-browser")
    assert status != 0
    assert "there is no browser" in text
    assert "HARNESS_BROWSER" in text
    clone.play("dpkg-query", "echo installed")
    clone.play("apt-get", 'echo "$*" >>"$HOME/apt"; exit 1')
    assert clone.make("test-browser", HARNESS_BROWSER="no-such-browser")[0] != 0
    asked = (tmp_path / "apt").read_text()
    assert "install --no-install-recommends chromium-headless-shell" in asked


def test_without_a_compiler_no_library_is_taken_for_found(tmp_path: Path) -> None:
    clone = make_clone(tmp_path, "clone")
    on_another_distribution(clone)
    clone.play("gcc", "exit 127")
    text = clone.make("setup")[1]
    for thing in ("libc.a", "stdio.h", "libelf.h"):
        assert f"setup:     {thing} " in text
    assert "elfutils-libelf-devel" in text


def test_pythons_own_variables_and_arguments_of_the_shell_do_not_reach_the_harness(
    tmp_path: Path,
) -> None:
    clone = make_clone(tmp_path, "my clone")
    assert clone.make("setup")[0] == 0
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "click.py").write_text("raise SystemExit('shadowed')\n")
    (clone.path / "click.py").write_text("raise SystemExit('shadowed')\n")
    hostile = {"PYTHONPATH": str(shadow), "PYTHONHOME": "/nonexistent", "ARGS": "--help"}
    status, text = clone.make("test-kernel", **hostile)
    assert status != 0
    assert "no harness.toml here" in text
    # A link to it, as people have them in ~/bin, finds its own Python.
    link = tmp_path / "harness"
    link.symlink_to(clone.path / ".venv/bin/harness")
    done = subprocess.run(
        [link, "--version"],
        env=clone.env | hostile,
        capture_output=True,
        text=True,
        check=False,
        cwd=shadow,
    )
    assert done.stdout.startswith("harness, version"), done.stderr


def test_no_server_is_installed_for_those_who_run_kernels() -> None:
    """Debian starts one with its package; tests of hosts have theirs from `setup.sh sshd`."""
    packages = (REPOSITORY / "packages.txt").read_text()
    assert not [line for line in packages.splitlines() if re.match(r"\S+-server\b", line)]

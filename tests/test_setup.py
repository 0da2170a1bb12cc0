# SPDX-License-Identifier: GPL-2.0-only
"""Set-up and make in a clone of any name, called from any shell.

What takes the network is played: a Python that notes how it was called, and a dpkg-query that has
every package.  The makefile, the script and the program that it leaves are the real ones.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit
REPOSITORY = Path(__file__).parents[1]
FILES = ("Makefile", "constraints.txt", "debian-packages.txt", "pyproject.toml", "scripts/setup.sh")
PYTHON = """\
#!/bin/sh
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
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout


def make_clone(root: Path, name: str) -> Clone:
    path = root / name
    for file in FILES:
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / file, path / file)
    tools = root / "tools"
    tools.mkdir()
    python, query = tools / "python", tools / "dpkg-query"
    python.write_text(PYTHON.format(log=root / "called", python=python, real=sys.executable))
    query.write_text("#!/bin/sh\necho installed\n")
    for tool in (python, query):
        tool.chmod(0o755)
    variables = {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(root), "PYTHON": str(python)}
    return Clone(path, variables)


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

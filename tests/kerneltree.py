# SPDX-License-Identifier: GPL-2.0-only
"""Small kernel-like trees and real `git format-patch` output for tests."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.progress import Quiet, Step
from harness.series import Tree

FAKELINUX = Path(__file__).parent / "fakelinux"
HARNESS = shlex.join([sys.executable, "-m", "harness"])
"""The program for a shell, wherever the clone lies."""


def sh(*argv: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run a command of a test's preparation; return what it printed."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    identity = {
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Ada Example",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_COMMITTER_NAME": "Ada Example",
        "GIT_COMMITTER_EMAIL": "ada@example.org",
    }
    done = subprocess.run(
        argv,
        cwd=cwd,
        env=clean | identity | (env or {}),
        check=True,
        capture_output=True,
        timeout=60,
    )
    return done.stdout.decode().strip()


def make_tree(path: Path) -> Path:
    """Copy the fake kernel to *path*."""
    shutil.copytree(FAKELINUX, path, symlinks=True)
    return path


def make_repository(path: Path) -> Path:
    """Make a git work tree of the fake kernel at *path*, with one commit."""
    make_tree(path)
    sh("git", "init", "-q", "-b", "master", cwd=path)
    commit(path, "Linux 6.1.176")
    return path


def commit(path: Path, message: str, **env: str) -> str:
    """Commit everything in the work tree; return the commit's id."""
    sh("git", "add", "-A", "-f", cwd=path)
    sh("git", "commit", "-q", "-m", message, cwd=path, env=env)
    return sh("git", "rev-parse", "HEAD", cwd=path)


def replace(path: Path, old: str, new: str) -> None:
    """Replace a text that must be in the file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def format_patch(path: Path, into: Path, *options: str, count: int) -> list[Path]:
    """Write the last *count* commits as patches; return the files, sorted."""
    into.mkdir(parents=True, exist_ok=True)
    sh("git", "format-patch", "-q", "-o", str(into), *options, f"-{count}", cwd=path)
    return sorted(into.glob("*.patch"))


@dataclass(frozen=True)
class FakeLinux:
    """A repository that holds the fake kernel and whatever is changed in it."""

    work: Path

    @classmethod
    def create(cls, work: Path) -> FakeLinux:
        """Copy the fake kernel to *work* and commit it."""
        return cls(make_repository(work))

    @property
    def repo(self) -> Path:
        """The git directory."""
        return self.work / ".git"

    def git(self, *arguments: str) -> str:
        """Run git in the tree and return what it says."""
        return sh("git", *arguments, cwd=self.work)

    def write(self, **files: str) -> None:
        """Write files; ``__`` in a name stands for ``/``, ``_dot_`` for ``.``."""
        for name, text in files.items():
            path = self.work / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def commit(self, message: str = "change") -> Tree:
        """Commit everything and return the tree."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        head = self.git("rev-parse", "HEAD")
        return Tree(
            repo=self.repo,
            commit=head,
            tree=self.git("rev-parse", "HEAD^{tree}"),
            base_commit=head,
            patches=(),
        )


class Recorder(Quiet):
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.notes: list[str] = []

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        self.steps.append(title)
        with super().step(title) as step:
            yield step

    def note(self, text: str) -> None:
        self.notes.append(text)

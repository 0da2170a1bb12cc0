# SPDX-License-Identifier: GPL-2.0-only
"""A project on the kernel in miniature, and the commands as a user calls them there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.kerneltree import FakeLinux

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Answer:
    """What the command said."""

    status: int
    text: str


@dataclass(frozen=True)
class Project:
    """A project directory with a fake kernel beside it."""

    root: Path
    fake: FakeLinux

    def write(self, *lines: str) -> None:
        """Write harness.toml: the defaults below, then *lines*."""
        text = f'[kernel]\nsource = "{self.fake.work}"\nconfig = ["a"]\n'
        (self.root / "harness.toml").write_text(text + "\n".join(lines) + "\n")

    def patches(self, *changes: Callable[[FakeLinux], None]) -> Path:
        """Make a series of one patch for each change, on the fake kernel; return its directory."""
        base = self.fake.git("rev-parse", "HEAD")
        for number, change in enumerate(changes, start=1):
            change(self.fake)
            self.fake.commit(f"mm: Change number {number}")
        out = self.root / "series"
        self.fake.git("format-patch", "-q", "-n", "-o", str(out), base)
        self.fake.git("reset", "-q", "--hard", base)
        return out

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which the command runs."""
        return {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "HARNESS_CACHE": str(self.root / "cache"),
        }

    def begun(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the command; what it says is in its standard output."""
        return subprocess.Popen(
            [sys.executable, "-m", "harness", *arguments],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def harness(self, *arguments: str, **env: str) -> Answer:
        done = subprocess.run(
            [sys.executable, "-m", "harness", *arguments],
            cwd=self.root,
            env={**self.environment, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stdout, done.stdout
        return Answer(done.returncode, done.stdout)


def make(root: Path) -> Project:
    """Return a project in *root* with one configuration fragment and the suite ``demo``."""
    made = Project(root, FakeLinux.create(root / "linux"))
    (root / "kernel-configs").mkdir()
    (root / "kernel-configs" / "a.config").write_text("CONFIG_PLAIN=y\n")
    made.write("[suites.demo]", 'path = "kernel:demo"')
    return made

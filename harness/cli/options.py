# SPDX-License-Identifier: GPL-2.0-only
"""What several commands have in common."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import click

from harness import project

project_option = click.option(
    "--project",
    "project_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The project file.  [default: harness.toml here or in the nearest directory above]",
)


def find_project(named: Path | None, here: Path) -> Path:
    """Return the project file: the one that was *named*, or the nearest; UserError for none."""
    return here / named if named else project.find(here)


def program_words(here: Path) -> tuple[str, ...]:
    """Return the words that call this program again from the directory *here*."""
    called = Path(sys.argv[0]).absolute()
    if called.name == "__main__.py":
        return (sys.executable, "-m", "harness")
    if shutil.which(called.name) == str(called):
        return (called.name,)
    return (short(called, here),)


def shell_command(directory: Path, here: Path) -> str:
    """Return the command that opens a shell in a guest of the run in *directory*."""
    return shlex.join([*program_words(here), "shell", short(directory, here)])


def short(path: Path, here: Path) -> str:
    """Return *path* as a person in the directory *here* would write it."""
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)

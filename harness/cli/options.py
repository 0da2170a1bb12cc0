# SPDX-License-Identifier: GPL-2.0-only
"""What several commands have in common."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from harness import project
from harness.report.text import short


class Name(click.ParamType[str]):
    """The value of an option that is not empty: ``--suite "$SUITE"`` with no ``$SUITE`` is not."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return *value* as it is; a usage error where it is empty."""
        if value == "":
            self.fail("the value is empty", param, ctx)
        return value


class FilePath(click.Path):
    """A path that is not empty: to pathlib, that would be the current directory."""

    def __init__(self, *, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(path_type=Path, file_okay=file_okay, dir_okay=dir_okay)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return *value* as a Path; a usage error where it is empty."""
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


project_option = click.option(
    "--project",
    "project_file",
    type=FilePath(dir_okay=False),
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

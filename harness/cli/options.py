# SPDX-License-Identifier: GPL-2.0-only
"""What several commands have in common."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from harness import project
from harness.errors import HarnessError
from harness.report.files import Reports
from harness.report.text import short
from harness.run.rundir import RUNS


class Name(click.ParamType[str]):
    """The value of an option that is not empty: ``--suite "$SUITE"`` with no ``$SUITE`` is not.

    A shell completes the names in *tables* of the project file, or else a path.
    """

    name = "text"

    def __init__(self, *tables: str) -> None:
        self._tables = tables

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return what a word that begins with *incomplete* may become."""
        with contextlib.suppress(HarnessError, OSError, ValueError):
            file = find_project(ctx.params.get("project_file"), Path.cwd())
            tables = tomllib.loads(file.read_text("utf-8"))
            names = [name for each in self._tables for name in tables.get(each, ())]
            return completed(names, incomplete)
        return completed((), incomplete)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return *value* as it is; a usage error where it is empty."""
        if value == "":
            self.fail("the value is empty", param, ctx)
        return value


class RunName(click.ParamType[str]):
    """A run: its directory, or its name below runs/, which a shell completes."""

    name = "text"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return what a word that begins with *incomplete* may become, the newest run first."""
        with contextlib.suppress(HarnessError, OSError):
            file = find_project(ctx.params.get("project_file"), Path.cwd())
            runs = sorted((file.parent / RUNS).iterdir(), reverse=True)
            return completed([each.name for each in runs if each.is_dir()], incomplete)
        return completed((), incomplete)


def completed(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Return those of *names* that begin with *incomplete*; if there are none, paths that do."""
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


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


summary_option = click.option(
    "--summary",
    type=FilePath(dir_okay=False),
    help="Write a summary in Markdown to this file.  Where GITHUB_STEP_SUMMARY is set, it is also "
    "appended to that file, with or without this option.",
)


cc_option = click.option(
    "--cc",
    type=Name(),
    metavar="COMPILER",
    help="Compile the kernel with this compiler: its name on the PATH (gcc-11), or its absolute "
    "path.  Tests are compiled with gcc.  [default: kernel.cc of the project file, or gcc]",
)


def reports_of(
    here: Path, junit: Path | str | None, summary: Path | str | None, command: Sequence[str]
) -> Reports:
    """Return the reports of a run that is called in *here*, with those that the user names."""
    page = os.environ.get("GITHUB_STEP_SUMMARY")
    return Reports(
        here / junit if junit else None,
        command,
        summary=here / summary if summary else None,
        job_page=here / page if page else None,
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

# SPDX-License-Identifier: GPL-2.0-only
"""Resolve the requested series: a stack, a path, or a thread of a mailing list."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from pathlib import Path

from harness.errors import UserError
from harness.project import NO_SERIES, Project
from harness.series import lore
from harness.series.read import exists, name_of


def resolve(
    wanted: Sequence[str], project: Project | None, project_file: Path, working_dir: Path
) -> tuple[list[str], list[Path]]:
    """Return the names and the paths of the series *wanted*, the one at the bottom first.

    Paths are relative to *working_dir*, those of the project file to its directory; without a
    *project* only paths can be named.  Raises UserError for what is not there.
    """
    if NO_SERIES in wanted and len(wanted) > 1:
        raise UserError(
            "'none' and a series exclude each other",
            where=shlex.join(word for each in wanted for word in ("--series", each)),
        )
    names: list[str] = []
    paths: list[Path] = []
    stacks = project.stacks if project else {}
    for each in wanted:
        if each in stacks:
            names.append(each)
            paths += [project_file.parent / path for path in stacks[each]]
        elif each != NO_SERIES:
            path = Path(each) if lore.is_asked(each) else working_dir / each
            if not exists(path):
                raise _no_series(each, project, project_file, working_dir)
            names.append(name_of(path))
            paths.append(path)
    return names, paths


def _no_series(
    wanted: str, project: Project | None, project_file: Path, working_dir: Path
) -> UserError:
    stacks = project.stacks if project else {}
    close = difflib.get_close_matches(wanted, stacks, n=1)
    return UserError(
        f"there is no series '{wanted}'",
        where=f"{working_dir / wanted}" + (f", and [stacks] of {project_file}" if project else ""),
        why=f"[stacks] has: {', '.join(stacks) or 'nothing'}" if project else "",
        hint=f"did you mean '{close[0]}'?"
        if close
        else "name a stack, a directory of patches, a patch, an mbox, a maildir or a message-id",
    )

# SPDX-License-Identifier: GPL-2.0-only
"""Whether what is tested is what was posted: ``[posted]`` of the project file and the patches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness import series
from harness.errors import UserError
from harness.project import Project


def unlike_posted(paths: Sequence[Path], project: Project, project_file: Path) -> str:
    """Return why the series at *paths* are not what was posted; empty where they are.

    Each that ``[posted]`` of *project* names is compared, whole, also where only a part of it is
    applied; one at least has to be named.  The text ends with the lines to be written there.
    """
    wanted = {path.resolve() for path in paths}
    named = dict.fromkeys(each for stack in project.stacks.values() for each in stack)
    applied = [each for each in named if (project_file.parent / each).resolve() in wanted]
    pinned = [each for each in applied if each in project.posted]
    table = f"[posted] of {project_file.name}"
    found: dict[str, str] = {}
    for name in pinned or applied:
        try:
            found[name] = series.read(project_file.parent / name).content
        except UserError as error:
            return f"{name} cannot be compared with what was posted: {error.what}"
    lines = " and ".join(
        f'"{name}" = "{content}"'
        for name, content in found.items()
        if content != project.posted.get(name)
    )
    if not applied:
        return f"no applied series can be in {table}: only series of [stacks] can"
    if not pinned:
        return f"{table} has none of the applied series: to bind the entries to one, add {lines}"
    if lines:
        return (
            f"{table} has other digests for the applied series: if the entries hold for them, "
            f"too, write {lines} there"
        )
    return ""

# SPDX-License-Identifier: GPL-2.0-only
"""Whether what is tested is what was posted: ``[posted]`` of the project file and the patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import series
from harness.errors import UserError


def unlike_posted(paths: Sequence[Path], posted: Mapping[str, str], project_file: Path) -> str:
    """Return why the series at *paths* are not what was posted; empty where they are.

    *posted* is ``[posted]`` of *project_file*: the content of series by their paths.  A series is
    compared whole, also where only a part of it is applied.  The text ends with what to do.
    """
    pinned = {(project_file.parent / path).resolve(): path for path in posted}
    named = [pinned[path.resolve()] for path in paths if path.resolve() in pinned]
    if not named:
        return (
            f"[posted] of {project_file.name} has no series that is applied: add "
            f'"PATH" = "{"0" * 16}" and run again, which prints the digits to write there'
        )
    for name in named:
        try:
            content = series.read(project_file.parent / name).content
        except UserError as error:
            return f"{name} cannot be compared with what was posted: {error.what}"
        if content != posted[name]:
            return (
                f"{name} is another series than the one that [posted] of {project_file.name} "
                f'names ({posted[name]}): if they hold for this one too, write "{name}" = '
                f'"{content}" there'
            )
    return ""

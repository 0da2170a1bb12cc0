# SPDX-License-Identifier: GPL-2.0-only
"""Read a stack: series that are applied in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from harness.errors import UserError
from harness.model.spec import Trust
from harness.series.model import Series, Stack
from harness.series.read import read


def read_stack(
    name: str,
    paths: Sequence[Path],
    *,
    upto: int | None = None,
    version: int | None = None,
    trust: Mapping[Path, Trust] | None = None,
) -> Stack:
    """Return the stack of the series at *paths*, the one at the bottom first.

    With *upto* only so many patches are wanted, counted through all series; with *version* that
    version of the series, where there is more than one in it.  *trust* is how far those at some of
    the paths are trusted; that of the others follows from how they came.

    Raises UserError where there are fewer patches, and for what is wrong with one of the series.
    """
    found: list[Series] = []
    left = upto
    for path in paths:
        if left == 0:
            break
        series = read(path, upto=left, version=version)
        if trust and path in trust:
            series = msgspec.structs.replace(series, trust=trust[path])
        found.append(series)
        if left is not None:
            left -= len(series.patches)
    if left:
        total = sum(series.total for series in found)
        raise UserError(
            f"patches up to {upto} are requested, and the series has {total}",
            where=", ".join(map(str, paths)) or name,
        )
    return Stack(name, tuple(found))

# SPDX-License-Identifier: GPL-2.0-only
"""A change of a file as a variant of its functions, where it changes nothing but their bodies."""

from __future__ import annotations

from itertools import pairwise

from harness.mutants.schemata import Variant
from harness.mutants.syntax import File, Function, keeps_state, labels_of


def variants_between(number: int, old: bytes, new: bytes) -> list[Variant] | None:
    """Return the functions of *old* that are other ones in *new*, as the variants *number*.

    None where the change is outside of functions, or in one that keeps a state of its own: then a
    kernel has to be built for it.
    """
    before, after = File(old), File(new)
    mine, theirs = list(before.functions()), list(after.functions())
    if [each.name for each in mine] != [each.name for each in theirs]:
        return None
    if _outside(old, mine) != _outside(new, theirs):
        return None
    found = []
    for one, other in zip(mine, theirs, strict=True):
        if old[one.start : one.end] == new[other.start : other.end]:
            continue
        if keeps_state(before, one.body) or keeps_state(after, other.body):
            return None
        body = new[other.start : other.end]
        labels = labels_of(after, other.body)
        found.append(Variant(number, one.start, one.end, body, labels))
    return found


def _outside(source: bytes, functions: list[Function]) -> list[bytes]:
    """Return what stands between the bodies of *functions*."""
    edges = [0, *(edge for each in functions for edge in (each.start, each.end)), len(source)]
    return [source[start:end] for start, end in list(pairwise(edges))[::2]]

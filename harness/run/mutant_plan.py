# SPDX-License-Identifier: GPL-2.0-only
"""The faults that a run plants: those of the changed lines that were requested."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec

from harness.digest import digest
from harness.errors import UserError
from harness.model.mutants import Mutant, Status
from harness.model.records import MutantEnded, MutantsPlanned
from harness.model.spec import MutantsAsked
from harness.mutants import equivalent
from harness.mutants.plan import can_hold, diff_of, mutants_of
from harness.run.prepare import Selected
from harness.run.schedule import now
from harness.series.changed import ChangedLines, changed_lines
from harness.series.planted import contents

_PLACE = re.compile(r"(?P<path>.+?)(?::(?P<first>\d+)(?:-(?P<last>\d+))?)?")


class Place(msgspec.Struct, frozen=True):
    """A file or some of its lines, as it is written on a command line."""

    path: str
    first: int = 1
    last: int | None = None

    @classmethod
    def parse(cls, text: str) -> Place:
        """Return what *text* names; UserError where that is no place."""
        found = _PLACE.fullmatch(text)
        if found is None or (found["last"] and int(found["last"]) < int(found["first"])):
            raise UserError(
                f"'{text}' is not a position in a file",
                where="--at",
                hint="write FILE, FILE:LINE or FILE:FIRST-LAST, such as mm/memory.c:97-120",
            )
        if not found["first"]:
            return cls(found["path"])
        first = int(found["first"])
        return cls(found["path"], first, int(found["last"] or first))

    def has(self, path: str, line: int, last_line: int) -> bool:
        """Whether any of these lines is there."""
        within = last_line >= self.first and (self.last is None or line <= self.last)
        return within and fnmatchcase(path, self.path)


Planting = tuple[MutantsPlanned, list[MutantEnded]]
"""Faults, and the results of those that need no test."""


def planting(selected: Selected, asked: MutantsAsked) -> Planting:
    """Return the faults for the series of *selected*.

    Raises UserError where the series has no line that can hold one, or none is asked for.
    """
    changed = changed_lines(selected.tree)
    if not changed:
        raise UserError("without a series no line is a changed one", where="harness mutants")
    _check_patches(asked, changed)
    lines: dict[str, dict[int, int]] = {}
    for patch in changed:
        for path, numbers in patch.files.items():
            if can_hold(path):
                lines.setdefault(path, {}).update(dict.fromkeys(numbers, patch.number))
    sources = contents(selected.tree, lines)
    found: list[Mutant] = []
    for path, source in sources.items():
        found += mutants_of(path, source, lines[path], len(found) + 1)
    chosen = _chosen(found, asked, lines)
    made = tuple(_whole(each, sources[each.path], selected) for each in chosen)
    listed = equivalent.load(selected.request.project_dir / equivalent.FILE_NAME)
    entries = [entry for entry in listed if entry.holds_for(selected.stack.name)]
    reasons = {entry.mutant: str(entry) for entry in entries}
    ends = [
        MutantEnded(number=each.number, status=Status.EQUIVALENT, reason=reasons[each.name])
        for each in made
        if each.name in reasons
    ]
    notes = equivalent.stale(entries, found)
    if asked.together and any(each.alone for each in made):
        count = sum(each.alone for each in made)
        made = tuple(each for each in made if not each.alone)
        notes += (f"left out: {count} faults that each need a separate kernel",)
        if not made:
            raise UserError("no fault is left to plant", where="--together", why=notes[-1])
    return (
        MutantsPlanned(time=now(), mutants=made, min_score=asked.min_score, notes=notes),
        [each for each in ends if any(each.number == one.number for one in made)],
    )


def _check_patches(asked: MutantsAsked, changed: Sequence[ChangedLines]) -> None:
    for number in asked.patches:
        if not 1 <= number <= len(changed):
            raise UserError(
                f"there is no patch {number}", where="--patch", why=f"the series has {len(changed)}"
            )


def _chosen(
    found: Sequence[Mutant], asked: MutantsAsked, lines: Mapping[str, Iterable[int]]
) -> list[Mutant]:
    places = [Place.parse(text) for text in asked.at]
    chosen = [
        each
        for each in found
        if (not asked.patches or each.patch in asked.patches)
        and (not places or any(p.has(each.path, each.line, each.last_line) for p in places))
    ]
    if not chosen:
        where = ", ".join(asked.at) or ", ".join(f"patch {number}" for number in asked.patches)
        raise UserError(
            "there is no changed line in which a fault could be planted",
            where=where or "harness mutants",
            why=f"changed C files: {', '.join(sorted(lines)) or 'none'}; "
            f"{len(found)} faults could be planted in all of them",
        )
    if asked.sample is not None and asked.sample < len(chosen):
        first = sorted(chosen, key=lambda each: digest(each.name))[: asked.sample]
        chosen = sorted(first, key=lambda each: each.number)
    return chosen


def _whole(mutant: Mutant, source: bytes, selected: Selected) -> Mutant:
    place = f"{mutant.path}:{mutant.line}"
    return msgspec.structs.replace(
        mutant,
        diff=diff_of(source, mutant),
        rerun=selected.request.rerun_mutant(selected.spec, place),
    )

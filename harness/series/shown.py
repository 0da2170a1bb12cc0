# SPDX-License-Identifier: GPL-2.0-only
"""The output of ``harness series show --json``; docs/series.md explains it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from harness.series import diff
from harness.series.model import Patch, Series, Stack, Trailer

SCHEMA = 1


class ShownTrailer(msgspec.Struct, frozen=True, kw_only=True):
    """A trailer that a reply gives."""

    name: str
    value: str
    sender: str
    message_id: str
    foreign: bool
    """It names another person than the one who sent the reply."""


class ShownFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a patch names."""

    name: str
    added: int
    """Lines."""
    removed: int


class ShownPatch(msgspec.Struct, frozen=True, kw_only=True):
    """One patch."""

    number: int
    total: int
    subject: str
    author: str
    where: str
    files: tuple[ShownFile, ...]
    added: int
    removed: int
    trailers: tuple[ShownTrailer, ...]


class ShownSeries(msgspec.Struct, frozen=True, kw_only=True):
    """One series of the stack."""

    title: str
    version: int
    total: int
    """How many patches the whole series has; ``patches`` are those that were asked for."""
    cover: bool
    """Whether it has a cover letter."""
    trust: str
    """``own`` or ``stranger``, by how it came."""
    base_commit: str
    change_id: str
    prerequisites: tuple[str, ...]
    links: tuple[str, ...]
    digest: str
    content: str
    """What ``[posted]`` of harness.toml has."""
    trailers: tuple[ShownTrailer, ...]
    patches: tuple[ShownPatch, ...]
    notes: tuple[str, ...]
    """What was chosen where there was a choice, and what was left out."""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A stack: series that are applied in order."""

    schema: int = SCHEMA
    name: str
    series: tuple[ShownSeries, ...]


def show(stack: Stack) -> Shown:
    """Return the description of *stack*."""
    return Shown(name=stack.name, series=tuple(map(_series, stack.series)))


def files_of(patch: Patch) -> Iterator[ShownFile]:
    """Yield the files that *patch* names, with how many lines it adds to and removes from each."""
    found = diff.find(patch.diff.decode(errors="surrogateescape"))
    counts: dict[str, tuple[int, int]] = {}
    for name, added, removed in found.counts if found else ():
        before = counts.get(name, (0, 0))
        counts[name] = (before[0] + added, before[1] + removed)
    for name in patch.files:
        added, removed = counts.get(name, (0, 0))
        yield ShownFile(name=name, added=added, removed=removed)


def _series(series: Series) -> ShownSeries:
    return ShownSeries(
        title=series.title,
        version=series.version,
        total=series.total,
        cover=series.cover is not None,
        trust=series.trust,
        base_commit=series.base_commit,
        change_id=series.change_id,
        prerequisites=series.prerequisites,
        links=series.links,
        digest=series.digest,
        content=series.content,
        trailers=tuple(map(_trailer, series.trailers)),
        patches=tuple(map(_patch, series.patches)),
        notes=series.notes,
    )


def _patch(patch: Patch) -> ShownPatch:
    files = tuple(files_of(patch))
    return ShownPatch(
        number=patch.number,
        total=patch.total,
        subject=patch.subject,
        author=patch.author,
        where=patch.where,
        files=files,
        added=sum(file.added for file in files),
        removed=sum(file.removed for file in files),
        trailers=tuple(map(_trailer, patch.trailers)),
    )


def _trailer(trailer: Trailer) -> ShownTrailer:
    return ShownTrailer(
        name=trailer.name,
        value=trailer.value,
        sender=trailer.sender,
        message_id=trailer.message_id,
        foreign=trailer.foreign,
    )

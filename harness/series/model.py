# SPDX-License-Identifier: GPL-2.0-only
"""Values of a series, and of a series applied to a kernel tree."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.digest import digest
from harness.model.results import CoverMail
from harness.model.spec import Trust
from harness.series.content import content_digest
from harness.source.trust import least


class Trailer(msgspec.Struct, frozen=True):
    """A line such as ``Reviewed-by: A <a@example.org>`` that a reply gives."""

    name: str
    value: str
    sender: str
    """The From: header of the reply."""
    message_id: str
    foreign: bool = False
    """It names another person than the one who sent the reply."""


class Patch(msgspec.Struct, frozen=True):
    """One patch."""

    number: int
    """Its place in the series, from 1."""
    total: int
    """Of how many, by its subject (or by the count of patches where subjects say nothing)."""
    subject: str
    """Without the bracketed prefix."""
    author: str
    """``Name <address>``, from the first line of the body where it has a From: of its own."""
    path: Path
    """The file it was read from."""
    where: str
    """The file, and which mail of it if it holds several."""
    files: tuple[str, ...]
    """Every kernel file that it names, sorted; both names of a renamed one."""
    data: bytes
    """What is applied: a mail with author, date, subject, message and diff, in UTF-8, with no trace
    of how it was sent."""
    sha256: str
    """Of *data*, in hexadecimal."""
    sender: str = ""
    """The From: header of its mail; empty for what is no mail."""
    diff_line: int | None = None
    """The line of the file, from 1, at which the diff begins; None where an encoding hides it."""
    trailers: tuple[Trailer, ...] = ()
    """The trailers of replies to it; they are not applied."""

    @property
    def diff(self) -> bytes:
        """The part of *data* that changes files."""
        return self.data.partition(b"\n---\n\n")[2]

    @property
    def content(self) -> str:
        """16 hex digits, the same as long as it changes the same lines."""
        return content_digest([self.diff])

    @property
    def title(self) -> str:
        """Its name in messages: ``patch 2/9 "mm: do this"``."""
        return f'patch {self.number}/{self.total} "{self.subject}"'


class OneMail(msgspec.Struct, frozen=True):
    """A mail of a series, by itself."""

    message_id: str
    """Without angle brackets; empty where it has none."""
    subject: str
    """Decoded, with its prefix."""
    patch: Patch | None
    """None for a cover letter."""


class Series(msgspec.Struct, frozen=True):
    """Patches in the order in which they apply; only those that were asked for."""

    title: str
    version: int
    """The N of ``[PATCH vN]``; 1 where there is none."""
    total: int
    """How many patches the whole series has; more than ``patches`` where a part was asked for."""
    patches: tuple[Patch, ...]
    cover: str | None
    """The text of the cover letter's mail, headers included."""
    digest: str
    """Of the patches' bytes in order (SHA-256 in hexadecimal); the cover letter has no part."""
    content: str
    """16 hex digits, the same as long as the patches change the same lines, whatever their messages
    say; see :mod:`harness.series.content`."""
    base_commit: str = ""
    """The commit that the series was written for (``base-commit:``); empty if it names none."""
    change_id: str = ""
    """``change-id:``, the same for all versions of a series."""
    prerequisites: tuple[str, ...] = ()
    """The patch ids after ``prerequisite-patch-id:``."""
    links: tuple[str, ...] = ()
    """``Link:`` in the cover letter."""
    trailers: tuple[Trailer, ...] = ()
    """The trailers of replies to the cover letter; they are not applied."""
    cover_mail: CoverMail = msgspec.field(default_factory=CoverMail)
    """What a reply needs to know of the cover letter, or of the first patch where there is none."""
    notes: tuple[str, ...] = ()
    """Choices that were made, and what was left out."""
    trust: Trust = Trust.OWN
    """The default trust, by its origin."""

    @property
    def lineage(self) -> str:
        """The common identity of the versions of a series: change-id, or title and first author."""
        first = self.patches[0] if self.patches else None
        return self.change_id or f"{self.title}\n{first.author if first else ''}"


class Stack(msgspec.Struct, frozen=True):
    """Series that are applied in order; an empty stack is the unpatched source."""

    name: str
    """By which expectations know it."""
    series: tuple[Series, ...] = ()

    @property
    def title(self) -> str:
        """Of all series; empty for none."""
        return " + ".join(series.title for series in self.series)

    @property
    def cover_mail(self) -> CoverMail:
        """Of the topmost series that was posted; an empty one where none was."""
        mails = (series.cover_mail for series in reversed(self.series))
        return next((mail for mail in mails if mail.message_id), CoverMail())

    @property
    def trust(self) -> Trust:
        """A stranger's where one of the series is."""
        return least(series.trust for series in self.series)

    @property
    def lineage(self) -> str:
        """The same for all versions of the same series."""
        return digest(*(series.lineage for series in self.series))

    @property
    def patches(self) -> tuple[Patch, ...]:
        """In the order in which they apply."""
        return tuple(patch for series in self.series for patch in series.patches)

    @property
    def notes(self) -> tuple[str, ...]:
        """Of all series."""
        return tuple(note for series in self.series for note in series.notes)

    @property
    def digest(self) -> str:
        """Of the patches' bytes in order, as a series has it; empty for none."""
        return digest(*(patch.data for patch in self.patches)) if self.series else ""


class AppliedPatch(msgspec.Struct, frozen=True):
    """A patch that has become a commit."""

    number: int
    subject: str
    """The first line of the commit's message."""
    commit: str


class Tree(msgspec.Struct, frozen=True):
    """A base with series on it: a commit in the cache's git repository."""

    repo: Path
    commit: str
    tree: str
    """The id of the tree: two commits with one tree hold the same files."""
    base_commit: str
    patches: tuple[AppliedPatch, ...]

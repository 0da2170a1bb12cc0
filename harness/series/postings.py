# SPDX-License-Identifier: GPL-2.0-only
"""Which mails were sent together, and which of these are versions of one series.

Mails belong together by what they answer to (Message-ID, In-Reply-To, References); where they have
no such headers, as files of ``git format-patch``, by their version and count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parseaddr

import msgspec

from harness.series.mail import Kind, Mail

Version = tuple[int, int]
"""Major and minor: ``v2.1`` is (2, 1)."""


@dataclass
class Posting:
    """The patches that were sent together as one version of a series."""

    version: Version
    total: int | None
    """None for patches without a number."""
    resend: bool
    mails: dict[int, list[Mail]] = field(default_factory=dict)
    """By number; without numbers, in their order."""
    covers: list[Mail] = field(default_factory=list)
    taken: dict[int, Version] = field(default_factory=dict)
    """Numbers that are of an earlier version, as this one replaces a part of it."""

    @property
    def all(self) -> list[Mail]:
        """Every mail."""
        return [mail for _, mails in sorted(self.mails.items()) for mail in mails]

    @property
    def first(self) -> Mail:
        """The mail that names it best."""
        return (self.covers or self.all)[0]

    @property
    def size(self) -> int:
        """How many patches it should have; one more than its subjects say is still whole."""
        if self.total is None:
            return len(self.mails)
        extra = self.total + 1
        return extra if max(self.mails) == extra and self.holds(self.total) else self.total

    def holds(self, last: int) -> bool:
        """Return whether all patches from 1 to *last* are there."""
        return all(number in self.mails for number in range(1, last + 1))

    def is_whole(self, upto: int | None) -> bool:
        """Return whether everything is there that is asked for."""
        return self.holds(self.size if upto is None else min(upto, self.size))

    @property
    def date(self) -> float:
        """When it was sent, as far as known."""
        return max((mail.date or 0.0 for mail in self.all), default=0.0)

    @property
    def label(self) -> str:
        """``v3 of "mm: do this"``."""
        return f'{version_text(self.version)} of "{self.title}"'

    @property
    def title(self) -> str:
        """That of the cover letter, or of the first patch."""
        return self.first.subject.title or "(no subject)"

    @property
    def change_ids(self) -> set[str]:
        """What its mails say after ``change-id:``."""
        return {mail.change_id for mail in [*self.all, *self.covers]} - {""}

    @property
    def senders(self) -> set[str]:
        """Their addresses and names, in lower case."""
        mails = [*self.all, *self.covers]
        named = {parseaddr(mail.sender)[0].lower() for mail in mails}
        return (named | {mail.address for mail in mails}) - {""}


def version_text(version: Version) -> str:
    """Return ``v3`` or ``v2.1``."""
    return f"v{version[0]}.{version[1]}" if version[1] else f"v{version[0]}"


def without_doubles(mails: Iterable[Mail]) -> list[Mail]:
    """Leave out mails that came twice, as over two lists."""
    seen: set[str] = set()
    kept = []
    for mail in mails:
        if mail.message_id not in seen:
            kept.append(mail)
        if mail.message_id:
            seen.add(mail.message_id)
    return kept


class Threads:
    """Which mails are of one thread."""

    def __init__(self, mails: Iterable[Mail]) -> None:
        self._above: dict[str, str] = {}
        self.by_id = {mail.message_id: mail for mail in mails if mail.message_id}
        for mail in mails:
            for parent in mail.parents:
                self._join(self.name(mail), parent)

    @staticmethod
    def name(mail: Mail) -> str:
        """Return what the mail is known by."""
        return mail.message_id or f"{mail.where}:{mail.raw.start}:{mail.part}"

    def root(self, mail: Mail) -> str:
        """Return what all mails of its thread have in common."""
        return self._find(self.name(mail))

    def above(self, mail: Mail) -> list[Mail]:
        """Return the mails that it answers to, directly or not, the nearest first."""
        found: list[Mail] = []
        waiting = list(mail.parents)
        seen = {mail.message_id}
        while waiting:
            name = waiting.pop(0)
            if name in seen:
                continue
            seen.add(name)
            parent = self.by_id.get(name)
            if parent:
                found.append(parent)
                waiting += parent.parents
        return found

    def _find(self, name: str) -> str:
        while (upper := self._above.get(name, name)) != name:
            name = upper
        return name

    def _join(self, one: str, two: str) -> None:
        first, second = self._find(one), self._find(two)
        if first != second:
            self._above[max(first, second)] = min(first, second)


def _of(mail: Mail) -> Version:
    return mail.subject.version or 1, mail.subject.minor or 0


def settle_versions(
    patches: Sequence[Mail], covers: Sequence[Mail], threads: Threads, notes: list[str]
) -> tuple[list[Mail], list[Mail]]:
    """Decide what subjects leave open: a kernel's version, one that only the cover letter says."""
    plain = {
        (mail.subject.version or 1, mail.subject.total)
        for mail in [*patches, *covers]
        if mail.subject.minor is None
    }

    def of_series(mail: Mail) -> Mail:
        about = mail.subject
        if about.minor is None or (about.version, about.total) in plain:
            return mail
        # [PATCH v6.1 1/3] is for Linux 6.1: there is no v6 of which it could be a part.
        return msgspec.structs.replace(
            mail, subject=msgspec.structs.replace(about, version=None, minor=None)
        )

    patches = [of_series(mail) for mail in patches]
    covers = [of_series(mail) for mail in covers]
    settled = []
    told: set[str] = set()
    for mail in patches:
        about = mail.subject
        above = threads.above(mail)
        if about.total is None and about.version:
            # A new version of one patch, sent as an answer to the old one.
            old = next((m for m in above if m.subject.number and m.kind is Kind.PATCH), None)
            if old and old.subject.title == about.title and _of(old) < _of(mail):
                about = msgspec.structs.replace(
                    about, number=old.subject.number, total=old.subject.total
                )
        elif about.version is None and about.total:
            cover = _cover_above(mail, above, covers)
            if cover and cover.subject.version:
                about = msgspec.structs.replace(
                    about, version=cover.subject.version, minor=cover.subject.minor
                )
                if cover.where not in told:
                    told.add(cover.where)
                    notes.append(
                        f"v{about.version} is what the cover letter says, and the patches do not "
                        f"say: {cover.subject.raw}"
                    )
        settled.append(msgspec.structs.replace(mail, subject=about))
    return settled, covers


def _cover_above(mail: Mail, above: Sequence[Mail], covers: Sequence[Mail]) -> Mail | None:
    """Return the cover letter, or the first patch, whose version a patch without one shares."""
    total = mail.subject.total
    for parent in above:
        if parent.subject.total == total and parent.subject.number in (0, 1):
            return parent
    fitting = [cover for cover in covers if cover.subject.total == total]
    loose = not mail.message_id and not mail.parents
    if len(fitting) == 1 and (loose or not mail.parents):
        return fitting[0]
    return None


def gather_postings(
    patches: Sequence[Mail], covers: Sequence[Mail], threads: Threads
) -> list[Posting]:
    """Gather the patches that were sent together."""
    found: dict[tuple[object, ...], Posting] = {}
    by_version: dict[tuple[Version, int | None], dict[str, Mail]] = {}
    for cover in covers:
        same_version = by_version.setdefault((_of(cover), cover.subject.total), {})
        same_version[cover.message_id] = cover
    for mail in patches:
        about = mail.subject
        loose = not mail.message_id
        thread: object = None if loose else threads.root(mail)
        # Without numbers each mail of a thread is a series of its own; loose files are one.
        alone = None if about.total is not None or loose else threads.name(mail)
        # One version may be there twice: as RFC, and in answer to it as what is to be applied.
        answered = _answered(mail, by_version.get((_of(mail), about.total), {}), threads)
        key = (thread, _of(mail), about.total, about.resend, alone, answered)
        posting = found.setdefault(key, Posting(_of(mail), about.total, about.resend))
        number = about.number if about.number is not None else len(posting.mails) + 1
        posting.mails.setdefault(number, []).append(mail)
    postings = [part for posting in found.values() for part in _parts(posting, patches)]
    postings = _joined(postings)
    for posting in postings:
        posting.covers = _covers_of(posting, postings, covers, threads)
    for posting in postings:
        near = [c for c in posting.covers if c.subject.resend == posting.resend]
        posting.covers = near or posting.covers
        for number, mails in posting.mails.items():
            same = {mail.fingerprint for mail in mails}
            if len(same) == 1 and mails[0].message_id:
                posting.mails[number] = mails[:1]
    return postings


def _answered(mail: Mail, covers: Mapping[str, Mail], threads: Threads) -> str:
    """Return the identity of the nearest cover letter that a patch answers to; empty for none.

    *covers* are those of its version, by identity.  Where there is only one, it does not matter.
    """
    if len(covers) < 2:
        return ""
    above = (each.message_id for each in threads.above(mail))
    return next((each for each in above if each in covers), "")


def _covers_of(
    posting: Posting, postings: Sequence[Posting], covers: Sequence[Mail], threads: Threads
) -> list[Mail]:
    fitting = [
        cover
        for cover in covers
        if _of(cover) == posting.version and cover.subject.total == posting.total
    ]
    roots = {threads.root(mail) for mail in posting.all}
    near = [cover for cover in fitting if threads.root(cover) in roots]
    known = {cover.message_id: cover for cover in near}
    answered = {_answered(mail, known, threads) for mail in posting.all}
    if own := [cover for cover in near if cover.message_id in answered]:
        return own
    if near:
        return near
    alike = [
        each
        for each in postings
        if (each.version, each.total) == (posting.version, posting.total)
        and not each.all[0].message_id
    ]
    loose = [cover for cover in fitting if not cover.message_id]
    if len(alike) > 1 and len(loose) == len(alike):
        at = next((n for n, each in enumerate(alike) if each is posting), None)
        return [] if at is None else [loose[at]]
    if posting.all[0].message_id:
        # Sent without threading.
        return [
            cover for cover in fitting if not cover.parents and cover.address in posting.senders
        ]
    return loose


def _parts(posting: Posting, order: Sequence[Mail]) -> list[Posting]:
    """Take apart loose patches that are several whole series, one after the other in a file."""
    if posting.total is None or posting.first.message_id:
        return [posting]
    own = {id(mail) for mail in posting.all}
    parts: list[Posting] = []
    for mail in (each for each in order if id(each) in own):
        number = mail.subject.number or 0
        if not parts or number in parts[-1].mails:
            parts.append(Posting(posting.version, posting.total, posting.resend))
        parts[-1].mails[number] = [mail]
    return parts if all(part.is_whole(None) for part in parts) else [posting]


def _joined(postings: list[Posting]) -> list[Posting]:
    """Join what was sent without threading: parts of one version by one sender."""
    kept: list[Posting] = []
    for posting in postings:
        for other in kept:
            if (
                posting.total is not None
                and (posting.version, posting.total, posting.resend)
                == (other.version, other.total, other.resend)
                and not posting.mails.keys() & other.mails.keys()
                and posting.senders & other.senders
            ):
                other.mails |= posting.mails
                break
        else:
            kept.append(posting)
    return kept


def gather_lineages(postings: Sequence[Posting], threads: Threads) -> list[list[Posting]]:
    """Gather the versions of each series."""
    lineages: list[list[Posting]] = []
    for posting in postings:
        related = [
            lineage
            for lineage in lineages
            if any(_are_versions(posting, other, threads) for other in lineage)
        ]
        merged = [posting]
        for lineage in related:
            merged = lineage + merged
            lineages.remove(lineage)
        lineages.append(merged)
    order = {id(posting): at for at, posting in enumerate(postings)}
    return sorted(lineages, key=lambda each: min(order[id(posting)] for posting in each))


def _are_versions(one: Posting, two: Posting, threads: Threads) -> bool:
    """Return whether two postings are versions, or parts, of one series."""
    if one.covers and two.covers and one.covers[0].subject.title == two.covers[0].subject.title:
        return True
    if one.change_ids & two.change_ids:
        return True
    smaller = min(len(one.all), len(two.all))
    common = {m.subject.title for m in one.all} & {m.subject.title for m in two.all}
    if len(common) * 2 >= smaller:
        return True
    if not one.first.message_id and not two.first.message_id:
        # Files that do not tell; each may be a part of a damaged whole.
        return not (one.is_whole(None) and two.is_whole(None))
    same_thread = {threads.root(m) for m in one.all} & {threads.root(m) for m in two.all}
    return (
        bool(same_thread)
        and bool(one.senders & two.senders)
        and one.version != two.version
        and ((one.total is None) == (two.total is None) or _follows(one, two, threads))
    )


def _follows(one: Posting, two: Posting, threads: Threads) -> bool:
    """Return whether a patch without a number is a later version of a series with numbers.

    It is one if it says so and answers to the series' first mail: to another one, it may be a
    later version of a fix on top of that.
    """
    old, new = sorted((one, two), key=lambda each: each.version)
    if new.total is not None:
        return False
    above = threads.above(new.first)
    return bool(above) and any(above[0] is each for each in (old.first, *old.covers))

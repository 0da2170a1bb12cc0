# SPDX-License-Identifier: GPL-2.0-only
"""Selects from mails one version of one series, complete and in order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.errors import UserError
from harness.series.mail import Kind, Mail
from harness.series.postings import (
    Posting,
    Threads,
    Version,
    gather_lineages,
    gather_postings,
    settle_versions,
    version_text,
    without_doubles,
)

_MOST_NAMED = 20


class Choice(msgspec.Struct, frozen=True):
    """The selected series, and why it was selected."""

    posting: Posting
    lineage: tuple[Posting, ...]
    """All available versions of the series."""
    notes: tuple[str, ...]


def choose(
    mails: Sequence[Mail],
    path: Path,
    *,
    pick: int | None = None,
    version: int | None = None,
    upto: int | None = None,
) -> Choice:
    """Return the posting to apply: the newest whole version, or *version*.

    *pick* is the number of the series where there are several.  Raises UserError where there is no
    patch, where there are several series and none was picked, or where *version* is not there.  A
    posting that is not whole is returned only where there is none that is.
    """
    mails = without_doubles(mails)
    patches = [mail for mail in mails if mail.kind is Kind.PATCH]
    notes: list[str] = []
    if not patches:
        below = [mail for mail in mails if mail.kind is Kind.REPLY and mail.scissors]
        if len(below) != 1:
            raise _no_patch(mails, path)
        notes.append(f"{below[0].where} is a reply; the patch below its scissors line is read")
        patches = below
        mails = [*(mail for mail in mails if mail is not below[0]), below[0]]
    _refuse_mixture(patches, mails)
    threads = Threads(mails)
    covers = [mail for mail in mails if mail.kind is Kind.COVER]
    patches, covers = settle_versions(patches, covers, threads, notes)
    lineages = gather_lineages(gather_postings(patches, covers, threads), threads)
    lineage = _one_lineage(lineages, threads, path, pick, upto)
    for posting in sorted(lineage, key=lambda each: each.version):
        _fill_in(posting, lineage, threads)
    chosen = _one_version(lineage, path, version, upto)
    _find_cover(chosen, mails, threads)
    notes += _tell(chosen, lineage, lineages, mails, path)
    return Choice(chosen, tuple(lineage), tuple(notes))


def _refuse_mixture(patches: Sequence[Mail], mails: Sequence[Mail]) -> None:
    """Refuse files that neither a number nor a thread assigns to the series."""
    loose = [mail for mail in patches if not mail.message_id]
    plain = [mail for mail in loose if mail.subject.number is None]
    if plain and len(plain) < len(loose):
        raise UserError(
            "some patches have a number in their subject and some have none",
            where=plain[0].where,
            why=f"Subject: {plain[0].subject.raw or '(none)'}",
            hint="take it out, or number the whole series with git format-patch -n",
        )
    odd = [m for m in mails if m.kind is Kind.OTHER and not (m.message_id or m.has_diffstat)]
    if plain and odd:
        raise UserError(
            "this mail holds no diff",
            where=odd[0].where,
            why=f"Subject: {odd[0].subject.raw or '(none)'}",
            hint="take it out of the series if it is no patch",
        )


def _one_lineage(
    lineages: Sequence[list[Posting]],
    threads: Threads,
    path: Path,
    pick: int | None,
    upto: int | None,
) -> list[Posting]:
    """Return the only series; raise UserError with the names of all if there are several."""
    if pick is not None:
        if not 1 <= pick <= len(lineages):
            raise UserError(
                f"there is no series {pick} in this file",
                where=str(path),
                why=_names(lineages),
            )
        return lineages[pick - 1]
    if len(lineages) == 1:
        return lineages[0]
    roots = [_root(lineage, lineages, threads) for lineage in lineages]
    if roots.count(True) == 1 and _one_thread(lineages, threads):
        # The others were sent as answers to it: a counter-proposal, a fix on top.
        return lineages[roots.index(True)]
    # Beside a numbered series, what is there by less than half is a stray mail.  More may be what
    # was meant, with a hole.
    candidates = [each for each in lineages if any(_may_be_meant(p, upto) for p in each)]
    if len(candidates) == 1 and any(posting.total for posting in candidates[0]):
        return candidates[0]
    candidates = list(lineages)
    raise UserError(
        f"the file holds {len(candidates)} different series",
        where=str(path),
        why=_names(lineages),
        hint=f"choose one: --series '{path}#1' for the first, or save each in a file of its own",
    )


def _may_be_meant(posting: Posting, upto: int | None) -> bool:
    most = 2 * len(posting.mails) > posting.size
    return most or bool(posting.covers) or posting.is_whole(upto)


def _one_thread(lineages: Sequence[list[Posting]], threads: Threads) -> bool:
    roots = [
        {threads.root(mail) for posting in lineage for mail in posting.all} for lineage in lineages
    ]
    return bool(set.intersection(*roots))


def _root(lineage: list[Posting], all_of: Sequence[list[Posting]], threads: Threads) -> bool:
    """Return whether no mail of the series answers to one of another series."""
    others = {
        mail.message_id
        for other in all_of
        if other is not lineage
        for posting in other
        for mail in [*posting.all, *posting.covers]
    }
    mine = {m.message_id for posting in lineage for m in [*posting.all, *posting.covers]}
    return not any(
        parent.message_id in others - mine
        for posting in lineage
        for mail in posting.all
        for parent in threads.above(mail)
    )


def _names(lineages: Sequence[list[Posting]]) -> str:
    rows = []
    for number, lineage in enumerate(lineages, 1):
        newest = max(lineage, key=lambda each: each.version)
        rows.append(
            f"{number}: {newest.label}, {_count(newest)}, from {newest.first.address or '?'} "
            f"({newest.first.where})"
        )
    more = len(rows) - _MOST_NAMED
    return "\n".join([*rows[:_MOST_NAMED], *([f"and {more} more"] if more > 0 else [])])


def _count(posting: Posting) -> str:
    have, size = len(posting.mails), posting.size
    if have != size:
        return f"{have} of {size} patches"
    return f"{size} patch{'es' if size != 1 else ''}"


def _fill_in(posting: Posting, lineage: Sequence[Posting], threads: Threads) -> None:
    """Add unchanged patches of the previous version to a posting of a few new patches.

    It is one if its spelling says so (v2.1), or if each of its patches answers to the old patch of
    the same number.
    """
    if posting.total is None or posting.is_whole(None):
        return
    older = [
        each
        for each in lineage
        if each.version < posting.version and each.total == posting.total and each.is_whole(None)
    ]
    if not older:
        return
    base = max(older, key=lambda each: (each.version, each.resend, each.date))
    numbers = {
        mail.message_id: number
        for each in older
        for number, mails in each.mails.items()
        for mail in mails
        if mail.message_id
    }
    # The nearest old patch counts: where each patch answers to the one before it, others follow.
    answers = all(
        number
        == next((numbers[m.message_id] for m in threads.above(mail) if m.message_id in numbers), 0)
        for number, mails in posting.mails.items()
        for mail in mails
    )
    if not (answers or (posting.version[1] and base.version[0] == posting.version[0])):
        return
    for number, mails in base.mails.items():
        if number not in posting.mails:
            posting.mails[number] = mails
            posting.taken[number] = base.taken.get(number, base.version)
    posting.covers = posting.covers or base.covers


def _one_version(
    lineage: Sequence[Posting], path: Path, version: int | None, upto: int | None
) -> Posting:
    def rank(posting: Posting) -> tuple[bool, bool, Version, bool, float]:
        # A patch without number beside a numbered series is a part of nothing, unless it is newer.
        meant = posting.total is not None or posting.version > newest
        return (meant, posting.is_whole(upto), posting.version, posting.resend, posting.date)

    newest = max((each.version for each in lineage if each.total is not None), default=(0, 0))
    if version is None:
        return max(lineage, key=rank)
    fitting = [posting for posting in lineage if posting.version[0] == version]
    if not fitting:
        there = sorted(lineage, key=lambda each: each.version)
        raise UserError(
            f"there is no v{version} of this series",
            where=str(path),
            why="\n".join(f"{posting.label}, {_count(posting)}" for posting in there),
            hint=f"--series-version {max(lineage, key=rank).version[0]}",
        )
    return max(fitting, key=rank)


def _find_cover(chosen: Posting, mails: Sequence[Mail], threads: Threads) -> None:
    """Return the cover letter without a number that the patches answer to."""
    if chosen.covers or chosen.total is None:
        return
    own = {mail.message_id for mail in chosen.all}
    for mail in chosen.all:
        if chosen.taken.get(mail.subject.number or 0):
            continue
        for parent in threads.above(mail):
            starts = not parent.parents and parent.address == mail.address
            if (
                parent.kind in (Kind.OTHER, Kind.PULL)
                and parent.message_id not in own
                and (parent.has_diffstat or starts)
            ):
                chosen.covers = [parent]
                return
    if not any(mail.message_id for mail in chosen.all):
        loose = [m for m in mails if m.kind is Kind.OTHER and m.has_diffstat and not m.message_id]
        chosen.covers = loose if len(loose) == 1 else []


def _tell(
    chosen: Posting,
    lineage: Sequence[Posting],
    lineages: Sequence[Sequence[Posting]],
    mails: Sequence[Mail],
    path: Path,
) -> list[str]:
    """Return notes on what was selected and what was left out."""
    notes = []
    if chosen.taken:
        new = sorted(set(chosen.mails) - set(chosen.taken))
        old = sorted({version_text(version) for version in chosen.taken.values()})
        notes.append(
            f"{version_text(chosen.version)} replaces patch {', '.join(map(str, new))}; "
            f"the others are of {', '.join(old)}"
        )
    if chosen.total is not None and chosen.size > chosen.total:
        notes.append(f"patch {chosen.size}/{chosen.total} is read as the last of {chosen.size}")
    left = []
    for posting in (each for group in lineages for each in group):
        if posting is not chosen and not set(_names_of(posting)) <= set(_names_of(chosen)):
            related = any(posting is each for each in lineage)
            label = version_text(posting.version) if related else posting.label
            again = "another sending of " if posting.version == chosen.version and related else ""
            left.append(f"{again}{label} ({_count(posting)})")
    used = set(_names_of(chosen))
    others = Counter(
        mail.kind.value
        for mail in mails
        if mail.kind not in (Kind.PATCH, Kind.COVER) and mail.where not in used
    )
    pulls = [
        f'the pull request "{mail.subject.raw}"'
        for mail in mails
        if mail.kind is Kind.PULL and mail.where not in used
    ]
    others.pop(Kind.PULL.value, 0)
    left += [_plural(count, kind) for kind, count in others.items()] + pulls
    if left:
        notes.append(f"{path.name}: {chosen.label} is read; left out: {', '.join(left)}")
    return notes


def _names_of(posting: Posting) -> list[str]:
    return [mail.where for mail in [*posting.all, *posting.covers]]


def _plural(count: int, kind: str) -> str:
    if count == 1:
        return f"1 {kind}"
    plural = {"reply": "replies", "mail without a diff": "mails without a diff"}
    plural |= {
        "mail of a robot": "mails of robots",
        Kind.TOO_LARGE.value: "mails that are too large",
    }
    return f"{count} {plural.get(kind, kind + 's')}"


def _no_patch(mails: Sequence[Mail], path: Path) -> UserError:
    """Return the error for mails without a patch."""
    by_kind: dict[Kind, list[Mail]] = defaultdict(list)
    for mail in mails:
        by_kind[mail.kind].append(mail)
    if len(mails) == 1:
        (mail,) = mails
        what = {
            Kind.REPLY: "this mail is a reply, not a patch",
            Kind.PULL: "this mail is a pull request, not a patch",
            Kind.COVER: "the series holds a cover letter and no patch",
            Kind.TOO_LARGE: "this mail is too large for a patch",
            Kind.ROBOT: "this mail is of a robot, not a patch",
        }.get(mail.kind, "this mail holds no diff")
        hint = "pull it into a git repository and name that: --source REPOSITORY#BRANCH"
        return UserError(
            what,
            where=mail.where,
            why=f"Subject: {mail.subject.raw or '(none)'}",
            hint=hint if mail.kind is Kind.PULL else "name a file that holds the patches",
        )
    if set(by_kind) == {Kind.COVER}:
        what = "the series holds a cover letter and no patch"
    else:
        what = f"there is no patch among these {len(mails)} mails"
    why = ", ".join(_plural(len(group), kind.value) for kind, group in by_kind.items())
    return UserError(what, where=str(path), why=why, hint="save the whole thread, patches included")

# SPDX-License-Identifier: GPL-2.0-only
"""Read a series, and refuse an incomplete one."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from email.utils import getaddresses
from pathlib import Path

import msgspec

from harness.digest import digest
from harness.errors import UserError
from harness.model.results import CoverMail
from harness.model.spec import Trust
from harness.series import commits, diff, files, lore, quilt
from harness.series.choose import Choice, choose
from harness.series.content import content_digest
from harness.series.files import Files
from harness.series.mail import Content, Kind, Mail, content_of, index
from harness.series.mime import decode_words
from harness.series.model import OneMail, Patch, Series, Trailer
from harness.series.origin import trust_of
from harness.series.patch import make
from harness.series.postings import Posting, version_text

_PICK = re.compile(r"(.+)#(\d{1,4})$")
_BASE = re.compile(r"^base-commit:\s*([0-9a-f]{7,64})\b", re.M | re.I)
_PREREQUISITE = re.compile(r"^prerequisite-patch-id:\s*([0-9a-f]{7,64})\b", re.M | re.I)
_LINK = re.compile(r"^Link:\s*(https?://\S+)", re.M | re.I)


def exists(path: Path) -> bool:
    """Return whether something is at *path*, with or without ``#N`` or ``#BASE..TIP`` behind it.

    That is taken for granted of a message-id and of a URL.
    """
    if path.exists() or split_pick(path)[0].exists() or commits.split(path) is not None:
        return True
    return lore.is_asked(str(path))


def split_pick(path: Path) -> tuple[Path, int | None]:
    """Return the file and, of ``FILE#2``, the 2: the second of several series in it."""
    found = _PICK.fullmatch(path.name)
    if found and not path.exists():
        return path.with_name(found[1]), int(found[2])
    return path, None


def name_of(path: Path) -> str:
    """Return the name by which expectations know the series at *path*: without suffixes."""
    asked = commits.split(path)
    if asked:
        return commits.name_of(asked[2], asked[0])
    if lore.is_asked(str(path)):
        return re.sub(r"[^\w.+@-]", "_", lore.message_id(str(path)))
    place = split_pick(path)[0].resolve()
    if place.is_file() and place.name == quilt.SERIES:
        place = place.parent
    return place.name if place.is_dir() else files.without_packing(place).stem


def read(path: Path, *, upto: int | None = None, version: int | None = None) -> Series:
    """Return the series at *path*, which is whatever holds one: docs/series.md.

    The order is that of the numbers in the subjects (``[PATCH v10 1/9]``), of a quilt ``series``
    file, or of the file names where no subject has a number.  Of several versions the newest whole
    one is read, or *version*.  With *upto* only the patches 1 to *upto* are wanted: later ones are
    left out, and need not be there.  Raises UserError for a series that has holes or doubles, and
    for a file that holds several series of which none was chosen (``FILE#2``).  A series that has
    fewer than *upto* patches is wanted whole; it is for a stack to say whether that is enough.
    """
    if upto is not None and upto < 1:
        raise UserError(f"the part of the series asked for ends at {upto}", where=str(path))
    asked = commits.split(path)
    remote = lore.is_asked(str(path))
    if asked is None and not remote:
        return _read(path, upto, version)
    with tempfile.TemporaryDirectory(prefix="series-") as name:
        scratch = Path(name)
        saved = commits.save(*asked, scratch) if asked else lore.fetch(str(path), scratch)
        try:
            series = _read(saved, upto, version)
        except UserError as error:
            parts = (error.where, error.why, error.hint)
            where, why, hint = (part.replace(str(saved), str(path)) for part in parts)
            raise UserError(error.what, where=where, why=why, hint=hint) from None
        patches = (
            msgspec.structs.replace(
                patch, path=path, where=patch.where.replace(str(saved), str(path))
            )
            for patch in series.patches
        )
        trust = Trust.STRANGER if remote else Trust.OWN
        return msgspec.structs.replace(series, patches=tuple(patches), trust=trust)


def read_mail(path: Path) -> OneMail:
    """Return what the mail at *path* is by itself, whatever series it belongs to.

    Raises UserError where it is neither a patch nor a cover letter.
    """
    with Files(files.find(path)) as opened:
        mails = [mail for raw in opened.mails() for mail in index(opened, raw)]
        if len(mails) != 1 or mails[0].kind not in (Kind.PATCH, Kind.COVER):
            found = ", ".join(mail.kind.value for mail in mails) or "nothing"
            raise UserError(
                "this is not a mail of a series", where=str(path), why=f"it is: {found}"
            )
        mail = mails[0]
        patch = None
        if mail.kind is Kind.PATCH:
            patch, _ = make(opened, mail, 1, 1, 1, lenient=False)
        return OneMail(mail.message_id.partition("#")[0], mail.subject.raw, patch)


def _read(path: Path, upto: int | None, version: int | None) -> Series:
    place, pick = split_pick(path)
    found = files.find(place)
    with Files(found) as opened:
        mails = [mail for raw in opened.mails() for mail in index(opened, raw)]
        if found.quilt:
            if version is not None or pick is not None:
                raise UserError(
                    "a quilt directory is one series, so there is nothing to choose",
                    where=str(path),
                )
            posting, notes = _of_quilt(mails), found.notes
        else:
            choice = choose(mails, place, pick=pick, version=version, upto=upto)
            posting, notes = choice.posting, (*found.notes, *choice.notes)
            _refuse_doubles(posting, place)
            _refuse_holes(choice, place, upto, opened)
        series = _series(opened, posting, mails, place, upto, notes, quilt=found.quilt)
        return msgspec.structs.replace(
            series, trust=trust_of(found, opened, [*posting.all, *posting.covers])
        )


def _series(
    opened: Files,
    posting: Posting,
    mails: Sequence[Mail],
    path: Path,
    upto: int | None,
    notes: Sequence[str],
    *,
    quilt: bool,
) -> Series:
    total = posting.size
    last = total if upto is None else min(upto, total)
    told = list(notes)
    patches: list[Patch] = []
    replies = _Replies(mails)
    for number in range(1, last + 1):
        mail = posting.mails[number][0]
        patch, more = make(
            opened,
            mail,
            number,
            total,
            posting.version[0],
            lenient=quilt,
            trailers=replies.trailers(mail),
        )
        patches.append(patch)
        told += more
    _refuse_links(patches)
    cover = posting.covers[0] if posting.covers else None
    about = content_of(opened, cover).text if cover else ""
    first = content_of(opened, posting.mails[1][0]).text
    if cover:
        title = cover.subject.title
    elif total == 1:
        title = patches[0].subject
    else:
        title = name_of(path)
    base = _BASE.search(about) or _BASE.search(first)
    named = [mail.change_id for mail in (*posting.covers, *posting.mails[1]) if mail.change_id]
    return Series(
        title=title,
        version=posting.version[0],
        total=total,
        patches=tuple(patches),
        cover=f"Subject: {cover.subject.raw}\n\n{about}" if cover else None,
        digest=digest(*(patch.data for patch in patches)),
        content=content_digest(patch.diff for patch in patches),
        base_commit=base[1] if base else "",
        change_id=named[0] if named else "",
        prerequisites=tuple(_PREREQUISITE.findall(about) or _PREREQUISITE.findall(first)),
        links=tuple(_LINK.findall(about)),
        trailers=replies.trailers(cover) if cover else (),
        cover_mail=_cover_mail(opened, cover or posting.mails[1][0]),
        notes=tuple(told),
    )


def _cover_mail(opened: Files, mail: Mail) -> CoverMail:
    content = content_of(opened, mail)
    return CoverMail(
        # What is attached to a mail has no identity of its own.
        message_id=f"<{mail.message_id.partition('#')[0]}>" if mail.message_id else "",
        subject=mail.subject.raw,
        sender=content.header("From"),
        to=_people(content, "To"),
        cc=_people(content, "Cc"),
    )


def _people(content: Content, name: str) -> tuple[str, ...]:
    found = content.headers.headers.get_all(name, []) if content.headers else []
    # A name is decoded when it is found: it may have a comma in it.
    return tuple(
        f"{decode_words(name)} <{address}>" if name else address
        for name, address in getaddresses([str(each) for each in found])
        if address
    )


class _Replies:
    """The replies that give trailers, by the mail that they are about."""

    def __init__(self, mails: Sequence[Mail]) -> None:
        by_id = {mail.message_id: mail for mail in mails if mail.message_id}
        self._about: dict[str, list[Mail]] = {}
        self._same: dict[str, list[Mail]] = {}
        for mail in mails:
            if mail.kind is Kind.PATCH:
                self._same.setdefault(mail.fingerprint, []).append(mail)
            if mail.kind is not Kind.REPLY or not mail.trailers:
                continue
            seen: set[str] = set()
            parent = self._parent(mail, by_id)
            # A reply to a reply is about what that one is about.
            while parent and parent.kind is Kind.REPLY and parent.message_id not in seen:
                seen.add(parent.message_id)
                parent = self._parent(parent, by_id)
            if parent and parent.kind is not Kind.REPLY:
                self._about.setdefault(parent.message_id, []).append(mail)

    @staticmethod
    def _parent(mail: Mail, by_id: dict[str, Mail]) -> Mail | None:
        return next((by_id[each] for each in mail.parents if each in by_id), None)

    def trailers(self, mail: Mail) -> tuple[Trailer, ...]:
        """Return what replies to *mail* give, and to the same patch in other versions."""
        found: dict[tuple[str, str], Trailer] = {}
        for same in [mail, *self._same.get(mail.fingerprint, [])]:
            for reply in self._about.get(same.message_id, []) if same.message_id else []:
                for trailer in reply.trailers:
                    found.setdefault((trailer.name.lower(), trailer.value), trailer)
        return tuple(found.values())


def _of_quilt(mails: Sequence[Mail]) -> Posting:
    """Return all patches in the order of the files; what holds no diff is refused later."""
    posting = Posting((1, 0), None, resend=False)
    posting.mails = {number: [mail] for number, mail in enumerate(mails, 1)}
    return posting


def _refuse_doubles(posting: Posting, path: Path) -> None:
    if len(posting.covers) > 1:
        raise UserError(
            "two mails are the cover letter",
            where=f"{posting.covers[0].where}\n{posting.covers[1].where}",
        )
    total = posting.total
    for number, mails in sorted(posting.mails.items()):
        if total is not None and number > posting.size:
            raise UserError(
                f"a patch says it is number {number} of {total}",
                where=mails[0].where,
                why=f"Subject: {mails[0].subject.raw}",
            )
        if len(mails) > 1:
            raise UserError(
                f"two patches are number {number} of {total}",
                where=f"{mails[0].where}\n{mails[1].where}",
                why=f"{mails[0].subject.raw}\n{mails[1].subject.raw}",
                hint="keep one of them",
            )
    if 0 in posting.mails:
        raise UserError("a patch is number 0", where=str(path))


def _refuse_holes(choice: Choice, path: Path, upto: int | None, opened: Files) -> None:
    posting = choice.posting
    if posting.is_whole(upto):
        return
    for other in choice.lineage:
        _refuse_mixture(posting, other, path)
    total = posting.size
    last = total if upto is None else min(upto, total)
    missing = [number for number in range(1, last + 1) if number not in posting.mails]
    present = {mail.subject.title for mail in posting.all}
    cover = content_of(opened, posting.covers[0]).text if posting.covers else ""
    names = _name_missing(missing, total, present, cover)
    tail = missing == list(range(missing[0], total + 1)) and missing[0] > 1
    why = "missing: " + "\n".join(names)
    raise UserError(
        f"the series is incomplete: {len(missing)} of {total} patches missing",
        where=str(path),
        why="\n".join([why, *choice.notes]),
        hint=f"if only the first {missing[0] - 1} are wanted, say --upto {missing[0] - 1}"
        if tail
        else "add what is missing",
    )


def _refuse_mixture(posting: Posting, other: Posting, path: Path) -> None:
    """Refuse parts of several postings that would be one if their subjects agreed."""
    if other is posting or other.mails.keys() & posting.mails.keys():
        return
    for what, one, two in (
        ("versions", version_text(posting.version), version_text(other.version)),
        ("lengths", f"{posting.total} patches", f"{other.total} patches"),
    ):
        if one != two:
            raise UserError(
                f"the series holds patches of different {what}",
                where=str(path),
                why=f"{posting.all[0].where} says {one}\n{other.all[0].where} says {two}",
                hint="keep the patches of one version only",
            )


def _refuse_links(patches: Sequence[Patch]) -> None:
    """Refuse a file below a symbolic link that the series itself makes."""
    links: set[str] = set()
    for patch in patches:
        found = diff.find(patch.diff.decode(errors="surrogateescape"))
        links |= set(found.links) if found else set()
        for name in patch.files:
            way = next((link for link in sorted(links) if name.startswith(f"{link}/")), None)
            if way:
                raise UserError(
                    f"{patch.title} reaches outside the tree",
                    where=patch.where,
                    why=f"it writes to {name}, and {way} is a symbolic link",
                    hint="do not use this series before you know why",
                )


def _name_missing(missing: list[int], total: int, present: set[str], cover: str) -> list[str]:
    """Return ``2/9 mm: its title`` for each missing patch, as far as the cover letter tells.

    Its shortlog is sorted by author, so a title belongs to a number for sure only if one is
    missing, or if all are by one author.
    """
    numbers = [f"{number}/{total}" for number in missing]
    groups = _shortlog(cover)
    absent = [title for group in groups for title in group if title not in present]
    if len(absent) == len(missing) and (len(groups) == 1 or len(missing) == 1):
        return [f"{number} {title}" for number, title in zip(numbers, absent, strict=True)]
    return numbers


def _shortlog(cover: str) -> list[list[str]]:
    """Return the titles of a cover letter's shortlog, by author (git-shortlog(1), -w72,2,4)."""
    groups = []
    for body in re.findall(r"^\S.* \(\d+\):\n((?:  +\S.*\n)+)", cover, re.M):
        titles: list[str] = []
        for line in body.splitlines():
            if line.startswith("    ") and titles:  # a long title goes on
                titles[-1] += " " + line.strip()
            else:
                titles.append(line.strip())
        groups.append(titles)
    return groups

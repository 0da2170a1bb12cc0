# SPDX-License-Identifier: GPL-2.0-only
"""Reading a series, and refusing one that is not whole."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from harness.errors import UserError
from harness.series.content import changes
from harness.series.mail import Mail, changed_files, split
from harness.series.model import Patch, Series
from harness.store import digest

_NAMES = "*.patch"


def read(path: Path, *, upto: int | None = None) -> Series:
    """Return the series at *path*: a directory of ``*.patch`` files, one such file, or an mbox.

    The order is that of the numbers in the subjects (``[PATCH v10 1/9]``), or of the file names
    where no subject has one.  With *upto* only the patches 1 to *upto* are wanted: later ones are
    left out, and need not be there.  Raises UserError for a series that has holes or doubles, is
    of mixed versions, or holds a file that is no patch.  A series that has fewer than *upto*
    patches is wanted whole; it is for a stack to say whether that is enough.
    """
    files = _files(path)
    mails: list[Mail] = []
    for file in files:
        try:
            data = file.read_bytes()
        except OSError as error:
            raise UserError("the patch cannot be read", where=str(file), why=str(error)) from error
        mails += split(file, data)
    covers = [mail for mail in mails if mail.number == 0]
    numbered = _order([mail for mail in mails if mail.number != 0], covers, path, upto)
    if not numbered:
        raise UserError("the series holds a cover letter and no patch", where=str(path))
    total = numbered[0][1].total or len(numbered)
    wanted = _select(numbered, total, covers, path, upto)
    patches = tuple(
        Patch(
            number=number,
            total=total,
            subject=mail.subject,
            author=mail.author,
            path=mail.path,
            files=changed_files(mail),
            data=mail.data,
            sha256=hashlib.sha256(mail.data).hexdigest(),
        )
        for number, mail in wanted
    )
    if covers:
        title = covers[0].subject
    elif total == 1:
        title = patches[0].subject
    else:
        title = path.stem if path.is_file() else path.resolve().name
    return Series(
        title=title,
        version=wanted[0][1].version,
        total=total,
        patches=patches,
        cover=covers[0].data.decode(errors="replace") if covers else None,
        digest=digest(*(patch.data for patch in patches)),
        content=digest(*(_bytes(changes(mail.diff)) for _, mail in wanted))[:16],
    )


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(
            "the series is not there",
            where=str(path),
            hint="name a directory of git format-patch files, a .patch file or an mbox",
        )
    files = sorted(file for file in path.glob(_NAMES) if not file.name.startswith("."))
    if not files:
        raise UserError(
            "the directory holds no patches",
            where=str(path),
            why=f"no file in it is named {_NAMES}",
            hint=f"git format-patch -o {path} BASE..TIP",
        )
    return files


def _order(
    mails: list[Mail], covers: list[Mail], path: Path, upto: int | None
) -> list[tuple[int, Mail]]:
    """Return the patches by number, having refused a mixture of series."""
    if upto is not None and upto < 1:
        raise UserError(f"the part of the series asked for ends at {upto}", where=str(path))
    if len(covers) > 1:
        raise UserError(
            "two mails are the cover letter", where=f"{covers[0].where}\n{covers[1].where}"
        )
    counted = [mail for mail in mails if mail.number is not None]
    if not counted:
        return list(enumerate(mails, 1))
    if len(counted) != len(mails):
        odd = next(mail for mail in mails if mail.number is None)
        raise UserError(
            "some patches have a number in their subject and some have none",
            where=odd.where,
            why=f"Subject: {odd.raw_subject}",
            hint="take it out, or number the whole series with git format-patch -n",
        )
    _refuse_mixture([*covers, *counted], path)
    by_number: dict[int, Mail] = {}
    for mail in counted:
        number, total = mail.number or 0, mail.total or 0
        if number > total:
            raise UserError(
                f"a patch says it is number {number} of {total}",
                where=mail.where,
                why=f"Subject: {mail.raw_subject}",
            )
        other = by_number.setdefault(number, mail)
        if other is not mail:
            raise UserError(
                f"two patches are number {number} of {total}",
                where=f"{other.where}\n{mail.where}",
                why=f"{other.raw_subject}\n{mail.raw_subject}",
                hint="keep one of them",
            )
    return sorted(by_number.items())


def _refuse_mixture(mails: list[Mail], path: Path) -> None:
    first = mails[0]
    for mail in mails[1:]:
        for what, one, two in (
            ("versions", f"v{first.version}", f"v{mail.version}"),
            ("lengths", f"{first.total} patches", f"{mail.total} patches"),
        ):
            if one != two:
                raise UserError(
                    f"the series holds patches of different {what}",
                    where=str(path),
                    why=f"{first.where} says {one}\n{mail.where} says {two}",
                    hint="keep the patches of one version only",
                )


def _select(
    numbered: list[tuple[int, Mail]],
    total: int,
    covers: list[Mail],
    path: Path,
    upto: int | None,
) -> list[tuple[int, Mail]]:
    """Return the patches 1 to *upto* (or to the last), having refused holes."""
    last = total if upto is None else min(upto, total)
    wanted = [(number, mail) for number, mail in numbered if number <= last]
    missing = sorted(set(range(1, last + 1)) - {number for number, _ in wanted})
    if missing:
        present = {mail.subject for _, mail in numbered}
        names = _name_missing(missing, total, present, covers)
        tail = missing == list(range(missing[0], total + 1)) and missing[0] > 1
        raise UserError(
            f"the series is not whole: {len(missing)} of {total} patches missing",
            where=str(path),
            why="missing: " + "\n".join(names),
            hint=f"if only the first {missing[0] - 1} are wanted, say --upto {missing[0] - 1}"
            if tail
            else "add what is missing",
        )
    return wanted


def _name_missing(
    missing: list[int], total: int, present: set[str], covers: list[Mail]
) -> list[str]:
    """Return ``2/9 mm: its title`` for each missing patch, as far as the cover letter tells.

    Its shortlog is sorted by author, so a title belongs to a number for sure only if one is
    missing, or if all are by one author.
    """
    numbers = [f"{number}/{total}" for number in missing]
    groups = _shortlog(covers[0]) if covers else []
    absent = [title for group in groups for title in group if title not in present]
    if len(absent) == len(missing) and (len(groups) == 1 or len(missing) == 1):
        return [f"{number} {title}" for number, title in zip(numbers, absent, strict=True)]
    return numbers


def _shortlog(cover: Mail) -> list[list[str]]:
    """Return the titles of a cover letter's shortlog, by author (git-shortlog(1), -w72,2,4)."""
    text = cover.data.decode(errors="replace").replace("\r\n", "\n")
    groups = []
    for body in re.findall(r"^\S.* \(\d+\):\n((?:  +\S.*\n)+)", text, re.M):
        titles: list[str] = []
        for line in body.splitlines():
            if line.startswith("    ") and titles:  # a long title goes on
                titles[-1] += " " + line.strip()
            else:
                titles.append(line.strip())
        groups.append(titles)
    return groups

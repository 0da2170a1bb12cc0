# SPDX-License-Identifier: GPL-2.0-only
"""A range of commits as a series: ``REPOSITORY#BASE..TIP``."""

from __future__ import annotations

import re
from pathlib import Path

from harness.errors import UserError
from harness.proc.git import git

_RANGE = re.compile(r"(.+?)#([^#]*?)\.\.([^#]*)")
_FORMAT = (
    "format-patch", "--stdout", "--numbered", "--binary", "--full-index", "--no-signature",
    "--no-attach", "--no-thread", "--no-base", "--no-notes", "--no-signoff", "--no-to", "--no-cc",
    "--no-ext-diff", "--no-textconv", "--no-cover-letter", "--subject-prefix=PATCH",
    "--src-prefix=a/", "--dst-prefix=b/", "--pretty=mboxrd", "--end-of-options",
)  # fmt: skip
_LIMIT_S = 600


def split(path: Path) -> tuple[Path, str, str] | None:
    """Return repository, base and tip of a range; None if *path* is not a range."""
    found = _RANGE.fullmatch(str(path))
    if found is None or path.exists():
        return None
    repository = Path(found[1])
    return (repository, found[2], found[3]) if repository.is_dir() else None


def name_of(tip: str, repository: Path) -> str:
    """Return the name of a series that ends at *tip*: its branch, or the repository."""
    return re.sub(r"[^\w.+-]", "_", tip.rpartition("/")[2]) or repository.resolve().name


def save(repository: Path, base: str, tip: str, directory: Path) -> Path:
    """Write the commits of the range to an mbox in *directory*; return it.

    Raises UserError if the range is unknown, empty, or has merges, which a series cannot express.
    """
    span = f"{base or 'HEAD'}..{tip or 'HEAD'}"
    where = f"{repository}#{base}..{tip}"
    merges = git("rev-list", "--merges", "--count", "--end-of-options", span, cwd=repository)
    if not merges.ok:
        raise UserError("git does not know this range", where=where, why=merges.stderr)
    if merges.text != "0":
        raise UserError(
            "the range has merges, which cannot be patches",
            where=where,
            why=f"{merges.text} merges",
            hint="rebase it, or test the tip itself: --source REPOSITORY#TIP --series none",
        )
    mails = git(*_FORMAT, span, cwd=repository, limit_s=_LIMIT_S)
    if not mails.ok:
        raise UserError("git cannot write the patches", where=where, why=mails.stderr)
    if not mails.stdout:
        raise UserError("the range has no commits", where=where)
    path = directory / f"{name_of(tip, repository)}.mbox"
    # As mboxrd, so that a line of a message cannot be taken for the next mail's first.
    path.write_bytes(
        re.sub(rb"^From [0-9a-f]{40,64} ", b"From mboxrd@z ", mails.stdout, flags=re.M)
    )
    return path

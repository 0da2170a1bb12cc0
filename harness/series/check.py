# SPDX-License-Identifier: GPL-2.0-only
"""Checks of a patch that need no compiler: sign-offs, ``Fixes:`` tags, style."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from email.utils import parseaddr
from pathlib import Path

from harness.errors import MachineError
from harness.model.checks import Finding, Severity
from harness.proc.git import git
from harness.proc.packages import install
from harness.proc.process import capture, find
from harness.proc.sandbox import Sandbox
from harness.series.model import Patch
from harness.series.position import Lines, line_in_file

_SIGNED = re.compile(r"^Signed-off-by:\s*(.+)$", re.M | re.I)
_FIXES = re.compile(r"^(?P<tag>Fixes:)(?P<rest>.*)$", re.M | re.I)
_FIXES_FORM = re.compile(r"\s*(?P<id>[0-9a-f]{5,64})\s+\((?P<quoted>\"(?P<title>.*)\")\)\s*")
_SHORTEST_ID = 12
_REPORT = re.compile(r"^(?P<level>ERROR|WARNING|CHECK):(?P<type>[A-Z0-9_]+): (?P<text>.*)$")
_PLACE = re.compile(r"^#(?P<at>\d+): ?(?:FILE: (?P<file>.+):(?P<line>\d+):)?")
_LEVELS = {"ERROR": Severity.ERROR, "WARNING": Severity.WARNING, "CHECK": Severity.NOTE}
_CHECKPATCH = "scripts/checkpatch.pl"
_LIMIT_S = 300

Known = Callable[[str], str | None]
"""Returns the title of the commit with this (short) id, None where it is not known."""


def check_signed(patch: Patch) -> Iterator[Finding]:
    """Yield faults of the sign-offs: the author's and the sender's are required."""
    message = _message(patch)
    signed = [parseaddr(each) for each in _SIGNED.findall(message)]
    author, sender = parseaddr(patch.author), parseaddr(patch.sender or patch.author)
    if not signed:
        yield Finding(Severity.ERROR, "there is no Signed-off-by")
        return
    if not any(_is_same(author, each) for each in signed):
        yield Finding(Severity.ERROR, f"there is no Signed-off-by of the author, {patch.author}")
    if not _is_same(author, sender) and not any(_is_same(sender, each) for each in signed):
        yield Finding(Severity.ERROR, f"there is no Signed-off-by of the sender, {patch.sender}")
    elif not _is_same(sender, signed[-1]):
        yield Finding(
            Severity.WARNING,
            f"the last Signed-off-by is not the sender's: {signed[-1][1]}, sent by {sender[1]}",
        )


def check_fixes(patch: Patch, titles: Known, *, history: bool) -> Iterator[Finding]:
    """Yield faults of its ``Fixes:`` tags; *titles* returns the titles of the source's commits.

    Without *history* the source has only one commit, so other commits cannot be checked.
    """
    for tag in _FIXES.finditer(_message(patch)):
        words = tag[0].strip()
        form = _FIXES_FORM.fullmatch(tag["rest"])
        if form is None or tag["tag"] != "Fixes:":
            yield Finding(
                Severity.ERROR, f'this is not Fixes: <12 digits or more> ("<title>"): {words}'
            )
            continue
        if len(form["id"]) < _SHORTEST_ID:
            yield Finding(Severity.WARNING, f"the id has fewer than {_SHORTEST_ID} digits: {words}")
        if not history:
            yield Finding(Severity.NOTE, f"the source has no history to look it up in: {words}")
            continue
        title = titles(form["id"])
        if title is None:
            yield Finding(Severity.ERROR, f"the source has no such commit: {words}")
        elif title != form["title"]:
            yield Finding(Severity.ERROR, f'the commit has another title, "{title}": {words}')


def titles_in(repositories: Iterable[Path]) -> Known:
    """Return a function for the titles of all commits in *repositories* (git directories)."""
    places = list(repositories)

    def title(commit: str) -> str | None:
        for repo in places:
            asked = ("log", "-1", "--format=%s", "--end-of-options", f"{commit}^{{commit}}")
            done = git(*asked, repo=repo)
            if done.ok:
                return done.text
        return None

    return title


def check_style(
    patch: Patch,
    lines: Mapping[str, Lines],
    tree: Path,
    scratch: Path,
    sandbox: Sandbox | None,
) -> list[Finding]:
    """Return the findings of checkpatch.pl of *tree*; *scratch* is made, for this patch alone.

    *lines* are those of the patch, which may apply elsewhere than it says.

    Raises MachineError if it cannot run, or ends with an unknown status.
    """
    script = tree / _CHECKPATCH
    if not script.is_file():
        raise MachineError("the tree has no checkpatch", where=str(script))
    if find("perl") is None:
        raise MachineError("perl is not installed", hint=install("perl"))
    scratch.mkdir()
    mail = scratch / f"{patch.number:04d}.patch"
    head = patch.data[: len(patch.data) - len(patch.diff)] + _diffstat(patch)
    mail.write_bytes(head + patch.diff)
    argv = ["perl", str(script), f"--root={tree}", "--show-types", "--no-summary", "--color=never"]
    argv.append("--ignore=UNKNOWN_COMMIT_ID")  # check_fixes knows which commits there are
    done = capture([*argv, str(mail)], cwd=scratch, limit_s=_LIMIT_S, sandbox=sandbox)
    text = done.stdout.decode(errors="replace")
    found = list(_reports(text, patch, lines, head.count(b"\n")))
    words = done.stderr.decode(errors="replace").strip()
    # Status 1 means findings; a broken checkpatch prints other text.
    if done.status not in (0, 1) or (done.status == 1 and not found):
        raise MachineError(
            "checkpatch failed",
            where=str(script),
            why="\n".join((words or text).splitlines()[-6:]) or f"exit status {done.status}",
        )
    if words:
        # It goes on without a part of it that cannot run.
        last = words.splitlines()[-1].strip()
        found.append(Finding(Severity.NOTE, f"checkpatch did not check everything: {last}"))
    return found


def _diffstat(patch: Patch) -> bytes:
    """Return the names of the files as a diffstat has them: checkpatch looks for MAINTAINERS."""
    rows = (f" {name} |\n" for name in patch.files)
    return "".join(rows).encode(errors="surrogateescape")


def _reports(text: str, patch: Patch, lines: Mapping[str, Lines], before: int) -> Iterator[Finding]:
    """Yield what checkpatch has reported; *before* is the number of lines above the diff."""
    # It knows of the patch alone: the line of the tree is that of the line in the diff.
    in_tree = {
        (name, index): line for name, of in lines.items() for line, index in of.in_diff.items()
    }
    rows = text.splitlines()
    for number, row in enumerate(rows):
        report = _REPORT.match(row)
        if not report:
            continue
        place = _PLACE.match(rows[number + 1]) if number + 1 < len(rows) else None
        at = int(place["at"]) - 1 - before if place else -1
        file = (place["file"] or "") if place else ""
        told = int(place["line"]) if place and place["line"] else None
        yield Finding(
            _LEVELS[report["level"]],
            f"{report['type']}: {report['text']}",
            file,
            in_tree.get((file, at), told),
            line_in_file(patch, at if at >= 0 else None),
        )


def at(patch: Patch, lines: Mapping[str, Lines], text: str, file: str, line: int) -> Finding:
    """Return a warning at *file*:*line* of the patched tree, with its place in the patch.

    *lines* are those of the patch.
    """
    mine = lines.get(file)
    index = mine.in_diff.get(line) if mine else None
    return Finding(Severity.WARNING, text, file, line, line_in_file(patch, index))


def _message(patch: Patch) -> str:
    head = patch.data[: len(patch.data) - len(patch.diff)]
    return head.partition(b"\n\n")[2].decode(errors="surrogateescape")


def _is_same(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Return whether two are one person: by address, ignoring case."""
    return one[1].lower() == other[1].lower()

# SPDX-License-Identifier: GPL-2.0-only
"""Finds the diff in a text: where it begins and ends, which files it names, whether it is damaged.

It is read as by ``git apply``: text around and between its parts does not count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import msgspec

_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_GIT = re.compile(r'diff --git ("?[^/\s]+/.+)$')
_SAME = re.compile(r"[^/\s]+/(.+) [^/\s]+/\1$")
_EXTENDED = re.compile(
    r"(?:index [0-9a-f]|(?:old|new|new file|deleted file) mode |(?:dis)?similarity index "
    r"|(?:rename|copy) (?:from|to) |GIT binary patch$|Binary files )"
)
_NAMED = re.compile(r"(?:rename|copy) (?:from|to) (.+)$")
_BINARY = re.compile(r"(?:literal|delta) \d+$")
_MODE = re.compile(r"new (?:file )?mode (\d+)$")
_LINK = "120000"
_ESCAPE = re.compile(r'\\([0-7]{3}|[abfnrtv"\\])')
_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, '"': 34, "\\": 92}
_MARKS = re.compile(r"^(?:diff --git |--- )", re.M)


class Damage(msgspec.Struct, frozen=True):
    """The position at which a diff is damaged."""

    line: int
    """Index of the line, from 0."""
    why: str


class Diff(msgspec.Struct, frozen=True):
    """The diff of a text."""

    start: int
    """Index of its first line, from 0."""
    end: int
    """Index of the line behind it."""
    names: tuple[str, ...]
    """The files it names, sorted; both names of a renamed one."""
    links: tuple[str, ...] = ()
    """Those that it makes symbolic links."""
    counts: tuple[tuple[str, int, int], ...] = ()
    """For each part with hunks: the file, and how many lines it adds and removes."""
    modes: tuple[tuple[str, str], ...] = ()
    """For each file whose mode it sets: its name and the mode in git's form (``100755``)."""
    targets: tuple[tuple[str, str], ...] = ()
    """For each symbolic link that it creates: its name and target."""
    damage: Damage | None = None
    empty: tuple[int, ...] = ()
    """Indices of empty context lines whose single space was lost in transit."""


def find(text: str) -> Diff | None:
    """Return the diff in *text*, whose lines end in a newline; None if there is none."""
    if not _MARKS.search(text):
        return None
    return _remembered(text) if len(text) <= _SHORT else _scan(text)


def _scan(text: str) -> Diff | None:
    return _Scan(text.split("\n")).run()


_SHORT = 1 << 17
"""Characters of a text of which it is remembered where its diff is."""
_remembered = lru_cache(maxsize=128)(_scan)
"""A matrix reads each patch several times for each of its kernels."""


class _Scan:
    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines
        self.at = 0
        self.start: int | None = None
        self.end = 0
        self.names: set[str] = set()
        self.links: set[str] = set()
        self.counts: list[tuple[str, int, int]] = []
        self.modes: list[tuple[str, str]] = []
        self.targets: list[tuple[str, str]] = []
        self.damage: Damage | None = None
        self.empty: list[int] = []

    def run(self) -> Diff | None:
        while self.at < len(self.lines) and self.damage is None:
            begun = self.at
            if self._file():
                if self.start is None:
                    self.start = begun
                self.end = self.at
            else:
                self.at = begun + 1
        if self.start is None:
            return None
        names, links = tuple(sorted(self.names)), tuple(sorted(self.links))
        return Diff(
            self.start,
            self.end,
            names,
            links,
            tuple(self.counts),
            tuple(self.modes),
            tuple(self.targets),
            self.damage,
            tuple(self.empty),
        )

    def _line(self, ahead: int = 0) -> str:
        at = self.at + ahead
        return self.lines[at] if at < len(self.lines) else ""

    def _file(self) -> bool:
        """Go over the part of one file, if one begins here."""
        found = _GIT.match(self._line())
        if found:
            self.at += 1
        names: list[str] = []
        known = binary = False
        mode = ""
        while found and _EXTENDED.match(self._line()):
            known = True
            named = _NAMED.match(self._line())
            if named:
                names.append(_unquote(named[1]))
            if new := _MODE.match(self._line()):
                mode = new[1]
            binary = self._line() == "GIT binary patch"
            self.at += 1
            if binary:
                self._skip_binary()
                break
        if self._line().startswith("--- ") and self._line(1).startswith("+++ "):
            if not _HUNK.match(self._line(2)):
                return False
            names += [file_named(self._line()[4:]), file_named(self._line(1)[4:])]
            self.at += 2
            known = True
            begun = self.at
            while self.damage is None and (hunk := _HUNK.match(self._line())):
                self._hunk(int(hunk[1] or 1), int(hunk[2] or 1))
            self._check_rest()
            self._count([name for name in names if name][-1:], begun, mode)
        if not known:
            return False
        if found and not any(names):
            names += _of_header(found[1])
        self.names |= {name for name in names if name}
        self.links |= {name for name in names[-1:] if mode == _LINK and name}
        self.modes += [(name, mode) for name in names[-1:] if mode and name]
        return True

    def _count(self, names: Sequence[str], begun: int, mode: str) -> None:
        """Note what the hunks since the line *begun* add and remove, and a link's target."""
        lines = self.lines[begun : self.at]
        added = [line[1:] for line in lines if line.startswith("+")]
        removed = sum(line.startswith("-") for line in lines)
        self.counts += [(name, len(added), removed) for name in names]
        if mode == _LINK:
            self.targets += [(name, "\n".join(added)) for name in names]

    def _hunk(self, old: int, new: int) -> None:
        header = self.at
        self.at += 1
        while old > 0 or new > 0:
            if self.at >= len(self.lines) or (
                self.at == len(self.lines) - 1 and not self.lines[self.at]
            ):
                self.damage = Damage(header, "the hunk ends before its last line")
                return
            line = self._line()
            mark = line[:1] or " "
            if mark in " -":
                old -= 1
            if mark in " +":
                new -= 1
            if mark not in " +-\\" or old < 0 or new < 0:
                self.damage = Damage(
                    self.at, f"this line cannot be part of the hunk: {line[:60]!r}"
                )
                return
            if not line:
                self.empty.append(self.at)
            self.at += 1
        if self._line().startswith("\\"):
            self.at += 1

    def _check_rest(self) -> None:
        line = self._line()
        more = re.match(r"[ +](?!\+\+ )\s*\S|-(?!-)\S", line) and not _HUNK.match(line)
        if self.damage is None and more:
            self.damage = Damage(
                self.at, f"the hunk has more lines than its header states: {line[:60]!r}"
            )

    def _skip_binary(self) -> None:
        while _BINARY.match(self._line()):
            while self._line():
                self.at += 1
            self.at += self.at < len(self.lines)


def file_named(text: str) -> str:
    """Return the file of a ``---`` or ``+++`` line, empty for ``/dev/null``."""
    name = _unquote(text.partition("\t")[0].rstrip() if not text.startswith('"') else text)
    if name == "/dev/null":
        return ""
    return _strip(name)


def _strip(name: str) -> str:
    """Return a name without ``a/``, as with ``-p1``."""
    return name if name.startswith("/") else name.partition("/")[2] or name


def _of_header(text: str) -> list[str]:
    """Return the file of ``a/NAME b/NAME``, for a part that only changes a mode."""
    if text.startswith('"'):
        return [_strip(_unquote(text))]
    same = _SAME.match(text)
    return [same[1]] if same else []


def _unquote(text: str) -> str:
    """Undo git's quoting of a name with unusual characters."""
    quoted = re.match(r'"((?:[^"\\]|\\.)*)"', text)
    if not quoted:
        return text.rstrip()

    def octet(found: re.Match[str]) -> str:
        code = found[1]
        return chr(int(code, 8) if code.isdigit() else _ESCAPES[code])

    plain = _ESCAPE.sub(octet, quoted[1])
    try:
        # Octets of UTF-8, one by one.
        return plain.encode("latin-1").decode(errors="surrogateescape")
    except UnicodeEncodeError:
        return plain

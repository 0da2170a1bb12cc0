# SPDX-License-Identifier: GPL-2.0-only
"""Lines folded to the width of the place where they are shown, so that none of them is lost.

Text is folded at blanks, under its own beginning.  A command is folded so that a shell still takes
it whole, and a path not at all: what is cut in two cannot be copied.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.report.text import COMMAND, HINT, NAME, PATH, Span, columns

_WORDS = re.compile(r"\s+|\S+")
_SHELL_WORDS = re.compile(r"\s+|(?:[^\s'\"\\]|\\.|'[^']*'|\"(?:[^\"\\]|\\.)*\")+|\S")
_LABEL = re.compile(r"\s*(?:[\w -]{1,12}:\s+)?")
_GOES_ON = " \\"
_NARROWEST = 24
"""Columns below which nothing is folded: every word would have a line of its own."""


def fold(line: list[Span], width: int) -> list[list[Span]]:
    """Return *line* as lines of at most *width* columns, as far as its paths allow."""
    if width < _NARROWEST or sum(columns(text) for text, _ in line) <= width:
        return [line]
    text = "".join(each for each, _ in line)
    label = _LABEL.match(text)
    indent = columns(label[0]) if label else 0
    hanging = " " * min(indent or 2, width // 3)
    folded: list[list[Span]] = []
    current: list[Span] = []
    used = 0
    for piece, style in _pieces(line, width - len(hanging) - len(_GOES_ON)):
        room = width - (len(_GOES_ON) if style == COMMAND else 0)
        if used + columns(piece) > room and used > len(hanging):
            if current[-1][1] == COMMAND == style:
                current.append((_GOES_ON.lstrip() if current[-1][0].isspace() else _GOES_ON, ""))
            folded.append(_trimmed(current))
            current, used = [(hanging, "")], len(hanging)
            if piece.isspace():
                continue
        current.append((piece, style))
        used += columns(piece)
    return [*folded, _trimmed(current)]


def _pieces(line: list[Span], longest: int) -> Iterator[Span]:
    """Yield what is not to be broken: words and blanks; a word that is too long, in parts."""
    for text, style in line:
        if style in (PATH, HINT, NAME):
            yield text, style
            continue
        for word in (_SHELL_WORDS if style == COMMAND else _WORDS).findall(text):
            if style == COMMAND or columns(word) <= longest:
                yield word, style
                continue
            for start in range(0, len(word), max(1, longest // 2)):
                # Half, as a character may take two columns.
                yield word[start : start + max(1, longest // 2)], style


def _trimmed(line: list[Span]) -> list[Span]:
    while line and line[-1][0].isspace():
        line.pop()
    return line

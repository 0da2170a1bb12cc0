# SPDX-License-Identifier: GPL-2.0-only
"""Foreign text made harmless, wherever it is shown: on a console, or in a file that a CI prints.

Tests, kernels and tools print what they like.  Terminals obey control characters, people believe
what they see, and CI systems take commands from the output of a job.
"""

from __future__ import annotations

import re

_UNUSUAL = re.compile(r"[^\n\t\x20-\x7e]")
"""What may not be printable: Python's ``re`` has no class for that."""
_SIGNS = ("::", "##", "section_", "travis_")
_COMMAND = re.compile(
    r"""
    ^[ \t]*:(?=:)                                # GitHub, at the start of a line
    | \#(?=\#\w*\[)                             # GitHub, Azure, TeamCity
    | s(?=ection_(?:start|end):\d) | t(?=ravis_(?:fold|time):)
    """,
    re.MULTILINE | re.VERBOSE,
)


def visible(text: str) -> str:
    r"""Return *text* with everything that does not print written as an escape, ``\x1b``.

    Line feeds and tabs stay, and CR LF becomes LF.  What goes: control characters (a terminal
    would obey them, XML forbids them), lone surrogates (they cannot be encoded), direction marks
    and other invisible characters (they make a line look like another one), and what a CI system
    would obey (see :func:`defuse`).
    """
    return defuse(_UNUSUAL.sub(_shown, text.replace("\r\n", "\n")))


def defuse(text: str) -> str:
    r"""Return *text* without commands to a CI system: one character of each becomes an escape.

    ``::error::`` and the like count at the start of a line, ``##[``, ``##vso[``, ``##teamcity[``
    and the marks of sections in logs anywhere in it.
    """
    if not any(sign in text for sign in _SIGNS):
        return text
    return _COMMAND.sub(lambda found: found.group()[:-1] + _escape(found.group()[-1]), text)


def defuse_json(document: str) -> str:
    """Return the JSON *document* with the same content and nothing that acts where it is shown.

    ``##`` and characters that do not print are written as JSON's own escapes.  All else that could
    act needs a line's start or a control character, which no string in JSON has.
    """
    text = re.sub("#(?=#)", r"\\u0023", document)
    return text if text.isascii() and "\x7f" not in text else _UNUSUAL.sub(_json_shown, text)


def _shown(found: re.Match[str]) -> str:
    char = found.group()
    return char if char.isprintable() else _escape(char)


def _json_shown(found: re.Match[str]) -> str:
    char = found.group()
    if char.isprintable():
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(rf"\u{units[n]:02x}{units[n + 1]:02x}" for n in range(0, len(units), 2))


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

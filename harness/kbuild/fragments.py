# SPDX-License-Identifier: GPL-2.0-only
"""Configuration fragments: read them, merge them, verify that the kernel accepted them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from harness.digest import digest
from harness.errors import UserError
from harness.foreign import of_os

_SET = re.compile(r"CONFIG_(\w+)=(.+)")
_UNSET = re.compile(r"# CONFIG_(\w+) is not set")


class Option(msgspec.Struct, frozen=True):
    """One requested option."""

    name: str
    """Without ``CONFIG_``."""
    value: str
    """As in a ``.config``: ``y``, ``m``, a number, a quoted string; ``n`` for "is not set"."""
    origin: str
    """``FILE:LINE`` of the request."""
    optional: bool = False
    """Whether it is optional."""
    suite: str = ""
    """The suite that requests it; empty for the user's options."""

    @property
    def line(self) -> str:
        """The option as a line of a ``.config``."""
        if self.value == "n":
            return f"# CONFIG_{self.name} is not set"
        return f"CONFIG_{self.name}={self.value}"


class Fragments(msgspec.Struct, frozen=True):
    """Several fragments merged; the later one overrides the earlier."""

    names: tuple[str, ...]
    options: tuple[Option, ...]
    wishes: tuple[Option, ...] = ()
    """The options that suites request in addition; several may request the same one."""

    @property
    def text(self) -> str:
        """The merged request, as a file for ``KCONFIG_ALLCONFIG``."""
        return "".join(f"{option.line}\n" for option in self.options)

    @property
    def digest(self) -> str:
        """Digest of the request; names, comments and order do not count."""
        return digest(*sorted(option.line for option in self.options))

    def binding(self) -> Fragments:
        """Return the same request with the options of suites required like the user's."""
        options = tuple(msgspec.structs.replace(option, suite="") for option in self.options)
        return msgspec.structs.replace(self, options=options, wishes=())


def varied(fragments: Fragments, name: str, value: str) -> Fragments:
    """Return *fragments* with another value of one option, which others may have to give way to."""
    others = tuple(
        msgspec.structs.replace(option, optional=True)
        for option in fragments.options
        if option.name != name
    )
    mine = Option(name, value, "another value", optional=True)
    return msgspec.structs.replace(fragments, options=(*others, mine))


def load(directory: Path, names: Sequence[str]) -> Fragments:
    """Read ``NAME.config`` of *directory* for each of *names* and merge them.

    Raises UserError for a fragment that does not exist or a line that is not an option.
    """
    merged: dict[str, Option] = {}
    for name in names:
        for option in _read(directory, name):
            merged.pop(option.name, None)
            merged[option.name] = option
    return Fragments(tuple(names), tuple(merged.values()))


def with_companion(fragments: Fragments, suite: str, companion: Fragments) -> Fragments:
    """Return *fragments* with *companion*, which the project has for *suite*.

    Where both name one option, *companion* counts.  What it adds is a wish of the suite.
    """
    options = {option.name: option for option in fragments.options}
    wishes = []
    for option in companion.options:
        mine = options.get(option.name)
        if mine and not mine.suite and mine.line == option.line:
            continue
        wishes.append(msgspec.structs.replace(option, suite=suite))
        options.pop(option.name, None)
        options[option.name] = wishes[-1]
    names = (*fragments.names, *companion.names)
    return Fragments(names, tuple(options.values()), (*fragments.wishes, *wishes))


def with_suite(fragments: Fragments, suite: str, text: str, origin: str) -> Fragments:
    """Return *fragments* with what the ``config`` file of *suite* asks for besides.

    What they have already stays as it is, so that a suite which asks for nothing new does not make
    for another kernel.  A guest loads no modules: what is to be one is built in, and may be missing
    where that cannot be.  *text* is the file's content, *origin* names it.  Raises UserError for a
    line that is not an option.
    """
    taken = {option.name for option in fragments.options}
    decided = {option.name for option in fragments.options if not option.suite}
    decided |= {option.name for option in fragments.wishes if option.suite == suite}
    wishes = {
        option.name: msgspec.structs.replace(option, value="y", optional=True, suite=suite)
        if option.value == "m"
        else msgspec.structs.replace(option, suite=suite)
        for option in _parse(text, origin, origin)
        if option.name not in decided
    }
    new = [option for name, option in wishes.items() if name not in taken]
    return Fragments(
        (*fragments.names, f"suite:{suite}") if new else fragments.names,
        (*fragments.options, *new),
        (*fragments.wishes, *wishes.values()),
    )


def parse(text: str) -> dict[str, str]:
    """Return the options of a ``.config`` by name; those that are not set have the value ``n``."""
    options = {}
    for line in text.splitlines():
        if match := _SET.fullmatch(line):
            options[match[1]] = match[2]
        elif match := _UNSET.fullmatch(line):
            options[match[1]] = "n"
    return options


def dropped(fragments: Fragments, config: str) -> list[tuple[Option, str]]:
    """Return each option that must be taken and was not, with the value that it has in *config*.

    An option that the tree does not know at all is absent from *config* like one whose
    dependencies are not met; both come out as ``n``.
    """
    return [
        (option, got)
        for option, got in not_taken(fragments.options, config)
        if not (option.optional or option.suite)
    ]


def denied(fragments: Fragments, config: str) -> dict[str, list[tuple[Option, str]]]:
    """Return by suite the wishes that *config* does not fulfil, as :func:`dropped` does."""
    found: dict[str, list[tuple[Option, str]]] = {}
    for option, got in not_taken(fragments.wishes, config):
        if not option.optional:
            found.setdefault(option.suite, []).append((option, got))
    return found


def not_taken(options: Iterable[Option], config: str) -> list[tuple[Option, str]]:
    """Return those of *options* whose value in *config* differs, with the value there."""
    got = parse(config)
    return [
        (option, got.get(option.name, "n"))
        for option in options
        if not _equal(option.value, got.get(option.name, "n"))
    ]


def _equal(wanted: str, got: str) -> bool:
    """Compare two values; a number may be written in another base."""
    if wanted == got:
        return True
    try:
        return int(wanted, 0) == int(got, 0)
    except ValueError:
        return False


def _read(directory: Path, name: str) -> list[Option]:
    path = directory / f"{name}.config"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        there = sorted(file.stem for file in directory.glob("*.config"))
        close = difflib.get_close_matches(name, there, n=1)
        raise UserError(
            f"there is no configuration fragment '{name}'",
            where=str(path),
            why=f"available fragments: {', '.join(there) or 'none'}",
            hint=f"did you mean '{close[0]}'?" if close else "",
        ) from None
    except OSError as error:
        raise of_os(error, "a fragment cannot be read", path, kind=UserError) from None
    except UnicodeDecodeError as error:
        raise UserError("a fragment cannot be read", where=str(path), why=str(error)) from None
    return _parse(text, str(path), path.name)


def _parse(text: str, where: str, short: str) -> list[Option]:
    options = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        match = _SET.fullmatch(line) or _UNSET.fullmatch(line)
        if match:
            value = match[2] if match.re is _SET else "n"
            options.append(Option(match[1], value, f"{short}:{number}"))
        elif line and not line.startswith("#"):
            raise UserError(
                "a line of a fragment is not an option",
                where=f"{where}:{number}",
                why=f"'{line}'",
                hint="write CONFIG_NAME=VALUE, or '# CONFIG_NAME is not set'",
            )
    return options

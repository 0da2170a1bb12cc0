# SPDX-License-Identifier: GPL-2.0-only
"""``-k EXPR``: which tests to run, in the words of pytest.

An expression is made of names joined by ``and``, ``or``, ``not`` and parentheses.  A name matches
every test whose own name contains it, whatever the case of the letters; but one that is the whole
name of a test matches that test alone.  A name in single or double quotes may hold any character; a
backslash there stands before a quote or a backslash.  A text that as a whole is the name of a test
needs no quotes, whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from harness.errors import UserError

Predicate = Callable[[str], bool]
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<paren>[()])
        | "(?P<double>(?:[^"\\]|\\.)*)"
        | '(?P<single>(?:[^'\\]|\\.)*)'
        | (?P<word>[^\s()"'\\&|!<>;`]+)
        | (?P<other>\S)
    )""",
    re.VERBOSE | re.DOTALL,
)
_HINT = "for example: -k 'size and not ftruncate'"


def compile_expression(text: str, names: Collection[str]) -> Predicate:
    """Return the predicate over the test *names* that *text* means; an empty one takes all.

    Raises UserError for bad syntax.
    """
    if text in names:
        return lambda name: name == text
    if not text.strip():
        return lambda _name: True
    parser = _Parser(text, names)
    predicate = parser.disjunction()
    if parser.current.text:
        raise parser.error(f"'{parser.current.text}' was not expected here")
    return predicate


class _Token(NamedTuple):
    text: str
    """Empty at the end of the expression."""
    quoted: bool = False
    """Whether it is a name, whatever it looks like."""

    def is_word(self, *words: str) -> bool:
        """Whether it is one of *words*, which have a meaning of their own."""
        return not self.quoted and self.text in words


class _Parser:
    def __init__(self, text: str, names: Collection[str]) -> None:
        self._text = text
        self._names = names
        self._tokens = self._scan()
        self.current = next(self._tokens)

    def error(self, why: str) -> UserError:
        return UserError("the expression is wrong", where=f"-k '{self._text}'", why=why, hint=_HINT)

    def _scan(self) -> Iterator[_Token]:
        for match in _TOKEN.finditer(self._text.rstrip()):
            if match["other"] in ("'", '"'):
                raise self.error(f"the closing {match['other']} is missing")
            if match["other"]:
                raise self.error(f"'{match['other']}' has no meaning outside of quotes")
            quoted = match["double"] if match["single"] is None else match["single"]
            if quoted == "":
                raise self.error("a name is empty")
            if quoted is not None:
                yield _Token(re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL), quoted=True)
            else:
                yield _Token(match["paren"] or match["word"])
        yield _Token("")

    def _take(self) -> _Token:
        token, self.current = self.current, next(self._tokens)
        return token

    def disjunction(self) -> Predicate:
        left = self._conjunction()
        while self.current.is_word("or"):
            self._take()
            left = _either(left, self._conjunction())
        return left

    def _conjunction(self) -> Predicate:
        left = self._negation()
        while self.current.is_word("and"):
            self._take()
            left = _both(left, self._negation())
        return left

    def _negation(self) -> Predicate:
        if self.current.is_word("not"):
            self._take()
            inner = self._negation()
            return lambda name: not inner(name)
        if self.current.is_word("("):
            self._take()
            inner = self.disjunction()
            if not self.current.is_word(")"):
                raise self.error("a ')' is missing")
            self._take()
            return inner
        if self.current.is_word("", ")", "and", "or"):
            before = self.current.text
            raise self.error("a name is missing" + (f" before '{before}'" if before else ""))
        word = self._take().text
        if word in self._names:
            return lambda name: name == word
        wanted = word.lower()
        return lambda name: wanted in name.lower()


def _either(left: Predicate, right: Predicate) -> Predicate:
    return lambda name: left(name) or right(name)


def _both(left: Predicate, right: Predicate) -> Predicate:
    return lambda name: left(name) and right(name)

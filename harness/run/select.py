# SPDX-License-Identifier: GPL-2.0-only
"""``-k EXPR``: which tests to run, in the words of pytest.

An expression is made of names joined by ``and``, ``or``, ``not`` and parentheses.  A name matches
every test whose own name contains it, whatever the case of the letters; but one that is the whole
name of a test matches that test alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator

from harness.errors import UserError

Predicate = Callable[[str], bool]
_TOKEN = re.compile(r"\s*(?:(?P<paren>[()])|(?P<word>[\w:+\-.\[\]/#]+)|(?P<other>\S))")
_HINT = "for example: -k 'size and not ftruncate'"


def compile_expression(text: str, names: Collection[str]) -> Predicate:
    """Return the predicate over the test *names* that *text* means; an empty one takes all.

    Raises UserError for bad syntax.
    """
    if not text.strip():
        return lambda _name: True
    parser = _Parser(text, names)
    predicate = parser.disjunction()
    if parser.current:
        raise parser.error(f"'{parser.current}' was not expected here")
    return predicate


class _Parser:
    def __init__(self, text: str, names: Collection[str]) -> None:
        self._text = text
        self._names = names
        self._tokens = self._scan()
        self.current = next(self._tokens)

    def error(self, why: str) -> UserError:
        return UserError("the expression is wrong", where=f"-k '{self._text}'", why=why, hint=_HINT)

    def _scan(self) -> Iterator[str]:
        for match in _TOKEN.finditer(self._text.rstrip()):
            if match["other"]:
                raise self.error(f"'{match['other']}' has no meaning")
            yield match["paren"] or match["word"]
        yield ""

    def _take(self) -> str:
        token, self.current = self.current, next(self._tokens)
        return token

    def disjunction(self) -> Predicate:
        left = self._conjunction()
        while self.current == "or":
            self._take()
            left = _either(left, self._conjunction())
        return left

    def _conjunction(self) -> Predicate:
        left = self._negation()
        while self.current == "and":
            self._take()
            left = _both(left, self._negation())
        return left

    def _negation(self) -> Predicate:
        if self.current == "not":
            self._take()
            inner = self._negation()
            return lambda name: not inner(name)
        if self.current == "(":
            self._take()
            inner = self.disjunction()
            if self.current != ")":
                raise self.error("a ')' is missing")
            self._take()
            return inner
        if self.current in ("", ")", "and", "or"):
            raise self.error(
                "a name is missing" + (f" before '{self.current}'" if self.current else "")
            )
        word = self._take()
        if word in self._names:
            return lambda name: name == word
        wanted = word.lower()
        return lambda name: wanted in name.lower()


def _either(left: Predicate, right: Predicate) -> Predicate:
    return lambda name: left(name) or right(name)


def _both(left: Predicate, right: Predicate) -> Predicate:
    return lambda name: left(name) and right(name)

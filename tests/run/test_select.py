# SPDX-License-Identifier: GPL-2.0-only
"""The expression of -k."""

from __future__ import annotations

import pytest

from harness.errors import UserError
from harness.run.select import compile_expression

pytestmark = pytest.mark.unit

NAMES = ("mem:size", "mem:size_big", "mem:io", "kvm:Size")
ODD_NAMES = (
    "s:a,b",
    "s:a_b",
    "s:a@b",
    "s:a b",
    "s:not a",
    "s:a or b",
    "s:it's",
    's:say "a"',
    "s:back\\slash",
    "s:a&b",
    "s:größe",
    "-s:-a",
    "s: a ",
    "s:(a",
)


def chosen(text: str, names: tuple[str, ...] = NAMES) -> list[str]:
    selected = compile_expression(text, names)
    return [name for name in names if selected(name)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", list(NAMES)),
        ("size", ["mem:size", "mem:size_big", "kvm:Size"]),
        ("mem:size", ["mem:size"]),
        ("mem:si", ["mem:size", "mem:size_big"]),
        ("mem and not size", ["mem:io"]),
        ("io or kvm", ["mem:io", "kvm:Size"]),
        ("not (io or kvm)", ["mem:size", "mem:size_big"]),
        ("io or mem and big", ["mem:size_big", "mem:io"]),
        ("not not io", ["mem:io"]),
        ("absent", []),
    ],
)
def test_what_an_expression_means(text: str, wanted: list[str]) -> None:
    assert chosen(text) == wanted


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_whole_name_means_that_test_whatever_it_holds(name: str) -> None:
    assert chosen(name, ODD_NAMES) == [name]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a,b or a@b", ["s:a,b", "s:a@b"]),
        ("s:a,b or s:a_b", ["s:a,b", "s:a_b"]),
        ("'a b' or größe", ["s:a b", "s:größe"]),
        ('"it\'s"', ["s:it's"]),
        (r'"say \"a\""', ['s:say "a"']),
        (r"'back\\slash' or 'it\'s'", ["s:it's", "s:back\\slash"]),
        ("'s:not a'", ["s:not a"]),
        ("'not' and s", ["s:not a"]),
        ("s:a and not ('a or b' or 'a b')", ["s:a,b", "s:a_b", "s:a@b", "s:a&b"]),
    ],
)
def test_names_in_quotes_and_with_signs(text: str, wanted: list[str]) -> None:
    assert chosen(text, ODD_NAMES) == wanted


BAD = ["(", "a b", "and", "a and", "a or )", "not", "a & b", "(a", "a)", "'a", 'a"', "''", "!a"]


@pytest.mark.parametrize("text", BAD)
def test_bad_syntax_is_told(text: str) -> None:
    with pytest.raises(UserError) as caught:
        chosen(text)
    assert text in caught.value.where
    assert caught.value.why

# SPDX-License-Identifier: GPL-2.0-only
"""The expression of -k."""

from __future__ import annotations

import pytest

from harness.errors import UserError
from harness.run.select import compile_expression

pytestmark = pytest.mark.unit

NAMES = ("mem:size", "mem:size_big", "mem:io", "kvm:Size")


def chosen(text: str) -> list[str]:
    selected = compile_expression(text, NAMES)
    return [name for name in NAMES if selected(name)]


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


@pytest.mark.parametrize("text", ["(", "a b", "and", "a and", "a or )", "not", "a & b", "(a", "a)"])
def test_bad_syntax_is_told(text: str) -> None:
    with pytest.raises(UserError) as caught:
        chosen(text)
    assert text in caught.value.where
    assert caught.value.why

# SPDX-License-Identifier: GPL-2.0-only
"""Which kernels ``harness matrix`` tests."""

from __future__ import annotations

import pytest

from harness.errors import UserError
from harness.model.spec import KernelSpec
from harness.run.matrix import patches_of, specs

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("wanted", "patches"),
    [
        ("all", (1, 2, 3, 4, 5, 6, 7, 8, 9)),
        ("ends", (9,)),
        ("2", (2,)),
        ("2,5-7", (2, 5, 6, 7)),
        ("7, 5-6,5", (5, 6, 7)),
        ("1-9", (1, 2, 3, 4, 5, 6, 7, 8, 9)),
    ],
)
def test_patches_are_named_by_their_numbers(wanted: str, patches: tuple[int, ...]) -> None:
    assert patches_of(wanted, 9) == patches


@pytest.mark.parametrize("wanted", ["", "x", "0", "10", "3-2", "1-10", "1,,2", "-1", "1-", "2.5"])
def test_what_names_no_patches(wanted: str) -> None:
    with pytest.raises(UserError) as caught:
        patches_of(wanted, 9)
    assert f"--patches {wanted}" in caught.value.where


def test_the_base_comes_first_and_has_the_tests_of_the_tip() -> None:
    whole = KernelSpec(series=("v10",), config=("kvm",))
    found = specs(whole, (2, 9), 9, own_tests=False)
    assert [(each.name, each.upto, each.tests_upto) for each in found] == [
        ("base", 0, 9),
        ("2", 2, 9),
        ("9", 9, 9),
    ]
    assert {(each.series, each.config) for each in found} == {(("v10",), ("kvm",))}
    assert {each.tests_upto for each in specs(whole, (2,), 9, own_tests=True)} == {None}

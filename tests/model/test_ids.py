# SPDX-License-Identifier: GPL-2.0-only
"""Names of kernels, tests and cases: written in one way, and read back."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.model.ids import TestId, case_of, check_kernel_name

pytestmark = pytest.mark.unit

KERNELS = st.from_regex(r"([A-Za-z0-9][A-Za-z0-9.+_-]{0,8})?", fullmatch=True)
NAMES = st.text(st.sampled_from("ab9@:%/. 3AF2540é"), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("test", "text"),
    [
        (TestId("", "memfd", "memfd_test"), "memfd:memfd_test"),
        (TestId("3", "memfd", "memfd_test"), "3@memfd:memfd_test"),
        (TestId("base", "kvm", "x86_64/debug_regs"), "base@kvm:x86_64/debug_regs"),
        (TestId("", "a b@c", "d:e@f"), "a b@c:d:e@f"),
        (TestId("", "v1@x", "p"), "v1%40x:p"),
        (TestId("", "a:b", "p"), "a%3Ab:p"),
    ],
)
def test_names_as_people_see_them(test: TestId, text: str) -> None:
    assert str(test) == text
    assert TestId.parse(text) == test


@given(KERNELS, NAMES, NAMES)
@example("", "a%3A", "b")
@example("", "@", "b")
@example("a", "b@c", "d")
def test_what_is_written_is_read_back(kernel: str, suite: str, program: str) -> None:
    test = TestId(kernel, suite, program)
    assert TestId.parse(str(test)) == test


@given(st.lists(st.tuples(KERNELS, NAMES, NAMES), min_size=2, max_size=2, unique=True))
def test_no_two_tests_have_one_name(two: list[tuple[str, str, str]]) -> None:
    one, other = (TestId(*each) for each in two)
    assert str(one) != str(other)


@pytest.mark.parametrize("text", ["", "memfd", ":p", "memfd:", "a@:p"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(UserError, match="not the name of a test"):
        TestId.parse(text)


@pytest.mark.parametrize("name", ["a@b", "a:b", "-x", " ", "x" * 65, "é"])
def test_what_no_kernel_is_called(name: str) -> None:
    with pytest.raises(UserError, match="not a valid name of a kernel"):
        check_kernel_name(name)


def test_a_case_within_its_test() -> None:
    test = TestId("2", "kvm", "x86_64/debug_regs")
    assert case_of(str(test), test.case(["a", "b"])) == "a/b"

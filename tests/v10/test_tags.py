# SPDX-License-Identifier: GPL-2.0-only
"""No rule without a test and a break, no test without a rule."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from harness.model.expectations import matches
from tests.conftest import PROJECT_FILE
from tests.v10 import breaks
from tests.v10.tags import LAST_PATCH, Tagged, all_tests, in_suite, rules

pytestmark = pytest.mark.unit

V11 = PROJECT_FILE.parent / "patches/v11"

SOURCE = """
/* Shows: B1.flags, C4 (from patch 3) */
TEST(plain)
{
}

/*
 * Why it is done so.
 *
 * Shows: B1.fd
 * (from patch 10)
 */
TEST_F(fixture, inner)
{
}

/* Some comment. */
static void helper(void) { }

TEST_F_TIMEOUT(fixture, slow, 60)
{
}
"""


def test_tags_are_read_from_the_source(tmp_path: Path) -> None:
    (tmp_path / "a_test.c").write_text(SOURCE)
    plain, inner, slow = in_suite(tmp_path)
    assert (plain.rules, plain.first_patch) == (("B1.flags", "C4"), 3)
    assert (inner.rules, inner.first_patch) == (("B1.fd",), 10)
    assert (slow.rules, slow.first_patch) == ((), None)
    suite = tmp_path.name
    assert str(plain) == f"{suite}:a_test/global.plain"
    assert inner.is_case(f"{suite}:a_test/fixture.inner")
    assert inner.is_case(f"{suite}:a_test/fixture.variant.inner")
    for other in ("b_test/fixture.inner", "a_test/fixture.other", "a_test/fixture.inner.other"):
        assert not inner.is_case(f"{suite}:{other}")


@pytest.mark.parametrize("test", all_tests(), ids=str)
def test_every_test_has_a_tag(test: Tagged) -> None:
    assert test.rules, "no tag before it"
    assert set(test.rules) <= set(rules()), "a rule that is not in rules.toml"
    assert test.first_patch is not None
    assert test.first_patch <= LAST_PATCH


@pytest.mark.parametrize("name", rules())
def test_every_rule_has_a_test_or_a_reason(name: str) -> None:
    shown = any(name in test.rules for test in all_tests())
    assert shown != bool(rules()[name].untestable)


@pytest.mark.parametrize("name", [name for name, rule in rules().items() if not rule.untestable])
def test_every_rule_has_a_break(name: str) -> None:
    assert any(fault.rule == name for fault in breaks.all_breaks())


@pytest.mark.parametrize("fault", breaks.all_breaks(), ids=lambda fault: fault.name)
def test_a_break_names_tests_of_its_rule(fault: breaks.Break) -> None:
    assert fault.why
    for wanted in fault.tests:
        program, _, case = wanted.partition("/")
        named = [test for test in all_tests() if test.test == program and _means(case, test)]
        assert named, f"no test is named {wanted}"
        assert any(fault.rule in test.rules for test in named), (
            f"{wanted} is not about {fault.rule}"
        )


def _means(case: str, test: Tagged) -> bool:
    """Whether *case*, a whole name with or without a variant or a glob, means *test*."""
    return (
        not case
        or test.is_case(f"{test.test}/{case}")
        or matches(case, f"{test.fixture}.{test.name}")
    )


@pytest.mark.parametrize("patch", sorted(V11.glob("*.patch"))[1:], ids=lambda p: p.stem)
def test_a_fix_names_a_test_that_there_is(patch: Path) -> None:
    message = patch.read_text().partition("\n---\n")[0]
    named = re.findall(r"\b(?:(\w+):)?(\w+_test)(?:/([\w.*]+))?", message)
    assert named or re.search("no test", message, re.IGNORECASE), message
    for suite, program, case in named:
        known = [t for t in all_tests() if t.program == program and suite in ("", t.suite)]
        assert known, f"{suite}:{program}"
        # A full stop after the name ends the sentence, and the variant may be left out.
        pattern = case.rstrip(".")
        names = [f"{t.fixture}.{variant}{t.name}" for t in known for variant in ("", "by_vm.")]
        assert not case or any(fnmatch(name, pattern) for name in names), case

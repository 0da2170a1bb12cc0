# SPDX-License-Identifier: GPL-2.0-only
"""The rules of the series, and the tags in the sources of the selftests that say who checks them.

A tag is a comment directly before a test of kselftest_harness.h::

    /* Shows: B1.flags, B1.fd (from patch 3) */
    TEST(any_flag_is_einval)

It names rules of ``selftests/rules.toml`` and the first patch of v10 with which the test can pass:
1 to 9, 10 for the patch of test-vm, 0 for a test that passes without the series.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness import tables

REPOSITORY = Path(__file__).parents[2]
SELFTESTS = REPOSITORY / "selftests"
SUITES = ("restrictedmem", "kvm_private_memory", "restrictedmem_migration")
LAST_PATCH = 10

_TEST = re.compile(
    r"""
    (?: /\* (?: (?!\*/). )*? Shows: (?P<rules> (?: (?!\*/). )*? )
        \( from[ ]patch[ ] (?P<patch> \d+ ) \) \s* \*/ \s*? \n
    )?
    ^ (?P<macro> TEST (?:_F)? (?:_SIGNAL|_TIMEOUT)? ) \( (?P<arguments> [^)]* ) \)
    """,
    re.M | re.S | re.X,
)


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule, or one defect of the series as it was posted."""

    says: str
    untestable: str = ""
    """Why no test on ordinary hardware can show it."""


class _Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: dict[str, Rule]


@dataclass(frozen=True)
class Tagged:
    """A test in a source file."""

    suite: str
    program: str
    fixture: str
    """``global`` for TEST()."""
    name: str
    rules: tuple[str, ...]
    """Empty for a test without a tag."""
    first_patch: int | None

    @property
    def test(self) -> str:
        """The name of the program's test."""
        return f"{self.suite}:{self.program}"

    def is_case(self, case: str) -> bool:
        """Whether *case*, a whole name, is this test or one of its variants."""
        program, _, rest = case.partition("/")
        parts = rest.split(".")
        return (
            program == self.test
            and parts[0] == self.fixture
            and parts[-1] == self.name
            and len(parts) in (2, 3)
        )

    def __str__(self) -> str:
        return f"{self.test}/{self.fixture}.{self.name}"


def rules() -> dict[str, Rule]:
    """Return the rules by their names."""
    path = SELFTESTS / "rules.toml"
    return tables.convert(tables.read(path, "the rules"), _Rules, str(path)).rule


def in_suite(suite: Path) -> Iterator[Tagged]:
    """Yield the tests in the sources of *suite*, those without a tag as well."""
    for source in sorted(suite.glob("*.c")):
        for found in _TEST.finditer(source.read_text()):
            arguments = [word.strip() for word in found["arguments"].split(",")]
            fixed = "_F" in found["macro"]
            yield Tagged(
                suite=suite.name,
                program=source.stem,
                fixture=arguments[0] if fixed else "global",
                name=arguments[1 if fixed else 0],
                rules=tuple(re.findall(r"[A-Z][\w.-]*\w", found["rules"] or "")),
                first_patch=int(found["patch"]) if found["patch"] else None,
            )


def all_tests() -> tuple[Tagged, ...]:
    """Return the tests of all suites of the series."""
    return tuple(test for name in SUITES for test in in_suite(SELFTESTS / name))

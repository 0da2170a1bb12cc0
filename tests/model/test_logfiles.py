# SPDX-License-Identifier: GPL-2.0-only
"""Log files: each test has its own, whatever its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.model.logfiles import LogFiles, build_logs, file_name, file_names
from harness.model.plan import PlannedTest
from harness.model.spec import GuestTable

pytestmark = pytest.mark.unit

# What file names can be made of: everything but NUL and slash, and bytes that are not UTF-8.
NAMES = st.text(
    st.characters(exclude_characters="\0/", exclude_categories=["Cs"])
    | st.sampled_from(["\udc80", "\udce9", "a", "A", "_", ".", "=", "~", ",", "@", "2", "C"]),
    min_size=1,
    max_size=300,
)


def logs(*names: tuple[str, str], repeated: bool = False, attempts: int = 1) -> list[str]:
    """Return all log files of tests with these names of suite and program."""
    tests = [
        PlannedTest(name=f"{suite}:{program}", suite=suite, program=program)
        for suite, program in names
    ]
    files = LogFiles(tests, repeated=repeated)
    found = [files.of(test, n + 1) for test in tests for n in range(attempts)]
    return [path for each in found for path in (each.output, each.kernel)] + [
        files.boot(group) for group in {test.group for test in tests}
    ]


@pytest.mark.parametrize(
    "name", ["size_test", "a.sh", "test_FCMOV", "c++", "net.forwarding", "x86-64", "a" * 128]
)
def test_a_plain_name_stays_as_it_is(name: str) -> None:
    assert file_name(name) == name


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("a,b", "a=2Cb"),
        ("a b", "a=20b"),
        ("..", "=2E."),
        (".hidden", "=2Ehidden"),
        ("-rf", "=2Drf"),
        ("é", "=C3=A9"),
        ("\udce9", "=E9"),
        ("a=b", "a=3Db"),
        ("a~b", "a=7Eb"),
    ],
)
def test_other_characters_are_written_as_bytes(name: str, wanted: str) -> None:
    assert file_name(name) == wanted


@given(st.sets(NAMES, min_size=2, max_size=8))
def test_no_two_names_have_one_file(names: set[str]) -> None:
    mapped = file_names(sorted(names))
    assert len({each.casefold() for each in mapped.values()}) == len(names)
    for each in (*mapped.values(), *map(file_name, names)):
        assert len(each.encode()) <= 128
        assert each not in (".", "..")
        assert each.isascii()
        assert "/" not in each


@pytest.mark.parametrize(
    "programs",
    [
        ("a,b", "a_b", "a@b", "a b"),
        ("Test", "test", "TEST"),
        ("x" * 248, "x" * 247 + "y", "x" * 250),
        ("é" * 120, "è" * 120),
        (".", "..", "=2E."),
        ("boot", "=boot", "build"),
        ("kernel-build.log", "kernel-build"),
        ("Kernel-Build.LOG", "kernel-build"),
    ],
)
def test_tests_that_look_alike(programs: Sequence[str], tmp_path: Path) -> None:
    pairs = [(suite, program) for program in programs for suite in programs]
    found = logs(*pairs) + [str(path) for path in build_logs(programs).values()]
    found.append("logs/kernel-build.log")
    assert len({each.casefold() for each in found}) == len(found)
    directories = {str(Path(each).parent).casefold() for each in found}
    assert not directories & {each.casefold() for each in found}
    for each in found:
        path = tmp_path / each
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(exist_ok=False)
        assert path.resolve().is_relative_to(tmp_path / "logs")


def test_attempts_and_programs_with_numbers() -> None:
    found = logs(("s", "x"), ("s", "x.1"), ("s", "x.1.1"), repeated=True, attempts=11)
    assert len(set(found)) == len(found)
    assert "logs/s/x.11.output.log" in found


def test_two_guests_of_a_suite_that_do_not_come_up() -> None:
    small, large = GuestTable(), GuestTable(memory_mib=4096)
    tests = [
        PlannedTest(name="s:boot", suite="s", program="boot", guest=small),
        PlannedTest(name="s:b", suite="s", program="b", guest=large),
    ]
    files = LogFiles(tests, repeated=False)
    boots = [files.boot(test.group) for test in tests]
    assert len({*boots, files.of(tests[0], 1).kernel}) == 3

# SPDX-License-Identifier: GPL-2.0-only
"""harness.toml: defaults, and every mistake with file, key and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import project
from harness.errors import ExitCode, UserError

pytestmark = pytest.mark.unit

KERNEL = '[kernel]\nsource = "linux"\nconfig = ["a"]\n'


def load(directory: Path, text: str) -> project.Project:
    path = directory / "harness.toml"
    path.write_text(text)
    return project.load(path)


def test_a_short_file_gets_the_documented_defaults(tmp_path: Path) -> None:
    loaded = load(tmp_path, KERNEL)
    assert (loaded.series, loaded.stacks) == ("none", {})
    assert loaded.guest.cpus == 2
    assert loaded.guest.accel == "auto"
    assert loaded.limits.test_s == 45


def test_the_projects_own_file_is_valid() -> None:
    own = Path(__file__).parents[1] / "harness.toml"
    assert "restrictedmem" in project.load(own).suites


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (KERNEL + "[guest]\ncpu = 2\n", "guest.cpu", "did you mean 'cpus'"),
        (KERNEL + '[guest]\ncpus = "2"\n', "guest.cpus", "Expected an integer, got a string"),
        (KERNEL + "[guest]\ncpus = 0\n", "guest.cpus", "Expected an integer >= 1"),
        (KERNEL + "[guest]\ncpus = true\n", "guest.cpus", "got true or false"),
        (KERNEL + "[guest]\nmemory_mib = 1\n", "guest.memory_mib", ">= 64"),
        (KERNEL + '[guest]\naccel = "fast"\n', "guest.accel", "auto, kvm, tcg"),
        (KERNEL + "[limits]\nboot_s = -1\n", "limits.boot_s", "> 0"),
        (KERNEL + '[series]\npath = "p"\n', "series", "Expected a string, got a table"),
        ('series = "v1"\n' + KERNEL + '[stacks]\nv10 = ["p"]\n', "series", "did you mean 'v10'"),
        ('series = "v1"\n' + KERNEL, "series", 'add v1 = ["path/of/a/series"] to [stacks]'),
        (KERNEL + '[stacks]\nv10 = "p"\n', "stacks.v10", "Expected an array, got a string"),
        (KERNEL + "[stacks]\nv10 = []\n", "stacks.v10", "length >= 1"),
        (KERNEL + '[stacks]\nnone = ["p"]\n', "stacks.none", "cannot be named 'none'"),
        (KERNEL + '[stacks]\n"a/b" = ["p"]\n', "stacks.a/b", "letters, digits"),
        (KERNEL + "[suites.x]\npath = 1\n", "suites.x.path", "Expected a string"),
        (KERNEL + '[suites.x]\npth = "a"\n', "suites.x.pth", "did you mean 'path'"),
        (KERNEL + "[suites]\nx = 3\n", "suites.x", "Expected a table"),
        (KERNEL + '[suites."a:b"]\npath = "a"\n', "suites.a:b", "letters, digits"),
        ("seris = 1\n" + KERNEL, "seris", "did you mean 'series'"),
        ("kernel = 3\n", "kernel", "Expected a table"),
        ('[kernel]\nsource = "x"\nconfig = [1]\n', "kernel.config[0]", "Expected a string"),
        ('[kernel]\nconfig = ["a"]\n', "kernel.source", "missing"),
        ("", "kernel", "missing"),
        ("[kernel\n", "", "not TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, key: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, text)
    told = str(caught.value)
    assert str(tmp_path / "harness.toml") in caught.value.where
    assert key in caught.value.where
    assert expected in told
    assert caught.value.exit_code is ExitCode.USER


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        project.load(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="cannot be read"):
        project.load(tmp_path / "bytes.toml")


def test_the_nearest_file_above_is_found(tmp_path: Path) -> None:
    (tmp_path / "harness.toml").write_text(KERNEL)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert project.find(below) == tmp_path / "harness.toml"


def test_no_file_anywhere_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        project.find(tmp_path)
    assert str(tmp_path) in caught.value.where


def test_trust_is_told_of_series_that_there_are(tmp_path: Path) -> None:
    stacks = '[stacks]\na = ["patches/a"]\n'
    found = load(tmp_path, f'{KERNEL}{stacks}[trust]\n"patches/a" = "stranger"\n')
    assert found.trust == {"patches/a": "stranger"}
    for lines, words in (
        ('"patches/b" = "own"', "no stack has the series 'patches/b'"),
        ('"patches/a" = "friend"', "friend"),
    ):
        with pytest.raises(UserError) as caught:
            load(tmp_path, f"{KERNEL}{stacks}[trust]\n{lines}\n")
        assert words in str(caught.value)
        assert "trust" in caught.value.where


def test_instructions_are_counted_by_an_option_alone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="counted instructions") as caught:
        load(tmp_path, f"{KERNEL}[guest]\ncounted = true\n")
    assert "--cost" in caught.value.hint

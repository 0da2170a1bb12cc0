# SPDX-License-Identifier: GPL-2.0-only
"""``make migration-study`` and the patches that it compares: what they name, and what they say."""

from __future__ import annotations

import re
import subprocess
from itertools import product
from pathlib import Path

import pytest
from unidiff.patch import PatchSet

from harness import project

pytestmark = pytest.mark.unit
REPOSITORY = Path(__file__).parents[1]
VARIANTS = REPOSITORY / "patches" / "variants"
PATCHES = sorted(VARIANTS.glob("*/*.patch"))
SIZE = re.compile(r"(\d+)\s+lines\s+in\s+(one|two|three|four)\s+files?\b")
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4}


@pytest.fixture(scope="module")
def commands() -> list[str]:
    argv = ["make", "-n", "migration-study"]
    done = subprocess.run(
        argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True
    )
    found = [line for line in done.stdout.splitlines() if "compare" in line]
    assert len(found) == 4
    return found


def programs() -> set[str]:
    """Return the programs of the suite, as its makefile names them."""
    text = (REPOSITORY / "selftests/migration_cost/Makefile").read_text()
    measures = re.findall(r"\$\(call of,(\w+),([\d ]+)\)", text)
    assert measures
    found = set()
    for measure, sizes in measures:
        found.add(f"{measure}_none")
        kinds = product(("private", "mlocked"), sizes.split())
        found |= {f"{measure}_{kind}_{size}" for kind, size in kinds}
    return found


def test_all_variants_are_studied(commands: list[str]) -> None:
    known = set(project.load(REPOSITORY / "harness.toml").variants)
    named = [re.search(r"--variants (.*?) --", line) for line in commands]
    asked = [set(each[1].split()) for each in named if each]
    assert asked[0] == asked[3] == known
    assert asked[1] | asked[2] <= known
    assert {path.parent.name for path in PATCHES} - {"base"} == known - {"as-posted"}


def test_all_measures_are_taken_of_programs_that_are_there(commands: list[str]) -> None:
    asked: set[str] = set()
    for line in commands[:3]:
        found = re.search(r"-k '(.*?)'", line)
        assert found
        asked |= set(found[1].split(" or "))
    assert asked <= programs()
    assert {each.partition("_")[0] for each in asked} == {"pass", "direct", "offline", "contig"}


@pytest.mark.parametrize("path", PATCHES, ids=lambda path: path.parent.name)
def test_a_variant_says_how_large_it_is(path: Path) -> None:
    text = path.read_text()
    message = text.partition("\n---\n")[0]
    said = SIZE.search(message)
    assert said, message
    changed = PatchSet(text)
    assert int(said[1]) == changed.added
    assert NUMBERS[said[2]] == len(changed)
    assert "Signed-off-by: " in message

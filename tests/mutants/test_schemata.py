# SPDX-License-Identifier: GPL-2.0-only
"""All variants in one file do what each does when it is built alone."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.model.mutants import Mutant
from harness.mutants import schemata
from harness.mutants.plan import applied, diff_of, variants_of
from harness.mutants.schemata import Variant, numbers_in, plant
from tests.mutants.code import HEADER, LIBRARY, MAIN, SOURCE, planned

pytestmark = [pytest.mark.unit, pytest.mark.slow]

_FLAGS = ("-O1", "-std=gnu11", "-ftrivial-auto-var-init=zero", "-fwrapv")


def _compile(directory: Path, name: str, source: bytes, *flags: str) -> Path:
    header = directory / "tiny.h"
    if not header.exists():  # another thread may be reading it
        header.write_text(HEADER)
    code = directory / f"{name}.c"
    code.write_bytes(source + MAIN.encode())
    program = directory / name
    argv = ["gcc", *_FLAGS, *flags, "-I", str(directory), str(code), "-o", str(program)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return program


def _said(program: Path, number: int = 0) -> tuple[int, str]:
    """Return how the program ended and what it printed, with that variant chosen.

    One that does not end is stopped by its processor time: a busy machine is slow.
    """
    argv = ["timeout", "30", "sh", "-c", f"ulimit -t 1; '{program}' | head -c 4000"]
    done = subprocess.run(
        argv, capture_output=True, text=True, env={"MUTANT": str(number), "PATH": "/usr/bin:/bin"}
    )
    return done.returncode, done.stdout


_CHOOSE = f"""
#include <stdlib.h>
unsigned int {schemata.SELECTOR};
__attribute__((constructor)) static void choose(void)
{{
	{schemata.SELECTOR} = atoi(getenv("MUTANT"));
}}
""".encode()


def _inside() -> list[Mutant]:
    """Return the mutants of the library's functions, without two cases of a switch that clash."""
    inside = [each for each in planned(SOURCE) if not each.alone]
    return [each for each in inside if each.before not in ("3", "4")]


def _together(mutants: list[Mutant], directory: Path) -> Path:
    text = plant("lib/tiny.c", SOURCE, variants_of(SOURCE, mutants))
    return _compile(directory, "together", text + _CHOOSE, "-Wall", "-Werror")


def test_with_none_chosen_all_is_as_before(tmp_path: Path) -> None:
    together = _together(_inside(), tmp_path)
    before = _compile(tmp_path, "before", LIBRARY)
    assert _said(together) == _said(before)
    assert "good 1" in _said(together)[1]


def test_each_mutant_does_what_it_does_alone(tmp_path: Path) -> None:
    mutants = _inside()
    together = _together(mutants, tmp_path)
    before = _said(together)

    def differs(mutant: Mutant) -> bool:
        alone = _compile(tmp_path, f"alone-{mutant.number}", applied(SOURCE, mutant), "-w")
        said = _said(alone)
        assert _said(together, mutant.number) == said, diff_of(SOURCE, mutant)
        return said != before

    with ThreadPoolExecutor(4) as pool:
        different = list(pool.map(differs, mutants[::3]))
    # Nearly all of them can be seen in what the program prints.
    assert sum(different) > 0.7 * len(different)


def test_without_variants_a_file_stays_as_it_is() -> None:
    assert plant("lib/tiny.c", SOURCE, []) == SOURCE


def test_lines_of_its_own_keep_their_numbers(tmp_path: Path) -> None:
    mutants = _inside()
    text = plant("lib/tiny.c", SOURCE, variants_of(SOURCE, mutants)) + b"int broken = nowhere;\n"
    errors = _errors(tmp_path, text)
    line = SOURCE.count(b"\n") + 1
    assert [each.partition(": error")[0] for each in errors] == [f"lib/tiny.c:{line}:14"]


def _errors(directory: Path, text: bytes) -> list[str]:
    (directory / "tiny.h").write_text(HEADER)
    (directory / "bad.c").write_bytes(text)
    argv = ["gcc", "-c", "-I", str(directory), "-o", "/dev/null", str(directory / "bad.c")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    return [line for line in done.stderr.splitlines() if ": error: " in line]


def test_the_compiler_names_the_variants_that_it_refuses(tmp_path: Path) -> None:
    good = [each for each in planned(SOURCE, 17) if not each.alone]
    variants = variants_of(SOURCE, good)
    bad = [
        Variant(700 + number, variants[0].start, variants[0].end, body)
        for number, body in enumerate((b"{ return nothing; }", b"{ return 1 +; }"))
    ]
    text = plant("lib/tiny.c", SOURCE, [*variants, *bad])
    errors = _errors(tmp_path, text)
    named = set().union(*map(numbers_in, errors))
    assert named == {700, 701}


def test_a_change_of_labels_is_one_of_the_variant(tmp_path: Path) -> None:
    from harness.mutants.between import variants_between

    new = SOURCE.replace(b"goto out;", b"goto elsewhere;").replace(b"out:\n", b"elsewhere:\n")
    found = variants_between(5, SOURCE, new)
    assert found is not None
    assert [each.labels for each in found] == [("elsewhere", "fail")]
    program = _compile(tmp_path, "labels", plant("lib/tiny.c", SOURCE, found) + _CHOOSE)
    assert _said(program, 5) == _said(program)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b".open = opened,", b".open = 0,"),
        (b"#define STEP 2", b"#define STEP 3"),
        (b"static int calls;\n\n\treturn ++calls", b"static int calls;\n\n\treturn --calls"),
        (b"static int opened(int n)", b"static long opened(int n)"),
        (b"static int opened(int n)\n{\n\treturn n + 1;\n}\n", b""),
    ],
)
def test_what_changes_more_than_bodies_is_no_variant(old: bytes, new: bytes) -> None:
    from harness.mutants.between import variants_between

    assert SOURCE.count(old) == 1
    assert variants_between(1, SOURCE, SOURCE.replace(old, new)) is None


def test_a_change_of_two_functions_is_one_variant_in_both() -> None:
    from harness.mutants.between import variants_between

    new = SOURCE.replace(b"total += i;", b"total -= i;").replace(b"return n + 1;", b"return n;")
    found = variants_between(9, SOURCE, new)
    assert found is not None
    assert [(each.number, each.body.count(b"\n")) for each in found] == [(9, 6), (9, 2)]


def test_the_preamble_of_a_header_is_nothing_to_an_assembler() -> None:
    assert b"__ASSEMBLY__" in schemata.preamble("include/linux/tiny.h")
    assert b"__ASSEMBLY__" not in schemata.preamble("lib/tiny.c")


def test_the_kernel_gets_the_variable() -> None:
    files = schemata.with_selector(b"obj-y = fork.o\n")
    assert files[schemata.MAKEFILE].startswith(b"obj-y = fork.o\n")
    assert files[schemata.MAKEFILE].endswith(b"\nobj-y += harness_mutant.o\n")
    assert b"module_param_named(number" in files[schemata.DEFINITION]

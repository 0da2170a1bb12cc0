# SPDX-License-Identifier: GPL-2.0-only
"""Suites built with a stranger's kernel tree: its makefiles, its programs, what they leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.store import Store
from harness.suites import Suite, SuiteSource, userland
from tests.kerneltree import FakeLinux
from tests.suites.conftest import MAIN, MAKEFILE, Bench

pytestmark = [pytest.mark.unit, pytest.mark.slow]
DEMO = "tools__testing__selftests__demo__"


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "canary"
    path.parent.mkdir()
    path.write_text("the-secret")
    return path


def demo(fake: FakeLinux, makefile: str, **files: str) -> SuiteSource:
    """Give the tree's suite ``demo`` this Makefile and these C files; return it."""
    texts = {f"{DEMO}{name}_dot_c": text for name, text in files.items()}
    fake.write(**{f"{DEMO}Makefile": makefile}, **texts)
    return SuiteSource("demo", "demo", None)


def packed(suite: Suite) -> bytes:
    return b"".join(path.read_bytes() for path in suite.path.rglob("*") if path.is_file())


def test_a_makefile_of_the_tree_runs_in_the_sandbox(bench: Bench, canary: Path) -> None:
    trap = canary.parent / "trap"
    makefile = (
        f"$(shell cp {canary} {trap})\n"
        f"SEEN := $(shell cat {canary})\n"
        + MAKEFILE.format("a")
        + f"all: steal\nsteal:\n\t-cp {canary} $(OUTPUT)/stolen; cp {canary} {trap}\n"
    )
    source = demo(bench.fake, makefile, a=MAIN.format(0))
    built = bench.build(source, "a series")
    assert [program.name for program in built.programs] == ["a"]
    assert not trap.exists()
    assert b"the-secret" not in packed(built)


def test_makefiles_of_the_tree_in_a_suite_of_the_users(bench: Bench, canary: Path) -> None:
    trap = canary.parent / "trap"
    lib = bench.fake.work / "tools/testing/selftests/lib.mk"
    lib.write_text(f"$(shell cp {canary} {trap})\n" + lib.read_text())
    source = bench.suite(MAKEFILE.format("a"), a=MAIN.format(0))
    assert bench.build(source, "a series").programs
    assert not trap.exists()
    bench.build(source)
    assert trap.exists()  # what the test would see


def test_links_that_make_leaves_are_not_followed(bench: Bench, canary: Path) -> None:
    makefile = (
        "TEST_GEN_PROGS := a linked below/b\nTEST_GEN_FILES := data\n"
        "TEST_FILES := settings\ninclude ../lib.mk\n"
        "all: tricks\n"
        "tricks:\n"
        f"\tln -sf {canary} $(OUTPUT)/linked\n\tln -sf {canary} $(OUTPUT)/data\n"
        f"\tln -sfn {canary.parent} $(OUTPUT)/below\n"
        f"\tln -sf {canary} settings\n"
    )
    (canary.parent / "b").write_text("a file of the user's")
    source = demo(bench.fake, makefile, a=MAIN.format(0))
    built = bench.build(source, "a series")
    assert b"the-secret" not in packed(built)
    assert canary.read_text() == "the-secret"
    assert (canary.parent / "b").read_text() == "a file of the user's"
    assert "a" in [program.name for program in built.programs]
    assert {"linked"} <= {each.name for each in built.broken}


def test_set_user_id_programs_lose_that(bench: Bench) -> None:
    makefile = MAKEFILE.format("a") + "all: own\nown: $(OUTPUT)/a\n\tchmod 4755 $(OUTPUT)/a\n"
    built = bench.build(demo(bench.fake, makefile, a=MAIN.format(0)), "a series")
    assert not (built.files / "a").stat().st_mode & 0o6000


def test_a_loader_that_a_program_names_is_not_run(bench: Bench, canary: Path) -> None:
    loader = canary.parent / "loader"
    trap = canary.parent / "trap"
    loader.write_text(f"#!/bin/sh\ncp {canary} {trap}\necho '\tlibc.so.6 => {canary} (0x0)'\n")
    loader.chmod(0o755)
    makefile = (
        MAKEFILE.format("a") + f"$(OUTPUT)/a: a.c\n\tgcc -Wl,--dynamic-linker={loader} -o $@ a.c\n"
    )
    source = demo(bench.fake, makefile, a=MAIN.format(0))
    built = bench.build(source, "a series")
    assert not trap.exists()
    assert ["none of the system's" in each.reason for each in built.broken] == [True]
    assert b"the-secret" not in packed(built)


def test_libraries_come_from_the_systems_directories_alone() -> None:
    assert userland._is_system("/lib/x86_64-linux-gnu/libc.so.6")
    for path in ("/root/lib/x.so", "/usr/lib/../../etc/shadow", "/usr/local/lib/x.so", "lib/x.so"):
        assert not userland._is_system(path)


def test_no_trusted_run_takes_a_strangers_suite(bench: Bench, tmp_path: Path) -> None:
    source = bench.suite(MAKEFILE.format("a"), a=MAIN.format(0))
    built = [bench.build(source, lineage) for lineage in (None, "one", "two", "one")]
    assert len({suite.key for suite in built}) == 3
    assert built[1].path == built[3].path
    assert Store(tmp_path / "cache").find("suite", built[0].key)

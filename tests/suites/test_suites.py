# SPDX-License-Identifier: GPL-2.0-only
"""Suites: found by name, built against the tree's headers, program by program."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest

from harness import suites
from harness.errors import UserError
from harness.project import SuiteTable
from harness.store import Store
from harness.suites import Suite, SuiteSource, sources
from tests.suites.conftest import MAIN, MAKEFILE, Bench, linkage

pytestmark = [pytest.mark.unit, pytest.mark.slow]


def test_a_suite_of_the_tree(bench: Bench) -> None:
    suite = bench.build(SuiteSource("demo", "demo", None))
    assert [(each.name, each.interpreter) for each in suite.programs] == [
        ("good", ""),
        ("script.sh", "sh"),
    ]
    assert suite.timeout_s == 7
    assert suite.broken == ()
    run = subprocess.run([suite.files / "good"], capture_output=True, text=True, check=True)
    assert "limit is 3" in run.stdout


def test_only_what_matches_is_built(bench: Bench) -> None:
    source = bench.suite(MAKEFILE.format("one_regs two_regs sub/three"), one_regs="x", two_regs="x")
    with pytest.raises(UserError) as caught:
        bench.build(msgspec.structs.replace(source, programs=("*_rags",)))
    assert "no program '*_rags'" in caught.value.what
    assert "two_regs, one_regs" in caught.value.hint
    built = bench.build(msgspec.structs.replace(source, programs=("sub/*", "on?_regs")))
    assert [each.name for each in built.broken] == ["one_regs", "three"]


def test_what_cannot_be_static_is_linked_with_shared_libraries(bench: Bench) -> None:
    flags = f"-L{bench.root} -lshared -Wl,-rpath,{bench.root}"
    source = bench.suite(
        f"{MAKEFILE.format('plain shared')}$(OUTPUT)/shared: LDFLAGS = {flags}\n",
        plain=MAIN.format(0),
        shared="int shared(void);\nint main(void) { return shared(); }\n",
    )
    # A library of which there is no static one.
    library = bench.root / "libshared.so"
    code = "int shared(void) { return 0; }"
    argv = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
    subprocess.run(argv, input=code, text=True, check=True)
    built = bench.build(source)
    assert linkage(built) == {"plain": "static", "shared": "dynamic"}
    packed = {path.name for path in built.root.rglob("*") if path.is_file()}
    assert {"libc.so.6", "libshared.so"} <= packed
    assert any(name.startswith("ld-linux") for name in packed)


def test_a_script_has_a_shell_and_commands(bench: Bench) -> None:
    source = bench.suite("TEST_PROGS := a.sh b.sh c.py d.sh\ninclude ../lib.mk\n")
    directory = source.directory or bench.root
    for name, first in (("a.sh", "#!/bin/sh"), ("b.sh", "#!/usr/bin/env bash"), ("d.sh", "echo")):
        (directory / name).write_text(f"{first}\n")
    (directory / "c.py").write_text("#!/usr/bin/python3 -u\n")
    built = bench.build(source)
    assert {each.name: each.interpreter for each in built.programs} == {
        "a.sh": "sh",
        "b.sh": "bash",
        "c.py": "python3",
        "d.sh": "sh",
    }
    done = subprocess.run(
        [built.root / "bin/busybox", "sh", "-c", "echo here"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "here\n"
    for command in ("sh", "mount", "grep"):
        assert (built.root / "bin" / command).is_symlink()
    assert (built.root / "bin/bash").is_file()


def test_a_suite_of_static_programs_has_no_user_space(bench: Bench) -> None:
    built = bench.build(bench.suite(MAKEFILE.format("a"), a=MAIN.format(0)))
    assert list(built.root.iterdir()) == []


def test_a_suite_that_is_a_frame_around_its_subdirectories(bench: Bench) -> None:
    source = bench.suite("SUBDIRS := inner\ninclude ../lib.mk\n")
    inner = (source.directory or bench.root) / "inner"
    inner.mkdir()
    (inner / "Makefile").write_text(MAKEFILE.format("a b").replace("../", "../../"))
    (inner / "a.c").write_text(MAIN.format(0))
    built = bench.build(source)
    assert [(each.name, each.path) for each in built.programs] == [("a", "inner/a")]
    assert [each.name for each in built.broken] == ["b"]
    assert (built.files / "inner/a").is_file()


def test_programs_are_static(bench: Bench) -> None:
    suite = bench.build(SuiteSource("demo", "demo", None))
    headers = subprocess.run(
        ["readelf", "-l", suite.files / "good"], capture_output=True, text=True, check=True
    )
    assert "INTERP" not in headers.stdout


def test_the_headers_are_those_of_the_tree(bench: Bench) -> None:
    bench.fake.write(include__uapi__linux__foo_dot_h="#define FOO_LIMIT 44\n")
    suite = bench.build(SuiteSource("demo", "demo", None))
    run = subprocess.run([suite.files / "good"], capture_output=True, text=True, check=True)
    assert "limit is 44" in run.stdout


def test_a_header_that_only_the_host_has_is_an_error(bench: Bench) -> None:
    # linux/kvm.h is on every host that can build this project, and not in the fake tree.
    assert Path("/usr/include/linux/kvm.h").is_file()
    source = bench.suite(
        MAKEFILE.format("taker good"),
        taker="#include <linux/kvm.h>\n" + MAIN.format(0),
        good="#include <stdlib.h>\n" + MAIN.format("EXIT_SUCCESS"),
    )
    suite = bench.build(source)
    assert [each.name for each in suite.programs] == ["good"]
    assert [each.name for each in suite.broken] == ["taker"]
    assert "linux/kvm.h: No such file" in suite.broken[0].reason


def test_one_broken_program_does_not_keep_the_others(bench: Bench) -> None:
    source = bench.suite(
        MAKEFILE.format("a bad z"),
        a=MAIN.format(0),
        bad="#include <linux/foo.h>\n" + MAIN.format("FOO_LIMTI"),
        z=MAIN.format(0),
    )
    suite = bench.build(source)
    assert [each.name for each in suite.programs] == ["a", "z"]
    assert suite.broken[0].name == "bad"
    assert "bad.c:2:" in suite.broken[0].reason
    assert "FOO_LIMTI" in suite.broken[0].reason
    assert str(bench.root) not in suite.broken[0].reason
    assert "FOO_LIMTI" in suite.build_log.read_text()


def test_a_link_error_is_told(bench: Bench) -> None:
    source = bench.suite(
        MAKEFILE.format("bad"), bad="void gone(void);\nint main(void) { gone(); return 0; }\n"
    )
    assert "undefined reference to `gone'" in bench.build(source).broken[0].reason


def test_a_program_without_a_source(bench: Bench) -> None:
    suite = bench.build(bench.suite(MAKEFILE.format("absent")))
    assert suite.broken[0].name == "absent"
    assert "absent" in suite.broken[0].reason


def test_it_is_built_once_until_a_source_changes(bench: Bench) -> None:
    source = bench.suite(MAKEFILE.format("a"), a=MAIN.format(0))
    first = bench.build(source)
    assert bench.build(source).path == first.path
    assert source.directory is not None
    (source.directory / "a.c").write_text(MAIN.format(1))
    assert bench.build(source).path != first.path
    assert sorted(path.name for path in source.directory.iterdir()) == ["Makefile", "a.c"]


def test_only_the_programs_that_are_named(bench: Bench) -> None:
    source = bench.suite(MAKEFILE.format("a b"), a=MAIN.format(0), b="no C at all")
    only = SuiteSource(source.name, source.target, source.directory, ("a",))
    suite = bench.build(only)
    assert ([each.name for each in suite.programs], suite.broken) == (["a"], ())


def test_a_program_that_is_named_and_not_there(bench: Bench) -> None:
    source = bench.suite(MAKEFILE.format("a"), a=MAIN.format(0))
    only = SuiteSource(source.name, source.target, source.directory, ("b",))
    with pytest.raises(UserError) as caught:
        bench.build(only)
    assert "no program 'b'" in caught.value.what
    assert "programs there: a" in caught.value.why


def test_many_names_of_one_program(bench: Bench) -> None:
    makefile = """
TEST_GEN_PROGS := one two alone
TEST_GEN_FILES := both
OVERRIDE_TARGETS := 1
include ../lib.mk
$(OUTPUT)/both $(OUTPUT)/unlisted: both.c
	$(CC) $< -o $@
$(OUTPUT)/one $(OUTPUT)/two: $(OUTPUT)/both
	ln -sf both $@
$(OUTPUT)/alone: $(OUTPUT)/unlisted
	ln -sf unlisted $@
"""
    suite = bench.build(bench.suite(makefile, both=MAIN.format(0)))
    assert {program.name for program in suite.programs} == {"one", "two", "alone"}
    assert (suite.files / "one").readlink() == (suite.files / "two").readlink() == Path("both")
    assert (suite.files / "both").is_file()
    # What the link leads to is not packed.
    assert not (suite.files / "alone").is_symlink()
    assert (suite.files / "alone").is_file()


def test_two_programs_of_one_name_in_two_directories(bench: Bench) -> None:
    source = bench.suite(
        "$(shell mkdir -p $(OUTPUT)/x86 $(OUTPUT)/common)\n" + MAKEFILE.format("x86/a common/a")
    )
    assert source.directory is not None
    for name in ("x86", "common"):
        (source.directory / name).mkdir()
        (source.directory / name / "a.c").write_text(MAIN.format(0))
    assert [each.name for each in bench.build(source).programs] == ["a", "common.a"]


def test_a_makefile_that_does_not_work(bench: Bench) -> None:
    with pytest.raises(UserError) as caught:
        bench.build(bench.suite("include ../lib.mk\n$(error broken on purpose)\n"))
    assert "broken on purpose" in caught.value.why


# Sources that suites share


def shared(bench: Bench, text: str = "int value(void) { return 3; }\n") -> Path:
    other = bench.root / "other"
    other.mkdir(exist_ok=True)
    (other / "value.c").write_text(text)
    return other


USES_VALUE = '#include "{}"\nint main(void) {{ return value(); }}\n'


def status(suite: Suite) -> int:
    assert suite.broken == ()
    return subprocess.run([suite.files / "a"], check=False).returncode


def test_links_into_another_suite_are_followed(bench: Bench) -> None:
    shared(bench)
    source = bench.suite(MAKEFILE.format("a"), a=USES_VALUE.format("value.c"))
    (bench.root / "mine" / "value.c").symlink_to("../other/value.c")
    first = bench.build(source)
    assert status(first) == 3
    shared(bench, "int value(void) { return 4; }\n")
    assert status(bench.build(source)) == 4
    assert bench.build(source).path != first.path


def test_a_linked_directory_is_followed_with_the_links_in_it(bench: Bench) -> None:
    other = shared(bench, '#include "../number.h"\nint value(void) { return NUMBER; }\n')
    (bench.root / "number.h").write_text("#define NUMBER 5\n")
    (other / "number.h").symlink_to("../number.h")
    (other / "deep").mkdir()
    (other / "deep" / "same.c").symlink_to("../value.c")
    source = bench.suite(MAKEFILE.format("a"), a=USES_VALUE.format("lib/deep/same.c"))
    (bench.root / "mine" / "lib").symlink_to(other)
    first = bench.build(source)
    assert status(first) == 5
    (bench.root / "number.h").write_text("#define NUMBER 6\n")
    assert status(bench.build(source)) == 6


def test_links_within_a_suite_stay_links(bench: Bench) -> None:
    source = bench.suite(
        "TEST_FILES := kept\n" + MAKEFILE.format("a"), a='#include "sub/a.h"\n' + MAIN.format(7)
    )
    assert source.directory is not None
    (source.directory / "sub").mkdir()
    (source.directory / "a.h").touch()
    (source.directory / "sub" / "a.h").symlink_to("../a.h")
    (source.directory / "loop").symlink_to("loop")
    (source.directory / "kept").symlink_to("a.h")
    copied = bench.root / "copied"
    sources.copy(source.directory, copied)
    assert (copied / "sub" / "a.h").readlink() == Path("../a.h")
    assert (copied / "loop").readlink() == Path("loop")
    assert status(bench.build(source)) == 7
    before = sources.digest_sources(source.directory)
    (source.directory / "kept").unlink()
    (source.directory / "kept").symlink_to("a.c")
    assert sources.digest_sources(source.directory) != before


@pytest.mark.parametrize("where", ["mine/cache", "mine/data/deep/cache", "beside/cache"])
def test_a_suite_with_a_cache_in_it_is_refused(bench: Bench, where: str) -> None:
    bench.suite(MAKEFILE.format("hello"), hello=MAIN)
    (bench.root / "mine/link").symlink_to(bench.root / "beside")
    cache = bench.root / where
    cache.parent.mkdir(parents=True, exist_ok=True)
    find(bench, str(bench.root / "mine"))
    Store(cache)
    with pytest.raises(UserError, match="a cache of the harness lies in the suite") as caught:
        find(bench, str(bench.root / "mine"))
    assert caught.value.where == str(cache)
    assert "HARNESS_CACHE" in caught.value.hint


def test_a_suite_behind_a_link_is_a_suite(bench: Bench) -> None:
    source = bench.suite(MAKEFILE.format("a"), a=MAIN.format(8))
    assert source.directory is not None
    (source.directory / "b.c").symlink_to("a.c")
    (bench.root / "alias").symlink_to("mine")
    copied = bench.root / "copied"
    sources.copy(bench.root / "alias", copied)
    assert (copied / "b.c").readlink() == Path("a.c")
    assert status(bench.build(SuiteSource("mine", "mine", bench.root / "alias"))) == 8


def test_a_link_out_of_a_suite_that_leads_to_nothing_is_an_error_of_what_needs_it(
    bench: Bench,
) -> None:
    source = bench.suite(MAKEFILE.format("a b"), a=USES_VALUE.format("value.c"), b=MAIN.format(0))
    (bench.root / "mine" / "value.c").symlink_to("../other/value.c")
    built = bench.build(source)
    assert [each.name for each in built.programs] == ["b"]
    assert [each.name for each in built.broken] == ["a"]
    assert "value.c: No such file or directory" in built.broken[0].reason


@pytest.mark.parametrize("target", ["..", "../other"])
def test_a_link_around_in_a_circle_keeps_nothing_from_running(bench: Bench, target: str) -> None:
    (shared(bench) / "back").symlink_to("../mine")
    source = bench.suite(MAKEFILE.format("a"), a=MAIN.format(0))
    (bench.root / "mine" / "out").symlink_to(target)
    assert status(bench.build(source)) == 0


# Finding


def find(bench: Bench, wanted: str, **known: SuiteTable) -> SuiteSource:
    tree = bench.fake.commit()
    return suites.find(
        wanted,
        known,
        project_dir=bench.root / "project",
        working_dir=bench.root,
        repo=tree.repo,
        commit=tree.commit,
    )


def test_the_project_comes_before_the_directory_and_the_tree(bench: Bench) -> None:
    bench.suite(MAKEFILE.format("a"))
    (bench.root / "project" / "demo").mkdir(parents=True)
    (bench.root / "project" / "demo" / "Makefile").write_text(MAKEFILE.format("a"))
    table = SuiteTable(path="demo", programs=("a",))
    found = find(bench, "demo", demo=table)
    assert (found.directory, found.programs) == (bench.root / "project" / "demo", ("a",))
    assert find(bench, "mine").directory == bench.root / "mine"
    assert find(bench, "kernel:demo").target == "demo"
    assert find(bench, "kernel:demo").directory is None
    assert find(bench, "kernel:demo/").name == "demo"
    assert find(bench, "kernel:demo:*o*").programs == ("*o*",)
    assert find(bench, "x", x=SuiteTable(path="kernel:demo")).name == "x"


def test_a_directory_that_was_renamed_has_both_names(bench: Bench) -> None:
    bench.fake.write(tools__testing__selftests__vm__Makefile=MAKEFILE.format("a"))
    for name in ("vm", "mm"):
        found = find(bench, f"kernel:{name}")
        assert (found.name, found.target, set(found.names)) == (name, "vm", {"vm", "mm"})


def test_the_same_suite_twice_is_one() -> None:
    one, two = (SuiteSource("kvm", "kvm", None, (glob,)) for glob in ("a*", "b*"))
    other, whole = SuiteSource("mm", "vm", None), SuiteSource("kvm", "kvm", None)
    assert suites.merge_duplicates([one, other, two]) == [
        SuiteSource("kvm", "kvm", None, ("a*", "b*")),
        other,
    ]
    assert suites.merge_duplicates([one, whole]) == [whole]


def test_expectations_stand_beside_the_makefile_or_where_the_project_says(bench: Bench) -> None:
    entry = (
        '[[expect]]\ntest = "{}"\noutcome = "fail"\nseries = ["*"]\nreason = "r"\nowner = "o"\n'
        'ends = "exit 1"\nuntil = 2030-01-31\n'
    )
    bench.suite(MAKEFILE.format("a"))
    known = bench.root / "project" / "known.toml"
    known.parent.mkdir()
    known.write_text(entry.format("b"))
    assert find(bench, "mine").expectations_file is None
    in_tree = find(bench, "x", x=SuiteTable(path="kernel:demo", expectations="known.toml"))
    assert in_tree.expectations_file == known
    assert [e.test for e in in_tree.expectations.expect] == ["b"]
    beside = bench.root / "mine" / "expectations.toml"
    beside.write_text(entry.format("a"))
    assert find(bench, "mine").expectations_file == beside
    own = find(bench, "x", x=SuiteTable(path="../mine", expectations="known.toml"))
    assert [e.test for e in own.expectations.expect] == ["b"]
    with pytest.raises(UserError) as caught:
        find(bench, "x", x=SuiteTable(path="kernel:demo", expectations="missing.toml"))
    assert str(known.with_name("missing.toml")) in caught.value.where


def test_a_suite_that_is_nowhere(bench: Bench) -> None:
    with pytest.raises(UserError) as caught:
        find(bench, "deno", demo=SuiteTable(path="kernel:demo"))
    assert "no suite 'deno'" in caught.value.what
    assert "did you mean 'demo'" in caught.value.hint


def test_a_suite_of_the_tree_without_its_prefix(bench: Bench) -> None:
    with pytest.raises(UserError) as caught:
        find(bench, "demo")
    assert "kernel:demo" in caught.value.hint
    with pytest.raises(UserError) as caught:
        find(bench, "kernel:dmeo")
    assert "did you mean demo" in caught.value.hint


@pytest.mark.parametrize("wanted", ["kernel:../../..", "kernel:..", "kernel:"])
def test_a_suite_outside_of_the_selftests(bench: Bench, wanted: str) -> None:
    with pytest.raises(UserError):
        find(bench, wanted)


def test_a_directory_that_is_no_suite(bench: Bench) -> None:
    (bench.root / "empty").mkdir()
    with pytest.raises(UserError, match="no Makefile"):
        find(bench, "empty")
    (bench.root / "empty" / "Makefile").write_text("all:\n")
    with pytest.raises(UserError, match="kselftest layout"):
        find(bench, "empty")

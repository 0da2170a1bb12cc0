# SPDX-License-Identifier: GPL-2.0-only
"""Files beside a suite, which its scripts call, and output that is written once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from harness.lab.packing import suite_entries
from harness.suites import Suite, SuiteSource
from tests.suites.conftest import MAKEFILE, Bench, linkage

pytestmark = [pytest.mark.unit, pytest.mark.slow]
TREE = "tools/testing/selftests"


def scripts(bench: Bench, **texts: str) -> SuiteSource:
    """Return a suite of scripts with these texts."""
    source = bench.suite(
        f"TEST_PROGS := {' '.join(f'{name}.sh' for name in texts)}\ninclude ../lib.mk\n"
    )
    for name, text in texts.items():
        (bench.root / "mine" / f"{name}.sh").write_text(f"#!/bin/sh\n{text}\n")
    return source


def beside(built: Suite) -> set[str]:
    return {path.relative_to(built.beside).as_posix() for path in built.beside.rglob("*.*")}


def run(built: Suite, script: str, root: Path) -> subprocess.CompletedProcess[str]:
    """Run *script* in what a guest has, laid out in *root*."""
    shutil.copytree(built.root, root, symlinks=True)
    shutil.copytree(built.files, root / "selftests/mine", symlinks=True)
    shutil.copytree(built.beside, root, symlinks=True, dirs_exist_ok=True)
    (root / "tmp").mkdir()
    path = next(each.path for each in built.programs if each.name == script)
    start = 'import os, sys; os.chroot("."); os.execl(sys.argv[1], "x")'
    return subprocess.run(
        ["unshare", "-Ur", sys.executable, "-c", start, f"/selftests/mine/{path}"],
        cwd=root,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def tree_helper(bench: Bench, name: str, text: str, mode: int = 0o755) -> None:
    path = bench.fake.work / TREE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)


@pytest.mark.parametrize(
    "text",
    [
        "$(dirname $0)/../kselftest/module.sh one two",
        'DIR="$(dirname "$0")/../kselftest"\n"$DIR/module.sh" one two',
        "../kselftest/module.sh one two",
        ". ../kselftest/more.sh && more one two",
        "./../kselftest/./module.sh one two",
    ],
)
def test_helpers_of_the_tree_are_beside_a_suite(bench: Bench, text: str, tmp_path: Path) -> None:
    tree_helper(bench, "kselftest/module.sh", '. "$(dirname $0)/../kselftest/more.sh"; more "$@"')
    tree_helper(bench, "kselftest/more.sh", 'more() { echo "module $1 $2"; exit 3; }', 0o644)
    tree_helper(bench, "unused/other.sh", "exit 9")
    built = bench.build(scripts(bench, a=text))
    assert beside(built) <= {"selftests/kselftest/module.sh", "selftests/kselftest/more.sh"}
    done = run(built, "a.sh", tmp_path / "guest")
    assert (done.stdout, done.returncode) == ("module one two\n", 3), done.stderr


def test_a_suite_below_another_directory_finds_them_too(bench: Bench) -> None:
    tree_helper(bench, "kselftest/lib.sh", "exit 0")
    tree_helper(bench, "net/lib.sh", "exit 0")
    tree_helper(bench, "net/deep/s.sh", ". ../lib.sh; . ../../kselftest/lib.sh")
    makefile = bench.fake.work / TREE / "net/deep/Makefile"
    makefile.write_text("TEST_PROGS := s.sh\ninclude ../../lib.mk\n")
    built = bench.build(SuiteSource("net.deep", "net/deep", None))
    # From /selftests/net.deep, where the suite is in the guest.
    assert beside(built) == {"selftests/lib.sh", "kselftest/lib.sh"}


def test_helpers_in_a_directory_of_the_users_own(bench: Bench) -> None:
    (bench.root / "common").mkdir()
    (bench.root / "common/lib.sh").write_text("exit 5\n")
    source = scripts(bench, a=". ../common/lib.sh; cat ../../secret; . ../../x/lib.sh")
    (bench.root.parent / "secret").write_text("x")
    first = bench.build(source)
    assert beside(first) == {"selftests/common/lib.sh"}
    (bench.root / "common/lib.sh").write_text("exit 6\n")
    second = bench.build(source)
    assert (second.beside / "selftests/common/lib.sh").read_text() == "exit 6\n"


def test_a_link_of_the_tree_takes_nothing_of_the_host_along(bench: Bench) -> None:
    secret = bench.root / "secret.sh"
    secret.write_text("the host's\n")
    tree_helper(bench, "leak/s.sh", ". ../kselftest/x.sh")
    (bench.fake.work / TREE / "kselftest").mkdir()
    (bench.fake.work / TREE / "kselftest/x.sh").symlink_to(secret)
    (bench.fake.work / TREE / "leak/data").symlink_to(secret)
    makefile = bench.fake.work / TREE / "leak/Makefile"
    makefile.write_text("TEST_PROGS := s.sh\nTEST_FILES := data\ninclude ../lib.mk\n")
    built = bench.build(SuiteSource("leak", "leak", None))
    assert beside(built) == set()
    assert [(each.name, each.reason) for each in built.broken] == [
        ("data", f"data is a link out of the kernel tree, to {secret}")
    ]
    assert not (built.files / "data").exists()


def test_what_is_listed_beside_the_suite_is_packed_there(bench: Bench) -> None:
    tree_helper(bench, "net/lib.sh", "exit 0")
    source = scripts(bench, a="exit 0")
    with (bench.root / "mine/Makefile").open("a") as file:
        file.write("TEST_FILES := ../net/lib.sh\nTEST_INCLUDES := ../gone.sh\n")
    built = bench.build(source)
    assert beside(built) == {"selftests/net/lib.sh"}
    assert [each.reason for each in built.broken] == [
        "../gone.sh lies outside of the suite's directory"
    ]


def test_a_guest_of_any_kind_has_them(bench: Bench) -> None:
    tree_helper(bench, "kselftest/lib.sh", "exit 0")
    built = bench.build(scripts(bench, a=". ../kselftest/lib.sh"))
    for userland in (False, True):
        names = [entry.path for entry in suite_entries(built, userland=userland)]
        assert "selftests/kselftest/lib.sh" in names
        assert len(names) == len(set(names))


FORKS = """\
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{
	puts("ok 1 before");
	if (!fork())
		exit(0);
	wait(NULL);
	fflush(stdout);
	system("echo in between");
	puts("ok 2 after");
	fwrite("\\0\\1\\r\\n\\377", 1, 5, stdout);
	return 0;
}
"""


@pytest.mark.parametrize("flags", ["", "-fsanitize=address", "-static-pie -fPIE", "-no-pie", "-pg"])
def test_what_stdio_holds_is_written_once_though_a_program_forks(bench: Bench, flags: str) -> None:
    source = bench.suite(f"CFLAGS := {flags}\n{MAKEFILE.format('a')}", a=FORKS)
    built = bench.build(source)
    assert built.broken == ()
    assert linkage(built) == {"a": "dynamic" if "sanitize" in flags else "static"}
    done = subprocess.run([built.files / "a"], capture_output=True, check=True, cwd=bench.root)
    assert done.stdout == b"ok 1 before\nin between\nok 2 after\n\0\1\r\n\377"


def test_a_program_without_a_c_library_is_left_alone(bench: Bench) -> None:
    bare = 'void _start(void) { __asm__("mov $60, %eax; xor %edi, %edi; syscall"); }\n'
    source = bench.suite(f"CFLAGS := -nostdlib\n{MAKEFILE.format('a b')}", a=bare, b=bare)
    with (bench.root / "mine/Makefile").open("a") as file:
        file.write("$(OUTPUT)/b: CFLAGS := -nostartfiles -nodefaultlibs\n")
    built = bench.build(msgspec.structs.replace(source))
    assert built.broken == ()
    assert subprocess.run([built.files / "b"], check=False).returncode == 0

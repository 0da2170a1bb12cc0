# SPDX-License-Identifier: GPL-2.0-only
"""What cannot be built, packed or run is an error of its own, and all else runs."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from harness import suites
from harness.errors import UserError
from harness.lab.room import needed_mib, too_small
from harness.model.spec import GuestTable
from harness.run.plan import Terms, plan
from harness.suites import Suite, SuiteSource, sources
from harness.suites.files import why_no_file, why_no_program
from harness.suites.part import MakefileBroken, first_error
from tests.suites.conftest import MAIN, MAKEFILE, Bench, linkage

pytestmark = [pytest.mark.unit, pytest.mark.slow]
GOOD = "#!/bin/sh\nexit 0\n"
LONG = "n" * 248


def scripts(bench: Bench, listed: str, variable: str = "TEST_PROGS") -> tuple[SuiteSource, Path]:
    """Return a suite that has *listed* besides a good script, and its directory."""
    source = bench.suite(f"{variable} += {listed}\nTEST_PROGS += good.sh\ninclude ../lib.mk\n")
    directory = bench.root / "mine"
    write(directory / "good.sh", GOOD)
    return source, directory


def write(path: Path, text: str | bytes, mode: int = 0o755) -> None:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)


def told(suite: Suite) -> dict[str, str]:
    """Return the reasons by name; the good script is there in any case."""
    assert "good.sh" in {each.name for each in suite.programs}
    return {each.name: each.reason for each in suite.broken}


def elf(machine: int, kind: int = 2) -> bytes:
    return b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HH", kind, machine) + bytes(44)


def listen(path: Path) -> None:
    """Make a socket, whose path may be too long for one."""
    here = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda _: None, "is not there"),
    "directory": (lambda path: path.mkdir(), "is a directory"),
    "dangling": (lambda path: path.symlink_to("nothing"), "leads to nothing: nothing"),
    "escaping": (lambda path: path.symlink_to("/none/x"), "leads to nothing: /none/x"),
    "itself": (lambda path: path.symlink_to(path.name), "symbolic links"),
    "fifo": (lambda path: os.mkfifo(path), "is a FIFO"),
    "socket": (listen, "is a socket"),
    "device": (lambda path: path.symlink_to("/dev/null"), "is a character device"),
    "empty": (lambda path: write(path, ""), "is empty"),
    "foreign": (lambda path: write(path, elf(183)), "for AArch64"),
    "object": (lambda path: write(path, elf(62, 1)), "no program"),
    "damaged": (lambda path: write(path, b"\x7fELF"), "damaged"),
    "plain": (lambda path: write(path, elf(62), 0o644), "is not executable"),
    "garbage": (lambda path: write(path, b"\0\1\2\3"), "neither an ELF program nor a script"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_that_cannot_be_run(bench: Bench, kind: str) -> None:
    make, reason = KINDS[kind]
    source, directory = scripts(bench, "bad.sh")
    make(directory / "bad.sh")
    assert list(found := told(bench.build(source))) == ["bad.sh"]
    assert found["bad.sh"].startswith("bad.sh ")
    assert reason in found["bad.sh"]


@pytest.mark.parametrize("kind", ["missing", "dangling", "escaping", "fifo", "socket", "device"])
@pytest.mark.parametrize("variable", ["TEST_FILES", "TEST_PROGS_EXTENDED"])
def test_a_file_that_cannot_be_packed(bench: Bench, kind: str, variable: str) -> None:
    make, reason = KINDS[kind]
    source, directory = scripts(bench, "data.bin fine.txt", variable)
    make(directory / "data.bin")
    write(directory / "fine.txt", "here")
    built = bench.build(source)
    assert list(found := told(built)) == ["data.bin"]
    assert reason in found["data.bin"]
    assert (built.files / "fine.txt").read_text() == "here"


def test_what_cannot_be_packed_of_a_directory(bench: Bench) -> None:
    source, directory = scripts(bench, "data", "TEST_FILES")
    (directory / "data").mkdir()
    os.mkfifo(directory / "data" / "pipe")
    (directory / "data" / "kept").symlink_to("nothing")
    write(directory / "data" / "fine", "here")
    built = bench.build(source)
    assert told(built) == {"pipe": "data/pipe is a FIFO"}
    assert (built.files / "data/fine").read_text() == "here"
    # As it is: a test may want a link that leads to nothing.
    assert (built.files / "data/kept").readlink() == Path("nothing")


@contextmanager
def nobody(*paths: Path) -> Iterator[None]:
    """Be a user who may not read everything, where this one is root."""
    if os.geteuid():
        yield
        return
    for path in paths:
        for each in (path, *path.parents):
            if each.is_relative_to("/tmp/pytest-of-root"):
                each.chmod(each.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    for name in ("s.sh", "locked"):
        (tmp_path / name).write_text(GOOD)
        (tmp_path / name).chmod(0)
    (tmp_path / "dir").mkdir(mode=0)
    with nobody(tmp_path):
        assert why_no_program(tmp_path / "s.sh") == "cannot be read: Permission denied"
        assert why_no_file(tmp_path / "locked") == "cannot be read: Permission denied"
        with tempfile.TemporaryDirectory() as target:
            left_out = sources.copy(tmp_path, Path(target) / "copy")
        assert len(sources.digest_sources(tmp_path)) == 64
    (tmp_path / "dir").chmod(0o700)
    assert left_out == dict.fromkeys(("dir", "locked", "s.sh"), "cannot be read: Permission denied")


def test_names_that_are_not_utf8(bench: Bench) -> None:
    source, directory = scripts(bench, "data")
    (directory / "Makefile").write_bytes(
        b"TEST_PROGS := caf\xe9.sh good.sh\nTEST_FILES := data\ninclude ../lib.mk\n"
    )
    (directory / "data").mkdir()
    for file in (b"caf\xe9.sh", b"data/caf\xe9"):
        write(Path(os.fsdecode(os.fsencode(directory) + b"/" + file)), GOOD)
    os.mkfifo(os.fsencode(directory) + b"/data/p\xe9")
    built = bench.build(source)
    (name, reason), pipe = sorted(told(built).items())
    assert "its name is not UTF-8" in reason
    assert pipe == ("p\\xe9", "data/p\\xe9 is a FIFO")
    assert name.encode()
    assert os.fsencode(built.files) + b"/data/caf\xe9" in {
        os.fsencode(path) for path in built.files.rglob("*")
    }


def test_a_name_of_248_characters(bench: Bench) -> None:
    source = bench.suite(
        f"TEST_PROGS := {LONG} directory/{LONG}.sh\nTEST_GEN_PROGS := {LONG}.c2\n"
        "include ../lib.mk\n"
        f"$(OUTPUT)/{LONG}.c2: ; echo 'int main(void) {{ return 0; }}' | $(CC) -x c - -o $@\n"
    )
    directory = bench.root / "mine"
    (directory / "directory").mkdir()
    write(directory / LONG, GOOD)
    write(directory / f"directory/{LONG}.sh", GOOD)
    built = bench.build(source)
    assert built.broken == ()
    assert [each.name for each in built.programs] == [f"{LONG}.c2", LONG, f"{LONG}.sh"]
    for program in built.programs:
        assert (built.files / program.path).is_file()


@pytest.mark.parametrize("path", ["/bin/true", "../other/x.sh", "sub/../../other/x.sh", ".."])
def test_a_program_outside_of_the_suite(bench: Bench, path: str) -> None:
    source, _ = scripts(bench, path)
    (bench.root / "other").mkdir()
    write(bench.root / "other/x.sh", GOOD)
    (reason,) = told(bench.build(source)).values()
    assert "outside of the suite's directory" in reason


def test_paths_that_only_look_as_if_they_led_outside(bench: Bench) -> None:
    source, directory = scripts(bench, "./a.sh sub/../b.sh $(CURDIR)/c.sh good.sh")
    (directory / "sub").mkdir()
    for name in "abc":
        write(directory / f"{name}.sh", GOOD)
    built = bench.build(source)
    assert built.broken == ()
    assert [each.name for each in built.programs] == ["a.sh", "b.sh", "c.sh", "good.sh"]


def test_no_test_has_the_name_of_another(bench: Bench) -> None:
    source, directory = scripts(bench, "a.b a/b x/b good.sh good.sh")
    for name in ("a", "x"):
        (directory / name).mkdir()
        write(directory / name / "b", GOOD)
    write(directory / "a.b", GOOD)
    names = [each.name for each in bench.build(source).programs]
    assert sorted(names) == sorted({*names})
    assert len(names) == 4


def test_a_script_that_is_listed_as_made_as_well(bench: Bench) -> None:
    source = bench.suite(
        "TEST_GEN_PROGS := a a\nTEST_PROGS := a\ninclude ../lib.mk\n", a=MAIN.format(0)
    )
    assert [each.name for each in bench.build(source).programs] == ["a"]


def test_a_makefile_that_prints(bench: Bench) -> None:
    noise = "$(info hello)$(warning careful)$(shell printf 'half a line' >&2)\n"
    built = bench.build(bench.suite(noise + MAKEFILE.format("a"), a=MAIN.format(0)))
    assert ([each.name for each in built.programs], built.broken) == (["a"], ())


# Interpreters and libraries


def planned(suite: Suite, kind: str = "sealed") -> dict[str, tuple[str, str]]:
    terms = Terms(
        sources={"mine": SuiteSource("mine", "mine", None)},
        guest=GuestTable(type="vng" if kind == "vng" else "sealed"),
        lacks=lambda _guest, _needs: "",
        series="none",
        default_timeout_s=1,
        rerun=lambda _suite, _test: "",
    )
    tests = plan([suite], "", terms)
    return {test.program: (test.broken, test.unfit) for test in tests}


@pytest.mark.parametrize("kind", ["sealed", "vng"])
@pytest.mark.parametrize(
    ("first", "shown"),
    [
        ("#!/usr/bin/no-such-interpreter", "no-such-interpreter"),
        ("#!/opt/none/bash", "/opt/none/bash"),
        ("#!/usr/bin/env no-such-interpreter", "no-such-interpreter"),
        ("#!/bin/sh\r", "'sh\\r'"),
    ],
)
def test_a_script_whose_interpreter_is_nowhere(
    bench: Bench, first: str, shown: str, kind: str
) -> None:
    source, directory = scripts(bench, "bad")
    write(directory / "bad", f"{first}\nexit 0\n")
    broken, _ = planned(bench.build(source), kind)["bad"]
    assert broken == f"bad is a script for {shown}, which this machine does not have"
    assert planned(bench.build(source), kind)["good.sh"] == ("", "")


def test_a_script_for_another_interpreter_is_skipped_in_a_sealed_guest(bench: Bench) -> None:
    source, directory = scripts(bench, "s.py")
    write(directory / "s.py", "#!/usr/bin/env python3\n")
    built = bench.build(source)
    assert "run it with --guest vng" in planned(built)["s.py"][1]
    assert planned(built, "vng")["s.py"] == ("", "")


@pytest.mark.parametrize("rpath", ["./", "$$ORIGIN", "$(OUTPUT)"])
def test_a_library_of_the_suites_own(bench: Bench, rpath: str) -> None:
    source = bench.suite(
        "TEST_GEN_PROGS := user\nTEST_GEN_PROGS_EXTENDED := libown.so\nOVERRIDE_TARGETS := 1\n"
        "include ../lib.mk\n"
        "$(OUTPUT)/libown.so: own.c\n\t$(CC) -shared -fPIC $< -o $@\n"
        "$(OUTPUT)/user: user.c $(OUTPUT)/libown.so\n"
        f"\t$(CC) $< -L$(OUTPUT) -lown -Wl,-rpath='{rpath}' -o $@\n"
        "$(OUTPUT)/%: ;\n",
        own="int own(void) { return 0; }\n",
        user="int own(void);\nint main(void) { return own(); }\n",
    )
    built = bench.build(source)
    assert built.broken == ()
    assert set(linkage(built).values()) == {"dynamic"}
    # As in a guest: from its own directory, with nothing but what is packed.
    root = bench.root / "guest"
    shutil.copytree(built.root, root, symlinks=True)
    shutil.copytree(built.files, root / "selftests/mine")
    run = 'import os; os.chroot("."); os.chdir("/selftests/mine"); os.execl("./user", "user")'
    done = subprocess.run(
        ["unshare", "-Ur", sys.executable, "-c", run],
        cwd=root,
        # What the loader reads from /proc, which is not there.
        env={"LD_ORIGIN_PATH": "/selftests/mine"},
        check=False,
    )
    assert done.returncode == 0


def test_a_library_that_is_nowhere_is_an_error_of_its_program(bench: Bench) -> None:
    library = bench.root / "libgone.so"
    argv = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
    subprocess.run(argv, input="int gone(void) { return 0; }", text=True, check=True)
    source = bench.suite(
        f"{MAKEFILE.format('user good')}$(OUTPUT)/user: LDFLAGS = -L{bench.root} -lgone\n",
        user="int gone(void);\nint main(void) { return gone(); }\n",
        good=MAIN.format(0),
    )
    built = bench.build(source)
    assert [each.name for each in built.programs] == ["good"]
    assert [(each.name, each.reason) for each in built.broken] == [
        ("user", "a shared library of it cannot be found: libgone.so")
    ]


def test_a_loader_that_is_nowhere_is_an_error_of_its_program(bench: Bench) -> None:
    source = bench.suite(
        "TEST_GEN_PROGS := user good\ninclude ../lib.mk\n"
        "$(OUTPUT)/user: user.c\n"
        "\tgcc $< -Wl,--dynamic-linker=/none/ld.so -o $@\n",
        user=MAIN.format(0),
        good=MAIN.format(0),
    )
    built = bench.build(source)
    assert [each.name for each in built.programs] == ["good"]
    assert built.broken[0].reason == "its loader is not on this machine: /none/ld.so"


# Compilers and makefiles


def test_a_compiler_that_fails_has_built_nothing(bench: Bench) -> None:
    """Given a header besides, gcc writes that, precompiled, to -o, and then fails to link."""
    source = bench.suite(
        "TEST_GEN_PROGS := san gone plain\ninclude ../lib.mk\n"
        "$(OUTPUT)/san: san.c san.h\n\t$(CC) -fsanitize=address $^ -o $@\n"
        "$(OUTPUT)/gone: san.c san.h\n\t$(CC) -fsanitize=address $^ -lnowhere -o $@\n",
        san=MAIN.format(0),
        plain=MAIN.format(0),
    )
    (bench.root / "mine/san.h").write_text("int x;\n")
    built = bench.build(source)
    assert linkage(built) == {"san": "dynamic", "plain": "static"}
    assert [each.name for each in built.broken] == ["gone"]
    assert "cannot find -lnowhere" in built.broken[0].reason


def test_what_only_static_linking_fails_for_is_linked_with_shared_libraries(bench: Bench) -> None:
    source = bench.suite(
        f"{MAKEFILE.format('san')}$(OUTPUT)/san: LDFLAGS = -fsanitize=address\n",
        san=MAIN.format(0),
    )
    built = bench.build(source)
    assert built.broken == ()
    assert set(linkage(built).values()) == {"dynamic"}


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        ("echo junk > $@; false", "does not build: make did not build it and gave no error"),
        ("-echo junk > $@; false", "does not build: bad is neither an ELF program nor a script"),
        ("touch $@", "does not build: bad is empty"),
        ("gcc -c -x c /dev/null -o $@; chmod +x $@", "does not build: bad is an ELF file, but no"),
        ("true", "does not build: make did not build it and gave no error"),
    ],
)
def test_what_make_leaves_is_a_program_or_an_error(bench: Bench, recipe: str, reason: str) -> None:
    source = bench.suite(
        f"TEST_GEN_PROGS := bad good\ninclude ../lib.mk\n$(OUTPUT)/bad:\n\t{recipe}\n",
        good=MAIN.format(0),
    )
    built = bench.build(source)
    assert [each.name for each in built.programs] == ["good"]
    assert built.broken[0].reason.startswith(reason)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (
            "gcc -O2 -Wno-error a.c -lpopt -o /o/a\n"
            "/usr/bin/ld: cannot find -lpopt: No such file or directory\n"
            "collect2: error: ld returned 1 exit status\n"
            "make: *** [../lib.mk:147: /o/a] Error 1",
            "/usr/bin/ld: cannot find -lpopt: No such file or directory",
        ),
        (
            "a.c: In function 'fatal':\n"
            "a.c:3:1: warning: an error is near [-Wx]\n"
            "a.c:4:9: error: 'X' undeclared\n    4 | return X; // error: none\n"
            "make: *** [Makefile:3: a] Error 1",
            "a.c:4:9: error: 'X' undeclared",
        ),
        (
            "/usr/bin/ld: warning: x.o: missing .note.GNU-stack section\n"
            "/usr/bin/ld: /tmp/a.o: in function `main':\n"
            "a.c:(.text+0x5): undefined reference to `gone'",
            "a.c:(.text+0x5): undefined reference to `gone'",
        ),
        (
            "gcc: error: cannot specify -static with -fsanitize=address\ncompilation terminated.",
            "gcc: error: cannot specify -static with -fsanitize=address",
        ),
        ("{standard input}:4: Error: no such instruction: `foo'",) * 2,
        ("make: *** No rule to make target 'x.c', needed by 'x'.  Stop.",) * 2,
        (
            "/bin/sh: 1: bison: not found\nmake: *** [Makefile:3: a] Error 127",
            "/bin/sh: 1: bison: not found",
        ),
        (
            "/bin/sh: 1: pkg-config: not found\na.c:1:10: fatal error: x.h: No such file",
            "a.c:1:10: fatal error: x.h: No such file",
        ),
        ("all is well", "make did not build it and gave no error"),
    ],
)
def test_the_first_line_that_says_what_is_wrong_is_the_reason(output: str, reason: str) -> None:
    assert first_error(output.splitlines()) == reason


def test_a_suite_that_cannot_be_built_does_not_take_the_others_along(bench: Bench) -> None:
    good = bench.build(SuiteSource("demo", "demo", None))
    broken = SuiteSource("broken", "broken", None)

    def build(source: SuiteSource) -> Suite:
        if source is broken:
            raise MakefileBroken("it does not work", why="x\nMakefile:2: *** gone.  Stop.\n")
        return good

    built = suites.build_all([broken, SuiteSource("demo", "demo", None)], build)
    assert built[1] is good
    assert [(each.name, each.reason) for each in built[0].broken] == [
        ("Makefile", "it does not work: Makefile:2: *** gone.  Stop.")
    ]
    with pytest.raises(MakefileBroken):
        suites.build_all([broken], build)


def test_a_program_that_is_asked_for_and_not_there_refuses_the_run(bench: Bench) -> None:
    source = bench.suite(MAKEFILE.format("a"), a=MAIN.format(0))
    wanted = [SuiteSource("demo", "demo", None), msgspec.structs.replace(source, programs=("b*",))]
    with pytest.raises(UserError, match="no program 'b\\*'"):
        suites.build_all(wanted, bench.build)


# Memory


def packing(tmp_path: Path, mib: int) -> Suite:
    files = tmp_path / "files"
    files.mkdir()
    with (files / "big").open("wb") as file:
        file.truncate(mib << 20)
    return Suite("k", "mine", tmp_path, None, (), ())


def test_a_guest_that_is_too_small_is_refused_with_both_sizes(tmp_path: Path) -> None:
    suite = packing(tmp_path, 500)
    reason = too_small(suite, GuestTable(memory_mib=512))
    assert "packs 501 MiB" in reason
    assert "it has 512 MiB" in reason
    assert f"set memory_mib = {needed_mib(501)} under [guest] in suite.toml or" in reason
    assert too_small(suite, GuestTable(memory_mib=needed_mib(501))) == ""


def test_an_ordinary_suite_fits_into_an_ordinary_guest(tmp_path: Path) -> None:
    assert too_small(packing(tmp_path, 100), GuestTable(memory_mib=512)) == ""


@pytest.mark.parametrize("mib", [2000, 5000])
def test_no_memory_is_enough_for_some(tmp_path: Path, mib: int) -> None:
    assert "at most" in too_small(packing(tmp_path, mib), GuestTable(memory_mib=1 << 20))

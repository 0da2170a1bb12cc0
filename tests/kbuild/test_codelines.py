# SPDX-License-Identifier: GPL-2.0-only
"""Where a kernel has the code of source lines: against binutils, and against debug information."""

from __future__ import annotations

import re
import struct
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from harness.context import Context
from harness.errors import MachineError
from harness.guest.reached import encode_ranges
from harness.kbuild import codelines
from harness.kbuild.codelines import code_lines
from harness.kbuild.linetable import read_rows
from harness.model.coverage import CodeMap
from harness.progress import Quiet
from tests.kbuild.conftest import ONE, TWO, Built
from tests.kerneltree import commit, sh

pytestmark = [pytest.mark.unit, pytest.mark.slow]

PROGRAM = """\
#include "inline.h"
int sink;
__attribute__((section(".init.text"))) int early(int v)
{
	for (int i = 0; i < v; i++)
		sink += i * v;
	return sink;
}
int usual(int v)
{
	if (v > 100)
		return -22;
	inlined(v);
	return early(v) + 1;
}
"""
INLINE = """\
extern int sink;
static inline __attribute__((always_inline)) void inlined(int v)
{
	sink = v * 3;
}
"""
ROW = re.compile(
    r"(?P<file>\S+)\s+(?P<line>\d+)\s+(?P<address>0x[0-9a-f]+|0)(?:\s+\d+)?(?P<mark>\s+x)?\s*$"
)


def everything(built: Built) -> dict[str, range]:
    return {
        "kernel/one.c": range(1, ONE.count("\n") + 1),
        "mm/two.c": range(1, TWO.count("\n") + 1),
        "include/inner.h": range(1, 6),
        "lib/hand.S": range(1, 10),
        "Documentation/text.rst": range(1, 5),
    }


def never() -> None:
    raise AssertionError("the slot was as it was left")


def find(built: Built, wanted: dict[str, range], refill: Callable[[], None] = never) -> CodeMap:
    return code_lines(built.kernel, built.slot, wanted, Context(built.store, Quiet()), refill)


def where(code: CodeMap) -> dict[tuple[str, int], tuple[set[int], set[int]]]:
    """Return for each line the addresses of its code, and those where statements begin."""

    def addresses(points: tuple[int, ...]) -> set[int]:
        return {address for point in points for address in range(*code.points[point])}

    return {
        (each.path, each.line): (addresses(each.code), addresses(each.statements))
        for each in code.lines
    }


@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["object", "compressed", "linked"])
def test_rows_are_those_of_readelf(tmp_path: Path, version: int, kind: str) -> None:
    (tmp_path / "inline.h").write_text(INLINE)
    (tmp_path / "program.c").write_text(PROGRAM)
    argv = ["gcc", f"-gdwarf-{version}", "-O2", "-ffunction-sections", "-I."]
    argv += ["-gz=zlib"] if kind == "compressed" else ["-gz=none"]
    sh(*argv, "-c", "-o", "program.o", "program.c", cwd=tmp_path)
    file = tmp_path / "program.o"
    if kind == "linked":
        sh("ld", "-e", "usual", "-o", "program", "program.o", cwd=tmp_path)
        file = tmp_path / "program"
    rows = read_rows(file, lambda name: name.endswith(("program.c", "inline.h")))
    argv = ["readelf", "-W", "--debug-dump=decodedline", str(file)]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    expected = Counter(
        (found["file"], int(found["line"]), int(found["address"], 16), bool(found["mark"]))
        for row in shown.splitlines()
        if (found := ROW.match(row))
    )
    assert Counter((Path(r.file).name, r.line, r.start, r.statement) for r in rows) == expected
    assert len(rows) > 15
    sections = {row.section for row in rows}
    assert sections == ({""} if kind == "linked" else {".init.text", ".text.usual"})
    symbols = sh("nm", "-S", str(file), cwd=tmp_path).splitlines()
    sizes = [int(row.split()[1], 16) for row in symbols if " T " in row and len(row.split()) == 4]
    assert sum(row.end - row.start for row in rows) == sum(sizes) > 40


def test_an_object_without_line_numbers(tmp_path: Path) -> None:
    (tmp_path / "inline.h").write_text(INLINE)
    (tmp_path / "program.c").write_text(PROGRAM)
    sh("gcc", "-c", "program.c", cwd=tmp_path)
    with pytest.raises(MachineError, match="has no line numbers"):
        read_rows(tmp_path / "program.o", lambda _: True)


@pytest.mark.parametrize("cut", [16, 100, 700])
def test_a_damaged_object(tmp_path: Path, cut: int) -> None:
    (tmp_path / "inline.h").write_text(INLINE)
    (tmp_path / "program.c").write_text(PROGRAM)
    sh("gcc", "-g", "-c", "program.c", cwd=tmp_path)
    path = tmp_path / "program.o"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(MachineError, match="line numbers cannot be read"):
        read_rows(path, lambda _: True)


def test_the_same_places_as_a_vmlinux_with_debug_information(built: Built) -> None:
    code = find(built, everything(built))
    with_lines = msgspec.structs.replace(
        built.kernel, key="other", path=built.kernel.path.parent / "debug"
    )
    with_lines.path.mkdir()
    built.debug.rename(with_lines.vmlinux)
    other = code_lines(
        with_lines, built.slot, everything(built), Context(built.store, Quiet()), never
    )
    assert where(code) == where(other)
    lines = {(line.path, line.line) for line in code.lines}
    assert {("kernel/one.c", 5), ("kernel/one.c", 10), ("include/inner.h", 4)} <= lines
    assert ("kernel/one.c", 1) not in lines
    assert {path for path, _ in lines} == everything(built).keys() - {"Documentation/text.rst"}
    assert code.notes == ()
    assert list(code.points) == sorted(code.points)
    assert all(a[1] <= b[0] for a, b in zip(code.points, code.points[1:], strict=False))


def test_only_lines_that_are_asked_for(built: Built) -> None:
    code = find(built, {"kernel/one.c": range(5, 6), "mm/two.c": range(0)})
    assert [(line.path, line.line) for line in code.lines] == [("kernel/one.c", 5)]
    assert find(built, {}).lines == ()


def test_what_was_found_needs_no_compiler_again(
    built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = find(built, everything(built))
    monkeypatch.setenv("PATH", "/nonexistent")
    assert find(built, everything(built)) == first


def forget(built: Built) -> None:
    for path in built.store.place("codelines").iterdir():
        path.unlink()


def test_an_object_of_another_kernel_is_built_again(built: Built) -> None:
    """The sources of this kernel may be back while the objects are still those of another."""
    first = find(built, everything(built))
    forget(built)
    left = built.slot.objects / "mm/two.o"
    own = left.read_bytes()
    left.write_bytes((built.slot.objects / "kernel/one.o").read_bytes())

    def refill() -> None:
        left.write_bytes(own)

    assert find(built, everything(built), refill) == first


def test_a_slot_that_holds_another_kernel_is_filled_again(built: Built) -> None:
    first = find(built, everything(built))
    forget(built)
    there = sh("git", "rev-parse", "HEAD", cwd=built.slot.source)
    (built.slot.source / "mm/two.c").write_text("\n" + TWO)
    commit(built.slot.source, "moved on")

    def refill() -> None:
        sh("git", "checkout", "-q", there, cwd=built.slot.source)

    assert find(built, everything(built), refill) == first


def test_lines_of_another_kernel_are_not_believed(built: Built) -> None:
    (built.slot.source / "mm/two.c").write_text("\n" + TWO)
    commit(built.slot.source, "moved on")
    with pytest.raises(MachineError, match="another tree"):
        find(built, everything(built), lambda: None)


def test_an_object_that_becomes_another_one_is_told(built: Built) -> None:
    record = built.slot.objects / "kernel/.one.o.cmd"
    record.write_text(record.read_text().replace("-O2", "-O0", 1))
    times: list[int] = []
    code = find(built, everything(built), lambda: times.append(1))
    assert len(times) == 1, "another build may have made it what it is to be"
    assert {line.path for line in code.lines} == {"mm/two.c", "lib/hand.S"}
    assert code.notes == (
        "some changed lines are not watched: kernel/one.o changes when it is compiled with debug "
        "information",
    )


def test_a_header_in_too_many_objects_is_told(
    built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = built.slot.objects / "mm/.two.o.cmd"
    record.write_text(record.read_text() + "deps_x := \\\n  ../src/include/inner.h \\\n")
    record = built.slot.objects / "kernel/.one.o.cmd"
    record.write_text(record.read_text() + "deps_x := \\\n  ../src/include/inner.h \\\n")
    header = {"include/inner.h": range(1, 6)}
    assert [line.line for line in find(built, header).lines] == [4]
    assert find(built, header).notes == ()
    monkeypatch.setattr(codelines, "_MORE_OBJECTS", 1)
    monkeypatch.setattr(codelines, "_RECIPE", "another")
    (note,) = find(built, header).notes
    assert "include/inner.h" in note
    assert "1 more" in note


def test_ranges_for_the_plugin() -> None:
    assert encode_ranges([(16, 20), (1 << 63, (1 << 63) + 1)]) == struct.pack(
        "=4Q", 16, 20, 1 << 63, (1 << 63) + 1
    )


def test_a_strangers_objects_are_looked_at_in_the_sandbox(built: Built) -> None:
    expected = where(find(built, everything(built)))
    for path in built.store.place("codelines").iterdir():
        path.unlink()
    (built.slot.path / "ccache").mkdir()
    built.slot = msgspec.structs.replace(built.slot, owner="x", ccache=built.slot.path / "ccache")
    assert where(find(built, everything(built))) == expected

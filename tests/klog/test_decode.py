# SPDX-License-Identifier: GPL-2.0-only
"""Decoding against a small program with debug information, linked like a kernel: no libc."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from harness.errors import MachineError, UserError
from harness.klog.decode import decode

pytestmark = pytest.mark.unit

ONE = """\
int sink;
static inline __attribute__((always_inline)) void inner(int v)
{
	sink = v;
}
static __attribute__((noinline)) int twin(int v)
{
	return v + sink;
}
__attribute__((noinline)) int leaf(int v)
{
	inner(v);
	return twin(v) + 1;
}
"""
TWO = """\
extern int sink;
extern int leaf(int v);
static __attribute__((noinline)) int twin(int v)
{
	sink += v * 3;
	sink ^= v;
	return v * sink + 7;
}
__attribute__((noreturn, noipa)) void fatal(void);
__attribute__((noreturn)) void _start(void)
{
	twin(leaf(1));
	fatal();
}
void fatal(void)
{
	for (;;)
		;
}
"""


@pytest.fixture(scope="module")
def vmlinux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree")
    for name, text in (("kernel/one.c", ONE), ("mm/two.c", TWO)):
        (tree / name).parent.mkdir()
        (tree / name).write_text(text)
    flags = ["-g", "-O1", "-fno-pie", "-no-pie", "-nostdlib", "-static", "-fno-stack-protector"]
    sources = [str(tree / "kernel/one.c"), str(tree / "mm/two.c")]
    subprocess.run(["gcc", *flags, "-o", str(tree / "vmlinux"), *sources], check=True, timeout=60)
    return tree / "vmlinux"


def symbols(vmlinux: Path) -> list[tuple[int, str]]:
    out = subprocess.run(
        ["nm", "-n", str(vmlinux)], check=True, timeout=60, capture_output=True, text=True
    ).stdout
    rows = [row.split() for row in out.splitlines()]
    return [(int(r[0], 16), r[2]) for r in rows if r[1] in "tT"]


def entry(vmlinux: Path, name: str, which: int = 0) -> tuple[int, str]:
    table = symbols(vmlinux)
    index = [i for i, (_, n) in enumerate(table) if n == name][which]
    after = table[index + 1 :] or [(table[index][0] + 64, "")]
    size = after[0][0] - table[index][0]
    return size, f"{name}+{{:#x}}/{size:#x}"


def line_of(text: str, needle: str) -> int:
    return 1 + text[: text.index(needle)].count("\n")


def test_files_and_lines_relative_to_the_tree(vmlinux: Path) -> None:
    _, one = entry(vmlinux, "twin", 0)
    _, two = entry(vmlinux, "twin", 1)
    report = f"RIP: 0010:{one.format(0)}\nCall Trace:\n {two.format(1)}\n end\n"
    assert one != two
    decoded = decode(report, vmlinux).splitlines()
    assert re.fullmatch(
        rf"RIP: 0010:{re.escape(one.format(0))} \(kernel/one\.c:[678]\)", decoded[0]
    )
    assert re.fullmatch(rf" {re.escape(two.format(1))} \(mm/two\.c:\d+\)", decoded[2])
    assert decoded[1::2] == ["Call Trace:", " end"]


def test_inlined_functions_innermost_first(vmlinux: Path) -> None:
    size, leaf = entry(vmlinux, "leaf")
    report = "\n".join(f"RIP: 0010:{leaf.format(i)}" for i in range(size))
    inner, call = line_of(ONE, "sink = v"), line_of(ONE, "\tinner(v)")
    assert f"(kernel/one.c:{inner}, kernel/one.c:{call})" in decode(report, vmlinux)


def test_return_addresses_mean_the_call_before_them(vmlinux: Path) -> None:
    table = symbols(vmlinux)
    _, start = entry(vmlinux, "_start")
    begin = next(a for a, n in table if n == "_start")
    dump = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(vmlinux)],
        check=True, timeout=60, capture_output=True, text=True,
    ).stdout  # fmt: skip
    call = int(re.findall(r"^ *([0-9a-f]+):\tcall .*<fatal>", dump, re.MULTILINE)[0], 16)
    after = call + 5  # the length of an x86 call; it is the last instruction of its function
    assert f"(mm/two.c:{line_of(TWO, chr(9) + 'fatal();')})" in decode(
        f" {start.format(after - begin)}\n", vmlinux
    )


def test_the_first_entry_of_an_arm64_stack_is_the_instruction_itself(vmlinux: Path) -> None:
    size, leaf = entry(vmlinux, "leaf")
    lines = [
        decode(f"pc : {leaf.format(i)}\nCall trace:\n {leaf.format(i)}\n", vmlinux).splitlines()
        for i in range(size)
    ]
    assert all(stack == f" {pc.removeprefix('pc : ')}" for pc, _, stack in lines)
    assert len({pc.split("(")[1] for pc, _, _ in lines if "(" in pc}) > 1


def test_what_stays_as_it_is(vmlinux: Path) -> None:
    size, leaf = entry(vmlinux, "leaf")
    report = (
        f" {leaf.format(1)} [kvm]\n unknown_function+0x1/0x20\n twin+0x1/0xfff\n"
        f" {leaf.format(1)} (kernel/one.c:3)\nplain text 0x12/0x34\n"
    )
    assert decode(report, vmlinux) == report
    assert decode("nothing here\n", vmlinux) == "nothing here\n"
    assert size > 1


def test_errors(vmlinux: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no vmlinux"):
        decode(" leaf+0x1/0x2\n", tmp_path / "vmlinux")
    junk = tmp_path / "junk"
    junk.write_bytes(b"no ELF at all")
    with pytest.raises(MachineError, match="nm failed"):
        decode(" leaf+0x1/0x2\n", junk)
    with pytest.raises(MachineError, match="no-such-nm is not installed"):
        decode(" leaf+0x1/0x2\n", vmlinux, tool_prefix="no-such-")

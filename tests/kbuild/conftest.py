# SPDX-License-Identifier: GPL-2.0-only
"""A slot in which something like a kernel was built."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from harness.context import Context
from harness.digest import digest
from harness.kbuild.kernel import Kernel, Meta, Slot
from harness.kbuild.lines import Decoded, decode_reports
from harness.progress import Quiet
from harness.store import Store
from tests.kerneltree import commit, sh

ONE = """\
#include "inner.h"
int sink;
static __attribute__((noinline)) int twin(int v)
{
	return v + sink;
}
__attribute__((noinline)) int leaf(int v)
{
	inner(v);
	return twin(v) + 1;
}
__attribute__((section(".init.text"), noinline)) int early(int v)
{
	sink = v;
	return leaf(v) + 2;
}
__attribute__((section(".init.text"), noinline)) void the_last(void)
{
}
"""
TWO = """\
extern int sink, leaf(int), early(int);
static __attribute__((noinline)) int twin(int v)
{
	sink += v * 3;
	sink ^= v;
	return v * sink + 7;
}
int start_here(int v);
int start_here(int v)
{
	if (__builtin_expect(v == 3, 0))
		__builtin_trap();
	return twin(leaf(early(v)));
}
"""
INNER = """\
extern int sink;
static inline __attribute__((always_inline)) void inner(int v)
{
	sink = v;
}
"""
ASSEMBLY = """\
	.text
	.globl by_hand
	.type by_hand, @function
by_hand:
	nop
	ret
	.size by_hand, . - by_hand
	.section .note.GNU-stack,"",@progbits
"""
FLAGS = "-O2 -fno-pie -fno-stack-protector -fno-asynchronous-unwind-tables -DQUOTE='\"a b\"'"
OBJECTS = {"kernel/one.o": "kernel/one.c", "mm/two.o": "mm/two.c", "lib/hand.o": "lib/hand.S"}


class Built(msgspec.Struct):
    """A slot in which something like a kernel was built."""

    store: Store
    slot: Slot
    kernel: Kernel
    debug: Path
    """The same, linked from objects with debug information."""

    def lines(self, *reports: str) -> Decoded:
        return decode_reports(self.kernel, self.slot, Context(self.store, Quiet()), reports)

    @property
    def frames(self) -> str:
        """A report with every offset of every function."""
        rows = sh("nm", "-n", str(self.kernel.vmlinux), cwd=self.slot.objects).splitlines()
        table = [(int(r.split()[0], 16), r.split()[2]) for r in rows if r.split()[1] in "tT"]
        ends = [address for address, _ in table[1:]] + [table[-1][0]]
        return "\n".join(
            f" {name}+{at:#x}/{end - start:#x}"
            for (start, name), end in zip(table, ends, strict=True)
            for at in range(end - start)
        )


def compile_all(slot: Slot) -> None:
    for target, source in OBJECTS.items():
        (slot.objects / target).parent.mkdir(parents=True, exist_ok=True)
        dependencies = f"{Path(target).parent}/.{Path(target).name}.d"
        line = (
            f"gcc -Wp,-MMD,{dependencies} -I{slot.source}/include {FLAGS} "
            f"-c -o {target} {slot.source}/{source}"
        )
        subprocess.run(["sh", "-c", line], cwd=slot.objects, check=True, timeout=60)
        record = (slot.objects / target).with_name(f".{Path(target).name}.cmd")
        record.write_text(f"cmd_{target} := {line} ; ./tools/objtool {target}\n\nsource_x := y\n")


def link(slot: Slot, out: Path, *, debug: bool = False) -> None:
    objects = []
    for target in OBJECTS:
        objects.append(target)
        if debug:
            record = (slot.objects / target).with_name(f".{Path(target).name}.cmd").read_text()
            line = record.split(" := ")[1].split(" ; ")[0]
            objects[-1] = f"{target}.debug"
            line = line.replace(f"-o {target}", f"-g -o {objects[-1]}").replace(".d ", ".x ")
            subprocess.run(["sh", "-c", line], cwd=slot.objects, check=True, timeout=60)
    argv = ["ld", "-static", "-e", "start_here", "-o", str(out), *objects]
    subprocess.run(argv, cwd=slot.objects, check=True, timeout=60)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with a slot, and what was linked in it; the fixture below gives copies."""
    root = tmp_path_factory.mktemp("original")
    slot = Slot("build-x", Store(root / "cache").place("build", "x"), root / "ccache")
    for name, text in {
        "kernel/one.c": ONE,
        "mm/two.c": TWO,
        "lib/hand.S": ASSEMBLY,
        "include/inner.h": INNER,
    }.items():
        (slot.source / name).parent.mkdir(parents=True, exist_ok=True)
        (slot.source / name).write_text(text)
    sh("git", "init", "-q", cwd=slot.source)
    commit(slot.source, "a kernel")
    slot.objects.mkdir()
    compile_all(slot)
    (slot.objects / ".config").write_text("CONFIG_X=y\n")
    (root / "entry").mkdir()
    link(slot, root / "entry/vmlinux")
    link(slot, root / "vmlinux.debug", debug=True)
    return root


@pytest.fixture
def built(original: Path, tmp_path: Path) -> Built:
    root = tmp_path / "copy"
    shutil.copytree(original, root)
    store = Store(root / "cache")
    slot = Slot("build-x", store.place("build", "x"), store.place("ccache"))
    for record in slot.objects.rglob(".*.o.cmd"):
        record.write_text(record.read_text().replace(str(original), str(root)))
    meta = Meta(
        release="6.1",
        build_id="",
        commit=sh("git", "rev-parse", "HEAD", cwd=slot.source),
        tree=sh("git", "rev-parse", "HEAD^{tree}", cwd=slot.source),
        config_digest=digest("CONFIG_X=y\n"),
        toolchain="",
        headers_digest="",
        warnings=(),
    )
    return Built(store, slot, Kernel("key", root / "entry", meta), root / "vmlinux.debug")

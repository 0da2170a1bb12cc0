# SPDX-License-Identifier: GPL-2.0-only
"""The plugin that counts, before something that does as QEMU: tasks, marks, calls, faults."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.guest import counted
from harness.guest.reached import build_plugin
from harness.model.cost import USER_SPACE, Counts, Symbols

pytestmark = pytest.mark.unit

FAKE = Path(__file__).with_name("programs") / "fake_qemu.c"
BASE = 0xFFFFFFFF81000000
NAMES = ("syscall", "__switch_to_asm", "asm_exc_page_fault", "inner", "outer", "irq_entries_start")
AT = {
    "syscall": BASE,
    "__switch_to_asm": BASE + 0xBF0,
    "asm_exc_page_fault": BASE + 0x2000,
    "inner": BASE + 0x3000,
    "outer": BASE + 0x4000,
    "irq_entries_start": BASE + 0x5000,
}
SYMBOLS = Symbols(tuple(AT[name] for name in NAMES), NAMES)
AGENT, START, END = 0x6B485401, 0x6B485402, 0x6B485403
USER = 0x402000

Count = Callable[..., Counts]
"""Runs a script, and returns what the plugin has counted."""

BEGIN = f"s 1000\nm {AGENT:x}\ns 2000\nm {START:x}\n"
FINISH = f"s 1000\nm {END:x}\n"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_plugin(counted.SOURCE, tmp_path_factory.mktemp("plugin") / "counted.so")


@pytest.fixture(scope="module", params=[1, 2])
def fake(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """QEMU with the interface of 7.2, and with that of 9.0 and later."""
    program = tmp_path_factory.mktemp("fake") / "qemu"
    flags = ["-O1", "-w", "-rdynamic", f"-DVERSION={request.param}"]
    subprocess.run(["gcc", *flags, "-o", program, FAKE, "-ldl"], check=True, timeout=60)
    return program


def at(name: str, offset: int = 0) -> str:
    return f"{AT[name] + offset:x}"


@pytest.fixture
def count(plugin: Path, fake: Path, tmp_path: Path) -> Count:
    def run(script: str, functions: bool = True) -> Counts:
        out, symbols = tmp_path / "counts", tmp_path / "symbols"
        counted.begin(out)
        counted.let_go(out)
        symbols.write_bytes(counted.encode(SYMBOLS))
        argv = [f"out={out}", f"switch={AT['__switch_to_asm']:x}-{AT['__switch_to_asm'] + 96:x}"]
        argv += [f"symbols={symbols}"] * functions
        subprocess.run([fake, plugin, *argv], input=script, text=True, check=True, timeout=60)
        return counted.read(out, SYMBOLS.names if functions else ())

    return run


@pytest.mark.parametrize("functions", [False, True])
def test_only_the_tests_tasks_count_between_the_marks(count: Count, functions: bool) -> None:
    script = (
        f"b {USER:x} 20 n\n"
        + BEGIN
        + f"b {USER:x} 10 n\nb {at('inner')} 3 n\n"
        + f"s 3000\nb {at('inner')} 7 n\n"  # a thread of the kernel
        + f"s 1000\nb {USER:x} 30 n\n"  # the agent
        + f"s 4000\nb {at('outer')} 5 n\nb {USER:x} 1 n\n"  # a child
        + FINISH
        + f"s 2000\nb {USER:x} 20 n\n"
    )
    found = count(script, functions)
    # Whoever leaves runs up to the instruction that takes the next one's stack, and that too.
    assert (found.user, found.kernel) == (0x10 + 1, 3 + 1 + 5 + 1)
    assert found.elsewhere == 7 + 1


def test_calls_stand_below_their_callers_and_return_there(count: Count) -> None:
    script = (
        BEGIN
        + f"b {USER:x} 4 n\n"
        + f"b {at('syscall')} 2 c\nb {at('outer')} 3 c\nb {at('inner')} 5 r\n"
        + f"b {at('outer', 7)} 1 r\nb {at('syscall', 6)} 2 n\n"
        + f"b {USER:x} 1 n\n"
        + FINISH
    )
    found = count(script)
    assert dict(found.stacks)["syscall", "outer", "inner"] == 5
    assert dict(found.stacks)["syscall", "outer"] == 4
    assert dict(found.stacks)["syscall",] == 4
    assert found.calls["inner"] == 1
    assert found.calls["outer"] == 1


def test_a_tail_call_stands_in_the_place_of_its_caller(count: Count) -> None:
    script = (
        BEGIN
        + f"b {USER:x} 1 n\n"
        + f"b {at('syscall')} 2 c\nb {at('outer')} 3 n\nb {at('inner')} 5 r\n"
        + f"b {at('syscall', 6)} 2 n\n"
        + FINISH
    )
    stacks = dict(count(script).stacks)
    assert stacks["syscall", "inner"] == 5
    assert ("syscall", "outer", "inner") not in stacks
    assert stacks["syscall",] >= 4


@pytest.mark.parametrize("entry", ["asm_exc_page_fault", "irq_entries_start"])
def test_an_interrupt_stands_on_what_it_interrupts(count: Count, entry: str) -> None:
    script = (
        BEGIN
        + f"b {USER:x} 1 n\n"
        + f"b {at('syscall')} 2 c\n"
        + f"f {at('outer')} 3\nb {at(entry)} 4 i\n"  # the third instruction of 16 faults
        + f"b {at('outer', 2)} 6 r\nb {at('syscall', 6)} 1 n\n"
        + FINISH
    )
    found = count(script)
    stacks = dict(found.stacks)
    assert stacks["syscall", "outer", entry] == 4
    # The one that faulted counts twice: when it did, and when it ran.
    assert stacks["syscall", "outer"] == 3 + 6
    assert found.calls["outer"] == 1


def test_an_interrupt_between_a_call_and_its_function_loses_neither(count: Count) -> None:
    script = (
        BEGIN
        + f"b {USER:x} 1 n\n"
        + f"b {at('syscall')} 2 c\nb {at('irq_entries_start')} 4 i\n"
        + f"b {at('outer')} 3 r\nb {at('syscall', 6)} 1 n\n"
        + FINISH
    )
    stacks = dict(count(script).stacks)
    assert stacks["syscall", "irq_entries_start"] == 4
    assert stacks["syscall", "outer"] == 3
    assert stacks["syscall",] == 3


def test_each_task_has_a_stack_of_its_own(count: Count) -> None:
    script = (
        BEGIN
        + f"b {USER:x} 1 n\nb {at('syscall')} 2 c\nb {at('outer')} 3 c\n"
        + f"s 3000\nb {USER:x} 1 n\nb {at('syscall')} 2 c\nb {at('inner')} 9 r\n"
        + f"b {at('syscall', 6)} 1 n\n"
        + f"s 2000\nb {at('inner')} 5 r\nb {at('outer', 7)} 1 r\n"
        + FINISH
    )
    stacks = dict(count(script).stacks)
    assert stacks["syscall", "inner"] == 9
    assert sum(value for stack, value in stacks.items() if stack[-1] == "inner") == 14


def test_a_nested_guest_is_one_box_below_what_runs_it(count: Count) -> None:
    script = (
        BEGIN
        + f"b {USER:x} 1 n\n"
        + f"b {at('syscall')} 2 c\nb {at('outer')} 3 v\n"
        + "b 1000 8 n\nb ffff800000001000 4 n\n"
        + f"b {at('outer', 5)} 2 r\nb {at('syscall', 6)} 1 n\n"
        + FINISH
    )
    stacks = dict(count(script).stacks)
    assert stacks["syscall", "outer", USER_SPACE] == 12
    assert stacks["syscall", "outer"] == 5


def test_the_functions_add_up_to_the_whole(count: Count) -> None:
    script = BEGIN + f"b {USER:x} 5 n\n" * 3 + f"b {at('syscall')} 2 c\nb {at('outer')} 3 r\n" * 50
    found = count(script + FINISH)
    assert sum(dict(found.stacks).values()) == found.user + found.kernel
    assert not found.lost

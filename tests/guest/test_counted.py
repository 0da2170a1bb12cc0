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
def test_the_stack_of_an_interrupt_includes_the_interrupted_function(
    count: Count, entry: str
) -> None:
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


STANDS, GOES_ON, POINT, ZERO = 0x6B485404, 0x6B485405, 0x6B485406, 0x6B485407


@pytest.fixture
def told(plugin: Path, fake: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Runs a script with all that is noted of schedules, and returns the file of counts."""

    def run(script: str) -> Path:
        out, symbols, stops = (tmp_path / name for name in ("counts", "symbols", "stops"))
        counted.begin(out)
        counted.let_go(out)
        symbols.write_bytes(counted.encode(SYMBOLS))
        stops.write_bytes(counted.encode_addresses([AT["outer"] + 2, AT["inner"]]))
        argv = [f"out={out}", f"switch={AT['__switch_to_asm']:x}-{AT['__switch_to_asm'] + 96:x}"]
        argv += [f"symbols={symbols}", f"at={stops}"]
        subprocess.run([fake, plugin, *argv], input=script, text=True, check=True, timeout=60)
        return out

    return run


PREEMPTED = (
    f"s 1000\nm {AGENT:x}\ns 7000\nm {AGENT:x}\nm {ZERO:x}\ns 2000\nm {START:x}\n"
    + f"b {USER:x} 4 n\nb {at('syscall')} 2 c\nb {at('outer')} 3 n\n"
    + f"b {at('irq_entries_start')} 4 n\n"  # an interrupt, and the thread that preempts
    + f"s 7000\nm {POINT:x}\nm {STANDS:x}\n"
)


def test_a_thread_that_stands_back_is_told_with_what_others_ran(
    told: Callable[[str], Path],
) -> None:
    script = (
        PREEMPTED
        + f"s 4000\nb {USER:x} 1 n\nb {at('syscall')} 2 c\nb {at('inner')} 5 r\n"
        + f"b {at('syscall', 6)} 1 n\nb {USER:x} 1 n\n"
        + f"s 7000\nm {GOES_ON:x}\ns 2000\nb {at('outer', 3)} 1 n\n"
        + f"s 4000\nb {USER:x} 1 n\nb {at('syscall')} 2 c\nb {at('outer')} 1 n\n"  # too late
        + FINISH
    )
    (stand,) = counted.stands(told(script), SYMBOLS)
    assert (stand.point, stand.thread) == (0, 1)
    assert stand.where == ("outer+0x3", "syscall+0x6")
    assert [thread for thread, _ in stand.others] == [2, 2]
    assert [chain for _, chain in stand.others] == ["syscall", "syscall > inner"]


def test_a_point_that_no_thread_of_the_test_meets_counts_and_is_not_told(
    told: Callable[[str], Path],
) -> None:
    script = (
        f"s 7000\nm {AGENT:x}\ns 2000\nm {START:x}\nb {USER:x} 4 n\n"
        + f"s 7000\nm {POINT:x}\nm {POINT:x}\n"
        + f"s 2000\nb {USER:x} 4 n\ns 7000\nm {POINT:x}\nm {STANDS:x}\n"
        + FINISH
    )
    (stand,) = counted.stands(told(script), SYMBOLS)
    assert (stand.point, stand.where, stand.others) == (2, (), ())


def test_a_profile_has_when_threads_ran_and_came_to_what_was_asked_for(
    told: Callable[[str], Path],
) -> None:
    script = (
        f"s 7000\nm {AGENT:x}\nb {at('inner')} 10 n\nm {ZERO:x}\ns 2000\nm {START:x}\n"
        + f"b {USER:x} 4 n\nb {at('outer')} 5 n\n"
        + f"s 3000\nb {at('inner')} 7 n\n"  # a thread of the kernel
        + f"s 4000\nb {USER:x} 1 n\nb {at('inner')} 1 n\n"
        + FINISH
    )
    spans, came = counted.profile(told(script))
    assert [thread for _, _, thread in spans] == [2]
    (start, end, _) = spans[0]
    assert end - start >= 3
    assert len(came) == 2
    assert came[0] < start <= came[1] < end


def test_a_test_that_did_not_begin_has_no_counts(tmp_path: Path) -> None:
    counted.begin(tmp_path / "counts")
    assert counted.stands(tmp_path / "counts", SYMBOLS) == ()
    assert counted.profile(tmp_path / "counts") == ([], [])

# SPDX-License-Identifier: GPL-2.0-only
"""Lines for a kernel without debug information: from objects compiled once more."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from harness import store as store_module
from harness.context import Context
from harness.kbuild import lines
from harness.kbuild.kernel import Kernel, Slot
from harness.kbuild.lines import Decoded, decode_reports, find_slot
from harness.klog.decode import decode
from harness.progress import Quiet
from tests.kbuild.conftest import OBJECTS, ONE, TWO, Built, compile_all
from tests.kerneltree import commit, sh

pytestmark = [pytest.mark.unit, pytest.mark.slow]


def test_the_same_lines_as_a_vmlinux_with_debug_information(built: Built) -> None:
    report = built.frames
    done = built.lines(report)
    assert done == Decoded((decode(report, built.debug),))
    for place in (
        "twin+0x1/", "kernel/one.c:5", "mm/two.c:", "lib/hand.S:6", "early+", "start_here.cold+",
        "(include/inner.h:4, kernel/one.c:9)",
    ):  # fmt: skip
        assert place in done.reports[0]
    assert done.reports[0].count(" (") > 50


def test_several_reports_and_what_is_no_frame(built: Built) -> None:
    leaf = next(row.strip() for row in built.frames.splitlines() if " leaf+0x0/" in row)
    report = f"BUG: x\nRIP: 0010:{leaf}\n leaf+0x1/0x999\n {leaf} [kvm]\n"
    first, second = built.lines(report, "nothing").reports
    assert second == "nothing"
    assert first.splitlines()[0] == "BUG: x"
    # A function of another size is another function.
    assert first.splitlines()[2:] == [" leaf+0x1/0x999", f" {leaf} [kvm]"]
    assert first.splitlines()[1] == f"RIP: 0010:{leaf} (include/inner.h:4, kernel/one.c:9)"


def test_the_slot_is_left_as_it_was(built: Built) -> None:
    def state() -> dict[str, tuple[int, int]]:
        files = [p for p in built.slot.path.rglob("*") if ".git/" not in str(p)]
        return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in files if p.is_file()}

    before = state()
    assert built.lines(built.frames).note == ""
    assert state() == before
    assert list((built.store.root / "tmp").iterdir()) == []


def test_frames_of_a_kernel_are_looked_up_once(
    built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that have no line: the next run must not compile for them again."""
    report = built.frames + "\n no_such_function+0x1/0x2"
    first = built.lines(report)
    assert first.note == ""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert built.lines(report) == first
    part = report.splitlines()[3]
    assert built.lines(part).reports[0] in first.reports[0].splitlines()


def test_lines_of_another_kernel_are_not_believed(built: Built) -> None:
    first = built.lines(built.frames)
    built.slot.objects.joinpath(".config").unlink()
    assert built.lines(built.frames) == first
    other = Kernel("other-key", built.kernel.path, built.kernel.meta)
    done = decode_reports(other, built.slot, Context(built.store, Quiet()), [built.frames])
    assert done.reports == (built.frames,)
    assert "is gone" in done.note


def test_lines_of_kernels_that_are_gone_are_forgotten(built: Built) -> None:
    place = built.store.place("lines")
    (place / "gone.json").write_text("[]")
    (place / "there.json").write_text("[]")
    built.store.path("kernel", "there").mkdir(parents=True)
    built.lines(built.frames)
    assert sorted(path.stem for path in place.glob("*.json")) == [built.kernel.key, "there"]


def test_damaged_lines_are_looked_up_again(built: Built) -> None:
    first = built.lines(built.frames)
    (path,) = built.store.place("lines").glob("*.json")
    path.write_bytes(path.read_bytes()[:100])
    assert built.lines(built.frames) == first


def test_the_slot_of_a_kernel_is_found_without_asking_how_it_was_made(
    built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        lines,
        "slots",
        lambda _: [Slot("no", Path("/nonexistent"), Path("/nonexistent")), built.slot],
    )
    assert find_slot(built.kernel, built.store) == built.slot
    another_commit(built)
    assert find_slot(built.kernel, built.store) is None


def test_without_frames_nothing_is_asked(built: Built) -> None:
    built.kernel.vmlinux.unlink()
    (built.slot.objects / ".config").unlink()
    assert built.lines("no frames", "") == Decoded(("no frames", ""))
    assert built.lines() == Decoded(())


def another_commit(built: Built) -> None:
    (built.slot.source / "mm/two.c").write_text("\n" + TWO)
    commit(built.slot.source, "moved on")


def edited(built: Built) -> None:
    (built.slot.source / "mm/two.c").write_text("\n" + TWO)


def another_config(built: Built) -> None:
    (built.slot.objects / ".config").write_text("CONFIG_X=m\n")


def gone(built: Built) -> None:
    (built.slot.objects / ".config").unlink()


def foreign(built: Built) -> None:
    data = bytearray(built.kernel.vmlinux.read_bytes())
    data[18:20] = (183).to_bytes(2, "little")
    built.kernel.vmlinux.write_bytes(data)


def no_vmlinux(built: Built) -> None:
    built.kernel.vmlinux.unlink()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (another_commit, "another tree"),
        (edited, "edited"),
        (another_config, "another configuration"),
        (gone, "is gone"),
        (foreign, "this kernel's machine is 183"),
        (no_vmlinux, "readelf failed"),
    ],
)
def test_what_is_not_sure_stays_undecoded(
    built: Built, spoil: Callable[[Built], None], why: str
) -> None:
    report = built.frames
    spoil(built)
    done = built.lines(report)
    assert done.reports == (report,)
    assert why in done.note
    assert "\n" not in done.note


def test_another_commit_with_the_same_tree_will_do(built: Built) -> None:
    sh("git", "commit", "-q", "--allow-empty", "-m", "same files", cwd=built.slot.source)
    assert built.lines(built.frames).note == ""


def test_a_busy_slot_is_not_waited_for(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_LOCK_NOTICE_S", 0.1)
    report = built.frames
    with built.store.lock("build-x", Quiet()):
        done = built.lines(report)
    assert done.reports == (report,)
    assert "another run is building" in done.note
    assert built.lines(report).note == ""


def without_lines(done: Decoded, name: str) -> bool:
    return not re.search(rf" {name}\+\S+ \(", done.reports[0])


def test_an_object_that_is_not_in_this_kernel_is_not_believed(built: Built) -> None:
    """It has the function, with the same size; but not what stands beside it."""
    report = built.frames
    source = built.slot.source / "kernel/one.c"
    source.write_text(ONE.replace("v + sink;", "v * 77 - sink % 3;"))
    compile_all(built.slot)
    source.write_text(ONE)
    done = built.lines(report)
    assert without_lines(done, "leaf")
    assert not without_lines(done, "start_here")


def test_a_command_that_makes_another_object_is_not_believed(built: Built) -> None:
    record = built.slot.objects / "kernel/.one.o.cmd"
    record.write_text(record.read_text().replace("-O2", "-O0"))
    done = built.lines(built.frames)
    assert without_lines(done, "leaf")
    assert not without_lines(done, "start_here")
    assert "kernel/one.o changes when it is compiled" in done.note


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("-c -o", "-c -fno-such -o", "kernel/one.o does not compile"),
        ("-o kernel/one.o", "-o other.o", "no record of how kernel/one.o"),
        ("cmd_kernel/one.o", "cmd_other.o", "no record of how kernel/one.o"),
    ],
)
def test_a_command_that_fails(built: Built, old: str, new: str, why: str) -> None:
    record = built.slot.objects / "kernel/.one.o.cmd"
    record.write_text(record.read_text().replace(old, new))
    done = built.lines(built.frames)
    assert without_lines(done, "leaf")
    assert not without_lines(done, "start_here")
    assert why in done.note


def test_an_object_of_another_directory_by_the_name_its_makefile_has(built: Built) -> None:
    """As KVM's: arch/x86/kvm/../../../virt/kvm/kvm_main.o."""
    record = built.slot.objects / "kernel/.one.o.cmd"
    record.write_text(record.read_text().replace("kernel/one.o", "mm/../kernel/one.o"))
    assert not without_lines(built.lines(built.frames), "leaf")


def test_two_objects_that_fit_are_one_too_many(built: Built) -> None:
    """vmlinux.o has all functions where vmlinux has them, and so had a copy."""
    for name in ("two.o", ".two.o.cmd"):
        text = (built.slot.objects / "mm" / name).read_bytes()
        (built.slot.objects / "kernel" / name).write_bytes(
            text.replace(b"mm/two.o", b"kernel/two.o")
        )
    done = built.lines(built.frames)
    assert without_lines(done, "start_here")
    assert not without_lines(done, "leaf")


def test_a_linked_object_is_no_candidate(built: Built) -> None:
    objects = built.slot.objects
    sh("ld", "-r", "-o", "vmlinux.o", *OBJECTS, cwd=objects)
    (objects / ".vmlinux.o.cmd").write_text("cmd_vmlinux.o := ld -r -o vmlinux.o vmlinux.a\n")
    assert built.lines(built.frames).reports == (decode(built.frames, built.debug),)


def test_debug_information_of_vmlinux_is_used_where_there_is_some(built: Built) -> None:
    report = built.frames
    kernel = Kernel("key", built.debug.parent / "other", built.kernel.meta)
    kernel.path.mkdir()
    built.debug.rename(kernel.vmlinux)
    another_commit(built)
    done = decode_reports(kernel, built.slot, Context(built.store, Quiet()), [report])
    assert done == Decoded((decode(report, kernel.vmlinux),))
    assert "mm/two.c:" in done.reports[0]


def as_a_strangers(built: Built) -> Built:
    (built.slot.path / "ccache").mkdir()
    slot = msgspec.structs.replace(built.slot, owner="x", ccache=built.slot.path / "ccache")
    return msgspec.structs.replace(built, slot=slot)


def test_a_strangers_objects_are_looked_at_in_the_sandbox(built: Built) -> None:
    frames = built.frames
    found = as_a_strangers(built).lines(frames)
    assert found == Decoded((decode(frames, built.debug),))


def test_a_recorded_command_of_a_stranger_reaches_nothing(built: Built, tmp_path: Path) -> None:
    canary, trap = tmp_path / "canary", tmp_path / "trap"
    canary.write_text("secret")
    evil = built.slot.objects / "evil"
    evil.write_text(f"#!/bin/sh\ncp {canary} {trap}\n")
    evil.chmod(0o755)
    for record in built.slot.objects.rglob(".*.o.cmd"):
        target = record.read_text().partition(" := ")[0]
        record.write_text(f"{target} := {evil} -c -o {target.removeprefix('cmd_')}\n")
    frames = built.frames
    assert as_a_strangers(built).lines(frames).reports == (frames,)
    assert not trap.exists()
    assert built.lines(frames).reports == (frames,)
    assert trap.exists()  # what the test would see


def test_a_record_that_is_a_fifo_or_a_link_is_not_read(built: Built, tmp_path: Path) -> None:
    one, two, *_ = sorted(built.slot.objects.rglob(".*.o.cmd"))
    one.unlink()
    os.mkfifo(one)
    moved = tmp_path / "record"
    two.rename(moved)
    two.symlink_to(moved)
    assert as_a_strangers(built).lines(built.frames).reports

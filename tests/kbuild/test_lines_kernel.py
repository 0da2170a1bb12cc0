# SPDX-License-Identifier: GPL-2.0-only
"""Lines of a real oops: the kernel says some of them itself, and the source must agree."""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from harness import kbuild, project
from harness.context import Context
from harness.guest import initramfs
from harness.guest.agent import build_agent
from harness.guest.machine import BootFiles, GuestConfig
from harness.guest.qemu import QemuGuest
from harness.kbuild.kernel import Slot, _Work
from harness.kbuild.lines import decode_reports, find_slot
from harness.kbuild.toolchain import identify
from harness.klog import Finding, scan
from harness.model.events import Accelerator, Command, KernelLog
from harness.progress import Quiet
from harness.run.prepare import Prepared
from harness.source import Source
from harness.store import Store
from tests.conftest import PROJECT_FILE

pytestmark = pytest.mark.kernel

WRITE = """\
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	for (int i = 2; i < argc; i++) {
		if (fork() == 0) {
			int fd = open(argv[1], O_WRONLY);
			_exit(write(fd, argv[i], strlen(argv[i])) < 0);
		}
		wait(0);
	}
	return 0;
}
"""
FAULTS = ("WARNING", "BUG", "EXCEPTION", "CORRUPT_LIST_ADD")
PLACE = r"\((?P<file>[^\s:)]+):(?P<line>\d+)"


@pytest.fixture(scope="module")
def findings(guest_kernel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Finding, ...]:
    """What the kernel says when LKDTM makes it fail in several ways."""
    work = tmp_path_factory.mktemp("faults")
    (work / "write.c").write_text(WRITE)
    argv = ["gcc", "-static", "-o", str(work / "write"), str(work / "write.c")]
    subprocess.run(argv, check=True, timeout=60)
    files = [initramfs.file("bin/write", work / "write")]
    entries = initramfs.guest_entries(build_agent(work / "agent"), files)
    initramfs.write_initramfs(work / "initramfs", entries)

    async def log() -> bytes:
        boot = BootFiles(guest_kernel, work / "initramfs")
        argv = ("/bin/write", "/sys/kernel/debug/provoke-crash/DIRECT", *FAULTS)
        command = Command(argv, 60.0, b"s" * 32, time.time_ns())
        async with await QemuGuest.boot(GuestConfig(), Accelerator.TCG, boot) as guest:
            events = [event async for event in guest.run(command)]
        return b"".join(e.data for e in events if isinstance(e, KernelLog))

    return scan(asyncio.run(log()))


def slot_of(prepared: Prepared, linux_source: Source, user_store: Store, log: Path) -> Slot:
    """Return the slot of the project's kernel, brought back to it if another was built since."""
    table = project.load(PROJECT_FILE).kernel
    fragments = kbuild.load(PROJECT_FILE.parent / table.config_dir, table.config)
    place = kbuild.slot(user_store, linux_source.spec, fragments)
    # A slot in which another run builds is of no use, whatever is in it.
    with user_store.lock(place.name, Quiet()):
        there = find_slot(prepared.kernel, user_store)
    if there is None:
        context = Context(user_store, Quiet())
        work = _Work(prepared.tree, fragments, place, identify(), context, log / "log", 3600.0)
        work.build_into(log)
    return place


def test_lines_of_real_reports(
    prepared: Prepared,
    linux_source: Source,
    user_store: Store,
    findings: tuple[Finding, ...],
    tmp_path: Path,
) -> None:
    assert [f.kind for f in findings] == ["warning", "bug", "oops", "list-corruption"]
    reports = [f.report for f in findings]
    # By another key, so that what an earlier run has found out does not count.
    kernel = msgspec.structs.replace(prepared.kernel, key="test-lines")
    (user_store.place("lines") / "test-lines.json").unlink(missing_ok=True)
    for number in range(10):
        (tmp_path / str(number)).mkdir()
        slot = slot_of(prepared, linux_source, user_store, tmp_path / str(number))
        done = decode_reports(kernel, slot, Context(user_store, Quiet()), reports)
        # Other tests may build other kernels there meanwhile.
        if not done.note:
            break
    assert done.note == ""
    for finding, report in zip(findings, done.reports, strict=True):
        places = re.findall(rf"RIP: 0010:(\S+)\+\S+ {PLACE}", report)
        assert places, report
        name, file, line = places[0]
        if finding.kind != "oops":
            # WARN() and BUG() print the line of the very instruction.
            assert finding.location.endswith(f"{file}:{line}")
        else:
            assert name == "lkdtm_EXCEPTION"
            assert "(volatile int *)" in source_line(slot, file, line)
        # Return addresses: the call before them stands there.
        calls = re.findall(rf"^.*\] +(ksys_write|do_syscall_64)\+\S+ {PLACE}", report, re.MULTILINE)
        called = {"ksys_write": "vfs_write(", "do_syscall_64": "regs"}
        assert {name for name, _, _ in calls} == set(called)
        for name, file, line in calls:
            assert called[name] in source_line(slot, file, line)
        frames = re.findall(r"^.*\] +[a-z_]\S*\+0x\S+/0x\S+.*$", report, re.MULTILINE)
        assert len(frames) >= 5
        for frame in frames:
            assert re.search(PLACE, frame), frame


def source_line(slot: Slot, file: str, line: str) -> str:
    return (slot.source / file).read_text().splitlines()[int(line) - 1]

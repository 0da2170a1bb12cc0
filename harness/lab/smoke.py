# SPDX-License-Identifier: GPL-2.0-only
"""Check that a kernel boots and runs a program, which is less than any suite needs."""

from __future__ import annotations

import time
from contextlib import aclosing
from pathlib import Path

import msgspec

from harness.context import Context
from harness.digest import digest
from harness.errors import MachineError
from harness.guest import initramfs
from harness.guest.machine import BootFiles, GuestConfig
from harness.guest.qemu import GuestNotBooted, QemuGuest
from harness.klog import Severity
from harness.lab.boot import observe_boot
from harness.lab.observe import CappedLog, Observer
from harness.lab.templates import AGENT, TemplateFactory
from harness.model.events import Accelerator, Command
from harness.proc.packages import install
from harness.proc.process import run
from harness.store import Entry

PROGRAM = Path(__file__).with_name("smoke.c")
_FLAGS = ("-static", "-O2", "-Wall")
_COMPILE_LIMIT_S = 60
_RUN_LIMIT_S = 30.0
_WORDS = 3
"""Lines of a console that did not come up which are shown."""


class Seen(msgspec.Struct, frozen=True):
    """The result of a boot."""

    trouble: str = ""
    """Why the kernel does not boot, or does not run the program; empty if it does."""
    reports: tuple[str, ...] = ()
    """Titles of what it has reported meanwhile, each once."""
    error: str = ""
    """Why the result is unknown: an error of this machine."""
    seconds: float = 0.0

    def after(self, seconds: float) -> Seen:
        """Return the same with how long it took."""
        return msgspec.structs.replace(self, seconds=seconds)


def pack_program(factory: TemplateFactory, source: Path) -> BootFiles:
    """Return what boots a guest that holds the agent, and below /bin the program of *source*.

    Raises MachineError where it cannot be compiled.
    """
    kind, key = compiled(factory.context, source)
    made = factory.context.store.path(kind, key)
    return factory.packed(key, [initramfs.file(f"bin/{source.stem}", made / source.stem)])


def compiled(context: Context, source: Path) -> Entry:
    """Return the entry that holds the program of *source*, compiled for a guest.

    Raises MachineError where it cannot be compiled.
    """
    name = source.stem

    def compile_it(out: Path) -> None:
        argv = ["gcc", *_FLAGS, "-o", str(out / name), str(source)]
        done = run(argv, limit_s=_COMPILE_LIMIT_S)
        if not done.ok:
            raise MachineError(
                "no program can be compiled for a guest",
                why=done.output.strip()[-500:],
                hint=install("gcc", "libc6-dev"),
            )

    key = digest(source.read_bytes(), " ".join(_FLAGS))
    context.obtain(AGENT, key, compile_it)
    return AGENT, key


async def smoke(config: GuestConfig, accelerator: Accelerator, files: BootFiles, log: Path) -> Seen:
    """Boot *files*, run the program in them that :func:`pack_program` has made of PROGRAM.

    The console goes to *log*.  Raises MachineError for a fault of the machine.
    """
    try:
        async with await QemuGuest.boot(config, accelerator, files) as guest:
            boot = observe_boot(guest.boot_log, guest.hello)
            argv = (f"/bin/{PROGRAM.stem}",)
            command = Command(argv, _RUN_LIMIT_S, bytes(32), time.time_ns(), merge_output=True)
            with CappedLog(log.with_suffix(".out")) as output, CappedLog(log) as kernel:
                kernel.write(guest.boot_log)
                observer = Observer(output, kernel)
                async with aclosing(guest.run(command)) as events:
                    async for event in events:
                        observer.hear(event)
                        if observer.ending is not None:
                            break
                _, findings, said = observer.close()
    except GuestNotBooted as error:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(error.log)
        last = [line for line in error.why.splitlines() if line.strip()][-_WORDS:]
        return Seen(" ".join(": ".join([error.what, *last]).split()))
    reports = tuple(
        dict.fromkeys(
            found.title
            for found in (*boot.findings, *findings)
            if found.severity is not Severity.NOTE
        )
    )
    ending = observer.ending
    trouble = ""
    if ending is None or ending.how != "exit":
        trouble = "its kernel boots, and then ends: " + (ending.detail if ending else "no end")
    elif ending.status != 0:
        trouble = f"its kernel boots, and cannot run a program: {said.strip()[-200:]}"
    return Seen(trouble, reports)

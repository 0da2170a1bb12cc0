# SPDX-License-Identifier: GPL-2.0-only
"""Checks that need a boot: accelerators, nested guests, counting instructions, and replays."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from harness.context import Context
from harness.doctor.model import Check, State
from harness.errors import HarnessError, MachineError
from harness.guest import accel, replay, snapshot
from harness.guest.capabilities import HostFacts
from harness.guest.emulator import Emulator
from harness.guest.host import Access
from harness.guest.machine import BootFiles, Channels, GuestConfig, Memory, qemu_argv
from harness.guest.qemu import QemuGuest
from harness.guest.record import Recorder
from harness.kbuild import Kernel, fragments
from harness.kbuild.kernel import Meta
from harness.kbuild.symbols import functions
from harness.lab import cost
from harness.lab.smoke import compiled, pack_program
from harness.lab.templates import TemplateFactory
from harness.model.events import Accelerator, Command, Exit, Stdout
from harness.model.metrics import named
from harness.proc import signals
from harness.proc.packages import install
from harness.proc.process import find
from harness.proc.sandbox import Sandbox
from harness.store import Damaged, Entry, Store

NESTED = Path(__file__).with_name("nested.c")
_RUN_LIMIT_S = 30.0
_LOOK_AT = 20
"""Kernels of the cache that are considered."""
_TRIES = 3
"""Kernels that are booted at most, until one boots."""
_MORE_PROCESSORS = (8, 1)
"""The first QEMU under whose -icount a guest with several processors does not stall."""
_HOW = "make test-kernel, which builds a kernel; then harness doctor again"


class Answer(msgspec.Struct, frozen=True):
    """The result of a boot under one accelerator.  ``seconds`` is the boot's duration."""

    trouble: str = ""
    seconds: float = 0.0
    nested: str = ""
    """The output of the program that starts a nested guest."""
    nested_works: bool = False


def cached_kernels(store: Store) -> list[Kernel]:
    """Return some of the newest kernels in the cache, those with KVM first."""
    directory = store.root / "entries" / "kernel"
    if not directory.is_dir():
        return []
    paths = sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    with_kvm: list[Kernel] = []
    without: list[Kernel] = []
    for path in paths[:_LOOK_AT]:
        try:
            meta = msgspec.json.decode((path / "kernel.json").read_bytes(), type=Meta)
            options = fragments.parse((path / "config").read_text())
        except (OSError, ValueError, msgspec.MsgspecError):
            continue
        kernel = Kernel(path.name, path, meta)
        if kernel.image.is_file():
            (with_kvm if options.get("KVM") == "y" else without).append(kernel)
    return with_kvm + without


def travelling(context: Context) -> tuple[Entry, ...]:
    """Return what another machine needs for these checks, beyond QEMU; nothing without a kernel.

    It may have no compiler, and has no kernel before its first run.
    """
    kernels = cached_kernels(context.store)
    if not kernels:
        return ()
    factory = TemplateFactory(kernels[0], GuestConfig().boot_limit_s, context)
    return (*factory.travelling(()), compiled(context, NESTED))


def not_tried(why: str, do: str) -> Iterator[Check]:
    """Return the checks that need a boot, with the state unknown."""
    for name in ("tcg", "kvm", "nested-kvm", "cost", "replay"):
        yield Check(name=name, group="guests", state="unknown", detail=why, do=do)


def checks(context: Context, host_facts: HostFacts, config: GuestConfig) -> Iterator[Check]:
    """Boot a kernel of the cache under each accelerator, and try in it what tests may ask for.

    Takes some 20 s.  The result about KVM is cached for later runs.
    """
    kernels = cached_kernels(context.store)[:_TRIES]
    if not kernels:
        yield from not_tried("there is no kernel in the cache to boot", _HOW)
        return
    tcg = Answer("nothing was tried")
    # A kernel that a stranger's series has broken is no evidence about the machine.
    for kernel in kernels:
        factory = TemplateFactory(kernel, config.boot_limit_s, context, host_facts)
        try:
            files = pack_program(factory, NESTED)
        except MachineError as error:
            yield from not_tried(f"{error.what}: {error.why}".rstrip(": "), error.hint)
            return
        with context.step("Booting a guest under TCG") as step:
            tcg = signals.run(boot(config, Accelerator.TCG, files))
            if tcg.trouble:
                tcg = Answer(_damage(context.store, kernel) or tcg.trouble)
            step.result(tcg.trouble.split("\n")[0] or f"{tcg.seconds:.1f} s")
        if not tcg.trouble:
            break
    memory = accel.ProbeCache(context.store.place("accelerator"), host_facts.host)
    known = signals.run(
        accel.find(config, files, accel.Wanted.AUTO, memory, context.progress, fresh=True)
    )
    kvm = Answer(known.why)
    if known.accelerator is Accelerator.KVM:
        kvm = signals.run(boot(config, Accelerator.KVM, files))
    yield _check(
        "tcg",
        "no" if tcg.trouble else "yes",
        f"{len(kernels)} kernels of the cache do not boot, the error of the last one: {tcg.trouble}"
        if tcg.trouble
        else f"Linux {kernel.meta.release} boots in {tcg.seconds:.1f} s",
        "see whether another kernel boots: make test-kernel ARGS='--series none'"
        if tcg.trouble
        else "",
        # A machine whose emulation is slow beyond use can still run tests under KVM.
        required=not tcg.trouble or bool(kvm.trouble),
    )
    yield _kvm(kvm, known, host_facts)
    yield _nested(tcg if kvm.trouble else kvm, Accelerator.TCG if kvm.trouble else Accelerator.KVM)
    if tcg.trouble:
        for name in ("cost", "replay"):
            yield _check(name, "unknown", "no guest boots to try it in", "see tcg")
        return
    with context.step("Counting instructions") as step:
        try:
            counts = count(config, kernel, files, context)
        except HarnessError as error:
            counts = _told(error)
        step.result(counts if isinstance(counts, str) else f"{counts:,}")
    yield cost_check(counts, host_facts.emulator)
    with context.step("Recording a program and replaying it") as step:
        try:
            length = replayed(config, files, context)
        except HarnessError as error:
            length = _told(error)
        step.result(length if isinstance(length, str) else f"{length:,} instructions")
    yield replay_check(length, find("gdb"))


def replayed(config: GuestConfig, files: BootFiles, context: Context) -> int | str:
    """Return how many instructions of the program NESTED were recorded and replayed.

    Or how the replay was not like the recording.  Raises HarnessError where QEMU does not do it.
    """
    config = msgspec.structs.replace(config, counted=True, cpus=1, numa_nodes=1)
    with context.store.scratch("doctor") as work:
        return signals.run(_replayed(config, files, work))


async def _replayed(config: GuestConfig, files: BootFiles, work: Path) -> int | str:
    guest, recording = work / "guest", work / "recording"
    guest.mkdir()
    recording.mkdir()
    saved = await snapshot.create(config, Accelerator.TCG, files, guest)
    with TemporaryDirectory(prefix="harness-record-") as scratch:
        memory = snapshot.memory_files(saved)
        about = {"snapshot": str(saved.directory)}
        recorder = Recorder(recording, Path(scratch, "gdb"), memory, about)
        async with await snapshot.restore(saved, recorder=recorder) as recorded:
            await _nested_output(recorded)
    tape = replay.Tape.load(recording)
    seen = await replay.check(tape)
    if seen.differences:
        return f"other than in the recording: {', '.join(seen.differences)}"
    return tape.recording.end - tape.recording.start


def count(config: GuestConfig, kernel: Kernel, files: BootFiles, context: Context) -> int | str:
    """Return the instructions of the program NESTED as ``--cost`` counts them, or what goes wrong.

    Raises HarnessError where the guest or a tool fails.
    """
    config = msgspec.structs.replace(config, counted=True, cpus=1)
    with context.store.scratch("doctor") as work:
        symbols = functions(kernel.vmlinux, Sandbox((kernel.vmlinux,), ()))
        probe = cost.start(work, "", symbols, context, functions=False)
        plugin = probe.qemu_argv("nested", 1)
        # Nothing is restored here that the guest would have to wait for.
        probe.let_go("nested", 1)()
        answer = signals.run(boot(config, Accelerator.TCG, files, plugin))
        if answer.trouble:
            return answer.trouble
        seen = probe.seen("nested", 1)
    found = named(seen.metrics, "instructions")
    return int(found.value) if found else "; ".join(seen.faults)


def cost_check(counts: int | str, emulator: Emulator) -> Check:
    """Return the check of ``--cost``; *counts* are instructions of a program, or the trouble."""
    if isinstance(counts, str):
        return _check("cost", "no", f"--cost does not work: {counts}", "see qemu and tcg")
    version = ".".join(map(str, emulator.version))
    more = (
        f"QEMU {version} can have more under -icount, --cost takes one"
        if emulator.version >= _MORE_PROCESSORS
        else f"with more QEMU {version} stalls under -icount, 8.1 and later do not"
    )
    return _check(
        "cost", "yes", f"{counts:,} instructions of a program, in a guest of one processor; {more}"
    )


def replay_check(length: int | str, gdb: str | None) -> Check:
    """Return the check of ``harness replay``; *length* is of a recording, or the trouble."""
    if isinstance(length, str):
        return _check(
            "replay", "no", f"harness replay does not work: {length}", "see qemu, tcg and cost"
        )
    detail = f"{length:,} instructions of a program, recorded and replayed to the same end"
    if gdb is None:
        detail += "; without gdb there is no way back in it (--until, --gdb)"
    return _check("replay", "yes", detail, install("gdb") if gdb is None else "")


def _told(error: HarnessError) -> str:
    return ": ".join(filter(None, (error.what, error.why.split("\n")[0])))


def _damage(store: Store, kernel: Kernel) -> str:
    """Return that *kernel* is damaged in the cache, which removes it there; empty if it is not."""
    try:
        store.check([("kernel", kernel.key)])
    except Damaged as damage:
        return f"{damage.what}: {damage.why}"
    return ""


def _kvm(answer: Answer, known: accel.Probe, host_facts: HostFacts) -> Check:
    if not answer.trouble:
        return _check("kvm", "yes", f"a kernel boots in {answer.seconds:.1f} s")
    if host_facts.host.kvm is not Access.USABLE:
        do = "see kvm-device"
    elif host_facts.host.virtual:
        do = "nothing in this virtual machine; enable nested virtualization on its host"
    else:
        do = "read the kvm messages in the kernel log (dmesg)"
    again = ""
    if 0 < known.holds_s < accel.SURE_S:
        again = f" (tried again after {known.holds_s / 60:.0f} minutes)"
    return _check("kvm", "no", f"{answer.trouble}{again}; tests run under TCG", do)


def _nested(answer: Answer, accelerator: Accelerator) -> Check:
    if answer.nested_works:
        return _check("nested-kvm", "yes", f"under {accelerator}: {answer.nested}")
    if not answer.nested:
        return _check("nested-kvm", "unknown", "no guest boots to try it in", "see tcg and kvm")
    do = "build the kernel with the fragment kvm"
    if accelerator is Accelerator.KVM:
        do = "load the host's kvm_intel or kvm_amd with nested=1"
    return _check("nested-kvm", "no", f"under {accelerator}: {answer.nested}", do)


def _check(name: str, state: State, detail: str, do: str = "", *, required: bool = False) -> Check:
    return Check(name=name, group="guests", state=state, detail=detail, do=do, required=required)


async def boot(
    config: GuestConfig, accelerator: Accelerator, files: BootFiles, more: Sequence[str] = ()
) -> Answer:
    """Boot an initramfs with the program NESTED, which starts a nested guest.

    QEMU gets *more* arguments at the end of its command line.
    """
    start = time.monotonic()

    def argv(channels: Channels) -> list[str]:
        return [*qemu_argv(config, accelerator, channels, Memory(), files), *more]

    try:
        async with await QemuGuest.start(argv, config, accelerator, str(files.kernel)) as guest:
            seconds = time.monotonic() - start
            words, works = await _nested_output(guest)
    except HarnessError as error:
        return Answer(_told(error))
    return Answer(seconds=seconds, nested=words, nested_works=works)


async def _nested_output(guest: QemuGuest) -> tuple[str, bool]:
    """Run the program NESTED in *guest*; return what it says, and whether it works."""
    command = Command(("/bin/nested",), _RUN_LIMIT_S, bytes(32), time.time_ns(), merge_output=True)
    events = [event async for event in guest.run(command)]
    said = b"".join(event.data for event in events if isinstance(event, Stdout))
    end = events[-1]
    words = said.decode(errors="replace").strip()
    return words or str(end), isinstance(end, Exit) and end.status == 0

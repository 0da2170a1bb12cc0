# SPDX-License-Identifier: GPL-2.0-only
"""Determine by booting which accelerator works here, and cache the answer."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

import msgspec

from harness.digest import digest
from harness.errors import MachineError
from harness.guest.emulator import identity
from harness.guest.host import Access, Host
from harness.guest.machine import BootFiles, GuestConfig
from harness.guest.process import NO_ANSWER
from harness.guest.qemu import GuestNotBooted, QemuGuest
from harness.model.events import Accelerator, How
from harness.proc.process import which
from harness.progress import Progress

_RECIPE = "2"
_DEV_KVM = "/dev/kvm"
PROBE_LIMIT_S = 5.0
"""Seconds for a boot under KVM; if KVM works, it needs a fraction of a second on most machines."""
DAY_S = 24 * 3600.0
SURE_S = 30 * DAY_S
LOADED_S = 600.0
"""How long an answer of a busy machine holds, in seconds."""


class Wanted(StrEnum):
    """What the user asks for."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


class Probe(msgspec.Struct, frozen=True):
    """The accelerator to use, and why that one.

    ``holds_s`` is for how many seconds that may be believed on this machine; 0 for not at all.
    """

    accelerator: Accelerator
    why: str
    holds_s: float = 0.0


Boot = Callable[[GuestConfig, Accelerator, BootFiles], Awaitable[None]]
"""Boots a guest and ends it; raises MachineError as :meth:`QemuGuest.boot` does."""


async def boot_once(config: GuestConfig, accelerator: Accelerator, files: BootFiles) -> None:
    """Boot a guest until its agent answers, and end it."""
    async with await QemuGuest.boot(config, accelerator, files):
        pass


async def probe(
    config: GuestConfig,
    files: BootFiles,
    wanted: Wanted,
    *,
    kvm: Access,
    boot: Boot = boot_once,
    clock: Callable[[], float] = time.monotonic,
) -> Probe:
    """Find the accelerator by booting *files* under KVM, for 5 s at most.

    That ``/dev/kvm`` opens proves nothing: under a paravirtual or broken KVM a stock kernel spins
    for ever.  *kvm* says what can be done with that device.  A kernel that does not boot under KVM
    is booted under TCG as well: only if it boots there is KVM to blame.  If TCG needs more than the
    5 s, the machine is slow or busy, and KVM gets twice the time that TCG took; if TCG runs out of
    time, KVM gets as long.  QEMU that ends without a message may have been killed from outside, so
    that answer holds for a short time only.
    Raises :class:`MachineError` when KVM is demanded and does not work.
    """
    if wanted is Wanted.TCG:
        return Probe(Accelerator.TCG, "asked for")
    answer = await _try_kvm(config, files, kvm, boot, clock)
    return _if_acceptable(answer, wanted)


def _if_acceptable(answer: Probe, wanted: Wanted) -> Probe:
    if wanted is Wanted.KVM and answer.accelerator is not Accelerator.KVM:
        raise MachineError(
            "KVM is requested and does not work",
            where=_DEV_KVM,
            why=answer.why,
            hint="use the accelerator auto or tcg, or a machine whose KVM works; "
            "`harness doctor` shows the details",
        )
    return answer


async def _try_kvm(
    config: GuestConfig,
    files: BootFiles,
    kvm: Access,
    boot: Boot,
    clock: Callable[[], float],
) -> Probe:
    if kvm is Access.ABSENT:
        return Probe(Accelerator.TCG, f"there is no {_DEV_KVM}")
    if kvm is Access.FORBIDDEN:
        return Probe(
            Accelerator.TCG, f"no permission for {_DEV_KVM} (is the user in the group kvm?)"
        )
    limit = min(PROBE_LIMIT_S, config.boot_limit_s)
    failed = await _boot_under_kvm(config, files, boot, limit)
    if isinstance(failed, Probe):
        return failed
    start = clock()
    try:
        await boot(config, Accelerator.TCG, files)
    except MachineError as error:
        slow = isinstance(error, GuestNotBooted) and error.died.how is How.NOT_BOOTED
        if slow and failed.timed_out and limit < config.boot_limit_s:
            # A machine on which TCG needs longer than a boot may take: KVM is the only hope.
            failed = await _boot_under_kvm(config, files, boot, config.boot_limit_s)
            if isinstance(failed, Probe):
                return failed
        return Probe(
            Accelerator.TCG, "whether KVM works is unknown: this kernel boots under neither"
        )
    seconds = clock() - start
    longer = min(2 * seconds, config.boot_limit_s)
    if failed.timed_out and seconds > limit < longer:
        failed = await _boot_under_kvm(config, files, boot, longer)
        if isinstance(failed, Probe):
            return failed
        limit = longer
    trouble = f"{failed.trouble}, and under TCG it boots in {seconds:.1f} s"
    if not failed.timed_out:
        return Probe(Accelerator.TCG, trouble, SURE_S)
    if seconds > limit:
        return Probe(Accelerator.TCG, f"{trouble}: the machine is loaded", LOADED_S)
    return Probe(Accelerator.TCG, trouble, DAY_S)


class _NotBooted(msgspec.Struct, frozen=True):
    """A kernel did not boot under KVM, which may be the kernel's fault."""

    trouble: str
    timed_out: bool


async def _boot_under_kvm(
    config: GuestConfig, files: BootFiles, boot: Boot, limit_s: float
) -> Probe | _NotBooted:
    """Boot *files* under KVM, for *limit_s* seconds at most; a Probe if that settles it."""
    try:
        await boot(msgspec.structs.replace(config, boot_limit_s=limit_s), Accelerator.KVM, files)
    except GuestNotBooted as error:
        trouble = f"KVM does not work: {error.what}"
        if error.died.how is How.QEMU_DIED:
            words = error.died.detail.partition(": ")[2]
            return Probe(Accelerator.TCG, trouble, SURE_S if words.strip() else LOADED_S)
        return _NotBooted(trouble, timed_out=error.died.how is How.NOT_BOOTED)
    except MachineError as error:
        trouble = ": ".join(["KVM does not work", error.what, *error.why.splitlines()[:1]])
        mute = not error.why or error.why.startswith(NO_ANSWER)
        return Probe(Accelerator.TCG, trouble, LOADED_S if mute else SURE_S)
    return Probe(Accelerator.KVM, "a kernel boots under KVM", SURE_S)


class _Note(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An answer on disk.  Times in seconds since 1970."""

    accelerator: Accelerator
    why: str
    until: float


class ProbeCache(msgspec.Struct, frozen=True):
    """What was found out on this machine, in the files of *directory*.

    An answer is for one machine (:attr:`Host.identity`), one QEMU, one machine type and one
    processor model, and for a limited time: 30 days where it is sure, a day where KVM had more
    time than TCG needed, 10 minutes where the machine was too busy to tell.
    """

    directory: Path
    host: Host
    clock: Callable[[], float] = time.time

    def recall(self, config: GuestConfig) -> Probe | None:
        """Return the answer for *config* if there is one that still holds."""
        try:
            note = msgspec.json.decode(self._file(config).read_bytes(), type=_Note)
        except (OSError, msgspec.MsgspecError):
            return None
        left = note.until - self.clock()
        return Probe(note.accelerator, note.why, left) if 0 < left <= SURE_S else None

    def keep(self, config: GuestConfig, answer: Probe) -> None:
        """Remember *answer* for as long as it holds, and forget what no longer does."""
        for old in self.directory.glob("*.json"):
            with suppress(OSError):
                if self.clock() - old.stat().st_mtime > SURE_S:
                    old.unlink()
        file = self._file(config)
        if answer.holds_s <= 0:
            file.unlink(missing_ok=True)
            return
        note = _Note(
            accelerator=answer.accelerator,
            why=answer.why,
            until=self.clock() + answer.holds_s,
        )
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_bytes(msgspec.json.encode(note))
        draft.rename(file)

    def _file(self, config: GuestConfig) -> Path:
        qemu = identity(Path(which(config.qemu)))
        key = digest(_RECIPE, qemu, self.host.identity, config.cpu, config.machine)
        return self.directory / f"{key}.json"


async def find(
    config: GuestConfig,
    files: BootFiles,
    wanted: Wanted,
    memory: ProbeCache,
    progress: Progress,
    *,
    boot: Boot = boot_once,
    clock: Callable[[], float] = time.monotonic,
    fresh: bool = False,
) -> Probe:
    """Return the accelerator for *config*, from *memory* or by booting *files*.

    With *fresh*, and where KVM is demanded and is remembered not to work, it is tried again.
    Raises :class:`MachineError` when KVM is demanded and does not work.
    """
    kvm = memory.host.kvm
    if wanted is Wanted.TCG:
        return await probe(config, files, wanted, kvm=kvm)
    known = None if fresh else memory.recall(config)
    if known and (wanted is Wanted.AUTO or known.accelerator is Accelerator.KVM):
        return known
    if kvm is not Access.USABLE:
        # Nothing to try, and nothing to remember.
        return await probe(config, files, wanted, kvm=kvm)
    with progress.step("Probing whether a kernel boots under KVM") as step:
        answer = await probe(config, files, Wanted.AUTO, kvm=kvm, boot=boot, clock=clock)
        step.result(f"{answer.accelerator}: {answer.why}")
    memory.keep(config, answer)
    return _if_acceptable(answer, wanted)

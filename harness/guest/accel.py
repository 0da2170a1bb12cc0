# SPDX-License-Identifier: GPL-2.0-only
"""Which accelerator works here."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from harness.errors import MachineError
from harness.guest.api import Accelerator
from harness.guest.machine import BootFiles, GuestConfig
from harness.guest.qemu import QemuGuest

_DEV_KVM = Path("/dev/kvm")
_PROBE_LIMIT_S = 5.0


class Wanted(StrEnum):
    """What the user asks for."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True)
class Probe:
    """The accelerator to use, and why that one."""

    accelerator: Accelerator
    why: str


async def probe(config: GuestConfig, files: BootFiles, wanted: Wanted) -> Probe:
    """Find the accelerator by booting *files* under KVM, for 5 s at most; the caller remembers it.

    That ``/dev/kvm`` opens proves nothing: under a paravirtual or broken KVM a stock kernel spins
    for ever.  Raises :class:`MachineError` when KVM is demanded and does not work.
    """
    if wanted is Wanted.TCG:
        return Probe(Accelerator.TCG, "asked for")
    trouble = await _kvm_trouble(config, files)
    if not trouble:
        return Probe(Accelerator.KVM, "a kernel boots under KVM")
    if wanted is Wanted.KVM:
        raise MachineError(
            "KVM was asked for and does not work",
            where=str(_DEV_KVM),
            why=trouble,
            hint="use the accelerator auto or tcg, or a machine whose KVM works",
        )
    return Probe(Accelerator.TCG, f"KVM does not work: {': '.join(trouble.splitlines()[:2])}")


async def _kvm_trouble(config: GuestConfig, files: BootFiles) -> str:
    if not _DEV_KVM.exists():
        return f"there is no {_DEV_KVM}"
    if not os.access(_DEV_KVM, os.R_OK | os.W_OK):
        return f"no permission for {_DEV_KVM} (is the user in the group kvm?)"
    limit = min(_PROBE_LIMIT_S, config.boot_limit_s)
    hasty = dataclasses.replace(config, boot_limit_s=limit)
    try:
        async with await QemuGuest.boot(hasty, Accelerator.KVM, files):
            return ""
    except MachineError as e:
        return f"{e.what}\n{e.why}"

# SPDX-License-Identifier: GPL-2.0-only
"""Guests whose memory the host cannot read: what they need, what is missing, how QEMU starts them.

The three technologies are one table.  Sources: QEMU's docs/system/i386/tdx.rst and
amd-memory-encryption.rst, its hw/i386/pc_sysfw*.c and target/i386/sev.c; the kernel's
arch/x86/kvm, Documentation/arch/x86/tdx.rst, and drivers/iommu/amd/init.c.  None of these guests
has been run on hardware by this project; docs/confidential.md says what has been checked instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

import msgspec

from harness.guest.emulator import Emulator
from harness.guest.firmware import Firmware, Has, directories
from harness.guest.host import Access, Host, Vendor
from harness.guest.launch import OBJECTS, Kind, Launch
from harness.proc.packages import install

_BIOS_UNIT = 1 << 16
"""QEMU takes only whole units of this many bytes with ``-bios`` (hw/i386/x86-common.c)."""


class Wanted(StrEnum):
    """What the user asks for with ``guest.confidential``."""

    NONE = "none"
    AUTO = "auto"
    TDX = "tdx"
    SEV = "sev"
    SEV_SNP = "sev-snp"


class Technology(msgspec.Struct, frozen=True):
    """What one of them asks of processor, host kernel, QEMU, firmware and guest kernel."""

    title: str
    vendor: Vendor
    module: str
    parameter: str
    """The module's parameter that says whether it is on."""
    since: str
    """The first kernel whose module has that parameter."""
    flag: str
    """In the processor's flags where the firmware set-up has turned it on."""
    qemu: tuple[int, int]
    """The first QEMU that has its object."""
    feature: str
    """In a firmware's descriptor."""
    table: Has | None
    """In a firmware's image; None where any OVMF will do."""
    bios_only: bool
    """Whether firmware cannot be in flash: there is no read-only private memory."""
    switch: str
    """What turns it on where the processor has it."""
    fragment: str
    options: tuple[str, ...]
    """Which the guest's kernel must have, without CONFIG_."""


TECHNOLOGIES = {
    Kind.TDX: Technology(
        title="TDX",
        vendor=Vendor.INTEL,
        module="kvm_intel",
        parameter="tdx",
        since="6.16",
        flag="tdx_host_platform",
        qemu=(10, 1),
        feature="intel-tdx",
        table=Has.TDX_METADATA,
        bios_only=True,
        switch="boot the host with kvm_intel.tdx=1 nohibernate",
        fragment="tdx",
        options=("INTEL_TDX_GUEST", "EFI_STUB"),
    ),
    Kind.SEV_SNP: Technology(
        title="SEV-SNP",
        vendor=Vendor.AMD,
        module="kvm_amd",
        parameter="sev_snp",
        since="6.11",
        flag="sev_snp",
        qemu=(9, 1),
        feature="amd-sev-snp",
        table=Has.SNP_METADATA,
        bios_only=True,
        switch="load kvm_amd with sev=1 sev_es=1 sev_snp=1",
        fragment="sev",
        options=("AMD_MEM_ENCRYPT", "EFI_STUB"),
    ),
    Kind.SEV: Technology(
        title="SEV",
        vendor=Vendor.AMD,
        module="kvm_amd",
        parameter="sev",
        since="4.16",
        flag="sev",
        qemu=(2, 12),
        feature="amd-sev",
        table=None,
        bios_only=False,
        switch="load kvm_amd with sev=1",
        fragment="sev",
        options=("AMD_MEM_ENCRYPT", "EFI_STUB"),
    ),
}


class Missing(msgspec.Struct, frozen=True):
    """One thing that a guest of some kind lacks here, and what to do about it."""

    reason: str
    do: str = ""


class Offer(msgspec.Struct, frozen=True):
    """Whether guests of *kind* can be started: how, or everything that is missing."""

    kind: Kind
    launch: Launch | None = None
    missing: tuple[Missing, ...] = ()

    @property
    def reason(self) -> str:
        """Why not, in one line; empty where it can."""
        return "; ".join(each.reason for each in self.missing)

    @property
    def do(self) -> str:
        """What to do about it, in one line."""
        return "; ".join(dict.fromkeys(each.do for each in self.missing if each.do))


def offer(
    kind: Kind,
    host: Host,
    emulator: Emulator,
    images: Sequence[Firmware],
    *,
    memory_mib: int = 512,
) -> Offer:
    """Say whether guests of *kind* with *memory_mib* MiB can run here, and if not, all that lacks.

    On a machine with another maker's processor that is the one reason.
    """
    tech = TECHNOLOGIES[kind]
    if host.vendor != tech.vendor:
        return Offer(
            kind,
            missing=(
                Missing(
                    f"{tech.title} needs a processor of {tech.vendor}, this one is of "
                    f"{host.vendor or 'an unknown maker'}",
                    f"run it on a machine with {tech.title}",
                ),
            ),
        )
    image = _firmware(tech, images)
    missing = _host(tech, host)
    if not missing:
        # Check device nodes only if KVM has the feature.
        missing += _devices(kind, tech, host, memory_mib)
    missing += _emulator(kind, tech, host, emulator)
    if image is None:
        places = ", ".join(str(each) for each in directories())
        missing.append(
            Missing(
                f"there is no firmware for {tech.title}: none of those described in {places} has "
                f"{tech.feature}",
                f"install an OVMF that is built for {tech.title}, or describe yours there",
            )
        )
    if missing or image is None:
        return Offer(kind, missing=tuple(missing))
    return Offer(
        kind,
        Launch(
            kind=kind,
            firmware=str(image.path),
            flash=image.flash and not tech.bios_only,
            sev=None if kind is Kind.TDX else emulator.sev,
            kernel_hashes=kind is not Kind.TDX and Has.SEV_HASHES in image.table,
        ),
    )


def _host(tech: Technology, host: Host) -> list[Missing]:
    """Say why the host's KVM has it not, from the cause that others follow from."""
    if host.on(tech.module, tech.parameter):
        return []
    value = host.parameter(tech.module, tech.parameter)
    if tech.flag not in host.flags and (host.virtual or value is not None):
        text = f"the processor does not show {tech.title} (flag {tech.flag})"
        if host.virtual:
            return [
                Missing(
                    f"{text}: this machine is itself a virtual one",
                    f"run it on the hardware, or on a machine with {tech.title}",
                )
            ]
        return [
            Missing(
                f"{text}, and {tech.module}.{tech.parameter} is {value}",
                f"turn {tech.title} on in the firmware set-up, then {tech.switch}",
            )
        ]
    if tech.module not in host.modules:
        return [
            Missing(
                f"the host's KVM is not {tech.module}"
                + (f" (there is {', '.join(host.modules)})" if host.modules else ""),
                f"modprobe {tech.module}",
            )
        ]
    if value is None:
        return [
            Missing(
                f"the host's {tech.module} has no parameter {tech.parameter}: Linux {host.release} "
                f"is older than {tech.since}, or was built without {tech.title}",
                f"run a host kernel from {tech.since} on with {tech.title}",
            )
        ]
    return [
        Missing(
            f"the host has {tech.title} off: {tech.module}.{tech.parameter} is {value}", tech.switch
        )
    ]


def _devices(kind: Kind, tech: Technology, host: Host, memory_mib: int) -> list[Missing]:
    missing = []
    devices = [("/dev/kvm", host.kvm, "kvm")]
    if kind is not Kind.TDX:
        devices.append(("/dev/sev", host.sev, ""))
    for name, access, group in devices:
        if access is Access.ABSENT:
            missing.append(Missing(f"there is no {name}", f"modprobe {tech.module}"))
        elif access is Access.FORBIDDEN:
            do = f"adduser $USER {group}" if group else f"let your user read and write {name}"
            missing.append(Missing(f"no permission for {name}", do))
    passthrough = {"iommu=pt", "iommu.passthrough=1", "iommu=off", "amd_iommu=off"}
    if kind is Kind.SEV_SNP and (set_ := sorted(passthrough & set(host.cmdline))):
        missing.append(
            Missing(
                f"the host was booted with {' '.join(set_)}, and SEV-SNP needs IOMMU translation",
                f"boot the host without {' '.join(set_)}",
            )
        )
    need = memory_mib << 20
    if kind is Kind.SEV and host.memlock is not None and host.memlock < need:
        missing.append(
            Missing(
                f"SEV locks all of a guest's memory ({memory_mib} MiB), and this process may lock "
                f"{host.memlock >> 20} MiB",
                "raise the limit: ulimit -l, or memlock in /etc/security/limits.conf",
            )
        )
    return missing


def _emulator(kind: Kind, tech: Technology, host: Host, emulator: Emulator) -> list[Missing]:
    needed = ".".join(map(str, tech.qemu))
    if not emulator.installed:
        return [Missing("QEMU is not installed", install("qemu-system-x86"))]
    if OBJECTS[kind] not in emulator.objects:
        version = ".".join(map(str, emulator.version))
        old = emulator.version < tech.qemu
        why = f"that came with {needed}" if old else "it was built without it"
        return [
            Missing(
                f"QEMU {version} has no {OBJECTS[kind]}: {why}",
                f"install QEMU {needed} or later, built with KVM",
            )
        ]
    if kind is not Kind.TDX and emulator.sev is None and host.on(tech.module, tech.parameter):
        return [
            Missing(
                f"QEMU cannot ask for SEV's C-bit: {emulator.sev_trouble}",
                "look at what the host's kernel log says of SEV and ccp",
            )
        ]
    return []


def _firmware(tech: Technology, images: Sequence[Firmware]) -> Firmware | None:
    """Return the first image that says it is for this, in its descriptor or its own table.

    The table is what QEMU goes by.  So a descriptor that promises more than the image has is not
    believed, and an image that has it and no descriptor is taken.
    """
    for image in images:
        if tech.bios_only and image.size % _BIOS_UNIT:
            continue
        if tech.table is None:
            if tech.feature in image.features:
                return image
        elif tech.table in image.table:
            return image
    return None


def lacks(kind: Kind, kernel: Mapping[str, str]) -> str:
    """Say why a kernel with these options does not boot as a guest of *kind*; empty if it does."""
    tech = TECHNOLOGIES[kind]
    off = [f"CONFIG_{name}" for name in tech.options if kernel.get(name) != "y"]
    if not off:
        return ""
    return (
        f"the kernel was built without {', '.join(off)}: add the fragment '{tech.fragment}' to "
        "kernel.config"
    )


class Choice(msgspec.Struct, frozen=True):
    """What a guest gets of what was asked for.

    ``refused`` says why a guest that was to be confidential cannot be had; ``note`` is for people
    where something was left to us and came to nothing.
    """

    launch: Launch | None = None
    refused: str = ""
    note: str = ""


def choose(
    wanted: Wanted, offers: Callable[[Kind], Offer], kernel: Mapping[str, str] | None = None
) -> Choice:
    """Choose what to launch; *kernel* has the options of the guest's kernel, None if unknown.

    ``auto`` takes the best there is (the order of :class:`Kind`), and an ordinary guest where
    there is none.  *offers* is asked only as far as need be.
    """
    if wanted is Wanted.NONE:
        return Choice()
    reasons = {}
    for kind in Kind if wanted is Wanted.AUTO else (Kind(wanted),):
        found = offers(kind)
        reason = found.reason or (lacks(kind, kernel) if kernel is not None else "")
        if not reason:
            return Choice(launch=found.launch)
        reasons[kind] = reason
    if wanted is Wanted.AUTO:
        text = "; ".join(
            why.split("; ")[0] if TECHNOLOGIES[kind].title in why else f"no {kind}: {why}"
            for kind, why in reasons.items()
        )
        more = "`harness doctor` says all"
        return Choice(note=f"confidential = auto gives an ordinary guest ({more}): {text}")
    return Choice(refused=reasons[Kind(wanted)])

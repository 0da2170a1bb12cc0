# SPDX-License-Identifier: GPL-2.0-only
"""How QEMU starts a guest whose memory the host cannot read: its part of the command line.

Sources: QEMU's docs/system/i386/tdx.rst and amd-memory-encryption.rst, target/i386/sev.c and
target/i386/kvm/tdx.c, hw/i386/pc_sysfw.c.  The objects and their properties are the same in all
versions of QEMU that have them, 7.2 to 10.1.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from harness.guest.emulator import SevFacts

_ID = "confidential"


class Kind(StrEnum):
    """A way to keep a guest's memory from its host; the best one first."""

    TDX = "tdx"
    SEV_SNP = "sev-snp"
    SEV = "sev"


OBJECTS = {
    Kind.TDX: "tdx-guest",
    Kind.SEV_SNP: "sev-snp-guest",
    Kind.SEV: "sev-guest",
}
"""QEMU's object for each."""


class Launch(msgspec.Struct, frozen=True):
    """How QEMU starts a confidential guest."""

    kind: Kind
    firmware: str
    """The image's path."""
    flash: bool = False
    """Whether the firmware goes into flash; else it is loaded with ``-bios``."""
    sev: SevFacts | None = None
    """For SEV and SEV-SNP."""
    kernel_hashes: bool = False
    """Whether the firmware is told the hashes of kernel, initramfs and command line (AMD)."""


class Arguments(msgspec.Struct, frozen=True):
    """What a confidential guest adds to QEMU's command line, part by part."""

    machine: str = ""
    """Appended to ``-machine``."""
    cpu: str = ""
    """Stands for the configured ``-cpu``; empty leaves that."""
    options: tuple[str, ...] = ()
    device: str = ""
    """Appended to virtio devices."""


def arguments(launch: Launch | None) -> Arguments:
    """Return the arguments for *launch*; nothing for None.

    A machine type other than q35 cannot have them, and such a guest cannot be saved: QEMU blocks
    migration, as it cannot read the memory.
    """
    if launch is None:
        return Arguments()
    machine = f",confidential-guest-support={_ID}"
    if launch.kind is Kind.TDX:
        # The TDX module owns the local APICs, so only the rest of the interrupt controllers can be
        # in QEMU; it refuses any other setting.
        machine += ",kernel-irqchip=split"
    return Arguments(
        machine=machine,
        # Features that are emulated, as "max" would add them, are none of an encrypted guest's.
        cpu="host",
        options=(*_object(launch), *_firmware_options(launch)),
        # Devices see only what the guest shares with them, and it shares through the DMA API.
        device=",disable-legacy=on,iommu_platform=on",
    )


def _object(launch: Launch) -> tuple[str, str]:
    parts = [OBJECTS[launch.kind], f"id={_ID}"]
    if launch.sev is not None:
        parts.append(f"cbitpos={launch.sev.cbitpos}")
        parts.append(f"reduced-phys-bits={launch.sev.reduced_phys_bits}")
    if launch.kernel_hashes:
        # A firmware with room for the hashes refuses a kernel without; others make QEMU refuse.
        parts.append("kernel-hashes=on")
    return "-object", ",".join(parts)


def _firmware_options(launch: Launch) -> tuple[str, str]:
    if not launch.flash:
        return "-bios", launch.firmware
    # In QEMU's option syntax a comma is written twice.  Without a second flash for its variables,
    # OVMF keeps them in memory.
    path = launch.firmware.replace(",", ",,")
    return "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={path}"

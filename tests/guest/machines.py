# SPDX-License-Identifier: GPL-2.0-only
"""Machines of several shapes, as files below a directory."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path

import msgspec

from harness.guest.emulator import Emulator, SevFacts
from harness.guest.firmware import Has

OBJECTS_7_2 = frozenset({"memory-backend-ram", "memory-backend-file", "rng-random", "sev-guest"})
EMULATORS = {
    "none": Emulator(),
    "7.2": Emulator("/q", (7, 2), "QEMU emulator version 7.2.22", OBJECTS_7_2),
    "8.2": Emulator("/q", (8, 2), "QEMU emulator version 8.2.7", OBJECTS_7_2),
    "9.2": Emulator("/q", (9, 2), "", OBJECTS_7_2 | {"sev-snp-guest"}),
    "10.0": Emulator("/q", (10, 0), "", OBJECTS_7_2 | {"sev-snp-guest"}),
    "10.1": Emulator("/q", (10, 1), "", OBJECTS_7_2 | {"sev-snp-guest", "tdx-guest"}),
}
"""What ``-object help`` of these versions has of interest."""
C_BIT = SevFacts(cbitpos=51, reduced_phys_bits=1)

_SNP = {"kvm_amd": {"sev": "Y", "sev_es": "Y", "sev_snp": "Y", "nested": "1"}}


class Shape(msgspec.Struct, frozen=True):
    """What a machine is made of; see :meth:`build`."""

    vendor: str
    flags: str
    modules: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    cmdline: str = "root=/dev/sda1 quiet"
    devices: Sequence[str] = ("kvm",)
    release: str = "6.17.3"
    memlock: str = "unlimited"
    cpus: int = 2

    def build(self, root: Path) -> Path:
        """Write the machine's files below *root* and return it."""
        text = "".join(
            f"processor\t: {n}\nvendor_id\t: {self.vendor}\ncpu family\t: 6\nmodel\t\t: 143\n"
            f"model name\t: A Processor\nstepping\t: 8\nmicrocode\t: 0x2b\n"
            f"cpu MHz\t\t: {2000 + n}.5\nflags\t\t: fpu {self.flags}\n\n"
            for n in range(self.cpus)
        )
        files = {
            "proc/cpuinfo": text,
            "proc/meminfo": "MemTotal:       16000000 kB\nMemAvailable:   12000000 kB\n",
            "proc/cmdline": self.cmdline + "\n",
            "proc/version": f"Linux version {self.release} (gcc 14) #1 SMP\n",
            "proc/sys/kernel/osrelease": self.release + "\n",
            "proc/sys/kernel/random/boot_id": "11111111-2222-3333-4444-555555555555\n",
            "proc/self/limits": "Limit      Soft Limit   Hard Limit   Units\n"
            f"Max locked memory         {self.memlock}      {self.memlock}       bytes\n",
            "proc/self/status": "Name:\tpython3\nCapEff:\t0000000000000000\n",
            "etc/machine-id": "0123456789abcdef\n",
        }
        files |= {f"dev/{name}": "" for name in self.devices}
        for module, parameters in self.modules.items():
            files |= {
                f"sys/module/{module}/parameters/{n}": f"{v}\n" for n, v in parameters.items()
            }
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
        return root


SHAPES = {
    "tdx": Shape(
        "GenuineIntel",
        "vmx tdx_host_platform",
        {"kvm": {}, "kvm_intel": {"tdx": "Y", "nested": "Y"}},
        "root=/dev/sda1 kvm_intel.tdx=1 nohibernate",
    ),
    "intel": Shape(
        "GenuineIntel", "vmx", {"kvm_intel": {"nested": "Y", "ept": "Y"}}, release="6.12.1"
    ),
    "sev": Shape(
        "AuthenticAMD",
        "svm sev sev_es",
        {"kvm_amd": {"sev": "Y", "sev_es": "Y", "nested": "1"}},
        devices=("kvm", "sev"),
        release="6.1.0-30-amd64",
        memlock=str(2 << 30),
    ),
    "snp": Shape("AuthenticAMD", "svm sev sev_es sev_snp", _SNP, devices=("kvm", "sev")),
    "cloud": Shape("AuthenticAMD", "hypervisor", {"kvm": {}, "kvm_pvm": {"force": "N"}}),
    "bare": Shape("", "", {}, devices=()),
}
"""A TDX host, an Intel host of yesterday, hosts with SEV and with SEV-SNP, a virtual machine whose
KVM is neither Intel's nor AMD's, and one that tells nothing."""


def ovmf(*has: Has, size: int = 1 << 16) -> bytes:
    """Return an image of *size* bytes whose table has *has*."""
    table = b""
    for each in has:
        table += bytes(4) + (22).to_bytes(2, "little") + uuid.UUID(each).bytes_le
    table += (len(table) + 18).to_bytes(2, "little")
    table += uuid.UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le
    return bytes(size - len(table) - 32) + table + bytes(32)


def descriptor(image: str, *features: str, flash: bool = False, machine: str = "pc-q35-*") -> str:
    """Return a firmware's descriptor, as QEMU's docs/interop/firmware.json has it."""
    mapping: dict[str, object] = {"device": "memory", "filename": image}
    if flash:
        executable = {"filename": image, "format": "raw"}
        mapping = {"device": "flash", "mode": "stateless", "executable": executable}
    return json.dumps(
        {
            "description": "a firmware",
            "interface-types": ["uefi"],
            "mapping": mapping,
            "targets": [{"architecture": "x86_64", "machines": [machine]}],
            "features": list(features),
            "tags": [],
        }
    )


def install(root: Path, name: str, text: str, *, where: str = "usr/share") -> None:
    """Put a descriptor below *root*."""
    path = root / where / "qemu/firmware" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def add_image(root: Path, name: str, *has: Has, size: int = 1 << 16) -> str:
    """Put a firmware image below *root*; return its path on that machine."""
    path = root / "usr/share/fw" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(ovmf(*has, size=size))
    return f"/usr/share/fw/{name}"

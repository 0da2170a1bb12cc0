# SPDX-License-Identifier: GPL-2.0-only
"""The facts of a host machine, read from files of its kernel.

Everything is read below one root, so that another machine's files can be looked at as well.  A file
that is absent says nothing: its value is empty, and nothing here raises an error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path

import msgspec

from harness.digest import digest

_ROOT = Path("/")
_ON = ("Y", "y", "1")
_CAP_IPC_LOCK = 14
"""Bit of the capability, from linux/capability.h."""


class Access(StrEnum):
    """What can be done with a device file."""

    ABSENT = "absent"
    FORBIDDEN = "forbidden"
    USABLE = "usable"


class Vendor(StrEnum):
    """Makers of processors, as /proc/cpuinfo names them."""

    AMD = "AuthenticAMD"
    INTEL = "GenuineIntel"


class Host(msgspec.Struct, frozen=True):
    """Facts of a machine.  Memory in KiB, ``memlock`` in bytes."""

    vendor: str = ""
    """The processor's, as in /proc/cpuinfo; see :class:`Vendor`."""
    processor: str = ""
    """Model name, family, model, stepping and microcode in one line."""
    flags: frozenset[str] = frozenset()
    """The first processor's, as in /proc/cpuinfo."""
    cpus: int = 0
    memory_kib: int = 0
    available_kib: int = 0
    release: str = ""
    """``uname -r``."""
    version: str = ""
    """/proc/version: release, compiler and time of the build."""
    cmdline: tuple[str, ...] = ()
    """The kernel's parameters."""
    modules: Mapping[str, Mapping[str, str]] = msgspec.field(default_factory=dict)
    """KVM's modules, built in or loaded, each with the parameters that can be read."""
    kvm: Access = Access.ABSENT
    """/dev/kvm."""
    sev: Access = Access.ABSENT
    """/dev/sev."""
    machine_id: str = ""
    boot_id: str = ""
    """The boot ID, which changes at every boot."""
    memlock: int | None = None
    """How many bytes this process may lock in memory; None for any number."""

    @property
    def virtual(self) -> bool:
        """Whether the machine is itself a virtual one."""
        return "hypervisor" in self.flags

    @property
    def identity(self) -> str:
        """A digest of what decides which accelerators work.

        It is another one on another machine, after a boot (settings of the firmware may have
        changed), with another kernel, processor or microcode, other parameters of KVM's modules,
        or another permission for /dev/kvm.
        """
        return digest(
            self.machine_id,
            self.boot_id,
            self.version,
            " ".join(self.cmdline),
            self.processor,
            " ".join(sorted(self.flags)),
            # Other modules may have parameters that count.
            json.dumps(
                {
                    name: dict(each) if name in ("kvm", "kvm_amd", "kvm_intel") else {}
                    for name, each in self.modules.items()
                },
                sort_keys=True,
            ),
            self.kvm,
        )

    def parameter(self, module: str, name: str) -> str | None:
        """Return the value of a module's parameter; None where there is no such parameter."""
        return self.modules.get(module, {}).get(name)

    def on(self, module: str, name: str) -> bool:
        """Whether a module's yes-or-no parameter says yes."""
        return self.parameter(module, name) in _ON


def read_host(root: Path = _ROOT, access: Callable[[Path], bool] | None = None) -> Host:
    """Describe the machine whose files are below *root*.

    *access* says whether a device file can be read and written; without it, the kernel does.
    """
    usable = access or (lambda path: os.access(path, os.R_OK | os.W_OK))

    def device(name: str) -> Access:
        path = root / "dev" / name
        if not path.exists():
            return Access.ABSENT
        return Access.USABLE if usable(path) else Access.FORBIDDEN

    cpus = _cpuinfo(_text(root / "proc/cpuinfo"))
    first = cpus[0] if cpus else {}
    memory = _pairs(_text(root / "proc/meminfo"))
    return Host(
        vendor=first.get("vendor_id", ""),
        processor=", ".join(
            [first.get("model name", "")]
            + [
                f"{name} {first[name]}"
                for name in ("cpu family", "model", "stepping", "microcode")
                if name in first
            ]
        ),
        flags=frozenset(first.get("flags", "").split()),
        cpus=len(cpus),
        memory_kib=_number(memory.get("MemTotal", "")),
        available_kib=_number(memory.get("MemAvailable", "")),
        release=_text(root / "proc/sys/kernel/osrelease").strip(),
        version=_text(root / "proc/version").strip(),
        cmdline=tuple(_text(root / "proc/cmdline").split()),
        modules=_kvm_modules(root / "sys/module"),
        kvm=device("kvm"),
        sev=device("sev"),
        machine_id=_text(root / "etc/machine-id").strip(),
        boot_id=_text(root / "proc/sys/kernel/random/boot_id").strip(),
        memlock=_memlock(_text(root / "proc/self/limits"), _text(root / "proc/self/status")),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _pairs(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _cpuinfo(text: str) -> list[dict[str, str]]:
    """Return one table for each processor."""
    blocks = (_pairs(block) for block in text.split("\n\n"))
    return [block for block in blocks if "processor" in block]


def _number(text: str) -> int:
    word = text.split()[0] if text.split() else ""
    return int(word) if word.isdigit() else 0


def _kvm_modules(directory: Path) -> dict[str, dict[str, str]]:
    """Return the parameters of ``kvm`` and of all ``kvm_*``; not all are for everyone to read."""
    found = {}
    for module in sorted(directory.glob("kvm*")):
        parameters = sorted((module / "parameters").glob("*"))
        found[module.name] = {
            each.name: text for each in parameters if (text := _text(each).strip())
        }
    return found


def _memlock(limits: str, status: str) -> int | None:
    """Return the soft limit in bytes; None where there is none, or it does not bind us."""
    effective = _pairs(status).get("CapEff", "0")
    if int(effective, 16) >> _CAP_IPC_LOCK & 1:
        return None
    for line in limits.splitlines():
        if line.startswith("Max locked memory"):
            word = line.split()[3]
            return int(word) if word.isdigit() else None
    return None

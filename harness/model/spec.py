# SPDX-License-Identifier: GPL-2.0-only
"""The requested kernels, guests and limits."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from harness.model.ids import ONLY, KernelName


class Trust(StrEnum):
    """How far code is trusted on this machine."""

    OWN = "own"
    """It is built with the user's rights."""
    STRANGER = "stranger"
    """It is built in a sandbox, and what it writes is read by no trusted build."""


_Positive = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=1)]


class KernelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A requested kernel: its name, and its differences from the project file."""

    name: KernelName = ONLY
    position: int = 0
    """Its position among the kernels of the run, independent of the build order."""
    source: str | None = None
    series: tuple[str, ...] = ()
    """Stacks of the project file and paths, the first at the bottom; or ``none`` alone.  None given
    means what the project file says."""
    upto: int | None = None
    """How many patches of the stack are applied; None is all, 0 is none: the base."""
    tests_upto: int | None = None
    """Suites of the kernel tree are those of the tree with so many patches, as for ``upto``."""
    tests_of: KernelName = ONLY
    """Suites of the kernel tree are those of the kernel with this name, where one is named."""
    series_version: int | None = None
    """Which version of the series, where there are several in one file; None is the newest."""
    config: tuple[str, ...] = ()
    """Fragments; none given means those of the project file."""
    cc: str = ""
    """The compiler; empty means that of the project file."""


class BisectTable(msgspec.Struct, frozen=True, kw_only=True):
    """The kernels between which the first bad one is searched."""

    repository: str = ""
    """The repository of the commits; empty for the patches of a series."""
    good: str = ""
    """The id of the good commit; for a series the base, which is tested."""
    bad: str = ""
    """The id of the bad commit; for a series the last patch."""
    own_tests: bool = False
    """Whether suites of the kernel tree are those of each kernel's own tree."""


class MutantsAsked(msgspec.Struct, frozen=True, kw_only=True):
    """The faults to plant, and the required score."""

    at: tuple[str, ...] = ()
    """Only in these files, or lines of them: ``FILE``, ``FILE:LINE``, ``FILE:FIRST-LAST``; FILE may
    be a glob."""
    patches: tuple[int, ...] = ()
    """Only in what these patches wrote, by their numbers from 1."""
    sample: int | None = None
    """The number of faults to choose; the choice is always the same."""
    min_score: float | None = None
    """The percentage of faults that must be noticed."""
    alone: bool = False
    """Whether a kernel is built for each of them, as if none could share one."""
    together: bool = False
    """Whether those are left out for which a kernel has to be built."""


class GuestTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The virtual machine."""

    type: Literal["sealed", "vng"] = "sealed"
    """``sealed`` sees nothing of the host; ``vng`` sees its file system through virtme-ng."""
    machine: Literal["q35", "pc", "microvm"] = "q35"
    """QEMU's machine type."""
    cpus: _Count = 2
    memory_mib: Annotated[int, msgspec.Meta(ge=64)] = 512
    numa_nodes: _Count = 1
    """Nodes among which memory and processors are divided."""
    accel: Literal["auto", "kvm", "tcg"] = "auto"
    """``auto`` uses KVM if the kernel boots under it, else TCG."""
    confidential: Literal["none", "auto", "tdx", "sev", "sev-snp"] = "none"
    """``auto`` uses what the machine supports, if anything."""
    counted: bool = False
    """Instructions are counted and move the guest's clock: one processor, under TCG."""


class LimitsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Time limits in seconds."""

    build_s: _Positive = 3600.0
    boot_s: _Positive = 60.0
    test_s: _Positive = 45.0
    """For a suite whose ``settings`` file has no ``timeout=``; kselftest's own default is 45."""
    tcg_factor: Annotated[float, msgspec.Meta(ge=1)] = 2.0
    """How many times longer a test may take where the processors are emulated."""


class HostTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A machine that runs tests, reached over SSH."""

    ssh: Annotated[str, msgspec.Meta(min_length=1)]
    """``host``, ``user@host`` or ``user@host:port``; a name of ``ssh_config`` will do."""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    identity: str = ""
    """The private key; empty is what ``ssh_config`` says, the agent, and the usual files."""
    jump: str = ""
    """A machine through which it is reached, written as ``ssh``."""
    host_key: Annotated[str, msgspec.Meta(pattern="^(SHA256:[A-Za-z0-9+/]{43})?$")] = ""
    """The fingerprint of its key, where that is not in ``known_hosts``."""
    python: str = ""
    """Its Python, 3.11 or later; empty is the first of ``python3``, ``python3.11`` and later."""
    cache: str = ""
    """Its cache; empty is that of a harness which would be called there."""
    jobs: _Count | None = None
    """How many guests it runs at a time; None is as many as it carries."""

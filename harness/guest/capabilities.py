# SPDX-License-Identifier: GPL-2.0-only
"""What a test may require, and whether the guest that it would run in has it.

The requirements are one table, :data:`REQUIREMENTS`: a name that may stand in a suite's settings
(``requires = ["numa"]``), what it means, and its check.  A check starts no guest, so a test that
cannot run is skipped, with the reason, before there is one.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import msgspec

from harness.errors import UserError
from harness.guest import confidential, firmware
from harness.guest.confidential import TECHNOLOGIES, Offer
from harness.guest.emulator import Emulator, examine
from harness.guest.firmware import Firmware
from harness.guest.host import Host, Vendor, read_host
from harness.guest.launch import Kind
from harness.guest.machine import GuestConfig
from harness.model.events import Accelerator, Capabilities, Capability

_ROOT = Path("/")


class HostFacts:
    """What is known of this machine; found out when it is asked for, and once.

    *root* is where the machine's files are.  In tests the values can be given instead.
    """

    def __init__(
        self,
        qemu: str = "qemu-system-x86_64",
        root: Path = _ROOT,
        *,
        host: Host | None = None,
        emulator: Emulator | None = None,
        images: Sequence[Firmware] | None = None,
    ) -> None:
        self._qemu, self._root = qemu, root
        self._host, self._emulator, self._images = host, emulator, images

    @cached_property
    def host(self) -> Host:
        """The machine; takes milliseconds."""
        return self._host or read_host(self._root)

    @cached_property
    def emulator(self) -> Emulator:
        """QEMU; takes a few tenths of a second, as it is asked."""
        sev = self.host.vendor == Vendor.AMD and self.host.on("kvm_amd", "sev")
        return self._emulator or examine(self._qemu, sev=sev)

    @cached_property
    def images(self) -> Sequence[Firmware]:
        """Firmware for guests."""
        return firmware.find(self._root) if self._images is None else self._images

    def offer(self, kind: Kind, memory_mib: int = 512) -> Offer:
        """Say whether guests of *kind* can be started."""
        if self.host.vendor != TECHNOLOGIES[kind].vendor:
            return confidential.offer(kind, self.host, Emulator(), ())  # the others do not matter
        return confidential.offer(
            kind, self.host, self.emulator, self.images, memory_mib=memory_mib
        )


class Place(msgspec.Struct, frozen=True):
    """Where a test would run.

    ``type`` is ``sealed`` or ``vng``.  ``accelerator`` is None as long as it is not known, and
    counts as TCG then.  ``refused`` says why the guest is not the confidential one that was asked
    for.
    """

    config: GuestConfig
    host_facts: HostFacts
    type: str = "sealed"
    accelerator: Accelerator | None = None
    accelerator_why: str = ""
    refused: str = ""


class Requirement(msgspec.Struct, frozen=True):
    """A name that tests may require."""

    meaning: str
    """For documentation: what the test may rely on."""
    check: Callable[[Place], Capability]


def capability(name: str, place: Place) -> Capability:
    """Say whether *place* has what *name* stands for, and why not.

    Raises UserError for a name that is no requirement.
    """
    if name not in REQUIREMENTS:
        raise unknown(name)
    return REQUIREMENTS[name].check(place)


def unfit(requires: Sequence[str], place: Place) -> str:
    """Return why a test that requires all these cannot run in *place*; empty if it can.

    A guest that was to be confidential and is not is unfit for every test: what it would show is
    not what was asked for.
    """
    reasons = [place.refused] if place.refused else []
    for name in requires:
        found = capability(name, place)
        if not found.available and found.reason not in reasons:
            reasons.append(found.reason)
    return "; ".join(reasons)


def check_names(names: Sequence[str], where: str) -> None:
    """Raise UserError for the first name that is no requirement; *where* names file and key."""
    for name in names:
        if name not in REQUIREMENTS:
            raise unknown(name, where)


def unknown(name: str, where: str = "") -> UserError:
    """Return the error for a name that is no requirement, with those that are nearest."""
    close = difflib.get_close_matches(name, REQUIREMENTS, n=3, cutoff=0.5)
    return UserError(
        f"there is no requirement '{name}'",
        where=where,
        why=f"tests can require: {', '.join(REQUIREMENTS)}",
        hint="did you mean " + " or ".join(f"'{each}'" for each in close) + "?"
        if close
        else "remove it, or see `harness doctor` for each requirement on this machine",
    )


def capabilities(config: GuestConfig, accelerator: Accelerator) -> Capabilities:
    """Say what a sealed guest of *config* can do, as far as the host's side decides it."""
    place = Place(config, HostFacts(config.qemu), accelerator=accelerator)
    return Capabilities(
        accelerator=accelerator,
        snapshot=_snapshot(place),
        nested_kvm=_nested_kvm(place),
        tdx=_tdx(place),
        host_root=_host_root(place),
    )


def _kvm(place: Place) -> Capability:
    if place.accelerator is Accelerator.KVM or place.config.confidential:
        return Capability(True)
    why = f": {place.accelerator_why}" if place.accelerator_why else ""
    return Capability(False, f"the guest does not run under KVM{why}")


def _nested_kvm(place: Place) -> Capability:
    config = place.config
    if config.confidential:
        title = TECHNOLOGIES[config.confidential.kind].title
        return Capability(False, f"a guest under {title} cannot start nested guests")
    if place.accelerator is not Accelerator.KVM:
        if config.cpu == "max" or "+svm" in config.cpu:
            return Capability(True)
        return Capability(False, f"the processor model {config.cpu} has no SVM under TCG")
    if place.host_facts.host.on("kvm_intel", "nested") or place.host_facts.host.on(
        "kvm_amd", "nested"
    ):
        return Capability(True)
    return Capability(False, "nested virtualization is off in the host's kvm_intel or kvm_amd")


def _numa(place: Place) -> Capability:
    if place.config.numa_nodes >= 2:
        return Capability(True)
    return Capability(False, "the guest has one memory node: set numa_nodes = 2 for its guest")


def _host_root(place: Place) -> Capability:
    if place.type == "vng":
        return Capability(True)
    return Capability(False, "a sealed guest does not see the host's file system")


def _snapshot(place: Place) -> Capability:
    if place.type == "vng":
        return Capability(False, "a vng guest cannot be saved: QEMU does not migrate its 9p root")
    if place.config.confidential:
        title = TECHNOLOGIES[place.config.confidential.kind].title
        return Capability(False, f"a guest under {title} cannot be saved: QEMU cannot read it")
    return Capability(True)


def _is_a(kind: Kind) -> Callable[[Place], Capability]:
    def check(place: Place) -> Capability:
        launch = place.config.confidential
        if launch is not None and launch.kind is kind:
            return Capability(True)
        if place.refused:
            return Capability(False, place.refused)
        found = place.host_facts.offer(kind, place.config.memory_mib)
        if found.reason:
            return Capability(False, found.reason)
        ask = f'set confidential = "{kind}" for its guest'
        return Capability(False, f"the guest is not one under {TECHNOLOGIES[kind].title}: {ask}")

    return check


_tdx = _is_a(Kind.TDX)

REQUIREMENTS = {
    "tdx": Requirement("The guest runs under Intel TDX.", _tdx),
    "sev": Requirement("The guest runs under AMD SEV.", _is_a(Kind.SEV)),
    "sev-snp": Requirement("The guest runs under AMD SEV-SNP.", _is_a(Kind.SEV_SNP)),
    "kvm": Requirement("The guest runs under KVM: at the speed of the hardware.", _kvm),
    "nested-kvm": Requirement("The guest can start guests of its own.", _nested_kvm),
    "numa": Requirement("The guest has two memory nodes or more.", _numa),
    "host-root": Requirement("The guest sees the host's file system.", _host_root),
    "snapshot": Requirement("The guest is restored from a snapshot.", _snapshot),
}
"""What a test may require, by name."""

ACCELERATED = frozenset({"kvm", "nested-kvm"})
"""Those that depend on the accelerator, so that it has to be found out first."""

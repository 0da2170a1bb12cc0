# SPDX-License-Identifier: GPL-2.0-only
"""What a sealed guest can do on this host."""

from __future__ import annotations

from pathlib import Path

from harness.errors import UserError
from harness.guest.api import Accelerator, Capabilities, Capability
from harness.guest.machine import GuestConfig


def capabilities(config: GuestConfig, accelerator: Accelerator) -> Capabilities:
    """Say what a sealed guest of *config* can do, as far as the host's side decides it."""
    return Capabilities(
        accelerator=accelerator,
        snapshot=Capability(True),
        nested_kvm=_nested_kvm(config, accelerator),
        tdx=_tdx(accelerator),
        host_root=Capability(False, "a sealed guest has nothing of the host's file system"),
    )


NAMES = ("numa",)
"""What a test can require of its guest, by the names in ``suite.toml``."""


def capability(name: str, config: GuestConfig) -> Capability:
    """Say whether a guest of *config* has what tests know by *name*; UserError for another name."""
    if name not in NAMES:
        raise UserError(
            f"there is no requirement '{name}'",
            where="requires, in the suite's settings",
            why=f"tests can require: {', '.join(NAMES)}",
        )
    if config.numa_nodes > 1:
        return Capability(True)
    return Capability(False, "its guest has one NUMA node")


def _nested_kvm(config: GuestConfig, accelerator: Accelerator) -> Capability:
    if accelerator is Accelerator.TCG:
        if config.cpu == "max" or "+svm" in config.cpu:
            return Capability(True)
        return Capability(False, f"the processor model {config.cpu} has no SVM under TCG")
    if _parameter("kvm_intel", "nested") or _parameter("kvm_amd", "nested"):
        return Capability(True)
    return Capability(False, "nested virtualization is off in the host's kvm_intel or kvm_amd")


def _tdx(accelerator: Accelerator) -> Capability:
    if accelerator is not Accelerator.KVM:
        return Capability(False, "TDX needs KVM, and this guest runs under TCG")
    if not _parameter("kvm_intel", "tdx"):
        return Capability(False, "the host's kvm_intel has no TDX (its parameter tdx is not Y)")
    return Capability(False, "a sealed guest cannot be started as a TDX guest")


def _parameter(module: str, name: str) -> bool:
    try:
        text = Path(f"/sys/module/{module}/parameters/{name}").read_text()
    except OSError:
        return False
    return text.strip() in ("Y", "1")

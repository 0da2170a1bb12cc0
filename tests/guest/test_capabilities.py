# SPDX-License-Identifier: GPL-2.0-only
"""What tests can require, and whether the guests that they would run in have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ExitCode, UserError
from harness.guest.capabilities import (
    ACCELERATED,
    REQUIREMENTS,
    HostFacts,
    Place,
    capability,
    check_names,
    unfit,
)
from harness.guest.host import Host
from harness.guest.launch import Kind, Launch
from harness.guest.machine import GuestConfig
from harness.model.events import Accelerator
from tests.guest.machines import C_BIT, EMULATORS

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).parents[2]
AMD = Host(vendor="AuthenticAMD", modules={"kvm_amd": {"nested": "1"}})
NOTHING = HostFacts(host=AMD, emulator=EMULATORS["7.2"], images=())
SEALED = Place(GuestConfig(), NOTHING, accelerator=Accelerator.TCG, accelerator_why="KVM hangs")
CLOSED = Place(
    GuestConfig(confidential=Launch(Kind.SEV_SNP, "/fw", sev=C_BIT)),
    NOTHING,
    accelerator=Accelerator.KVM,
)
VNG = Place(GuestConfig(), NOTHING, type="vng", accelerator=Accelerator.KVM)
NODES = Place(GuestConfig(numa_nodes=2), NOTHING, accelerator=Accelerator.KVM)


@pytest.mark.parametrize(
    ("place", "has"),
    [
        (SEALED, {"nested-kvm", "snapshot"}),
        (CLOSED, {"sev-snp", "kvm"}),
        (VNG, {"host-root", "kvm", "nested-kvm"}),
        (NODES, {"numa", "kvm", "nested-kvm", "snapshot"}),
    ],
)
def test_what_guests_have(place: Place, has: set[str]) -> None:
    assert {name for name in REQUIREMENTS if capability(name, place).available} == has
    for name in REQUIREMENTS:
        found = capability(name, place)
        assert bool(found.reason) is not found.available, name


@pytest.mark.parametrize(
    ("name", "place", "reason"),
    [
        ("kvm", SEALED, "the guest does not run under KVM: KVM hangs"),
        ("numa", SEALED, "the guest has one memory node: set numa_nodes = 2 for its guest"),
        ("host-root", SEALED, "a sealed guest does not see the host's file system"),
        ("snapshot", VNG, "a vng guest cannot be saved"),
        ("snapshot", CLOSED, "a guest under SEV-SNP cannot be saved"),
        ("nested-kvm", CLOSED, "a guest under SEV-SNP cannot start nested guests"),
        ("tdx", SEALED, "TDX needs a processor of GenuineIntel, this one is of AuthenticAMD"),
        ("sev", CLOSED, "the host's kvm_amd has no parameter sev: "),
    ],
)
def test_a_reason_says_what_is_missing(name: str, place: Place, reason: str) -> None:
    assert capability(name, place).reason.startswith(reason)


def test_nested_kvm_needs_the_hosts_leave() -> None:
    off = HostFacts(host=Host(modules={"kvm_intel": {"nested": "N"}}), emulator=EMULATORS["7.2"])
    under_kvm = Place(GuestConfig(), off, accelerator=Accelerator.KVM)
    assert capability("nested-kvm", under_kvm).reason == (
        "nested virtualization is off in the host's kvm_intel or kvm_amd"
    )
    old = Place(GuestConfig(cpu="qemu64"), off, accelerator=Accelerator.TCG)
    assert "has no SVM under TCG" in capability("nested-kvm", old).reason


def test_a_machine_that_could_is_not_yet_a_guest_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.guest.confidential import Offer

    monkeypatch.setattr(
        HostFacts, "offer", lambda *_: Offer(Kind.SEV, Launch(Kind.SEV, "/fw", sev=C_BIT))
    )
    assert capability("sev", SEALED).reason == (
        'the guest is not one under SEV: set confidential = "sev" for its guest'
    )


def test_all_reasons_are_told_and_each_once() -> None:
    assert unfit(["nested-kvm"], SEALED) == ""
    both = unfit(["host-root", "nested-kvm", "numa", "host-root"], SEALED)
    assert both == "; ".join(capability(name, SEALED).reason for name in ("host-root", "numa"))


def test_a_guest_that_was_to_be_confidential_is_unfit_for_all() -> None:
    refused = Place(GuestConfig(), NOTHING, refused="there is no firmware for SEV")
    assert unfit([], refused) == "there is no firmware for SEV"
    assert unfit(["sev"], refused) == "there is no firmware for SEV"


@pytest.mark.parametrize(
    ("name", "near"), [("tdz", "'tdx'"), ("sev_snp", "'sev-snp'"), ("nested", "'nested-kvm'")]
)
def test_an_unknown_name_is_the_users_mistake(name: str, near: str) -> None:
    with pytest.raises(UserError) as error:
        check_names(["kvm", name], "suite.toml: requires")
    assert error.value.exit_code is ExitCode.USER
    assert error.value.where == "suite.toml: requires"
    assert near in error.value.hint
    with pytest.raises(UserError):
        capability(name, SEALED)


def test_a_name_like_no_other_has_no_near_one() -> None:
    with pytest.raises(UserError) as error:
        check_names(["zzzz"], "")
    assert "did you mean" not in error.value.hint
    assert "tdx" in error.value.why


def test_those_that_depend_on_the_accelerator_are_named() -> None:
    """Whoever asks for these has to find out about it first."""
    for name in REQUIREMENTS:
        places = [
            Place(GuestConfig(cpu="qemu64"), NOTHING, accelerator=each) for each in Accelerator
        ]
        answers = {capability(name, place).available for place in places}
        assert (len(answers) == 2) is (name in ACCELERATED), name


def test_every_requirement_is_documented() -> None:
    page = (REPOSITORY / "docs" / "project-file.md").read_text()
    for name, requirement in REQUIREMENTS.items():
        assert f"| `{name}` | {requirement.meaning} |" in page

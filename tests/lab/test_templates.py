# SPDX-License-Identifier: GPL-2.0-only
"""Which guests the plan may count on, without any guest."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from harness.context import Context
from harness.errors import UserError
from harness.guest.accel import SURE_S, Probe, ProbeCache
from harness.guest.capabilities import HostFacts
from harness.guest.firmware import Firmware, Has
from harness.guest.host import Access, read_host
from harness.guest.machine import GuestConfig
from harness.kbuild import Kernel
from harness.kbuild.kernel import Meta
from harness.lab.templates import TemplateFactory
from harness.model.events import Accelerator
from harness.model.spec import GuestTable
from harness.progress import Quiet
from harness.store import Store
from tests.guest.machines import C_BIT, EMULATORS, SHAPES

pytestmark = pytest.mark.unit

IMAGE = Firmware(Path("/fw"), False, 1 << 16, frozenset({"amd-sev"}), frozenset({Has.SNP_METADATA}))


def factory(root: Path, shape: str, options: str = "") -> TemplateFactory:
    kernel = root / "kernel"
    kernel.mkdir()
    (kernel / "config").write_text(options)
    meta = Meta(
        release="6.1",
        build_id="",
        commit="",
        tree="",
        config_digest="",
        toolchain="",
        headers_digest="",
        warnings=(),
    )
    host = read_host(SHAPES[shape].build(root / "machine"), lambda _: True)
    emulator = msgspec.structs.replace(EMULATORS["10.1"], sev=C_BIT)
    host_facts = HostFacts(host=host, emulator=emulator, images=[IMAGE])
    store = Store(root / "cache")
    return TemplateFactory(Kernel("key", kernel, meta), 60.0, Context(store, Quiet()), host_facts)


SEV = "CONFIG_AMD_MEM_ENCRYPT=y\nCONFIG_EFI_STUB=y\n"


def test_an_ordinary_guest_lacks_nothing(tmp_path: Path) -> None:
    maker = factory(tmp_path, "cloud")
    assert maker.lacks(GuestTable(), [], {}) == ""
    assert maker.config(GuestTable()) == GuestConfig()
    assert maker.notes([GuestTable()]) == ()


def test_a_confidential_guest_is_made_where_all_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = factory(tmp_path, "snp", SEV)
    monkeypatch.delattr(TemplateFactory, "packed")  # it has KVM, and no one needs to find that out
    guest = GuestTable(confidential="sev-snp")
    config = maker.config(guest)
    assert config.confidential
    assert str(config) == "q35, 2 CPUs, 512 MiB, sev-snp"
    assert maker.lacks(guest, ["sev-snp", "kvm"], {}) == ""
    assert "cannot be saved" in maker.lacks(guest, ["snapshot"], {})
    assert maker.config(GuestTable(confidential="auto")) == config


def test_where_it_is_refused_every_test_in_it_is_unfit(tmp_path: Path) -> None:
    maker = factory(tmp_path, "snp", SEV)
    guest = GuestTable(confidential="tdx")
    reason = "TDX needs a processor of GenuineIntel, this one is of AuthenticAMD"
    assert maker.lacks(guest, [], {}) == reason
    assert maker.lacks(guest, ["tdx"], {}) == reason
    assert maker.lacks(GuestTable(), [], {}) == "", "tests in other guests run"
    assert maker.lacks(GuestTable(), ["tdx"], {}) == reason


def test_a_kernel_that_cannot_is_the_reason(tmp_path: Path) -> None:
    maker = factory(tmp_path, "snp", "CONFIG_EFI_STUB=y\n")
    reason = maker.lacks(GuestTable(confidential="sev"), [], {})
    assert reason.startswith("the kernel was built without CONFIG_AMD_MEM_ENCRYPT: add the frag")


def test_auto_falls_back_to_an_ordinary_guest_with_a_note(tmp_path: Path) -> None:
    maker = factory(tmp_path, "cloud", SEV)
    guest = GuestTable(confidential="auto")
    assert maker.lacks(guest, [], {}) == ""
    assert maker.config(guest).confidential is None
    (note,) = maker.notes([guest, guest, GuestTable()])
    assert "ordinary guest" in note


@pytest.mark.parametrize(
    ("guest", "reason"),
    [
        (GuestTable(confidential="sev", type="vng"), "a vng guest cannot be confidential"),
        (GuestTable(confidential="sev", accel="tcg"), "needs KVM, and accel is tcg"),
    ],
)
def test_contradictions_are_reasons(tmp_path: Path, guest: GuestTable, reason: str) -> None:
    assert reason in factory(tmp_path, "snp", SEV).lacks(guest, [], {})


def test_another_machine_type_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="q35"):
        factory(tmp_path, "snp", SEV).lacks(GuestTable(confidential="sev", machine="pc"), [], {})


@pytest.mark.parametrize("accelerator", Accelerator)
def test_what_is_known_of_the_accelerator_decides(
    tmp_path: Path, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = factory(tmp_path, "sev")
    fake = tmp_path / "bin" / "qemu-system-x86_64"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent), prepend=":")
    monkeypatch.setattr(TemplateFactory, "packed", lambda *_: None)
    memory = ProbeCache(maker.context.store.place("accelerator"), maker.host_facts.host)
    memory.keep(GuestConfig(), Probe(accelerator, "as it was tried", SURE_S))
    answers = asyncio.run(maker.probe({GuestTable(): ["kvm"]}))
    reason = maker.lacks(GuestTable(), ["kvm"], answers)
    if accelerator is Accelerator.KVM:
        assert reason == ""
    else:
        assert reason == "the guest does not run under KVM: as it was tried"


def test_a_machine_without_the_device_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = factory(tmp_path, "bare")
    assert maker.host_facts.host.kvm is Access.ABSENT
    monkeypatch.setattr(TemplateFactory, "packed", lambda *_: None)
    either, slow = GuestTable(), GuestTable(accel="tcg")
    answers = asyncio.run(maker.probe({either: ["kvm"], slow: ["kvm"]}))
    assert "there is no /dev/kvm" in maker.lacks(either, ["kvm"], answers)
    assert maker.lacks(slow, ["kvm"], answers) == ("the guest does not run under KVM: asked for")


def test_a_snapshot_under_kvm_is_bound_to_the_processor(tmp_path: Path) -> None:
    maker = factory(tmp_path, "sev")
    host = msgspec.structs.replace(maker.host_facts.host, flags=frozenset({"svm", "another"}))
    other = msgspec.structs.replace(maker, host_facts=HostFacts(host=host))
    assert maker._processor(Accelerator.KVM) != other._processor(Accelerator.KVM)
    assert maker._processor(Accelerator.TCG) == other._processor(Accelerator.TCG)


def test_what_is_being_made_is_waited_for_and_not_made_twice(tmp_path: Path) -> None:
    maker = factory(tmp_path, "bare")
    order: list[tuple[str, int]] = []

    async def work(name: str, number: int) -> None:
        async with maker._alone(name):
            order.append((name, number))
            await asyncio.sleep(0.01)
            order.append((name, number))

    async def together() -> None:
        await asyncio.gather(work("a", 1), work("a", 2), work("b", 9), work("a", 3))

    async def failing() -> None:
        async with maker._alone("a"):
            raise ValueError

    # More than once, because there may be several event loops, one after another.
    for _ in range(2):
        order.clear()
        asyncio.run(asyncio.wait_for(together(), 10))
        assert [number for name, number in order if name == "a"] == [1, 1, 2, 2, 3, 3]
        assert order.index(("b", 9)) == 1, "others need not wait"
        with pytest.raises(ValueError):  # noqa: PT011  which has no words
            asyncio.run(failing())
        assert not maker.busy

# SPDX-License-Identifier: GPL-2.0-only
"""Confidential guests: what machines of several shapes have, and what QEMU is told."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.errors import UserError
from harness.guest import firmware
from harness.guest.capabilities import HostFacts
from harness.guest.confidential import TECHNOLOGIES, Choice, Wanted, choose, lacks, offer
from harness.guest.emulator import Emulator, SevFacts, examine, parse_objects, parse_sev
from harness.guest.firmware import Has
from harness.guest.host import Access, Host, read_host
from harness.guest.launch import OBJECTS, Kind, Launch
from harness.guest.machine import BootFiles, Channels, GuestConfig, MachineType, Memory, qemu_argv
from harness.kbuild import fragments
from harness.model.events import Accelerator
from tests.guest.machines import (
    C_BIT,
    EMULATORS,
    SHAPES,
    add_image,
    descriptor,
    install,
    ovmf,
)

pytestmark = pytest.mark.unit

CONFIGS = Path(__file__).parents[2] / "kernel-configs"


def machine(
    root: Path, shape: str, qemu: str, *, fw: bool = True, memlock: str | None = None
) -> HostFacts:
    """Return what is known of a machine of that shape with that QEMU."""
    made = SHAPES[shape]
    if memlock is not None:
        made = msgspec.structs.replace(made, memlock=memlock)
    made.build(root)
    if fw:
        # Where a distribution would have them: one image for each.
        for name, feature, has in (
            ("TDVF.fd", "intel-tdx", [Has.TDX_METADATA]),
            ("SEV.fd", "amd-sev", [Has.SEV_HASHES]),
            ("SNP.fd", "amd-sev-snp", [Has.SEV_HASHES, Has.SNP_METADATA]),
        ):
            install(root, f"60-{name}.json", descriptor(add_image(root, name, *has), feature))
    emulator = msgspec.structs.replace(EMULATORS[qemu], sev=C_BIT)
    return HostFacts(root=root, host=read_host(root, lambda _: True), emulator=emulator)


@pytest.fixture(autouse=True)
def _no_descriptors_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/of/user/.config")


# What a machine has


@pytest.mark.parametrize(
    ("shape", "qemu", "can"),
    [
        ("tdx", "10.1", {Kind.TDX}),
        ("tdx", "10.0", set()),
        ("intel", "10.1", set()),
        ("sev", "7.2", {Kind.SEV}),
        ("sev", "10.1", {Kind.SEV}),
        ("snp", "8.2", {Kind.SEV}),
        ("snp", "9.2", {Kind.SEV, Kind.SEV_SNP}),
        ("snp", "10.1", {Kind.SEV, Kind.SEV_SNP}),
        ("cloud", "10.1", set()),
        ("bare", "none", set()),
    ],
)
def test_what_machines_can(tmp_path: Path, shape: str, qemu: str, can: set[Kind]) -> None:
    host_facts = machine(tmp_path, shape, qemu)
    offers = {kind: host_facts.offer(kind) for kind in Kind}
    assert {kind for kind, found in offers.items() if found.launch} == can
    for found in offers.values():
        assert bool(found.launch) is not bool(found.reason), "one of both"
        assert found.launch or found.do


@pytest.mark.parametrize(
    ("shape", "qemu", "kind", "reasons", "do"),
    [
        (
            "tdx",
            "10.0",
            Kind.TDX,
            ["QEMU 10.0 has no tdx-guest: that came with 10.1"],
            "QEMU 10.1 or later",
        ),
        ("tdx", "none", Kind.TDX, ["QEMU is not installed"], "apt-get install qemu-system-x86"),
        (
            "intel",
            "10.1",
            Kind.TDX,
            [
                "the host's kvm_intel has no parameter tdx: Linux 6.12.1 is older than 6.16, or "
                "was built without TDX"
            ],
            "from 6.16 on",
        ),
        (
            "snp",
            "10.1",
            Kind.TDX,
            ["TDX needs a processor of GenuineIntel, this one is of AuthenticAMD"],
            "a machine with TDX",
        ),
        (
            "sev",
            "7.2",
            Kind.SEV_SNP,
            [
                "the host's kvm_amd has no parameter sev_snp: Linux 6.1.0-30-amd64 is older than "
                "6.11, or was built without SEV-SNP",
                "QEMU 7.2 has no sev-snp-guest: that came with 9.1",
            ],
            "QEMU 9.1 or later",
        ),
        (
            "cloud",
            "7.2",
            Kind.SEV,
            ["the processor does not show SEV (flag sev): this machine is itself a virtual one"],
            "on the hardware",
        ),
        (
            "bare",
            "10.1",
            Kind.SEV,
            ["SEV needs a processor of AuthenticAMD, this one is of an unknown maker"],
            "a machine with SEV",
        ),
    ],
)
def test_what_is_missing_is_said_exactly(
    tmp_path: Path, shape: str, qemu: str, kind: Kind, reasons: list[str], do: str
) -> None:
    found = machine(tmp_path, shape, qemu).offer(kind)
    assert [each.reason for each in found.missing] == reasons
    assert found.reason == "; ".join(reasons)
    assert do in found.do


def test_a_machine_without_firmware_says_where_it_looked(tmp_path: Path) -> None:
    found = machine(tmp_path, "tdx", "10.1", fw=False).offer(Kind.TDX)
    assert len(found.missing) == 1
    assert "there is no firmware for TDX" in found.reason
    assert "/usr/share/qemu/firmware has intel-tdx" in found.reason
    assert "describe yours there" in found.do


def _offer(tmp_path: Path, kind: Kind, host: Host, memory_mib: int = 512) -> str:
    host_facts = machine(tmp_path, "snp", "10.1")
    return offer(kind, host, host_facts.emulator, host_facts.images, memory_mib=memory_mib).reason


def test_each_link_of_the_chain_can_break(tmp_path: Path) -> None:
    snp = machine(tmp_path, "snp", "10.1").host

    def changed(kind: Kind, **changes: object) -> str:
        return _offer(tmp_path, kind, msgspec.structs.replace(snp, **changes))

    assert changed(Kind.SEV) == ""
    assert changed(Kind.SEV_SNP) == ""
    assert changed(Kind.SEV, kvm=Access.FORBIDDEN) == "no permission for /dev/kvm"
    assert changed(Kind.SEV, kvm=Access.ABSENT) == "there is no /dev/kvm"
    assert changed(Kind.SEV, sev=Access.ABSENT) == "there is no /dev/sev"
    assert changed(Kind.SEV, sev=Access.FORBIDDEN) == "no permission for /dev/sev"
    assert changed(Kind.SEV, modules={"kvm": {}}) == (
        "the host's KVM is not kvm_amd (there is kvm)"
    )
    off = {"kvm_amd": {"sev": "N", "sev_snp": "N"}}
    assert changed(Kind.SEV, modules=off) == "the host has SEV off: kvm_amd.sev is N"
    assert changed(Kind.SEV, modules=off, flags=frozenset()) == (
        "the processor does not show SEV (flag sev), and kvm_amd.sev is N"
    )
    assert changed(Kind.SEV_SNP, cmdline=("quiet", "iommu=pt")) == (
        "the host was booted with iommu=pt, and SEV-SNP needs IOMMU translation"
    )
    assert changed(Kind.SEV, cmdline=("iommu=pt",)) == ""


def test_sev_locks_the_memory_of_a_guest(tmp_path: Path) -> None:
    host_facts = machine(tmp_path, "sev", "7.2", memlock=str(256 << 20))
    assert host_facts.offer(Kind.SEV, memory_mib=256).launch
    found = host_facts.offer(Kind.SEV, memory_mib=257)
    assert found.reason == (
        "SEV locks all of a guest's memory (257 MiB), and this process may lock 256 MiB"
    )
    assert "ulimit -l" in found.do


def test_a_qemu_that_cannot_say_the_c_bit_is_not_guessed_for(tmp_path: Path) -> None:
    host_facts = machine(tmp_path, "snp", "10.1")
    mute = msgspec.structs.replace(
        host_facts.emulator, sev=None, sev_trouble="SEV is not enabled in KVM"
    )
    found = offer(Kind.SEV, host_facts.host, mute, host_facts.images)
    assert found.reason == "QEMU cannot ask for SEV's C-bit: SEV is not enabled in KVM"


# What is chosen


def test_auto_takes_the_best_and_else_says_why_not(tmp_path: Path) -> None:
    snp = machine(tmp_path / "snp", "snp", "10.1")
    assert _kind(choose(Wanted.AUTO, snp.offer)) is Kind.SEV_SNP
    older = machine(tmp_path / "older", "snp", "8.2")
    assert _kind(choose(Wanted.AUTO, older.offer)) is Kind.SEV
    nothing = choose(Wanted.AUTO, machine(tmp_path / "cloud", "cloud", "7.2").offer)
    assert nothing.launch is None
    assert nothing.refused == ""
    for title in ("TDX needs a proc", "does not show SEV-SNP", "does not show SEV ("):
        assert title in nothing.note
    assert "firmware" not in nothing.note, "the first reason is enough for a note"
    closed = choose(Wanted.AUTO, machine(tmp_path / "tdx", "tdx", "10.0").offer).note
    assert "no tdx: QEMU 10.0 has no tdx-guest" in closed


def _kind(choice: Choice) -> Kind | None:
    return choice.launch.kind if choice.launch else None


def test_what_is_asked_for_by_name_is_had_or_refused(tmp_path: Path) -> None:
    snp = machine(tmp_path, "snp", "10.1")
    assert choose(Wanted.NONE, snp.offer) == Choice()
    assert _kind(choose(Wanted.SEV, snp.offer)) is Kind.SEV
    refused = choose(Wanted.TDX, snp.offer)
    assert refused == Choice(refused=snp.offer(Kind.TDX).reason)


def test_the_guests_kernel_has_to_know_how(tmp_path: Path) -> None:
    tdx = machine(tmp_path, "tdx", "10.1")
    plain = {"EFI_STUB": "y", "INTEL_TDX_GUEST": "n"}
    assert choose(Wanted.TDX, tdx.offer, plain).refused == (
        "the kernel was built without CONFIG_INTEL_TDX_GUEST: add the fragment 'tdx' to "
        "kernel.config"
    )
    assert choose(Wanted.AUTO, tdx.offer, plain).launch is None
    assert _kind(choose(Wanted.TDX, tdx.offer, {**plain, "INTEL_TDX_GUEST": "y"})) is Kind.TDX


@pytest.mark.parametrize("kind", Kind)
def test_the_fragment_that_an_error_names_has_what_is_lacking(kind: Kind) -> None:
    names = ["guest", TECHNOLOGIES[kind].fragment]
    options = {each.name: each.value for each in fragments.load(CONFIGS, names).options}
    assert lacks(kind, options) == ""
    assert lacks(kind, {}) != ""


# What QEMU is told

FILES = BootFiles(Path("/k"), Path("/i"))
LAUNCHES = {
    Kind.TDX: Launch(Kind.TDX, "/fw/TDVF.fd"),
    Kind.SEV: Launch(Kind.SEV, "/fw/SEV.fd", True, C_BIT, True),
    Kind.SEV_SNP: Launch(Kind.SEV_SNP, "/fw/SNP.fd", False, C_BIT, False),
}


def told(
    launch: Launch | None, machine_type: MachineType = MachineType.Q35
) -> dict[str, list[str]]:
    """Return QEMU's command line as a table: each option with all its values."""
    config = GuestConfig(machine=machine_type, confidential=launch)
    channels = Channels(monitor=10, console=11, agent=12)
    argv = qemu_argv(config, Accelerator.KVM, channels, Memory(), FILES)
    table: dict[str, list[str]] = {}
    for option, value in zip(argv, [*argv[1:], ""], strict=True):
        if option.startswith("-"):
            table.setdefault(option, []).append("" if value.startswith("-") else value)
    return table


def test_an_ordinary_guest_is_told_nothing_of_it() -> None:
    text = str(told(None))
    for word in ("confidential", "irqchip", "-bios", "pflash", "iommu_platform", "kernel-hashes"):
        assert word not in text
    assert told(None)["-cpu"] == ["max"]


@pytest.mark.parametrize(
    ("kind", "object_", "firmware_"),
    [
        (Kind.TDX, "tdx-guest,id=confidential", ("-bios", "/fw/TDVF.fd")),
        (
            Kind.SEV,
            "sev-guest,id=confidential,cbitpos=51,reduced-phys-bits=1,kernel-hashes=on",
            ("-drive", "if=pflash,format=raw,unit=0,readonly=on,file=/fw/SEV.fd"),
        ),
        (
            Kind.SEV_SNP,
            "sev-snp-guest,id=confidential,cbitpos=51,reduced-phys-bits=1",
            ("-bios", "/fw/SNP.fd"),
        ),
    ],
)
def test_what_qemu_is_told(kind: Kind, object_: str, firmware_: tuple[str, str]) -> None:
    table = told(LAUNCHES[kind])
    assert table["-object"][-1] == object_
    assert table[firmware_[0]] == [firmware_[1]]
    assert ("-bios" in table) is not ("-drive" in table)
    (machine_,) = table["-machine"]
    assert machine_.startswith("q35,")
    assert ",smm=off," in machine_, "neither TDX nor SEV-ES has a system management mode"
    assert machine_.count("confidential-guest-support=confidential") == 1
    assert (",kernel-irqchip=split" in machine_) is (kind is Kind.TDX)
    assert table["-cpu"] == ["host"]
    assert table["-accel"] == ["kvm"]
    virtio = next(each for each in table["-device"] if each.startswith("virtio-serial-pci"))
    assert virtio.endswith(",disable-legacy=on,iommu_platform=on")
    assert table["-kernel"] == ["/k"]


@pytest.mark.parametrize("qemu", ["7.2", "8.2", "9.2", "10.0", "10.1"])
@pytest.mark.parametrize("shape", ["tdx", "sev", "snp"])
def test_qemu_gets_only_objects_that_it_has(tmp_path: Path, shape: str, qemu: str) -> None:
    host_facts = machine(tmp_path, shape, qemu)
    for kind in Kind:
        launch = host_facts.offer(kind).launch
        if launch:
            created = {each.split(",")[0] for each in told(launch)["-object"]}
            assert OBJECTS[kind] in created
            assert created <= EMULATORS[qemu].objects


@pytest.mark.parametrize("machine_type", [MachineType.MICROVM, MachineType.PC])
def test_other_machine_types_are_refused(machine_type: MachineType) -> None:
    with pytest.raises(UserError, match="q35"):
        told(LAUNCHES[Kind.TDX], machine_type)


def test_a_comma_in_the_firmwares_name_stays_in_it() -> None:
    launch = msgspec.structs.replace(LAUNCHES[Kind.SEV], firmware="/fw/a,readonly=off")
    assert told(launch)["-drive"][0].endswith(",file=/fw/a,,readonly=off")


def test_kernel_hashes_go_with_a_firmware_that_has_room_for_them(tmp_path: Path) -> None:
    host_facts = machine(tmp_path, "snp", "10.1", fw=False)
    install(tmp_path, "1.json", descriptor(add_image(tmp_path, "a.fd"), "amd-sev"))
    launch = (
        HostFacts(root=tmp_path, host=host_facts.host, emulator=host_facts.emulator)
        .offer(Kind.SEV)
        .launch
    )
    assert launch
    assert not launch.kernel_hashes
    assert "kernel-hashes" not in str(told(launch))


# Firmware


def test_descriptors_are_read_in_the_order_of_qemus_rules(tmp_path: Path) -> None:
    for name in ("a.fd", "b.fd", "mine.fd"):
        add_image(tmp_path, name)
    install(tmp_path, "60-a.json", descriptor("/usr/share/fw/a.fd", "amd-sev"))
    install(tmp_path, "50-b.json", descriptor("/usr/share/fw/b.fd", "amd-sev", flash=True))
    assert [each.path.name for each in firmware.find(tmp_path)] == ["b.fd", "a.fd"]
    assert [each.flash for each in firmware.find(tmp_path)] == [True, False]
    # The administrator's file stands for the distribution's of that name, an empty one hides it.
    install(tmp_path, "60-a.json", descriptor("/usr/share/fw/mine.fd", "x"), where="etc")
    assert [each.path.name for each in firmware.find(tmp_path)] == ["b.fd", "mine.fd"]
    install(tmp_path, "50-b.json", "", where="home/of/user/.config")
    assert [each.path.name for each in firmware.find(tmp_path)] == ["mine.fd"]


def test_a_descriptor_that_does_not_fit_offers_nothing(tmp_path: Path) -> None:
    image = add_image(tmp_path, "a.fd")
    install(tmp_path, "1.json", "no JSON")
    install(tmp_path, "2.json", "[]")
    install(tmp_path, "3.json", '{"features": []}')
    install(tmp_path, "4.json", descriptor(image, machine="pc-i440fx-*"))
    install(tmp_path, "5.json", descriptor(image, "requires-smm", "amd-sev"))
    install(tmp_path, "6.json", descriptor("/usr/share/fw/gone.fd", "amd-sev"))
    install(tmp_path, "7.json", descriptor(image).replace("x86_64", "aarch64"))
    install(tmp_path, "8.json", descriptor(image, flash=True).replace('"raw"', '"qcow2"'))
    install(tmp_path, "9.json", '{"features": [1], "mapping": {"filename": "relative"}}')
    assert firmware.find(tmp_path) == []


def test_the_image_is_believed_and_not_its_descriptor(tmp_path: Path) -> None:
    host_facts = machine(tmp_path, "tdx", "10.1", fw=False)
    install(tmp_path, "1.json", descriptor(add_image(tmp_path, "lies.fd"), "intel-tdx"))
    odd = add_image(tmp_path, "odd.fd", Has.TDX_METADATA, size=(1 << 16) + 512)
    install(tmp_path, "2.json", descriptor(odd, "intel-tdx"))
    found = HostFacts(root=tmp_path, host=host_facts.host, emulator=host_facts.emulator)
    assert "no firmware for TDX" in found.offer(Kind.TDX).reason
    # One that has no descriptor and is where distributions put it.
    plain = tmp_path / "usr/share/ovmf/OVMF.fd"
    plain.parent.mkdir(parents=True)
    plain.write_bytes(ovmf(Has.TDX_METADATA, Has.SNP_METADATA))
    found = HostFacts(root=tmp_path, host=host_facts.host, emulator=host_facts.emulator)
    launch = found.offer(Kind.TDX).launch
    assert launch
    assert launch.firmware == str(plain)


@pytest.mark.parametrize("cut", [0, 1, 47, 48, 49, 60, 70, 100])
def test_a_damaged_image_has_nothing(tmp_path: Path, cut: int) -> None:
    image = tmp_path / "x.fd"
    whole = ovmf(Has.TDX_METADATA)
    image.write_bytes(whole)
    assert firmware.read_table(image) == {Has.TDX_METADATA}
    image.write_bytes(whole[-cut:] if cut else b"")
    assert firmware.read_table(image) == (frozenset() if cut < 90 else {Has.TDX_METADATA})


@pytest.mark.parametrize("length", [b"\0\0", b"\1\0", b"\x11\0", b"\xff\xff"])
def test_lengths_that_lead_nowhere_are_not_followed(tmp_path: Path, length: bytes) -> None:
    image = tmp_path / "x.fd"
    whole = ovmf(Has.TDX_METADATA, Has.SNP_METADATA)
    of_footer, of_entry = len(whole) - 50, len(whole) - 68
    for at in (of_footer, of_entry):
        assert whole[at : at + 2] in (b"\x3e\0", b"\x16\0"), "where the lengths are"
        image.write_bytes(whole[:at] + length + whole[at + 2 :])
        assert firmware.read_table(image) <= {Has.TDX_METADATA}


# What QEMU says

QEMU_SAYS = '{"QMP": {"version": {}}}\n{"return": {}}\n'


def test_qemus_list_of_objects_is_read() -> None:
    text = "List of user creatable objects:\n  rng-random\n  sev-guest\n\n"
    assert parse_objects(text) == {"rng-random", "sev-guest"}


@pytest.mark.parametrize(
    ("reply", "facts", "trouble"),
    [
        (
            '{"return": {"pdh": "x", "cbitpos": 51, "reduced-phys-bits": 1, "cert-chain": "y"}}',
            SevFacts(51, 1),
            "",
        ),
        (
            '{"error": {"class": "GenericError", "desc": "SEV is not enabled in KVM"}}',
            None,
            "SEV is not enabled in KVM",
        ),
        ("", None, "it gives no answer"),
        ("qemu: could not access KVM", None, "qemu: could not access KVM"),
        ('{"return": {"cbitpos": 51}}', None, '{"return": {"cbitpos": 51}}'),
        ("[1]", None, "[1]"),
    ],
)
def test_qemus_word_on_the_c_bit(reply: str, facts: SevFacts | None, trouble: str) -> None:
    assert parse_sev(QEMU_SAYS + reply + "\n") == (facts, trouble)


def test_a_program_that_is_no_qemu_is_not_taken_for_one(tmp_path: Path) -> None:
    assert examine("qemu-of-no-such-machine") == Emulator()
    fake = tmp_path / "qemu"
    fake.write_text("#!/bin/sh\necho hello\n")
    fake.chmod(0o755)
    assert not examine(str(fake)).installed

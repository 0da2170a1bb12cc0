# SPDX-License-Identifier: GPL-2.0-only
"""Which accelerator is taken, for how long that is believed, and on which machine."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from harness.errors import ExitCode, MachineError
from harness.guest.accel import DAY_S, LOADED_S, SURE_S, Probe, ProbeCache, Wanted, find
from harness.guest.host import Access, Host, read_host
from harness.guest.machine import BootFiles, GuestConfig, MachineType
from harness.guest.qemu import GuestNotBooted
from harness.model.events import Accelerator, GuestDied, How
from harness.progress import Quiet
from tests.guest.machines import SHAPES

pytestmark = pytest.mark.unit

FILES = BootFiles(Path("/k"), Path("/i"))
USABLE = Host(kvm=Access.USABLE, machine_id="m", boot_id="b", version="Linux version 6.1")


def dies(how: How, detail: str = "QEMU ended with -6: so it is") -> GuestNotBooted:
    return GuestNotBooted(GuestDied(how, detail), b"", "/k")


@dataclass
class Machine:
    """A machine in which booting is told and not done; ``now`` is its clock."""

    directory: Path
    host: Host = USABLE
    kvm: MachineError | None = None
    kvm_s: float = float("inf")
    """With more time than that, it boots under KVM."""
    tcg: MachineError | None = None
    tcg_s: float = 2.0
    now: float = 1e9
    booted: list[Accelerator] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)

    async def boot(self, config: GuestConfig, accelerator: Accelerator, files: BootFiles) -> None:
        self.booted.append(accelerator)
        self.limits.append(config.boot_limit_s)
        trouble = self.kvm if accelerator is Accelerator.KVM else self.tcg
        if accelerator is Accelerator.TCG:
            self.now += self.tcg_s
        if trouble and not (accelerator is Accelerator.KVM and config.boot_limit_s > self.kvm_s):
            raise trouble

    def find(self, wanted: Wanted = Wanted.AUTO, config: GuestConfig | None = None) -> Probe:
        memory = ProbeCache(self.directory, self.host, clock=lambda: self.now)
        return asyncio.run(
            find(
                config or GuestConfig(qemu="sh"),
                FILES,
                wanted,
                memory,
                Quiet(),
                boot=self.boot,
                clock=lambda: self.now,
            )
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_where_a_kernel_boots_under_kvm_it_is_taken_and_remembered(machine: Machine) -> None:
    for _ in range(3):
        found = machine.find()
        assert found.accelerator is Accelerator.KVM
        assert found.why == "a kernel boots under KVM"
    assert machine.booted == [Accelerator.KVM]
    assert machine.limits == [5.0]
    assert machine.find(Wanted.KVM).accelerator is Accelerator.KVM
    assert len(machine.booted) == 1


@pytest.mark.parametrize(
    ("access", "why"), [(Access.ABSENT, "there is no"), (Access.FORBIDDEN, "no permission for")]
)
def test_a_device_that_cannot_be_opened_needs_no_boot(
    machine: Machine, access: Access, why: str
) -> None:
    machine.host = msgspec.structs.replace(USABLE, kvm=access)
    assert machine.find().accelerator is Accelerator.TCG
    assert machine.find().why.startswith(f"{why} /dev/kvm")
    with pytest.raises(MachineError) as error:
        machine.find(Wanted.KVM)
    assert error.value.exit_code is ExitCode.MACHINE
    assert why in error.value.why
    assert machine.booted == []
    assert not list(machine.directory.iterdir())


def test_tcg_that_is_asked_for_is_not_discussed(machine: Machine) -> None:
    assert machine.find(Wanted.TCG) == Probe(Accelerator.TCG, "asked for")
    assert machine.booted == []


def test_kvm_that_is_demanded_and_fails_is_a_machine_error_each_time(machine: Machine) -> None:
    machine.kvm = MachineError("QEMU does not start", why="failed to set MSR 0x10a\nand more")
    for attempt in (1, 2):
        with pytest.raises(MachineError, match="KVM is requested") as error:
            machine.find(Wanted.KVM)
        assert error.value.exit_code is ExitCode.MACHINE
        assert "QEMU does not start: failed to set MSR 0x10a" in error.value.why
        assert len(machine.booted) == attempt, "tried again, not remembered"
    assert machine.find().accelerator is Accelerator.TCG
    assert len(machine.booted) == 2
    # Once it works, everybody may know.
    machine.kvm = None
    assert machine.find(Wanted.KVM).accelerator is Accelerator.KVM
    assert machine.find().accelerator is Accelerator.KVM
    assert len(machine.booted) == 3


def test_a_sure_answer_holds_thirty_days(machine: Machine) -> None:
    machine.kvm = dies(How.QEMU_DIED)
    machine.find()
    machine.now += SURE_S - 1
    machine.find()
    assert machine.booted == [Accelerator.KVM]
    machine.now += 2
    machine.find()
    assert len(machine.booted) == 2


def test_a_probe_that_ran_out_of_time_is_not_remembered_for_long(machine: Machine) -> None:
    machine.kvm, machine.tcg_s = dies(How.NOT_BOOTED), 2.0
    found = machine.find()
    assert found.accelerator is Accelerator.TCG
    assert "under TCG it boots in 2.0 s" in found.why
    assert found.holds_s == DAY_S
    machine.now += DAY_S - 10
    machine.find()
    assert len(machine.booted) == 2
    machine.now += 10
    machine.find()
    assert len(machine.booted) == 4


def test_a_slow_machine_has_twice_the_time_that_tcg_took(machine: Machine) -> None:
    machine.kvm, machine.kvm_s, machine.tcg_s = dies(How.NOT_BOOTED), 20.0, 30.0
    found = machine.find()
    assert found.accelerator is Accelerator.KVM
    assert found.holds_s == SURE_S
    kvm, tcg = Accelerator.KVM, Accelerator.TCG
    assert list(zip(machine.booted, machine.limits, strict=True))[::2] == [(kvm, 5.0), (kvm, 60.0)]
    assert machine.booted == [kvm, tcg, kvm]


def test_a_machine_too_slow_for_tcg_has_as_much_time_for_kvm(machine: Machine) -> None:
    machine.kvm, machine.kvm_s, machine.tcg = dies(How.NOT_BOOTED), 50.0, dies(How.NOT_BOOTED)
    found = machine.find()
    assert found.accelerator is Accelerator.KVM
    assert found.holds_s == SURE_S
    assert machine.limits == [5.0, 60.0, 60.0]


def test_a_slow_machine_whose_kvm_is_no_faster_has_none_for_a_day(machine: Machine) -> None:
    machine.kvm, machine.tcg_s = dies(How.NOT_BOOTED), 30.0
    found = machine.find()
    assert found.why.endswith("and under TCG it boots in 30.0 s")
    assert found.holds_s == DAY_S


def test_a_busy_machine_is_asked_again_after_ten_minutes(machine: Machine) -> None:
    machine.kvm, machine.tcg_s = dies(How.NOT_BOOTED), 30.0
    found = machine.find(config=GuestConfig(qemu="sh", boot_limit_s=20.0))
    assert found.why.endswith("boots in 30.0 s: the machine is loaded")
    assert found.holds_s == LOADED_S == 600
    machine.now += LOADED_S + 1
    machine.kvm = None
    assert machine.find().accelerator is Accelerator.KVM


@pytest.mark.parametrize(
    ("trouble", "holds_s"),
    [
        (dies(How.QEMU_DIED, "QEMU ended with -9: "), LOADED_S),
        (dies(How.QEMU_DIED, "QEMU ended with 1: KVM: entry failed"), SURE_S),
        (MachineError("QEMU does not start", why="its monitor does not answer: EOF"), LOADED_S),
        (MachineError("QEMU does not start"), LOADED_S),
        (MachineError("QEMU does not start", why="could not set up KVM"), SURE_S),
    ],
)
def test_a_qemu_that_ends_without_a_word_may_have_been_killed(
    machine: Machine, trouble: MachineError, holds_s: float
) -> None:
    machine.kvm = trouble
    assert machine.find().holds_s == holds_s


@pytest.mark.parametrize("how", [How.PANIC, How.RESET, How.PROTOCOL, How.NOT_BOOTED])
def test_a_kernel_that_boots_nowhere_says_nothing_of_kvm(machine: Machine, how: How) -> None:
    machine.kvm, machine.tcg = dies(how), dies(how)
    found = machine.find()
    assert found.accelerator is Accelerator.TCG
    assert "unknown" in found.why
    assert not list(machine.directory.iterdir())
    # The next kernel is a good one.
    machine.kvm = None
    assert machine.find().accelerator is Accelerator.KVM


def test_a_kernel_that_panics_only_under_kvm_is_kvms_fault(machine: Machine) -> None:
    machine.kvm = dies(How.PANIC)
    assert machine.find().holds_s == SURE_S


@pytest.mark.parametrize(
    "change",
    [
        {"machine_id": "another"},
        {"boot_id": "another"},
        {"version": "Linux version 6.2"},
        {"cmdline": ("kvm_amd.nested=0",)},
        {"processor": "another"},
        {"flags": frozenset({"svm"})},
        {"modules": {"kvm_amd": {"nested": "0"}}},
        {"modules": {"kvm_pvm": {}}},
    ],
)
def test_a_changed_machine_is_asked_again(machine: Machine, change: dict[str, object]) -> None:
    machine.find()
    machine.host = msgspec.structs.replace(USABLE, **change)
    machine.find()
    assert len(machine.booted) == 2
    machine.host = USABLE
    machine.find()
    assert len(machine.booted) == 2, "the old machine's answer is still there"


def test_another_qemu_or_machine_type_is_asked_again(machine: Machine, tmp_path: Path) -> None:
    qemu = tmp_path / "bin" / "qemu"
    qemu.parent.mkdir()
    qemu.write_text("#!/bin/sh\n")
    qemu.chmod(0o755)
    config = GuestConfig(qemu=str(qemu))
    for _ in range(2):
        machine.find(config=config)
    assert len(machine.booted) == 1
    machine.find(config=msgspec.structs.replace(config, machine=MachineType.MICROVM))
    machine.find(config=msgspec.structs.replace(config, cpu="EPYC"))
    assert len(machine.booted) == 3
    qemu.write_text("#!/bin/sh\n# updated\n")
    machine.find(config=config)
    assert len(machine.booted) == 4


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "no JSON",
        "[]",
        '{"accelerator": "kvm", "why": "from an old version"}',
        '{"accelerator": "fast", "why": "", "until": 2e9}',
        '{"accelerator": "kvm", "why": "for ever", "until": 1e99}',
        '{"accelerator": "kvm", "why": "", "until": 1}',
    ],
)
def test_a_damaged_cached_answer_is_ignored(machine: Machine, damage: str) -> None:
    machine.find()
    (file,) = machine.directory.iterdir()
    file.write_text(damage)
    machine.find()
    assert len(machine.booted) == 2
    assert json.loads(file.read_text())["accelerator"] == "kvm"


def test_what_no_longer_holds_is_swept_away(machine: Machine) -> None:
    old = machine.directory / "old.json"
    old.write_text("{}")
    os.utime(old, (0, machine.now - SURE_S - 1))
    young = machine.directory / "young.json"
    young.write_text("{}")
    os.utime(young, (0, machine.now - SURE_S + 1))
    machine.find()
    assert not old.exists()
    assert young.exists()


# The machine


def test_a_machines_identity_does_not_change_by_itself(tmp_path: Path) -> None:
    """Clock rates and free memory move all the time; another module's counters may."""
    root = SHAPES["cloud"].build(tmp_path)
    before = read_host(root)
    for name in ("proc/cpuinfo", "proc/meminfo"):
        text = (root / name).read_text()
        (root / name).write_text(text.replace("2000.5", "3123.4").replace("12000000", "11000000"))
    (root / "sys/module/kvm_pvm/parameters/force").write_text("77\n")
    assert read_host(root) != before
    assert read_host(root).identity == before.identity


def test_a_machine_is_read_from_its_files(tmp_path: Path) -> None:
    host = read_host(SHAPES["sev"].build(tmp_path), lambda path: path.name == "kvm")
    assert (host.vendor, host.cpus, host.memory_kib) == ("AuthenticAMD", 2, 16_000_000)
    assert host.processor == ("A Processor, cpu family 6, model 143, stepping 8, microcode 0x2b")
    assert {"svm", "sev"} <= host.flags
    assert (host.kvm, host.sev) == (Access.USABLE, Access.FORBIDDEN)
    assert host.on("kvm_amd", "sev")
    assert not host.on("kvm_amd", "sev_snp")
    assert host.memlock == 2 << 30
    assert host.release == "6.1.0-30-amd64"
    assert not host.virtual


def test_whoever_may_lock_memory_has_no_limit(tmp_path: Path) -> None:
    root = SHAPES["sev"].build(tmp_path)
    status = root / "proc/self/status"
    status.write_text("Name:\tx\nCapEff:\t000001ffffffffff\n")
    assert read_host(root).memlock is None


def test_a_machine_without_files_is_no_error(tmp_path: Path) -> None:
    assert read_host(tmp_path / "nothing") == Host()


def test_this_machine_is_read() -> None:
    host = read_host()
    assert host.cpus == os.cpu_count()
    assert host.release == os.uname().release
    assert host.memory_kib > 0
    assert host.identity == read_host().identity

# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's command line, the console's lines, the configuration's limits."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.errors import MachineError, UserError
from harness.guest.capabilities import capabilities
from harness.guest.console import ConsoleLines
from harness.guest.machine import (
    BootFiles,
    Channels,
    GuestConfig,
    MachineType,
    Memory,
    qemu_argv,
)
from harness.guest.process import QemuProcess
from harness.model.events import Accelerator, Exit, How

pytestmark = pytest.mark.unit

CHANNELS = Channels(monitor=10, console=11, agent=12)
FILES = BootFiles(Path("/k"), Path("/i"))


def argv(
    config: GuestConfig, memory: Memory | None = None, boot: BootFiles | None = FILES
) -> list[str]:
    return qemu_argv(config, Accelerator.TCG, CHANNELS, memory or Memory(), boot)


@pytest.mark.parametrize("machine", MachineType)
def test_a_guest_is_sealed(machine: MachineType) -> None:
    command = argv(GuestConfig(machine=machine))
    assert {"-nodefaults", "-no-user-config"} <= set(command)
    assert command[command.index("-sandbox") + 1].startswith("on,")
    text = " ".join(command)
    for hole in ("-netdev", "-nic", "-net ", "virtfs", "9p", "-drive", "-usb", "vhost", "fsdev"):
        assert hole not in text


def test_boot_and_restore_describe_the_same_machine() -> None:
    boot = argv(GuestConfig(), Memory((Path("/r"),)))
    wake = argv(GuestConfig(), Memory((Path("/r"),)), None)
    assert wake[-2:] == ["-incoming", "defer"]
    assert boot[: len(wake) - 2] == wake[:-2]
    assert boot[len(wake) - 2 :: 2] == ["-kernel", "-initrd", "-append"]


def test_parameters_of_the_user_come_last() -> None:
    cmdline = argv(GuestConfig(cmdline=("panic=30", "numa=fake=2")))[-1]
    assert cmdline.endswith(" panic=30 numa=fake=2")


def test_a_comma_in_a_path_stays_in_it() -> None:
    memory = argv(GuestConfig(), Memory((Path("/a,share=on"),), shared=False))
    assert "mem-path=/a,,share=on,share=off" in memory[memory.index("-object") + 1]


def test_nodes_share_processors_and_memory() -> None:
    config = GuestConfig(cpus=3, memory_mib=513, numa_nodes=2)
    command = argv(config, Memory((Path("/a"), Path("/b"))))
    nodes = [command[n + 1] for n, word in enumerate(command) if word == "-numa"]
    assert nodes == ["node,nodeid=0,memdev=ram0,cpus=0-0", "node,nodeid=1,memdev=ram1,cpus=1-2"]
    backends = [command[n + 1] for n, word in enumerate(command) if word == "-object"]
    assert ["size=256M" in backends[0], "size=257M" in backends[1]] == [True, True]
    assert ["mem-path=/a" in backends[0], "mem-path=/b" in backends[1]] == [True, True]
    assert "memory-backend=" not in command[command.index("-machine") + 1]


def test_processors_of_different_nodes_are_in_different_sockets() -> None:
    """In one socket they share a cache, and the kernel has a WARN() against that at boot."""
    one, two = argv(GuestConfig(cpus=3)), argv(GuestConfig(cpus=3, numa_nodes=2))
    assert [each[each.index("-smp") + 1] for each in (one, two)] == ["3", "3,sockets=3"]


def test_a_node_may_have_no_processor() -> None:
    command = argv(GuestConfig(cpus=1, numa_nodes=2))
    assert "node,nodeid=0,memdev=ram0" in command


@pytest.mark.parametrize(
    "changes",
    [
        {"numa_nodes": 0},
        {"numa_nodes": 99},
        {"numa_nodes": 2, "machine": MachineType.MICROVM},
        {"cpus": 0},
        {"memory_mib": 1},
        {"tcg_thread": "many"},
        {"heartbeat_limit_s": 0},
    ],
)
def test_a_senseless_machine_is_a_user_error(changes: dict[str, object]) -> None:
    with pytest.raises(UserError):
        msgspec.structs.replace(GuestConfig(), **changes)


def test_what_a_guest_lacks_has_a_reason() -> None:
    lacks = capabilities(GuestConfig(cpu="qemu64"), Accelerator.TCG)
    for name in ("nested_kvm", "tdx", "host_root"):
        capability = getattr(lacks, name)
        assert not capability.available
        assert capability.reason
    assert capabilities(GuestConfig(), Accelerator.TCG).nested_kvm.available


def test_values_can_be_written_to_a_journal() -> None:
    event = Exit(0, None, False, 0.1, 0.2, 300, 0.4, True)
    assert msgspec.json.decode(msgspec.json.encode(event), type=Exit) == event
    assert {how for how in How if how.in_guest} == {
        "panic",
        "reset",
        "power-off",
        "hang",
        "crashed",
        "unkillable",
    }


def test_console_lines_are_whole_and_marks_are_left_out() -> None:
    lines = ConsoleLines()
    assert lines.feed(b"one\r\ntw", b"MARK") == (b"one\n", False)
    assert lines.feed(b"o\r\n[ 1.0] MA", b"MARK") == (b"two\n", False)
    assert lines.feed(b"RK\r\nthree", b"MARK") == (b"", True)
    assert lines.feed(b"", b"MARK") == (b"", False)
    started = b"\r\n[ 1.0] harness-agent: the program has started\r\nfour\r\n"
    assert lines.feed(started, b"MARK") == (b"three\nfour\n", False)
    assert lines.complaint == ""
    assert lines.feed(b"last", b"MARK") == (b"", False)
    assert lines.rest() == b"last"
    assert lines.rest() == b""


def test_a_panic_is_noticed_in_pieces() -> None:
    lines = ConsoleLines()
    lines.feed(b"[ 1.0] Kernel panic - not", b"MARK")
    assert not lines.panicked
    lines.feed(b" syncing: x\r\n", b"MARK")
    assert lines.panicked


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    lines = ConsoleLines()
    given = sum(len(lines.feed(b"x" * 50_000, b"MARK")[0]) for _ in range(10))
    assert given >= 400_000


async def _start_missing() -> None:
    await QemuProcess.start(lambda _: ["qemu-system-of-no-such-machine"])


def test_without_qemu_the_error_names_the_package() -> None:
    import asyncio

    with pytest.raises(MachineError) as error:
        asyncio.run(_start_missing())
    assert "qemu-system-x86" in error.value.hint


def test_what_the_agent_said_last_is_known() -> None:
    lines = ConsoleLines()
    mark = b"harness-agent: end 00"
    lines.feed(b"[    1.0][    T1] harness-agent: cannot wri", mark)
    assert lines.complaint == ""
    lines.feed(b"te to the port: No such device\r\n[    1.1] kernel\n" + mark + b"\n", mark)
    assert lines.complaint == "cannot write to the port: No such device"


@pytest.mark.parametrize("machine", MachineType)
def test_a_guest_that_is_counted_takes_nothing_of_the_hosts_time(machine: MachineType) -> None:
    command = argv(GuestConfig(machine=machine, cpus=1, counted=True))
    assert command[command.index("-icount") + 1] == "shift=3,align=off,sleep=off"
    assert command[command.index("-accel") + 1] == "tcg,thread=single"
    assert command[command.index("-rtc") + 1].endswith("clock=vm")
    assert "-seed" in command
    assert "norandmaps" in command[command.index("-append") + 1].split()
    ports = next(word for word in command if word.startswith("virtio-serial-"))
    assert ("ioeventfd=off" in ports) == (machine is not MachineType.MICROVM)
    plain = argv(GuestConfig(machine=machine))
    assert not {"-icount", "-rtc", "-seed"} & set(plain)
    assert "harness.counted" not in plain[plain.index("-append") + 1]


def test_a_guest_that_is_counted_has_one_processor() -> None:
    with pytest.raises(UserError, match="one processor"):
        GuestConfig(cpus=2, counted=True)

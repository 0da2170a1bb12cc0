# SPDX-License-Identifier: GPL-2.0-only
"""The machine that QEMU shall be: configuration and command line.  Starts nothing."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import msgspec

from harness.errors import UserError
from harness.guest.frames import PORT_NAME
from harness.guest.launch import Launch, arguments
from harness.model.events import Accelerator


class MachineType(StrEnum):
    """QEMU's machine types that a sealed guest can have.

    A restored test takes about as long on each (within 15 ms of processor time).  Under TCG a
    microvm has no clock better than its 4 ms tick, so no high-resolution timers, and no PCI.
    """

    MICROVM = "microvm"
    PC = "pc"
    Q35 = "q35"


_CONSOLE_SET = 1
_NODE_MIB = 32

_MACHINES = {
    # Without ACPI the kernel finds devices on its command line, which saves boot time; pit, pic
    # and rtc are what a kernel without paravirtual clocks calibrates its timers with.
    MachineType.MICROVM: "microvm,acpi=off,pit=on,pic=on,rtc=on,isa-serial=on",
    MachineType.PC: "pc,usb=off,smm=off,vmport=off",
    MachineType.Q35: "q35,usb=off,smm=off,vmport=off,sata=off",
}

CMDLINE = (
    # Everything goes to the console whatever a test does to the log levels, and in the order in
    # which it happened: devkmsg=on cannot be undone, and keeps marks of the agent from being
    # rate-limited away.
    "console=ttyS0",
    "ignore_loglevel",
    "printk.devkmsg=on",
    # On a busy host the timer check of the I/O APIC sees no ticks in time, and panics.
    "no_timer_check",
    # The processors' ticks come one after the other.  Where all have theirs at once, each is busy
    # with its own when RCU looks whether it is idle, and a grace period takes a tick more.
    "skew_tick=1",
    # A panic ends QEMU at once; a triple fault resets every machine type, the others take detours.
    "panic=-1",
    "reboot=t",
    # A panic prints the stacks of all processors: QEMU's NMI reaches only the first one.
    "panic_print=0x40",
    # An oops does not panic: the report must be complete, and the guest is discarded anyway.
    # The host's NMI does, because that is how a hung guest tells where it hangs.
    "unknown_nmi_panic",
    # Addresses in stack traces are those of vmlinux.
    "nokaslr",
    # The processor is QEMU's, and the host reseeds at every run: nothing may wait for entropy.
    "random.trust_cpu=on",
    "rdinit=/init",
)
"""Kernel parameters of every sealed guest."""

COUNTED_CMDLINE = (
    # The agent waits for the host without sleep, and for a round time before a test.
    "harness.counted",
    # Where programs lie in memory decides how many page tables they have.
    "norandmaps",
)
"""More of them, for guests whose instructions are counted."""

ICOUNT = "shift=3,align=off,sleep=off"
"""How instructions are counted: what -icount of QEMU is told."""

_COUNTED = (
    # Each instruction takes 8 ns.  With less, a kernel that waits for devices boots too slowly;
    # with more, the ticks of the clock are a larger part of all.  Where the guest is idle its
    # clock goes to the next timer at once, and not by the host's.
    *("-icount", ICOUNT),
    # What it would take from the host: the time, and random numbers of RDRAND and RDSEED.
    *("-rtc", "base=2026-01-01T00:00:00,clock=vm"),
    *("-seed", "1"),
)
_DEVICE_AT_ONCE = ",ioeventfd=off"
"""QEMU handles what the guest writes to the port at once, not when its main loop comes to it."""


class GuestConfig(msgspec.Struct, frozen=True):
    """A sealed guest's machine.  ``memory_mib`` in MiB; limits in seconds.

    Memory and processors are divided evenly among ``numa_nodes``; a node may be without processors.

    ``cmdline`` is added to :data:`CMDLINE`; for example ``numa=fake=2``, ``slub_debug=FZP`` or
    ``oops=panic``.  ``cpu`` is QEMU's -cpu; "max" has AMD's SVM under TCG.

    With ``gdb``, a path that does not exist, the processors stand still at first, and QEMU waits
    there for gdb, on a socket.

    ``heartbeat_limit_s`` is how long the agent may be silent while the processors run, before
    the guest counts as hung.

    With ``counted`` each instruction moves the guest's clock on by 8 ns, and nothing else does: the
    same snapshot and the same command give the same instructions.  One processor, under TCG only.

    With ``confidential`` the guest's memory is closed to the host: it runs under KVM only, on q35
    only, and cannot be saved as a snapshot.
    """

    machine: MachineType = MachineType.Q35
    cpus: int = 2
    memory_mib: int = 512
    numa_nodes: int = 1
    cpu: str = "max"
    cmdline: tuple[str, ...] = ()
    tcg_thread: str = "multi"
    qemu: str = "qemu-system-x86_64"
    boot_limit_s: float = 60.0
    heartbeat_limit_s: float = 10.0
    gdb: str = ""
    counted: bool = False
    confidential: Launch | None = None

    def __str__(self) -> str:
        nodes = f", {self.numa_nodes} nodes" if self.numa_nodes > 1 else ""
        closed = f", {self.confidential.kind}" if self.confidential else ""
        counted = ", instructions counted" if self.counted else ""
        cpus = f"{self.cpus} CPU{'s' * (self.cpus > 1)}"
        return f"{self.machine}, {cpus}, {self.memory_mib} MiB{nodes}{closed}{counted}"

    def __post_init__(self) -> None:
        if self.cpus < 1 or self.memory_mib < 64:
            raise UserError(
                "a guest needs at least 1 processor and 64 MiB",
                where=f"cpus={self.cpus}, memory_mib={self.memory_mib}",
            )
        if not 1 <= self.numa_nodes <= self.memory_mib // _NODE_MIB:
            raise UserError(
                f"a node of a guest needs at least {_NODE_MIB} MiB",
                where=f"numa_nodes={self.numa_nodes}, memory_mib={self.memory_mib}",
            )
        if self.numa_nodes > 1 and self.machine is MachineType.MICROVM:
            raise UserError(
                "a microvm has no NUMA nodes",
                where=f"machine={self.machine}, numa_nodes={self.numa_nodes}",
                why="the kernel reads them from ACPI tables, and there are none",
                hint="take the machine q35",
            )
        if self.tcg_thread not in ("multi", "single"):
            raise UserError("tcg_thread is multi or single", where=repr(self.tcg_thread))
        if self.counted and (self.cpus > 1 or self.confidential):
            raise UserError(
                "a guest whose instructions are counted has one processor, and open memory",
                where=f"cpus={self.cpus}",
            )
        if min(self.boot_limit_s, self.heartbeat_limit_s) <= 0:
            raise UserError("a guest's time limits must be more than 0 seconds")
        if self.confidential and self.machine is not MachineType.Q35:
            raise UserError(
                "a confidential guest needs the machine type q35",
                where=f"machine={self.machine}, confidential={self.confidential.kind}",
            )


class BootFiles(msgspec.Struct, frozen=True):
    """The files from which a guest boots."""

    kernel: Path
    initramfs: Path


class Channels(msgspec.Struct, frozen=True):
    """File descriptors of QEMU's ends, already open, inherited by number.

    ``console`` is the writing end of a pipe, ``monitor`` and ``agent`` are sockets.  With ``files``
    what the guest sends goes there instead, first that of the console, then that of the agent; then
    nothing can be sent to it.
    """

    monitor: int
    console: int
    agent: int
    files: tuple[Path, Path] | None = None

    @property
    def descriptors(self) -> tuple[int, int, int]:
        """All of them."""
        return self.monitor, self.console, self.agent


class Memory(msgspec.Struct, frozen=True):
    """The guest's memory: anonymous, or the pages of files, one for each NUMA node.

    ``shared`` writes through to the files, as making a snapshot needs it; otherwise they are mapped
    privately, and any number of guests can have them at once.
    """

    files: tuple[Path, ...] = ()
    shared: bool = False


def qemu_argv(
    config: GuestConfig,
    accelerator: Accelerator,
    channels: Channels,
    memory: Memory,
    boot: BootFiles | None,
) -> list[str]:
    """Return QEMU's command line.  Without *boot* it waits for an incoming migration."""
    confidential = arguments(config.confidential)
    port_bus = "virtio-serial-pci"
    if config.machine is MachineType.MICROVM:
        port_bus = "virtio-serial-device"
    backend = ",memory-backend=ram0" if config.numa_nodes == 1 else ""
    # A microvm's bus has it off.
    at_once = _DEVICE_AT_ONCE if config.counted and port_bus == "virtio-serial-pci" else ""
    argv = [
        config.qemu,
        "-nodefaults",
        "-no-user-config",
        *("-display", "none"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        # Power-off pauses, so that the event is read before QEMU goes; reset becomes power-off.
        *("-action", "reboot=shutdown,shutdown=pause"),
        *(
            "-machine",
            f"{_MACHINES[config.machine]},mem-merge=off{backend}{confidential.machine}",
        ),
        *("-accel", _accel(config, accelerator)),
        *("-cpu", confidential.cpu or config.cpu),
        *("-smp", _processors(config)),
        *("-m", f"{config.memory_mib}M"),
        *_memory(config, memory),
        *("-chardev", f"socket,id=monitor,fd={channels.monitor}"),
        *("-mon", "chardev=monitor,mode=control"),
        *_channels(channels),
        *("-serial", "chardev:console"),
        *("-device", f"{port_bus},id=ports,max_ports=2{confidential.device}{at_once}"),
        *("-device", f"virtserialport,bus=ports.0,nr=1,chardev=agent,name={PORT_NAME}"),
        *confidential.options,
        *(_COUNTED if config.counted else ()),
    ]
    if boot is None:
        return [*argv, "-incoming", "defer"]
    if config.gdb:
        argv += ["-S", "-gdb", f"unix:{escaped(config.gdb)},server=on,wait=off"]
    counted = COUNTED_CMDLINE if config.counted else ()
    cmdline = " ".join((*CMDLINE, *counted, *config.cmdline))
    return [
        *argv,
        *("-kernel", str(boot.kernel)),
        *("-initrd", str(boot.initramfs)),
        *("-append", cmdline),
    ]


def _channels(channels: Channels) -> list[str]:
    """Return where what the guest sends goes."""
    if channels.files:
        console, agent = (escaped(str(path)) for path in channels.files)
        console, agent = f"file,id=console,path={console}", f"file,id=agent,path={agent}"
        return ["-chardev", console, "-chardev", agent]
    return [
        # A descriptor set, because only a socket's descriptor can be named directly; append,
        # because QEMU would truncate a file, and a pipe refuses that.
        *("-add-fd", f"fd={channels.console},set={_CONSOLE_SET}"),
        *("-chardev", f"file,id=console,path=/dev/fdset/{_CONSOLE_SET},append=on"),
        *("-chardev", f"socket,id=agent,fd={channels.agent}"),
    ]


def _accel(config: GuestConfig, accelerator: Accelerator) -> str:
    if accelerator is Accelerator.TCG:
        return f"tcg,thread={'single' if config.counted else config.tcg_thread}"
    return "kvm"


def _processors(config: GuestConfig) -> str:
    """Return the argument of -smp: with several nodes, a socket for each processor.

    In one socket they would share a cache across nodes, and the kernel warns of that at boot.
    """
    return f"{config.cpus},sockets={config.cpus}" if config.numa_nodes > 1 else str(config.cpus)


def _memory(config: GuestConfig, memory: Memory) -> list[str]:
    """One backend for each node, and where there are several, which processors it has."""
    argv: list[str] = []
    nodes = config.numa_nodes
    for node in range(nodes):
        first, end = node * config.cpus // nodes, (node + 1) * config.cpus // nodes
        # What cannot be divided evenly the last one has.
        size = config.memory_mib // nodes
        size += config.memory_mib % nodes if node == nodes - 1 else 0
        backend = f"id=ram{node},size={size}M,merge=off,dump=off"
        if memory.files:
            path = escaped(str(memory.files[node]))
            share = "on" if memory.shared else "off"
            argv += ["-object", f"memory-backend-file,{backend},mem-path={path},share={share}"]
        else:
            argv += ["-object", f"memory-backend-ram,{backend}"]
        if nodes > 1:
            cpus = f",cpus={first}-{end - 1}" if end > first else ""
            argv += ["-numa", f"node,nodeid={node},memdev=ram{node}{cpus}"]
    return argv


def escaped(text: str) -> str:
    """Return *text* as QEMU's option syntax has it: a comma is written twice."""
    return text.replace(",", ",,")

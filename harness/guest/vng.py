# SPDX-License-Identifier: GPL-2.0-only
"""The vng guest: virtme-ng's machine around the agent, with the host's files to read.

virtme-run is asked for QEMU's command line and starts nothing: QEMU is this process's own child,
with the same channels as a sealed guest's, so nothing about a test, its end or its death is
different.  What virtme-run would attach to standard input, output and error is left out; the rest
is kept, and what the sealed guest's machine has comes after it and overrides it.

The guest boots from the same initramfs.  The agent, PID 1 of it, gives each directory of the host's
root its place there and lets virtme-ng's init set the guest up, see ``agent/virtme.c``.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import shutil
import site
import sys
import tempfile
from pathlib import Path

import msgspec

from harness.errors import MachineError, UserError
from harness.guest.machine import (
    CMDLINE,
    BootFiles,
    Channels,
    GuestConfig,
    MachineType,
    Memory,
    qemu_argv,
)
from harness.guest.qemu import QemuGuest
from harness.model.events import Accelerator, Capabilities, Capability
from harness.proc.environment import clean, search_path
from harness.proc.process import run, which

FRAGMENTS = ("net", "virtme")
"""Fragments of kernel-configs/ that a vng guest needs."""
NEEDED = ("9P_FS", "BINFMT_SCRIPT", "NET_9P_VIRTIO", "PID_NS", "TMPFS", "VIRTIO_PCI")
"""Options without which a vng guest does not boot."""
_WORDS = (
    # The root is what it is in a sealed guest; virtme-run asks for 9p.
    "rootfstype=tmpfs",
    # What the agent knows this guest by.
    "harness.virtme",
)
_LIMIT_S = 60.0
_COMMAND_LINE = 2048
"""Bytes of x86's COMMAND_LINE_SIZE; the kernel cuts what is longer, and says nothing."""
_CHANNELS = ("-chardev", "-mon", "-serial")
_PORTS = re.compile(r"virtio-serial-\w+|virtserialport|virtconsole")
_HINT = "this release of virtme-ng may be too old or too new: 1.42 is known to work"


class Virtme(msgspec.Struct, frozen=True):
    """The output of virtme-run for one machine."""

    program: str
    options: tuple[str, ...]
    """QEMU's, without those for channels and kernel."""
    append: str
    """The kernel's command line."""


def find_virtme() -> str:
    """Return the path of virtme-run, beside this Python or on PATH; MachineError without one."""
    places = f"{Path(sys.executable).parent}{os.pathsep}{search_path()}"
    program = shutil.which("virtme-run", path=places)
    if program is None:
        raise MachineError(
            "virtme-run is not installed",
            where=f"PATH={places}",
            hint=f"{sys.executable} -m pip install virtme-ng (`make setup` does that), "
            "or use sealed guests: --guest sealed",
        )
    return program


def usable_virtme() -> str:
    """Return the path of virtme-run as :func:`find_virtme`; MachineError where it cannot work."""
    program = find_virtme()
    if any(letter.isspace() for letter in program):
        raise MachineError(
            "virtme-ng cannot work from a directory whose name has a space",
            where=program,
            why="its init is a word of the kernel's command line, and a space ends a word",
            hint="move the clone and recreate its .venv (`make setup`), or use --guest sealed",
        )
    return program


def virtme_environment(home: str) -> dict[str, str]:
    """Return the environment for virtme-run: *home*, an empty directory, holds no settings.

    It is a Python program that the user may have installed for himself, which Python looks for
    below the home directory unless it is told.
    """
    own = {"HOME": home, "TMPDIR": home, "PYTHONUSERBASE": site.getuserbase()}
    return clean() | own


def check_config(config: GuestConfig) -> None:
    """Raise UserError for a machine that virtme-ng's guest cannot have."""
    if config.machine is MachineType.MICROVM:
        raise UserError(
            "a vng guest cannot be a microvm",
            where=f"machine={config.machine}",
            why="the host's files reach it through a PCI device",
            hint="use the machine q35 or pc, or sealed guests",
        )


def check_kernel(options: str, where: str) -> None:
    """Raise UserError when a kernel lacks what a vng guest needs; *options* is its ``.config``."""
    there = set(re.findall(r"^CONFIG_(\w+)=y$", options, re.MULTILINE))
    missing = [name for name in NEEDED if name not in there]
    if missing:
        raise UserError(
            "this kernel cannot run in a vng guest",
            where=where,
            why=f"it lacks {', '.join(f'CONFIG_{name}=y' for name in missing)}",
            hint=f"add the fragments {' and '.join(FRAGMENTS)} to kernel.config, "
            "or take sealed guests",
        )


def ask_virtme(config: GuestConfig, kernel: Path) -> Virtme:
    """Ask virtme-run how it would start *kernel*; nothing is started.

    It gets a home directory of its own, which is empty, so that it finds no settings of the user.
    Raises MachineError when it is not there, cannot work, fails, or gives no known answer.
    """
    program = usable_virtme()
    check_config(config)
    options = [
        *("--kimg", str(kernel)),
        *("--mods", "none"),
        *("--qemu-bin", which(config.qemu)),
        *("--memory", f"{config.memory_mib}M"),
        *("--cpus", str(config.cpus)),
        # Which accelerator works has been found out by booting, and is said below.
        "--disable-kvm",
        # Or it waits for a virtiofsd that, where it is QEMU's own, does not understand it.
        "--force-9p",
        # Its init runs this at the end of its work, and then powers off.
        *("--script-sh", ":"),
        *(word for kopt in (*CMDLINE, *config.cmdline, *_WORDS) for word in ("--kopt", kopt)),
        "--dry-run",
        "--show-command",
    ]
    with tempfile.TemporaryDirectory(prefix="harness-virtme-") as home:
        # HOME is also where Python looks for what the user has installed for himself.
        done = run(
            [program, *options], cwd=Path(home), env=virtme_environment(home), limit_s=_LIMIT_S
        )
    if not done.ok:
        raise MachineError(
            f"virtme-run ended with status {done.status}",
            where=shlex.join(done.argv),
            why=done.output[-2000:],
            hint=_HINT,
        )
    return understand(program, which(config.qemu), done.output)


def understand(program: str, qemu: str, output: str) -> Virtme:
    """Return what the command line for *qemu* in the *output* of virtme-run *program* says.

    Raises MachineError when there is none, or not one that fits the agent.
    """
    lines = [line for line in output.splitlines() if line.startswith((qemu, shlex.quote(qemu)))]
    words = shlex.split(lines[-1])[1:] if lines else []
    options: list[str] = []
    append = ""
    while words:
        option = words.pop(0)
        values = [words.pop(0)] if words and not words[0].startswith("-") else []
        if option == "-append":
            append = values[0]
        elif not (
            # A guest that resets or powers off waits until that has been read.
            option in (*_CHANNELS, "-kernel", "-no-reboot")
            or (option == "-device" and _PORTS.match(values[0]))
        ):
            options += [option, *values]
    for wanted, found in (
        ("a file system with the tag /dev/root", "mount_tag=/dev/root" in " ".join(options)),
        ("init=", re.search(r"(^| )init=/\S+", append)),
    ):
        if not found:
            raise MachineError(
                "virtme-run prints an unexpected command line for QEMU",
                where=program,
                why=f"{wanted} is not in it:\n{output[-2000:]}",
                hint=_HINT,
            )
    if len(append.encode()) >= _COMMAND_LINE:
        raise UserError(
            "the kernel's command line is too long for a vng guest",
            where=append,
            why=f"it has {len(append.encode())} bytes, and {_COMMAND_LINE - 1} fit",
            hint="it ends with the path of virtme-ng's init: install that in a shorter one",
        )
    return Virtme(program, tuple(options), append)


def virtme_version() -> str:
    """Return the release of virtme-ng that is installed with this Python, or nothing."""
    try:
        return importlib.metadata.version("virtme-ng")
    except importlib.metadata.PackageNotFoundError:
        return ""


def vng_argv(
    virtme: Virtme,
    config: GuestConfig,
    accelerator: Accelerator,
    channels: Channels,
    files: BootFiles,
) -> list[str]:
    """Return QEMU's command line: virtme-run's options, and after them the sealed guest's."""
    program, *ours = qemu_argv(config, accelerator, channels, Memory(), files)
    ours[ours.index("-append") + 1] = virtme.append
    return [program, *virtme.options, *ours]


class VngGuest(QemuGuest):
    """A running vng guest.  It can be booted only: file systems of the host cannot be saved."""

    @classmethod
    async def boot_with(
        cls, virtme: Virtme, config: GuestConfig, accelerator: Accelerator, files: BootFiles
    ) -> VngGuest:
        """Boot until the agent says hello; raises what :meth:`QemuGuest.boot` raises."""

        def argv(channels: Channels) -> list[str]:
            return vng_argv(virtme, config, accelerator, channels, files)

        return await cls.start(argv, config, accelerator, str(files.kernel))

    @property
    def capabilities(self) -> Capabilities:
        return msgspec.structs.replace(
            super().capabilities,
            snapshot=Capability(False, "a guest with files of the host cannot be saved"),
            host_root=Capability(True),
        )

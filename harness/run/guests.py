# SPDX-License-Identifier: GPL-2.0-only
"""The guest of a suite: packed, booted once, and kept as a snapshot that tests wake up from."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import stat
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from harness.errors import MachineError
from harness.guest import agent, initramfs, snapshot
from harness.guest.accel import Probe, Wanted, probe
from harness.guest.api import Accelerator, Guest
from harness.guest.capabilities import capability
from harness.guest.frames import Hello
from harness.guest.machine import CMDLINE, BootFiles, GuestConfig, MachineType
from harness.guest.qemu import GuestNotBooted, QemuGuest
from harness.guest.snapshot import Snapshot
from harness.kbuild import Kernel
from harness.process import which
from harness.progress import Progress
from harness.project import GuestTable, Project
from harness.run.results import Machine
from harness.store import Store, digest
from harness.suites import Suite

GUEST_ROOT = "selftests"
"""Suites lie below ``/selftests/NAME`` in the guest."""
_RECIPE = "1"
_WEEK_S = 7 * 24 * 3600.0


class WrongKernel(MachineError):
    """The guest runs another kernel than the one that was built."""


@dataclass(frozen=True)
class Template:
    """What fresh guests of one kind are made from, any number and at once."""

    hello: Hello
    """What the agent said when the first of them was up."""
    machine: Machine
    start: Callable[[], Awaitable[Guest]]
    """Makes a guest; raises MachineError where that fails."""
    saved: Snapshot | None
    """What guests are restored from; None where each is booted."""


@dataclass(frozen=True)
class Foundry:
    """Makes guests for one kernel."""

    kernel: Kernel
    boot_limit_s: float
    """Seconds after which a guest that has not booted never will."""
    store: Store
    progress: Progress

    def config(self, guest: GuestTable) -> GuestConfig:
        """Return the machine that *guest* describes."""
        return GuestConfig(
            machine=MachineType(guest.machine),
            cpus=guest.cpus,
            memory_mib=guest.memory_mib,
            numa_nodes=guest.numa_nodes,
            boot_limit_s=self.boot_limit_s,
        )

    def lacks(self, guest: GuestTable, needs: Sequence[str]) -> str:
        """Tell why *guest* does not meet the *needs* of a test; empty where it does.

        Raises UserError for a need that does not exist.
        """
        for name in needs:
            found = capability(name, self.config(guest))
            if not found.available:
                return f"needs {name}: {found.reason}"
        return ""

    async def template(self, suite: Suite, guest: GuestTable) -> Template:
        """Return what guests of *suite* are made from: a booted one, from the store or booted now.

        Raises :class:`harness.guest.qemu.GuestNotBooted` when the kernel does not come up, and
        MachineError when QEMU is missing or fails.
        """
        config = self.config(guest)
        saved, probed = await self._snapshot(suite, config, Wanted(guest.accel))
        machine = Machine(
            accelerator=probed.accelerator,
            accelerator_reason=probed.why,
            qemu=saved.qemu_version,
            guest=str(config),
        )
        return Template(saved.hello, machine, partial(snapshot.restore, saved), saved)

    async def _snapshot(
        self, suite: Suite, config: GuestConfig, wanted: Wanted
    ) -> tuple[Snapshot, Probe]:
        qemu = _identity(Path(which(config.qemu)))
        files = BootFiles(self.kernel.image, self._initramfs(suite))
        probed = await self._accelerator(config, wanted, files, qemu)
        key = digest(
            _RECIPE,
            self.kernel.key,
            files.initramfs.parent.name,
            json.dumps(asdict(config), sort_keys=True),
            " ".join(CMDLINE),
            probed.accelerator,
            qemu,
        )
        boot = partial(self._boot, key, config, files, probed.accelerator, suite.name)
        try:
            loaded = snapshot.load(await boot())
        except GuestNotBooted:
            raise
        except MachineError as damage:
            self.progress.note(f"the snapshot of {suite.name} is made again: {damage.what}")
            self.store.discard("snapshot", key)
            loaded = snapshot.load(await boot())
        self._check_build_id(loaded.hello)
        return loaded, probed

    def _check_build_id(self, hello: Hello) -> None:
        shown = hello.build_id.hex()
        if shown != self.kernel.meta.build_id:
            raise WrongKernel(
                "the guest runs another kernel than the one that was built",
                where=str(self.kernel.image),
                why=f"build ID {shown}, expected {self.kernel.meta.build_id}",
            )

    async def boot(self, guest: GuestTable, files: BootFiles, gdb: str = "") -> QemuGuest:
        """Boot one guest from *files*; nothing of it is kept.

        With *gdb* it waits for gdb on a socket of that path, for as long as that takes.  Raises
        what :meth:`template` raises.
        """
        config = self.config(guest)
        qemu = _identity(Path(which(config.qemu)))
        probed = await self._accelerator(config, Wanted(guest.accel), files, qemu)
        if gdb:
            # Whoever stands at a breakpoint has all the time.
            config = replace(config, gdb=gdb, boot_limit_s=_WEEK_S, heartbeat_limit_s=_WEEK_S)
        started = await QemuGuest.boot(config, probed.accelerator, files)
        try:
            self._check_build_id(started.hello)
        except WrongKernel:
            await started.kill()
            raise
        return started

    async def _boot(
        self,
        key: str,
        config: GuestConfig,
        files: BootFiles,
        accelerator: Accelerator,
        name: str,
    ) -> Path:
        with self.store.draft("snapshot", key, self.progress) as out:
            if out:
                with self.progress.step(f"Booting the guest of {name}") as step:
                    made = await snapshot.create(config, accelerator, files, out)
                    step.result(f"{made.hello.release}, {accelerator}")
        return self.store.path("snapshot", key)

    def _initramfs(self, suite: Suite) -> Path:
        def write(out: Path) -> None:
            entries = initramfs.guest_entries(self._agent(), suite_entries(suite))
            initramfs.write_initramfs(out / "initramfs.cpio", entries)

        key = digest(_RECIPE, self._agent_key(), suite.key, suite.name)
        return self.store.obtain("initramfs", key, write, self.progress) / "initramfs.cpio"

    def packed(self, key: str, entries: Sequence[initramfs.Entry] = ()) -> BootFiles:
        """Return what boots a guest with *entries*, which *key* stands for, and the agent."""

        def write(out: Path) -> None:
            packed = initramfs.guest_entries(self._agent(), entries)
            initramfs.write_initramfs(out / "initramfs.cpio", packed)

        made = self.store.obtain(
            "initramfs", digest(_RECIPE, self._agent_key(), key), write, self.progress
        )
        return BootFiles(self.kernel.image, made / "initramfs.cpio")

    def _agent(self) -> Path:
        def compile_agent(out: Path) -> None:
            agent.build_agent(out / "agent")

        return self.store.obtain("agent", self._agent_key(), compile_agent, self.progress) / "agent"

    def _agent_key(self) -> str:
        sources = [path.read_bytes() for path in agent.source_files()]
        return digest(*sources, " ".join(agent.FLAGS), self.kernel.meta.toolchain)

    async def _accelerator(
        self, config: GuestConfig, wanted: Wanted, files: BootFiles, qemu: str
    ) -> Probe:
        """Probe once per host kernel and QEMU, and remember."""
        if wanted is Wanted.TCG:
            return await probe(config, files, wanted)
        device = Path("/dev/kvm")
        usable = device.exists() and os.access(device, os.R_OK | os.W_OK)
        key = digest(qemu, platform.release(), str(usable), config.cpu, config.machine)
        memory = self.store.place("accelerator") / f"{key}.json"
        try:
            known = json.loads(memory.read_text())
            answer = Probe(Accelerator(known["accelerator"]), str(known["why"]))
        except (OSError, ValueError, KeyError, TypeError):
            with self.progress.step("Probing whether a kernel boots under KVM") as step:
                answer = await probe(config, files, wanted)
                step.result(f"{answer.accelerator}: {answer.why}")
            draft = memory.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps({"accelerator": answer.accelerator, "why": answer.why}))
            draft.rename(memory)
        if wanted is Wanted.KVM and answer.accelerator is not Accelerator.KVM:
            return await probe(config, files, wanted)
        return answer


def foundry(project: Project, kernel: Kernel, store: Store, progress: Progress) -> Foundry:
    """Return what makes guests for *kernel* within the limits of *project*."""
    return Foundry(kernel, project.limits.boot_s, store, progress)


def suite_entries(suite: Suite) -> Iterator[initramfs.Entry]:
    """Yield the suite's files as they lie in the guest."""
    root = f"{GUEST_ROOT}/{suite.name}"
    yield initramfs.directory(root)
    for path in sorted(suite.files.rglob("*")):
        name = f"{root}/{path.relative_to(suite.files).as_posix()}"
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            yield initramfs.symlink(name, str(path.readlink()))
        elif stat.S_ISDIR(mode):
            yield initramfs.directory(name)
        else:
            yield initramfs.file(name, path, stat.S_IMODE(mode))


def _identity(program: Path) -> str:
    """Return what changes when the program is replaced, without running it."""
    real = program.resolve()
    status = real.stat()
    text = f"{real} {status.st_size} {status.st_mtime_ns}"
    return hashlib.sha256(text.encode()).hexdigest()

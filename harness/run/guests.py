# SPDX-License-Identifier: GPL-2.0-only
"""The guest of a suite: packed, booted once, and kept as a snapshot that tests wake up from."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness.errors import MachineError
from harness.guest import agent, initramfs, snapshot
from harness.guest.accel import Memory, Probe, Wanted, find
from harness.guest.api import Accelerator
from harness.guest.emulator import identity
from harness.guest.host import read_host
from harness.guest.machine import CMDLINE, BootFiles, GuestConfig
from harness.guest.qemu import GuestNotBooted
from harness.guest.snapshot import Snapshot
from harness.kbuild import Kernel
from harness.process import which
from harness.progress import Progress
from harness.store import Store, digest
from harness.suites import Suite

GUEST_ROOT = "selftests"
"""Suites lie below ``/selftests/NAME`` in the guest."""
_RECIPE = "1"


class WrongKernel(MachineError):
    """The guest runs another kernel than the one that was built."""


@dataclass(frozen=True)
class Foundry:
    """Makes guests for one kernel."""

    kernel: Kernel
    config: GuestConfig
    wanted: Wanted
    store: Store
    progress: Progress
    probing: asyncio.Lock = field(default_factory=asyncio.Lock, compare=False)

    async def snapshot(self, suite: Suite) -> tuple[Snapshot, Probe]:
        """Return the booted guest of *suite*, from the store or by booting it.

        Raises :class:`harness.guest.qemu.GuestNotBooted` when the kernel does not come up, and
        MachineError when QEMU is missing or fails.
        """
        qemu = identity(Path(which(self.config.qemu)))
        files = BootFiles(self.kernel.image, self._initramfs(suite))
        probed = await self._accelerator(files)
        key = digest(
            _RECIPE,
            self.kernel.key,
            files.initramfs.parent.name,
            json.dumps(asdict(self.config), sort_keys=True),
            " ".join(CMDLINE),
            probed.accelerator,
            qemu,
        )
        try:
            loaded = snapshot.load(await self._boot(key, files, probed.accelerator, suite.name))
        except GuestNotBooted:
            raise
        except MachineError as damage:
            self.progress.note(f"the snapshot of {suite.name} is made again: {damage.what}")
            self.store.discard("snapshot", key)
            loaded = snapshot.load(await self._boot(key, files, probed.accelerator, suite.name))
        shown = loaded.hello.build_id.hex()
        if shown != self.kernel.meta.build_id:
            raise WrongKernel(
                "the guest runs another kernel than the one that was built",
                where=str(self.kernel.image),
                why=f"build ID {shown}, expected {self.kernel.meta.build_id}",
            )
        return loaded, probed

    async def _boot(self, key: str, files: BootFiles, accelerator: Accelerator, name: str) -> Path:
        with self.store.draft("snapshot", key, self.progress) as out:
            if out:
                with self.progress.step(f"Booting the guest of {name}") as step:
                    made = await snapshot.create(self.config, accelerator, files, out)
                    step.result(f"{made.hello.release}, {accelerator}")
        return self.store.path("snapshot", key)

    def _initramfs(self, suite: Suite) -> Path:
        def write(out: Path) -> None:
            entries = initramfs.guest_entries(self._agent(), suite_entries(suite))
            initramfs.write_initramfs(out / "initramfs.cpio", entries)

        key = digest(_RECIPE, self._agent_key(), suite.key, suite.name)
        return self.store.obtain("initramfs", key, write, self.progress) / "initramfs.cpio"

    def _agent(self) -> Path:
        def compile_agent(out: Path) -> None:
            agent.build_agent(out / "agent")

        return self.store.obtain("agent", self._agent_key(), compile_agent, self.progress) / "agent"

    def _agent_key(self) -> str:
        sources = [path.read_bytes() for path in agent.source_files()]
        return digest(*sources, " ".join(agent.FLAGS), self.kernel.meta.toolchain)

    async def _accelerator(self, files: BootFiles) -> Probe:
        """Probe once on this machine, and remember; several suites at a time wait for one probe."""
        memory = Memory(self.store.place("accelerator"), read_host())
        async with self.probing:
            return await find(self.config, files, self.wanted, memory, self.progress)


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

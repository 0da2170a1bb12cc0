# SPDX-License-Identifier: GPL-2.0-only
"""The guest of a suite: packed, booted once, and kept as a snapshot that tests wake up from.

A vng guest cannot be kept: it is booted for each test.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from functools import partial
from pathlib import Path

import msgspec

from harness.context import Context
from harness.digest import digest
from harness.errors import MachineError
from harness.guest import accel, agent, confidential, initramfs, snapshot, vng
from harness.guest.accel import Probe, ProbeCache
from harness.guest.capabilities import ACCELERATED, HostFacts, Place, unfit
from harness.guest.confidential import TECHNOLOGIES, Choice
from harness.guest.emulator import identity
from harness.guest.machine import CMDLINE, COUNTED_CMDLINE, BootFiles, GuestConfig, MachineType
from harness.guest.qemu import GuestNotBooted, QemuGuest
from harness.guest.snapshot import Snapshot
from harness.guest.vng import Virtme, VngGuest
from harness.kbuild import Kernel, fragments
from harness.lab.packing import suite_entries
from harness.model.events import Accelerator, Guest, Hello
from harness.model.results import Machine
from harness.model.spec import GuestTable
from harness.proc.process import which
from harness.project import Project
from harness.store import Damaged, Entry
from harness.suites import Suite

AGENT, INITRAMFS, SNAPSHOT = "agent", "initramfs", "snapshot"
"""Kinds of entries that are made here."""
_RECIPE = "3"
COUNTED_FACTOR = 6.0
"""How many times longer all takes where instructions are counted."""
_WEEK_S = 7 * 24 * 3600.0


class WrongKernel(MachineError):
    """The guest runs another kernel than the one that was built."""


class Template(msgspec.Struct, frozen=True):
    """The source of fresh guests of one kind, any number at a time."""

    hello: Hello
    """The agent's hello of the first guest."""
    machine: Machine
    start: Callable[[], Awaitable[Guest]]
    """Makes a guest; raises MachineError where that fails."""
    saved: Snapshot | None
    """The snapshot from which guests are restored; None if each is booted."""
    entries: tuple[Entry, ...]
    """What of the cache guests are made from: where it is damaged, no failure tells a thing."""
    boot_log: bytes
    """The console's log of that first boot."""
    watched: Callable[[Sequence[str], Callable[[], None] | None], Awaitable[Guest]] | None = None
    """Makes a guest whose QEMU has more on its command line, and what lets it go if that makes it
    stand still; None where it cannot be watched."""
    identity: str = ""
    """That of :meth:`TemplateFactory.identity`."""


Answers = Mapping[GuestTable, Probe]
"""The accelerator of guests, if it was determined."""


class _Boots(msgspec.Struct, frozen=True):
    """The boot files of a guest that can be saved."""

    config: GuestConfig
    files: BootFiles
    probed: Probe
    beside: tuple[str, ...]
    """What decides what it does, beside its kernel and its initramfs."""


class TemplateFactory(msgspec.Struct, frozen=True, eq=False):
    """Makes guests for one kernel."""

    kernel: Kernel
    boot_limit_s: float
    """Seconds after which a guest that has not booted never will."""
    context: Context

    host_facts: HostFacts = msgspec.field(default_factory=HostFacts)
    """The facts about this machine."""
    busy: dict[str, asyncio.Event] = msgspec.field(default_factory=dict)
    """What is being found out or made, by name, until it is there."""

    def config(self, guest: GuestTable) -> GuestConfig:
        """Return the configuration of *guest* on this machine."""
        return msgspec.structs.replace(
            _plain(guest, self.boot_limit_s), confidential=self._closed(guest).launch
        )

    async def probe(self, needs: Mapping[GuestTable, Collection[str]]) -> Answers:
        """Find out what accelerates the guests, where the *needs* of their tests depend on that.

        Raises MachineError where KVM is demanded and does not work.
        """
        found: dict[GuestTable, Probe] = {}
        for guest, wanted in needs.items():
            if not self._closed(guest).launch and not ACCELERATED.isdisjoint(wanted):
                bare = await asyncio.to_thread(self.packed, "bare")
                found[guest] = await self._accelerator(self.config(guest), guest, bare)
        return found

    def lacks(self, guest: GuestTable, needs: Sequence[str], answers: Answers) -> str:
        """Return why *guest* is not possible, or does not meet the *needs* of a test; else empty.

        *answers* are those of :meth:`probe`.  Raises UserError for a need that does not exist.
        """
        config, closed = self.config(guest), self._closed(guest)
        answer = answers.get(guest, Probe(Accelerator.TCG, ""))
        place = Place(
            config=config,
            host_facts=self.host_facts,
            type=guest.type,
            accelerator=answer.accelerator,
            accelerator_why=answer.why,
            refused=closed.refused,
        )
        return unfit(needs, place)

    def notes(self, guests: Iterable[GuestTable]) -> tuple[str, ...]:
        """Return notes about guests that differ from the request, and why."""
        found = (self._closed(guest).note for guest in guests)
        return tuple(dict.fromkeys(note for note in found if note))

    def _closed(self, guest: GuestTable) -> Choice:
        """Choose how the guest's memory is closed to its host."""
        wanted = confidential.Wanted(guest.confidential)
        if wanted is confidential.Wanted.NONE:
            return Choice()
        against = ""
        if guest.type != "sealed":
            against = f"a {guest.type} guest cannot be confidential: it shares the host's files"
        elif guest.accel == "tcg":
            against = "a confidential guest needs KVM, and accel is tcg"
        if against:
            auto = wanted is confidential.Wanted.AUTO
            return Choice(note=against) if auto else Choice(refused=against)
        kernel = fragments.parse(self.kernel.config.read_text())
        return confidential.choose(
            wanted, lambda kind: self.host_facts.offer(kind, guest.memory_mib), kernel
        )

    async def template(self, suite: Suite, guest: GuestTable) -> Template:
        """Return what guests of *suite* are made from: a booted one, from the store or booted now.

        Raises :class:`harness.guest.qemu.GuestNotBooted` when the kernel does not come up, and
        MachineError when QEMU is missing or fails.
        """
        config = self.config(guest)
        if guest.type == "vng":
            return await self._vng_template(suite, guest, config)
        if config.confidential:
            return await self._booted(suite, guest, config)
        packed = await asyncio.to_thread(self._initramfs, suite)
        boots = await self._boots(BootFiles(self.kernel.image, packed), config, guest)
        saved, probed = await self._snapshot(suite.name, boots), boots.probed
        machine = Machine(
            accelerator=probed.accelerator,
            accelerator_reason=probed.why,
            qemu=saved.qemu_version,
            guest=str(config),
        )
        entries = (*self.entries(suite, guest), (SNAPSHOT, saved.directory.name))
        restore = partial(snapshot.restore, saved)
        watched = None
        # Plugins are part of QEMU's translation.
        if probed.accelerator is Accelerator.TCG:

            def watched(
                extra: Sequence[str], let_go: Callable[[], None] | None
            ) -> Awaitable[Guest]:
                return restore(extra=extra, let_go=let_go)

        return Template(
            saved.hello,
            machine,
            restore,
            saved,
            entries,
            saved.boot_log,
            watched,
            self._identity(suite, boots),
        )

    async def content(self, suite: Suite, guest: GuestTable) -> str:
        """Return a digest of the kernel and of what its guests of *suite* boot from, by content.

        What the commits or the names of these were does not count.
        """
        if suite.key:
            await asyncio.to_thread(self._initramfs, suite, userland=guest.type != "vng")
        return self._content(suite, userland=guest.type != "vng")

    def _content(self, suite: Suite, *, userland: bool) -> str:
        packed = ""
        if suite.key:
            key = self._initramfs_key(suite, userland=userland)
            packed = self.context.store.content(INITRAMFS, key, "initramfs.cpio")
        return digest(self.kernel_content(), packed)

    def kernel_content(self) -> str:
        """Return a digest of the bootable image: the same for kernels that are the same."""
        return self.context.store.content("kernel", self.kernel.key, self.kernel.image.name)

    async def identity(self, suite: Suite, guest: GuestTable) -> str:
        """Return a digest of all that decides what such a guest of *suite* does, by content.

        That is what it boots from, its machine, QEMU, and the processor where it sees that.  Empty
        where it sees still more of this host: its files, or a processor that closes its memory.
        """
        config = self.config(guest)
        if guest.type == "vng" or config.confidential or not suite.key:
            return ""
        packed = await asyncio.to_thread(self._initramfs, suite)
        boots = await self._boots(BootFiles(self.kernel.image, packed), config, guest)
        return self._identity(suite, boots)

    def _identity(self, suite: Suite, boots: _Boots) -> str:
        return digest(_RECIPE, self._content(suite, userland=True), *boots.beside)

    def entries(self, suite: Suite, guest: GuestTable) -> tuple[Entry, ...]:
        """Return what of the cache such guests of *suite* boot from."""
        return (
            ("kernel", self.kernel.key),
            ("suite", suite.key),
            (AGENT, self._agent_key()),
            (INITRAMFS, self._initramfs_key(suite, userland=guest.type != "vng")),
        )

    def travelling(self, suites: Iterable[Suite]) -> tuple[Entry, ...]:
        """Return what another machine needs to make guests of *suites*, and have it made here.

        The rest is made there: an initramfs from these, and a snapshot by that machine's QEMU.
        """
        self._agent()
        keys = dict.fromkeys(suite.key for suite in suites if suite.key)
        return (
            ("kernel", self.kernel.key),
            (AGENT, self._agent_key()),
            *(("suite", key) for key in keys),
        )

    async def _vng_template(self, suite: Suite, guest: GuestTable, config: GuestConfig) -> Template:
        """Boot a guest, which runs the first test; the next ones boot their own."""
        virtme = await self._virtme(config)
        packed = await asyncio.to_thread(self._initramfs, suite, userland=False)
        files = BootFiles(self.kernel.image, packed)
        probed = await self._accelerator(config, guest, files)

        async def boot() -> QemuGuest:
            booted = await VngGuest.boot_with(virtme, config, probed.accelerator, files)
            return await self._checked(booted)

        with self.context.step(f"Booting the guest of {suite.name}") as step:
            first = await boot()
            step.result(f"{first.hello.release}, {probed.accelerator}")
        ready = [first]

        async def start() -> Guest:
            return ready.pop() if ready else await boot()

        machine = Machine(
            accelerator=probed.accelerator,
            accelerator_reason=probed.why,
            qemu=first.qemu.version,
            guest=f"vng, {config}, virtme-ng {vng.virtme_version()}".rstrip(),
        )
        entries = self.entries(suite, guest)
        return Template(first.hello, machine, start, None, entries, first.boot_log)

    async def _booted(self, suite: Suite, guest: GuestTable, config: GuestConfig) -> Template:
        """Return a template whose guests boot each time, because they cannot be saved."""
        assert config.confidential  # noqa: S101  the caller's condition
        packed = await asyncio.to_thread(self._initramfs, suite)
        files = BootFiles(self.kernel.image, packed)
        boot = partial(QemuGuest.boot, config, Accelerator.KVM, files)
        with self.context.step(f"Booting the guest of {suite.name}") as step:
            async with await boot() as first:
                hello, version, log = first.hello, first.qemu.version, first.boot_log
            step.result(f"{hello.release}, {Accelerator.KVM}, {config.confidential.kind}")
        self._check_build_id(hello)
        title = TECHNOLOGIES[config.confidential.kind].title
        machine = Machine(
            accelerator=Accelerator.KVM,
            accelerator_reason=f"{title} has no other",
            qemu=version,
            guest=str(config),
        )
        return Template(hello, machine, boot, None, self.entries(suite, guest), log)

    async def starter(
        self, name: str, guest: GuestTable, files: BootFiles
    ) -> Callable[[], Awaitable[QemuGuest]]:
        """Return what makes guests that boot from *files*: restored ones where they can be saved.

        *name* is what they are called while the first one boots.  Raises as :meth:`boot`.
        """
        config = self.config(guest)
        if guest.type == "vng" or config.confidential or self._closed(guest).refused:
            return partial(self.boot, guest, files)
        saved = await self._snapshot(name, await self._boots(files, config, guest))
        return partial(snapshot.restore, saved)

    async def _boots(self, files: BootFiles, config: GuestConfig, guest: GuestTable) -> _Boots:
        """Return what a guest that can be saved is booted with, from *files*."""
        qemu = await asyncio.to_thread(identity, Path(which(config.qemu)))
        probed = await self._accelerator(config, guest, files)
        beside = (
            json.dumps(msgspec.to_builtins(config), sort_keys=True),
            " ".join((*CMDLINE, *(COUNTED_CMDLINE if config.counted else ()))),
            self._processor(probed.accelerator),
            qemu,
        )
        return _Boots(config, files, probed, beside)

    async def _snapshot(self, name: str, boots: _Boots) -> Snapshot:
        """Return the snapshot of what boots so; *name* is what it is called while that boots."""
        files = boots.files
        key = digest(_RECIPE, self.kernel.key, files.initramfs.parent.name, *boots.beside)
        boot = partial(self._boot, key, boots.config, files, boots.probed.accelerator, name)
        # Two guests that are asked for in different words can be the same machine.
        async with self._alone(key):
            try:
                loaded = snapshot.load(await boot())
            except (GuestNotBooted, Damaged):
                raise
            except MachineError as damage:
                self.context.note(f"the snapshot of {name} is made again: {damage.what}")
                self.context.store.discard(SNAPSHOT, key)
                loaded = snapshot.load(await boot())
        self._check_build_id(loaded.hello)
        return loaded

    @contextlib.asynccontextmanager
    async def _alone(self, name: str) -> AsyncIterator[None]:
        """Do what is called *name* once at a time in this event loop.

        The store's locks are for other processes and threads; here they would wait for ever.
        """
        while (other := self.busy.get(name)) is not None:
            await other.wait()
        self.busy[name] = asyncio.Event()
        try:
            yield
        finally:
            self.busy.pop(name).set()

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
        what :meth:`template` raises, and MachineError where there is no such guest.
        """
        config = self.config(guest)
        if refused := self._closed(guest).refused:
            raise MachineError("there is no such guest on this machine", why=refused)
        if gdb:
            # A user at a breakpoint has no time limit.
            config = msgspec.structs.replace(
                config, gdb=gdb, boot_limit_s=_WEEK_S, heartbeat_limit_s=_WEEK_S
            )
        if config.confidential:
            return await self._checked(await QemuGuest.boot(config, Accelerator.KVM, files))
        virtme = await self._virtme(config) if guest.type == "vng" else None
        # A probe must not wait for gdb.
        answer = await self._accelerator(msgspec.structs.replace(config, gdb=""), guest, files)
        if virtme:
            made = await VngGuest.boot_with(virtme, config, answer.accelerator, files)
            return await self._checked(made)
        return await self._checked(await QemuGuest.boot(config, answer.accelerator, files))

    async def _virtme(self, config: GuestConfig) -> Virtme:
        vng.check_config(config)
        vng.check_kernel(self.kernel.config.read_text(), str(self.kernel.config))
        return await asyncio.to_thread(vng.ask_virtme, config, self.kernel.image)

    async def _checked(self, booted: QemuGuest) -> QemuGuest:
        """Return *booted*, or kill it and raise WrongKernel."""
        try:
            self._check_build_id(booted.hello)
        except WrongKernel:
            await booted.kill()
            raise
        return booted

    def _processor(self, accelerator: Accelerator) -> str:
        """Return what a snapshot is bound to: under KVM the guest has seen the host's processor."""
        host = self.host_facts.host
        if accelerator is Accelerator.TCG:
            return accelerator
        return digest(accelerator, host.processor, " ".join(sorted(host.flags)))

    async def _boot(
        self,
        key: str,
        config: GuestConfig,
        files: BootFiles,
        accelerator: Accelerator,
        name: str,
    ) -> Path:
        async with self.context.store.draft_beside(SNAPSHOT, key, self.context.progress) as out:
            if out:
                booted = (("kernel", self.kernel.key), (INITRAMFS, files.initramfs.parent.name))
                await asyncio.to_thread(self.context.store.check, booted)
                with self.context.step(f"Booting the guest of {name}") as step:
                    made = await snapshot.create(config, accelerator, files, out)
                    step.result(f"{made.hello.release}, {accelerator}")
        return self.context.store.path(SNAPSHOT, key)

    def _initramfs(self, suite: Suite, *, userland: bool = True) -> Path:
        def write(out: Path) -> None:
            agent_program = self._agent()
            self.context.store.check([("suite", suite.key), (AGENT, self._agent_key())])
            packed = suite_entries(suite, userland=userland)
            entries = initramfs.guest_entries(agent_program, packed)
            initramfs.write_initramfs(out / "initramfs.cpio", entries)

        key = self._initramfs_key(suite, userland=userland)
        return self.context.obtain(INITRAMFS, key, write) / "initramfs.cpio"

    def _initramfs_key(self, suite: Suite, *, userland: bool) -> str:
        return digest(_RECIPE, self._agent_key(), suite.key, suite.name, str(userland))

    def packed(self, key: str, entries: Sequence[initramfs.Entry] = ()) -> BootFiles:
        """Return what boots a guest with *entries*, which *key* stands for, and the agent."""

        def write(out: Path) -> None:
            agent_program = self._agent()
            self.context.store.check([(AGENT, self._agent_key())])
            packed = initramfs.guest_entries(agent_program, entries)
            initramfs.write_initramfs(out / "initramfs.cpio", packed)

        made = self.context.obtain(INITRAMFS, digest(_RECIPE, self._agent_key(), key), write)
        return BootFiles(self.kernel.image, made / "initramfs.cpio")

    def _agent(self) -> Path:
        def compile_agent(out: Path) -> None:
            agent.build_agent(out / "agent")

        return self.context.obtain(AGENT, self._agent_key(), compile_agent) / "agent"

    def _agent_key(self) -> str:
        sources = [path.read_bytes() for path in agent.source_files()]
        return digest(*sources, " ".join(agent.FLAGS), self.kernel.meta.toolchain)

    async def _accelerator(self, config: GuestConfig, guest: GuestTable, files: BootFiles) -> Probe:
        """Probe once on this machine, and remember; several suites at a time wait for one probe."""
        memory = ProbeCache(self.context.store.place("accelerator"), self.host_facts.host)
        async with self._alone("accelerator"):
            return await accel.find(
                config, files, accel.Wanted(guest.accel), memory, self.context.progress
            )


def _plain(guest: GuestTable, boot_limit_s: float) -> GuestConfig:
    config = GuestConfig(
        machine=MachineType(guest.machine),
        cpus=guest.cpus,
        memory_mib=guest.memory_mib,
        numa_nodes=guest.numa_nodes,
        boot_limit_s=boot_limit_s,
        counted=guest.counted,
    )
    if guest.counted:
        # A second of its clock takes several of the host's.
        slower = config.heartbeat_limit_s * COUNTED_FACTOR
        config = msgspec.structs.replace(
            config, boot_limit_s=boot_limit_s * COUNTED_FACTOR, heartbeat_limit_s=slower
        )
    return config


def template_factory(project: Project, kernel: Kernel, context: Context) -> TemplateFactory:
    """Return the factory of guests for *kernel* within the limits of *project*."""
    return TemplateFactory(kernel, project.limits.boot_s, context)

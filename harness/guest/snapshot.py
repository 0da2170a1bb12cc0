# SPDX-License-Identifier: GPL-2.0-only
"""Snapshots: a booted guest on disk, from which any number of guests wake within milliseconds.

A snapshot is a directory.  ``ram0`` is the guest's memory, one file for each NUMA node, sparse.
Restored guests map it privately: they share its pages in the host's page cache and copy what they
write, so waking one costs no more than what it touches.  ``state`` is everything else, in QEMU's
migration format.  ``boot.log`` is the console until then, and ``machine.json`` says what made it,
with checksums.

A snapshot fits only the QEMU that made it, and under KVM only a host with the same processor
features.  Kernel and initramfs are in the guest's memory: their files are not needed any more.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
from qemu.qmp import QMPError

from harness.digest import digest_file, digest_sparse
from harness.errors import MachineError
from harness.foreign import disk_full
from harness.guest import sparse
from harness.guest.machine import (
    BootFiles,
    Channels,
    GuestConfig,
    MachineType,
    Memory,
    qemu_argv,
)
from harness.guest.process import QemuProcess
from harness.guest.qemu import QemuGuest
from harness.guest.record import Recorder
from harness.model.events import Accelerator, Hello

FORMAT = 2
_STATE, _LOG, _MACHINE = "state", "boot.log", "machine.json"
_MIGRATE_LIMIT_S = 60.0
_DISK_RESERVE = 1 << 20
"""A disk with less free space than this, in bytes, is full."""
_HINT = "delete the snapshot; it will be created again from kernel and initramfs"


SAVED_AGAIN = ("-global", "migration.send-configuration=off")
"""Has QEMU take a state that does not say of which machine it is, as of :func:`save_again`."""


class RamFile(msgspec.Struct, frozen=True):
    """One file with a guest's memory; ``size`` in bytes."""

    sha256: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """Look at *path*."""
        status = path.stat()
        return cls(digest_sparse(path), status.st_size, status.st_mtime_ns)


class Snapshot(msgspec.Struct, frozen=True):
    """A published snapshot.  ``ram`` says of each node's memory file what it must be."""

    directory: Path
    config: GuestConfig
    accelerator: Accelerator
    hello: Hello
    qemu_version: str
    state_sha256: str
    ram: tuple[RamFile, ...]

    @property
    def disk_bytes(self) -> int:
        """Its size on the disk, without holes."""
        return sum(path.stat().st_blocks * 512 for path in self.directory.iterdir())

    @property
    def boot_log(self) -> bytes:
        """The console from power-on until user space was ready."""
        return (self.directory / _LOG).read_bytes()


class OtherQemu(MachineError):
    """QEMU is another one than at the making of a snapshot."""


async def create(
    config: GuestConfig, accelerator: Accelerator, files: BootFiles, directory: Path
) -> Snapshot:
    """Boot *files* and write the snapshot into the empty *directory*.

    The directory may be renamed afterwards.  Raises what :meth:`QemuGuest.boot` raises, and
    :class:`MachineError` when the state cannot be saved, or the disk is full.
    """
    state = directory / _STATE
    memory = Memory(_ram_files(directory, config.numa_nodes), shared=True)
    try:
        with state.open("xb") as out:
            guest = await QemuGuest.boot(config, accelerator, files, memory)
            async with guest:
                version = guest.qemu.version
                await _save(guest.qemu, out.fileno())
                await guest.read_rest_of_boot()
    except MachineError as error:
        # The memory is a file with holes: QEMU gets SIGBUS where the disk cannot fill one.
        if shutil.disk_usage(directory).free < _DISK_RESERVE:
            raise disk_full(directory) from error
        raise
        # Only now is QEMU gone, and with it the last write to the memory's pages.
    (directory / _LOG).write_bytes(guest.boot_log)
    snapshot = Snapshot(
        directory=directory,
        config=config,
        accelerator=accelerator,
        hello=guest.hello,
        qemu_version=version,
        state_sha256=digest_file(state),
        ram=tuple(map(RamFile.of, memory.files)),
    )
    text = json.dumps(_to_json(snapshot), indent=1, sort_keys=True)
    (directory / _MACHINE).write_text(text + "\n")
    return snapshot


def memory_files(snapshot: Snapshot) -> tuple[Path, ...]:
    """Return the files with the guest's memory, one for each NUMA node."""
    return _ram_files(snapshot.directory, snapshot.config.numa_nodes)


def _ram_files(directory: Path, nodes: int) -> tuple[Path, ...]:
    return tuple(directory / f"ram{node}" for node in range(nodes))


async def _save(qemu: QemuProcess, fd: int) -> None:
    try:
        await qemu.execute("migrate-set-capabilities", capabilities=_CAPABILITIES)
        # The default is made for a network: 128 MiB/s.
        await qemu.execute("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        await qemu.execute("migrate", uri=await qemu.migration_file(fd))
        await qemu.patience(_MIGRATE_LIMIT_S).wait(_until_saved(qemu))
    except (QMPError, TimeoutError) as e:
        raise _not_saved(qemu, e) from e


def _not_saved(qemu: QemuProcess, error: Exception) -> MachineError:
    why = "\n".join(filter(None, (f"{type(error).__name__}: {error}", qemu.errors())))
    return MachineError("QEMU cannot save the guest", why=why)


async def _until_saved(qemu: QemuProcess) -> None:
    while True:
        await qemu.wait_event("MIGRATION")
        reply: Any = await qemu.execute("query-migrate")
        if reply["status"] == "completed":
            return
        if reply["status"] in ("failed", "cancelled"):
            raise MachineError("QEMU cannot save the guest", why=str(reply))


# Memory that is a shared file is not written into the state.
_CAPABILITIES = [
    {"capability": "events", "state": True},
    {"capability": "x-ignore-shared", "state": True},
]


def load(directory: Path) -> Snapshot:
    """Read a snapshot and check it as far as that is cheap: everything but the memory's content.

    The memory's content is checked as well when its time stamp is not the one that was noted.
    Raises :class:`MachineError` when the snapshot is damaged or of another format.
    """
    try:
        raw = json.loads((directory / _MACHINE).read_text())
        snapshot = _from_json(directory, raw)
        status = [path.stat() for path in _ram_files(directory, snapshot.config.numa_nodes)]
        sizes = [each.size for each in snapshot.ram]
        _check(snapshot, "the size of the memory", sizes, [each.st_size for each in status])
        _check(snapshot, "the state", snapshot.state_sha256, digest_file(directory / _STATE))
        if [each.mtime_ns for each in snapshot.ram] != [each.st_mtime_ns for each in status]:
            verify(snapshot)
    except (OSError, ValueError, KeyError, TypeError) as e:
        why = f"{type(e).__name__}: {e}"
        raise MachineError(
            "the snapshot cannot be read", where=str(directory), why=why, hint=_HINT
        ) from e
    return snapshot


def verify(snapshot: Snapshot) -> None:
    """Check the memory's content, in about 0.1 s; raise :class:`MachineError` if damaged."""
    files = _ram_files(snapshot.directory, snapshot.config.numa_nodes)
    for known, path in zip(snapshot.ram, files, strict=True):
        _check(snapshot, "the memory", known.sha256, digest_sparse(path))


def _check(snapshot: Snapshot, what: str, expected: object, found: object) -> None:
    if expected != found:
        raise MachineError(
            f"the snapshot is damaged: {what} is not what was saved",
            where=str(snapshot.directory),
            why=f"expected {expected}, found {found}",
            hint=_HINT,
        )


async def restore(
    snapshot: Snapshot,
    on_monitor: Callable[[], None] = lambda: None,
    *,
    extra: Sequence[str] = (),
    let_go: Callable[[], None] | None = None,
    recorder: Recorder | None = None,
) -> QemuGuest:
    """Wake a guest from *snapshot*; it runs when this returns.  Any number at once is safe.

    *extra* is added to QEMU's command line, and must leave the machine as it is.  If that makes the
    processor stand still, *let_go* is called when the guest's first command has come to its port.
    With *recorder* the guest is recorded, and stands still until its command.
    *on_monitor* is
    called when QEMU is up and has loaded nothing yet, which is for measuring.
    Raises :class:`MachineError` when QEMU is another one than at the snapshot's making, or does
    not take the state.
    """
    os.utime(snapshot.directory)  # used: it has to stay in the cache
    if recorder:
        qemu = await restore_standing(snapshot, recorder.outputs, (*extra, *recorder.argv))
    else:
        qemu = await _restored(snapshot, extra, on_monitor=on_monitor)
    return QemuGuest(
        qemu,
        snapshot.config,
        snapshot.accelerator,
        snapshot.hello,
        snapshot.boot_log,
        let_go=let_go,
        recorder=recorder,
    )


async def restore_standing(
    snapshot: Snapshot, outputs: tuple[Path, Path], extra: Sequence[str], *, shared: bool = False
) -> QemuProcess:
    """Restore a guest from *snapshot* that stands still, as *extra* on QEMU's command line says.

    What it sends goes to *outputs*: that of the console, and of the agent.  If *shared*, it writes
    into the memory of *snapshot*, which is its own then (:func:`copied`), and can be saved again.
    Raises as :func:`restore`.
    """
    return await _restored(snapshot, extra, outputs=outputs, shared=shared)


def copied(snapshot: Snapshot, directory: Path) -> Snapshot:
    """Return a copy of *snapshot* in *directory*, which is made, for one guest; raises OSError.

    Its checksums are not those of its files for long, and are left out.
    """
    directory.mkdir()
    for file in (state_of(snapshot), *memory_files(snapshot)):
        sparse.copy(file, directory / file.name)
    return msgspec.structs.replace(snapshot, directory=directory, state_sha256="", ram=())


def state_of(snapshot: Snapshot) -> Path:
    """Return the file with all of a guest but its memory."""
    return snapshot.directory / _STATE


async def save_again(qemu: QemuProcess, own: Snapshot, directory: Path) -> Snapshot:
    """Save a guest that stands still and shares the memory of *own* into *directory*.

    It can go on afterwards.  To restore it, QEMU needs :data:`SAVED_AGAIN` on its command line.
    Raises OSError, and :class:`MachineError` where QEMU does not do it.
    """
    try:
        # Not a migration: in a replay its thread must not read the clock, and QEMU aborts.
        await qemu.execute(
            "xen-save-devices-state", _MIGRATE_LIMIT_S, filename=str(directory / _STATE), live=False
        )
    except (QMPError, TimeoutError) as e:
        raise _not_saved(qemu, e) from e
    return msgspec.structs.replace(own, directory=directory)


async def save_memory(own: Snapshot, directory: Path) -> None:
    """Copy the memory of the guest that has *own* as it is now to *directory*; raises OSError."""
    for file in memory_files(own):
        await asyncio.to_thread(sparse.copy, file, directory / file.name)


async def _restored(
    snapshot: Snapshot,
    extra: Sequence[str],
    *,
    outputs: tuple[Path, Path] | None = None,
    shared: bool = False,
    on_monitor: Callable[[], None] = lambda: None,
) -> QemuProcess:
    memory = Memory(memory_files(snapshot), shared=shared)

    def argv(channels: Channels) -> list[str]:
        channels = msgspec.structs.replace(channels, files=outputs)
        argv = qemu_argv(snapshot.config, snapshot.accelerator, channels, memory, None)
        return [*argv, *extra]

    state = os.open(snapshot.directory / _STATE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        qemu = await QemuProcess.start(argv)
        on_monitor()
        try:
            await _load(qemu, snapshot, state, stands=outputs is not None)
        except BaseException:
            await qemu.kill()
            raise
        return qemu
    finally:
        os.close(state)


async def _load(qemu: QemuProcess, snapshot: Snapshot, fd: int, *, stands: bool) -> None:
    """Load the state from *fd*; the guest runs then, or *stands* as QEMU was told."""
    if snapshot.qemu_version != qemu.version:
        raise OtherQemu(
            "the snapshot was made by another QEMU",
            where=str(snapshot.directory),
            why=f"it was {snapshot.qemu_version}, and here is {qemu.version}",
            hint=_HINT,
        )
    try:
        await qemu.execute("migrate-set-capabilities", capabilities=_CAPABILITIES)
        await qemu.execute("migrate-incoming", uri=await qemu.migration_file(fd))
        # The guest ran when it was saved, so QEMU lets it run as soon as all is loaded.
        done = _until_loaded(qemu) if stands else qemu.wait_event("RESUME")
        await qemu.patience(_MIGRATE_LIMIT_S).wait(done)
    except (QMPError, TimeoutError, MachineError) as e:
        raise MachineError(
            "QEMU cannot restore the snapshot",
            where=str(snapshot.directory),
            why="\n".join(filter(None, (f"{type(e).__name__}: {e}", qemu.errors()))),
            hint=_HINT,
        ) from e


async def _until_loaded(qemu: QemuProcess) -> None:
    while True:
        await qemu.wait_event("MIGRATION")
        reply: Any = await qemu.execute("query-migrate")
        if reply["status"] == "completed":
            return
        if reply["status"] == "failed":
            raise MachineError("QEMU cannot load the guest", why=str(reply))


def _to_json(snapshot: Snapshot) -> dict[str, object]:
    raw = {
        name: msgspec.to_builtins(getattr(snapshot, name))
        for name in ("config", "accelerator", "qemu_version", "state_sha256", "ram")
    }
    hello = msgspec.structs.asdict(snapshot.hello)
    hello["build_id"] = snapshot.hello.build_id.hex()
    return {"format": FORMAT, "hello": hello, **raw}


def _from_json(directory: Path, raw: Any) -> Snapshot:
    if raw.pop("format") != FORMAT:
        raise ValueError("another format of snapshots")
    config, hello = raw.pop("config"), raw.pop("hello")
    config["machine"] = MachineType(config["machine"])
    config["cmdline"] = tuple(config["cmdline"])
    hello["build_id"] = bytes.fromhex(hello["build_id"])
    return Snapshot(
        directory=directory,
        config=GuestConfig(**config),
        accelerator=Accelerator(raw.pop("accelerator")),
        hello=Hello(**hello),
        ram=tuple(RamFile(**each) for each in raw.pop("ram")),
        **raw,
    )

# SPDX-License-Identifier: GPL-2.0-only
"""A worker on another machine, over SSH: copy what it needs, then start it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from harness.context import Context
from harness.digest import DigestingSink, Write, copy_of, digest_file
from harness.errors import HarnessError, MachineError
from harness.lab import ship
from harness.lab.remote import HELLO_S, RemoteWorker
from harness.lab.site import Site, look, no_room, start
from harness.model.ids import HostName
from harness.model.spec import HostTable
from harness.proc.ssh import Connection, Login

if TYPE_CHECKING:
    import paramiko

_STALL_S = 15.0
"""Seconds after which a read or a write that does not get on counts as the end of the connection.
Workers show every second that they live."""
_INSTALL_S = 120.0
_LAST_WORDS = 4096
_BLOCK = 1 << 20
_INSTALL = """\
import hashlib, os, shutil, sys, tarfile, tempfile, time
packed, digest, name = sys.argv[1:]
place = os.path.dirname(packed)
try:
    with open(packed, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            sys.exit("the archive was corrupted in transfer")
    work = tempfile.mkdtemp(prefix="new-", dir=place)
    with tarfile.open(packed) as tar:
        tar.extractall(work)
    try:
        os.rename(work, os.path.join(place, name))
    except OSError:
        shutil.rmtree(work)
        if not os.path.exists(os.path.join(place, name, "start.py")):
            raise
finally:
    os.unlink(packed)
# Those of other versions that were not used for a month.
for each in os.scandir(place):
    if each.name != name and time.time() - each.stat().st_mtime > 30 * 86400:
        shutil.rmtree(each.path, ignore_errors=True)
"""


class SshLink:
    """The link to a worker over a channel of a connection of its own."""

    def __init__(self, connection: Connection, channel: paramiko.Channel) -> None:
        self._connection = connection
        self._channel = channel
        # Until the worker speaks, which takes as long as Python needs to load it.
        self._channel.settimeout(HELLO_S)
        self._heard = False

    def read(self, size: int) -> bytes:
        """Return at most *size* bytes; none where the connection is gone."""
        try:
            data = self._channel.recv(size)
        except (OSError, EOFError):
            return b""
        if not self._heard:
            self._heard = True
            self._channel.settimeout(_STALL_S)
        return data

    def write(self, data: bytes) -> None:
        """Send all of *data*; raises OSError where the connection is gone."""
        self._channel.sendall(data)

    def put(self, write: Write, name: str) -> DigestingSink:
        """Write the file *name* there; MachineError for a full disk."""
        try:
            return self._connection.put(write, name)
        except OSError as error:
            _check_room(self._connection, PurePosixPath(name).parent, _BLOCK)
            raise OSError(f"{name}: {error}") from error

    def close(self) -> None:
        """End the worker, whose channel ends, and the connection."""
        with contextlib.suppress(Exception):
            self._channel.close()
        self._connection.close()

    def last_words(self) -> str:
        """Return the end of what the worker wrote to standard error, as far as it has come."""
        said = bytearray()
        with contextlib.suppress(Exception):
            end = time.monotonic() + 1.0
            while time.monotonic() < end and not self._channel.closed:
                if self._channel.recv_stderr_ready():
                    said += self._channel.recv_stderr(_LAST_WORDS)
                elif self._channel.exit_status_ready():
                    break
                else:
                    time.sleep(0.02)
        return said[-_LAST_WORDS:].decode(errors="replace")


Begun = Future[SshLink]
"""A link to a worker that is being started."""


def begin(name: HostName, table: HostTable, context: Context) -> Begun:
    """Begin to start a worker on the host *name*, in a thread of its own; needs no event loop."""
    begun: Begun = Future()
    begun.set_running_or_notify_cancel()

    def run() -> None:
        try:
            begun.set_result(_start(name, table, context))
        except BaseException as error:
            begun.set_exception(error)

    # It ends with the process: each of its steps has a limit, but not one that a user waits for.
    threading.Thread(target=run, name=f"start {name}", daemon=True).start()
    return begun


def drop(begun: Begun) -> None:
    """Close the link as soon as it is there: what comes of it is not wanted any more."""

    def close(done: Begun) -> None:
        if done.exception() is None:
            done.result().close()

    begun.add_done_callback(close)


async def connect(
    name: HostName, table: HostTable, context: Context, begun: Begun | None = None
) -> RemoteWorker:
    """Start a worker on the host *name*, unless that has *begun*; return it when it answers.

    Raises UserError for what is wrong in the project file or with keys, and MachineError for what
    is wrong there; each says what to do.
    """
    begun = begun or begin(name, table, context)
    try:
        link = await asyncio.wrap_future(begun)
    except asyncio.CancelledError:
        drop(begun)
        raise
    return await RemoteWorker.greet(name, link)


def diagnose(name: HostName, table: HostTable, context: Context, *, quick: bool) -> bytes:
    """Return what the host can do, as JSON of a diagnosis; raises as :func:`connect`."""
    connection = Connection.open(_login(name, table))
    try:
        argv = _supplied(connection, name, look(connection, name, table), context)
        argv += ["worker", "--doctor", *(["--quick"] if quick else [])]
        done = connection.run(argv, limit_s=_INSTALL_S if quick else 900.0)
    finally:
        connection.close()
    if not done.ok:
        why = done.stderr.decode(errors="replace")[-2000:]
        raise MachineError("the host cannot be examined", where=f"[hosts.{name}]", why=why)
    return done.stdout


def _start(name: HostName, table: HostTable, context: Context) -> SshLink:
    with ThreadPoolExecutor(1) as beside:
        # While this waits for the network; most hosts have the Python that runs this.
        asking = beside.submit(ship.key, *ship.own())
        connection = Connection.open(_login(name, table))
    try:
        site, channel = start(connection, name, table, asking.result())
        if channel is None:
            argv = _supplied(connection, name, site, context)
            channel = connection.start([*argv, "worker"])
        return SshLink(connection, channel)
    except BaseException:
        connection.close()
        raise


def _login(name: HostName, table: HostTable) -> Login:
    return Login(name, table.ssh, table.port, table.identity, table.jump, table.host_key)


def _supplied(connection: Connection, name: HostName, site: Site, context: Context) -> list[str]:
    """Return what calls the harness there, which is put there if need be."""
    packed, key = ship.archive(context, site.soabi, site.platform)
    if key not in site.there:
        with context.step(f"Copying the harness to {name}") as step:
            step.result(f"{packed.stat().st_size / 1e6:.1f} MB")
            _install(connection, name, site, packed, key)
    start = str(PurePosixPath(site.place, key, "start.py"))
    return ["env", f"HARNESS_CACHE={site.cache}", site.python, "-I", start]


def _install(connection: Connection, name: HostName, site: Site, packed: Path, key: str) -> None:
    there = str(PurePosixPath(site.place, f"{key}.{threading.get_ident()}.tar.gz"))
    sha256 = digest_file(packed)
    try:
        connection.put(copy_of(packed), there)
    except OSError as error:
        _check_room(connection, PurePosixPath(site.place), packed.stat().st_size)
        raise MachineError(
            "the harness cannot be copied to the host",
            where=f"host {name}: {there}",
            why=str(error),
        ) from error
    argv = [site.python, "-I", "-c", _INSTALL, there, sha256, key]
    done = connection.run(argv, limit_s=_INSTALL_S)
    if not done.ok:
        raise MachineError(
            "the harness cannot be unpacked on the host",
            where=f"host {name}: {site.place}",
            why=done.stderr.decode(errors="replace").strip()[-1000:],
        )


def _check_room(connection: Connection, place: PurePosixPath, size: int) -> None:
    """Raise MachineError where the disk of *place* has not *size* bytes, if that can be seen."""
    try:
        done = connection.run(["df", "-Pk", str(place)])
        free = int(done.stdout.splitlines()[-1].split()[3]) << 10
    except (HarnessError, ValueError, IndexError):
        return
    if free < size + (1 << 20):
        raise no_room(f"host {connection.name}: {place}", free, size)

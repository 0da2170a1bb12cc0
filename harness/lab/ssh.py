# SPDX-License-Identifier: GPL-2.0-only
"""A worker on another machine, over SSH: copy what it needs, then start it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from pathlib import Path, PurePosixPath

import msgspec

from harness.context import Context
from harness.digest import DigestingSink, Write, copy_of, digest_file
from harness.errors import HarnessError, MachineError
from harness.lab import ship
from harness.lab.remote import HELLO_S, RemoteWorker
from harness.model.ids import HostName
from harness.model.spec import HostTable
from harness.proc.ssh import Connection, Login

_PYTHONS = ("python3", *(f"python3.{minor}" for minor in range(11, 20)))
_STALL_S = 15.0
"""Seconds after which a read or a write that does not get on counts as the end of the connection.
Workers show every second that they live."""
_INSTALL_S = 120.0
_ROOM = 512 << 20
"""Bytes that a cache needs before anything is put there: a kernel, suites, snapshots."""
_CLOCK_S = 24 * 3600.0
_LAST_WORDS = 4096
_BLOCK = 1 << 20
_NO_PYTHON = 97
_FIND = """\
probe=$1 cache=$2
shift 2
for each do
  command -v "$each" >/dev/null 2>&1 || continue
  said=$("$each" -I -c 'import sys; print(*sys.version_info[:2], sep="."); \
sys.exit(sys.version_info < (3, 11))' 2>&1) && exec "$each" -I -c "$probe" "$cache"
  seen="$seen $each: $said;"
done
echo "$seen" >&2
exit 97
"""
_PROBE = """\
import json, os, shutil, sys, sysconfig, time
cache = sys.argv[1]
if cache:
    cache = os.path.abspath(os.path.expanduser(cache))
else:
    below = os.environ.get("XDG_CACHE_HOME", "")
    below = below if os.path.isabs(below) else os.path.expanduser("~/.cache")
    cache = os.environ.get("HARNESS_CACHE") or os.path.join(below, "kernel-selftest-harness")
place = os.path.join(cache, "places", "worker")
why, free, there = "", 0, []
try:
    os.makedirs(place, exist_ok=True)
    if not os.access(place, os.W_OK):
        why = "it cannot be written"
    space = os.statvfs(place)
    free = space.f_bavail * space.f_frsize
    there = os.listdir(place)
except OSError as error:
    why = str(error)
programs = {name: shutil.which(name) or "" for name in ("qemu-system-x86_64", "setpriv")}
print("\\nharness-probe " + json.dumps({
    "python": sys.executable, "version": sys.version.split()[0],
    "soabi": sysconfig.get_config_var("SOABI") or "", "platform": sysconfig.get_platform(),
    "place": place, "cache": cache, "why": why, "free": free, "there": there,
    "programs": programs, "time": time.time()}))
"""
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


class Site(msgspec.Struct, frozen=True):
    """The state of a host before a worker is started."""

    python: str
    version: str
    soabi: str
    platform: str
    place: str
    """Where the harness is put, one directory for each version of it."""
    cache: str
    why: str
    """Why the cache cannot be used; empty if it can."""
    free: int
    there: list[str]
    programs: dict[str, str]
    time: float


class SshLink:
    """The link to a worker over a channel of a connection of its own."""

    def __init__(self, connection: Connection, argv: list[str]) -> None:
        self._connection = connection
        self._channel = connection.start(argv)
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


async def connect(name: HostName, table: HostTable, context: Context) -> RemoteWorker:
    """Start a worker on the host *name*.

    Raises UserError for what is wrong in the project file or with keys, and MachineError for what
    is wrong there; each says what to do.
    """
    starting = asyncio.ensure_future(asyncio.to_thread(_start, name, table, context))
    try:
        link = await asyncio.shield(starting)
    except asyncio.CancelledError:
        # What comes of it is not wanted any more: each of its steps has a limit.
        starting.add_done_callback(_drop)
        raise
    return await RemoteWorker.greet(name, link)


def _drop(starting: asyncio.Future[SshLink]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        starting.result().close()


def diagnose(name: HostName, table: HostTable, context: Context, *, quick: bool) -> bytes:
    """Return what the host can do, as JSON of a diagnosis; raises as :func:`connect`."""
    connection, argv = _ready(name, table, context)
    try:
        argv += ["worker", "--doctor", *(["--quick"] if quick else [])]
        done = connection.run(argv, limit_s=_INSTALL_S if quick else 900.0)
    finally:
        connection.close()
    if not done.ok:
        why = done.stderr.decode(errors="replace")[-2000:]
        raise MachineError("the host cannot be examined", where=f"[hosts.{name}]", why=why)
    return done.stdout


def _start(name: HostName, table: HostTable, context: Context) -> SshLink:
    connection, argv = _ready(name, table, context)
    try:
        return SshLink(connection, [*argv, "worker"])
    except BaseException:
        connection.close()
        raise


def _ready(name: HostName, table: HostTable, context: Context) -> tuple[Connection, list[str]]:
    """Return a connection, and what calls the harness over it, which is put there if need be."""
    connection = Connection.open(
        Login(name, table.ssh, table.port, table.identity, table.jump, table.host_key)
    )
    try:
        site = look(connection, name, table)
        packed, key = ship.archive(context, site.soabi, site.platform)
        if key not in site.there:
            with context.step(f"Copying the harness to {name}") as step:
                step.result(f"{packed.stat().st_size / 1e6:.1f} MB")
                _install(connection, name, site, packed, key)
    except BaseException:
        connection.close()
        raise
    start = str(PurePosixPath(site.place, key, "start.py"))
    return connection, ["env", f"HARNESS_CACHE={site.cache}", site.python, "-I", start]


def look(connection: Connection, name: HostName, table: HostTable) -> Site:
    """Look at the host; raises MachineError where a worker cannot be there."""
    pythons = [table.python] if table.python else _PYTHONS
    where = f"[hosts.{name}] ssh = {table.ssh}"
    done = connection.run(["sh", "-c", _FIND, "sh", _PROBE, table.cache, *pythons])
    if done.status == _NO_PYTHON:
        seen = done.stderr.decode(errors="replace").strip()
        raise MachineError(
            "the host has no Python 3.11 or later",
            where=where,
            why=seen[-1000:] or f"looked for: {', '.join(pythons)}",
            hint="install one there (Debian: apt-get install python3), or name it with python",
        )
    _, _, said = done.stdout.rpartition(b"\nharness-probe ")
    try:
        site = msgspec.json.decode(said, type=Site)
    except msgspec.MsgspecError:
        words = (done.stderr or done.stdout).decode(errors="replace")
        raise MachineError(
            "the host cannot be examined",
            where=where,
            why=words.strip()[-1000:] or f"exit status {done.status}",
            hint=f"does this print a version: ssh {table.ssh} {pythons[0]} -V",
        ) from None
    missing = [program for program, path in site.programs.items() if not path]
    if missing:
        raise MachineError(
            f"the host lacks {' and '.join(missing)}",
            where=where,
            hint="on Debian: apt-get install qemu-system-x86 util-linux",
        )
    if site.why:
        raise MachineError(
            "the cache on the host cannot be used",
            where=f"{where}: {site.cache}",
            why=site.why,
            hint="name a directory of your own there with cache",
        )
    if site.free < _ROOM:
        raise _no_room(f"{where}: {site.cache}", site.free, _ROOM)
    off = site.time - time.time()
    if abs(off) > _CLOCK_S:
        raise MachineError(
            "the clock of the host is wrong",
            where=where,
            why=f"it is {abs(off) / _CLOCK_S:.0f} days {'ahead' if off > 0 else 'behind'}",
            hint="set it there, such as with timedatectl set-ntp true",
        )
    return site


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
        raise _no_room(f"host {connection.name}: {place}", free, size)


def _no_room(where: str, free: int, need: int) -> MachineError:
    return MachineError(
        "no space is left on the disk of the host",
        where=where,
        why=f"{free >> 20} MiB are free, {need >> 20} are needed",
        hint="free some there, or name a directory on another disk with cache",
    )

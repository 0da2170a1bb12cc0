# SPDX-License-Identifier: GPL-2.0-only
"""A machine as it is before a worker runs there: what it has, and whether one can."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from harness.errors import MachineError
from harness.lab.clock import check_clock
from harness.model.ids import HostName
from harness.model.spec import HostTable
from harness.proc.process import Captured
from harness.proc.ssh import Connection

if TYPE_CHECKING:
    import paramiko

_PYTHONS = ("python3", *(f"python3.{minor}" for minor in range(11, 20)))
_ROOM = 512 << 20
"""Bytes that a cache needs before anything is put there: a kernel, suites, snapshots."""
_LOOK_S = 30.0
_NOISE = 64 << 10
"""Bytes that login shells may print before the description of the machine."""
_NO_PYTHON = 97
# Only -V does not load Python's library, which takes ten times as long.
_FIND = """\
probe=$1 cache=$2 key=$3
shift 3
for each do
  command -v "$each" >/dev/null 2>&1 || continue
  said=$("$each" -V 2>&1 </dev/null)
  case $said in
  "Python 3.1"[1-9]* | "Python 3."[2-9][0-9]*) exec "$each" -I -c "$probe" "$cache" "$key" ;;
  esac
  seen="$seen $each: $said;"
done
echo "$seen" >&2
exit 97
"""
_MARK = b"\nharness-probe "
_PROBE = """\
import json, os, sys, time
from importlib.machinery import EXTENSION_SUFFIXES
cache, key = sys.argv[1:]
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
    if space.f_flag & os.ST_NOEXEC:
        why = "its file system is mounted noexec, and libraries are loaded from it"
    there = os.listdir(place)
except OSError as error:
    why = str(error)
start = os.path.join(place, key, "start.py")
paths = [os.path.join(each, "") for each in os.get_exec_path()]
programs = {
    name: next((each + name for each in paths if os.access(each + name, os.X_OK)), "")
    for name in ("qemu-system-x86_64", "setpriv")}
starts = bool(key and key in there and not why and all(programs.values()))
print("\\nharness-probe " + json.dumps({
    "python": sys.executable, "version": sys.version.split()[0],
    "soabi": EXTENSION_SUFFIXES[0].split(".")[1],
    "platform": f"{sys.platform}-{os.uname().machine}",
    "place": place, "cache": cache, "why": why, "free": free, "there": there,
    "programs": programs, "time": time.time(), "starts": starts}), flush=True)
if starts:
    os.environ["HARNESS_CACHE"] = cache
    os.execv(sys.executable, [sys.executable, "-I", start, "worker"])
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
    starts: bool
    """Whether the worker that was asked for is being started."""


def look(connection: Connection, name: HostName, table: HostTable) -> Site:
    """Look at the host; raises MachineError where a worker cannot be there."""
    with _told(name, table):
        done = connection.run(_argv(table), limit_s=_LOOK_S)
    return _checked(done, name, table)


def start(
    connection: Connection, name: HostName, table: HostTable, key: str
) -> tuple[Site, paramiko.Channel | None]:
    """Look at the host, and start the worker of the harness *key* in the same go if it is there.

    Returns what was seen, and the channel to the worker, None where *key* is not there.  Raises
    MachineError where a worker cannot be there.
    """
    argv = _argv(table, key)
    end = time.monotonic() + _LOOK_S
    with _told(name, table):
        channel = connection.start(argv)
    try:
        said = _line(channel, end)
        done = Captured(tuple(argv), 0, said, b"")
        if not (_MARK in said and said.endswith(b"\n")):
            left = max(1.0, end - time.monotonic())
            with _told(name, table):
                done = connection.finish(channel, argv, limit_s=left)
            done = Captured(done.argv, done.status, said + done.stdout, done.stderr)
        site = _checked(done, name, table)
    except BaseException:
        channel.close()
        raise
    if site.starts:
        return site, channel
    channel.close()
    return site, None


def no_room(where: str, free: int, need: int) -> MachineError:
    """Return the error for a disk there that is too full."""
    return MachineError(
        "no space is left on the disk of the host",
        where=where,
        why=f"{free >> 20} MiB are free, {need >> 20} are needed",
        hint="free some there, or name a directory on another disk with cache",
    )


@contextmanager
def _told(name: HostName, table: HostTable) -> Iterator[None]:
    """Say of a command that comes to no end what it was for."""
    try:
        yield
    except MachineError as error:
        raise _unknown(name, table, error.why) from error


def _unknown(name: HostName, table: HostTable, why: str) -> MachineError:
    return MachineError(
        "the host cannot be examined",
        where=f"[hosts.{name}] ssh = {table.ssh}",
        why=why,
        hint=f"does this print a version: ssh {table.ssh} {table.python or _PYTHONS[0]} -V",
    )


def _argv(table: HostTable, key: str = "") -> list[str]:
    pythons = [table.python] if table.python else _PYTHONS
    return ["sh", "-c", _FIND, "sh", _PROBE, table.cache, key, *pythons]


def _line(channel: paramiko.Channel, end: float) -> bytes:
    """Return what comes up to the end of the description, or as far as anything comes."""
    said = bytearray()
    while len(said) < _NOISE and not (said.endswith(b"\n") and _MARK in said):
        channel.settimeout(max(0.01, end - time.monotonic()))
        try:
            # One by one: what follows is the worker's.
            byte = channel.recv(1)
        except OSError:
            break
        if not byte:
            break
        said += byte
    return bytes(said)


def _checked(done: Captured, name: HostName, table: HostTable) -> Site:
    """Return what *done* says; raises MachineError where a worker cannot be there."""
    where = f"[hosts.{name}] ssh = {table.ssh}"
    if done.status == _NO_PYTHON:
        seen = done.stderr.decode(errors="replace").strip()
        raise MachineError(
            "the host has no Python 3.11 or later",
            where=where,
            why=seen[-1000:] or f"looked for: {table.python or ', '.join(_PYTHONS)}",
            hint="install one there (Debian: apt-get install python3), or name it with python",
        )
    _, _, said = done.stdout.rpartition(_MARK)
    try:
        site = msgspec.json.decode(said, type=Site)
    except msgspec.MsgspecError:
        words = (done.stderr or done.stdout).decode(errors="replace")
        why = words.strip()[-1000:] or f"exit status {done.status}"
        raise _unknown(name, table, why) from None
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
        raise no_room(f"{where}: {site.cache}", site.free, _ROOM)
    check_clock(site.time, where)
    return site

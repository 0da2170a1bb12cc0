# SPDX-License-Identifier: GPL-2.0-only
"""The sandbox for a stranger's commands: bubblewrap and resource limits.

Building a kernel runs commands of its makefiles.  The sandbox has no network, no home, and only the
files of the system's programs and the paths that are named here.  It has its own /tmp and its own
user, PID, IPC and network namespaces.  Memory, processes and file sizes are limited; the caller
limits time.

:mod:`harness.source.trust` decides who is a stranger; this module is only the mechanism.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from harness.errors import MachineError
from harness.proc.environment import search_path

_GIB = 1 << 30
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d")
_TOOLS = ("gcc", "ld", "make", "ccache", "nm", "readelf", "addr2line", "sparse", "perl")
"""Programs that may be outside /usr."""
_TMP_BYTES = 4 * _GIB
_FILE_BYTES = 8 * _GIB
_OUTPUT_BYTES = _GIB // 8
_CELL = "kernel-selftest-harness-"
_CGROUPS = ("pids", "memory")
_MAKING_S = 60
"""A group without processes is not swept before this age."""
_NUMBERS = itertools.count()
_FORK = re.compile(
    r"(?:fork|clone3?|pthread_create).{0,60}Resource temporarily unavailable|[Cc]annot fork", re.I
)
_FILE = re.compile(r"File size limit exceeded")
_DENIED = re.compile(
    r"Read-only file system|Network is unreachable|Temporary failure in name resolution"
    r"|[Cc]ould not resolve host|Operation not permitted|Permission denied"
)
HINT = "read the series before you build it with your own rights: --trust own"


class Limits(msgspec.Struct, frozen=True):
    """Resource limits of a command in a sandbox, together with its children."""

    memory_bytes: int = msgspec.field(default_factory=lambda: max(4 * _GIB, _memory() * 3 // 4))
    processes: int = msgspec.field(
        default_factory=lambda: max(1024, 64 * len(os.sched_getaffinity(0)))
    )
    file_bytes: int = _FILE_BYTES
    output_bytes: int = _OUTPUT_BYTES
    """Of what it prints, which the harness reads and keeps."""


class Sandbox(msgspec.Struct, frozen=True):
    """The paths of this machine that a command may access, in addition to the system's programs."""

    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    """Below the readable ones or elsewhere."""
    limits: Limits = msgspec.field(default_factory=Limits)

    def argv(self, argv: Sequence[str], cwd: Path | None) -> list[str]:
        """Return the command line that runs *argv* in the sandbox, in *cwd* or in /tmp."""
        places: list[str] = []
        shown = dict.fromkeys((*files_elsewhere(*_TOOLS), *self.readable))
        for option, paths in (("--ro-bind", shown), ("--bind", self.writable)):
            for path in paths:
                places += [option, str(path), str(path)]
        limits = ["prlimit", "--core=0", f"--fsize={self.limits.file_bytes}"]
        limits.append(f"--as={self.limits.memory_bytes}")
        if os.getuid():
            # Counted in this user namespace alone.  The kernel exempts root: see Cell.
            limits.append(f"--nproc={self.limits.processes}")
        return [
            "bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent",
            "--new-session", "--cap-drop", "ALL", "--hostname", "sandbox",
            *_system(), "--proc", "/proc",
            "--dev", "/dev", "--size", str(_TMP_BYTES), "--tmpfs", "/dev/shm",
            "--size", str(_TMP_BYTES), "--tmpfs", "/tmp", "--symlink", "/tmp", "/var/tmp",
            *places, "--remount-ro", "/dev", "--remount-ro", "/",
            "--unsetenv", "TMPDIR", "--chdir", str(cwd or "/tmp"),
            "--", *limits, "--", *argv,
        ]  # fmt: skip


class Cell(msgspec.Struct, frozen=True):
    """A sandbox in use: the command in it, and the cgroup that counts its processes.

    Only a cgroup limits the processes of root, and all memory together; another user's processes
    are limited without one.
    """

    sandbox: Sandbox
    directories: tuple[Path, ...]

    @classmethod
    def open(cls, sandbox: Sandbox) -> Cell:
        """Prepare for a command; raises MachineError if its processes cannot be limited."""
        try:
            return cls(sandbox, tuple(_make_groups(sandbox.limits)))
        except OSError as error:
            if os.getuid():
                return cls(sandbox, ())
            raise unavailable(f"as root only a cgroup limits processes, and: {error}") from error

    def argv(self, argv: Sequence[str], cwd: Path | None) -> list[str]:
        """Return the command line that runs *argv* in the cell."""
        inside = self.sandbox.argv(argv, cwd)
        if not self.directories:
            return inside
        join = " && ".join(f'echo 0 >"${n}"' for n in range(1, len(self.directories) + 1))
        script = f'{join} && shift {len(self.directories)} && exec "$@"'
        files = [str(each / "cgroup.procs") for each in self.directories]
        return ["sh", "-c", script, "sh", *files, *inside]

    def exceeded(self) -> str:
        """Return which limit was reached; empty if none was."""
        for directory in self.directories:
            if _count(directory / "pids.events", "max"):
                return f"it started more than {self.sandbox.limits.processes} processes"
            oom = _count(directory / "memory.events", "oom_kill")
            if oom or _count(directory / "memory.oom_control", "oom_kill"):
                gib = self.sandbox.limits.memory_bytes / _GIB
                return f"it used more than {gib:.1f} GiB of memory"
        return ""

    def blamed(self, output: str) -> str:
        """Return which limit was reached according to the command's *output*; empty if none was."""
        if found := self.exceeded():
            return found
        if _FORK.search(output):
            return f"it started more than {self.sandbox.limits.processes} processes"
        if _FILE.search(output):
            return f"it wrote a file of more than {self.sandbox.limits.file_bytes / _GIB:.0f} GiB"
        return ""

    def close(self) -> None:
        """Remove the cgroup, once its processes have ended."""
        deadline = time.monotonic() + 5
        for directory in self.directories:
            while directory.exists() and time.monotonic() < deadline:
                with suppress(OSError):
                    directory.rmdir()
                    break
                time.sleep(0.02)


def unavailable(why: str) -> MachineError:
    """Return the error for a machine that cannot build a stranger's code."""
    return MachineError(
        "a stranger's code cannot be built: the sandbox does not work on this machine",
        why=why,
        hint=f"`harness doctor` says what to do; or {HINT}",
    )


def denied(line: str) -> bool:
    """Return whether a *line* of output reports something that the sandbox denied."""
    home = re.escape(str(Path.home()))
    missing = rf"(?:{home}|/home/|/root/)\S*.{{0,40}}No such file or directory"
    return bool(_DENIED.search(line) or re.search(missing, line))


def _system() -> Iterator[str]:
    """Yield bubblewrap options that expose the system's programs, and no files of a user."""
    yield from ("--ro-bind", "/usr", "/usr")
    for name in _SYSTEM:
        path = Path("/", name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    for name in _ETC:
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")


def files_elsewhere(*tools: str) -> Iterator[Path]:
    """Yield those of *tools* outside the system directories, and the files of a compiler.

    Only the tool itself, not its directory, which may be the user's own.
    """
    seen = tuple(Path("/", name) for name in ("usr", *_SYSTEM))
    for tool in tools:
        found = shutil.which(tool, path=search_path())
        for place in (Path(found), Path(found).resolve()) if found else ():
            if any(place.is_relative_to(each) for each in seen):
                continue
            yield place
            prefix = place.parent.parent
            for part in ("lib/gcc", "lib64/gcc", "libexec/gcc"):
                if "gcc" in place.name and (prefix / part).is_dir():
                    yield prefix / part


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _make_groups(limits: Limits) -> Iterator[Path]:
    """Make a cgroup with these limits in each hierarchy that has one of them."""
    mounts = _hierarchies()
    if "pids" not in mounts:
        raise OSError("no cgroup with the controller 'pids' is mounted")
    name = f"{_CELL}{os.getpid()}-{next(_NUMBERS)}"
    for mount in dict.fromkeys(mounts.values()):
        _sweep(mount)
        (mount / name).mkdir()
        yield mount / name
        for file, value in (
            ("pids.max", limits.processes),
            ("memory.max", limits.memory_bytes),
            ("memory.limit_in_bytes", limits.memory_bytes),
        ):
            if (mount / name / file).exists():
                (mount / name / file).write_text(str(value))


def _hierarchies() -> dict[str, Path]:
    """Return by controller where cgroups are mounted, of both versions."""
    found: dict[str, Path] = {}
    for row in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = row.split(" ")
        mount = Path(place)
        if kind == "cgroup":
            named = options.split(",")
        elif kind == "cgroup2" and (mount / "cgroup.subtree_control").is_file():
            # What the root passes on to groups below it.
            named = (mount / "cgroup.subtree_control").read_text().split()
        else:
            continue
        found |= {name: mount for name in _CGROUPS if name in named and name not in found}
    return found


def _sweep(mount: Path) -> None:
    """Remove the groups of runs that were killed.

    A process that is not here may be in another PID namespace, as in a container that shares these
    control groups; it needs its group a moment after it has made it.
    """
    for path in mount.glob(f"{_CELL}*"):
        pid = path.name.removeprefix(_CELL).partition("-")[0]
        with suppress(OSError):
            if not Path("/proc", pid).exists() and time.time() - path.stat().st_ctime > _MAKING_S:
                path.rmdir()


def _count(file: Path, name: str) -> int:
    with suppress(OSError, ValueError):
        for row in file.read_text().splitlines():
            key, _, value = row.partition(" ")
            if key == name:
                return int(value)
    return 0

# SPDX-License-Identifier: GPL-2.0-only
"""Running other programs: argv lists, a time limit, and no orphans.

Every child runs in a process group of its own, which is killed when its time is up, when the
caller is interrupted and, through ``setpriv --pdeathsig`` (util-linux, essential in Debian), when
the harness itself is killed: a build directory whose lock is free has no compiler at work in it.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import MachineError

PACKAGES = {
    "bc": "bc",
    "bison": "bison",
    "busybox": "busybox-static",
    "ccache": "ccache",
    "flex": "flex",
    "gcc": "gcc",
    "gzip": "gzip",
    "git": "git",
    "ld": "binutils",
    "make": "make",
    "rsync": "rsync",
    "apt-cache": "apt",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "tar": "tar",
    "xz": "xz-utils",
    "zstd": "zstd",
    "qemu-system-x86_64": "qemu-system-x86",
}
"""Debian package of each program that the harness runs, for the error that says one is missing."""

_TAIL_LINES = 400
_NO_SPACE = "No space left on device"
_NO_ROOM = 1 << 20
"""A disk with fewer free bytes than this is full."""


@dataclass(frozen=True)
class Completed:
    """A program that has ended."""

    argv: tuple[str, ...]
    status: int
    """Exit status; a death by signal N is -N."""
    output: str
    """Standard output and error together; the last 400 lines where there was a log file."""
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the program ended with status 0."""
        return self.status == 0


def which(program: str) -> str:
    """Return the path of *program*, or raise MachineError that names its Debian package."""
    path = shutil.which(program)
    if path is None:
        package = PACKAGES.get(program, program)
        raise MachineError(
            f"{program} is not installed",
            where=f"PATH={os.environ.get('PATH', '')}",
            hint=f"apt-get install {package} (`make setup` installs everything that is needed)",
        )
    return path


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    limit_s: float = 600,
    log: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Completed:
    """Run *argv* and return how it ended; a status other than 0 is the caller's to judge.

    *env* is added to this process's environment.  *log* receives all output (appended), *on_line*
    each line as it comes.  Raises MachineError when the program is missing, when *limit_s*
    seconds pass, and when it failed for want of disk space.
    """
    which(argv[0])
    start = time.monotonic()
    child = subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", "--", *argv],
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output = _collect(child, start + limit_s, log, on_line)
        status = child.wait(timeout=max(0.1, start + limit_s - time.monotonic()))
    except (TimeoutError, subprocess.TimeoutExpired):
        raise MachineError(
            f"{argv[0]} did not end within {limit_s:.0f} s and was killed",
            where=" ".join(argv),
            hint="raise the limit under [limits] in harness.toml if the machine is only slow",
        ) from None
    finally:
        kill_group(child)
    done = Completed(tuple(argv), status, output, time.monotonic() - start)
    if not done.ok and out_of_space(output, log, cwd):
        raise disk_full(str(log or cwd or argv[0]))
    return done


def out_of_space(output: str, *places: Path | None) -> bool:
    """Whether a program that failed has failed for want of disk space.

    Its *output* may say so; but git, for one, reports that a file could not be written and not
    why, so the file systems of *places* are asked as well.
    """
    return _NO_SPACE in output or any(_free(place) < _NO_ROOM for place in places if place)


def _free(place: Path) -> int:
    """Return the bytes that are free where *place* is or would be."""
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def disk_full(where: str) -> MachineError:
    """Return the error for a full disk at *where*."""
    return MachineError(
        "no space is left on the disk",
        where=where,
        hint="free some, or move the cache with HARNESS_CACHE=DIR",
    )


def check(done: Completed, what: str, *, hint: str = "") -> Completed:
    """Return *done*, or raise MachineError *what* with the program's last words."""
    if done.ok:
        return done
    raise MachineError(
        what,
        where=" ".join(done.argv),
        why="\n".join(done.output.splitlines()[-15:]) or f"exit status {done.status}",
        hint=hint,
    )


def _collect(
    child: subprocess.Popen[bytes],
    deadline: float,
    log: Path | None,
    on_line: Callable[[str], None] | None,
) -> str:
    assert child.stdout is not None  # noqa: S101  asked for above
    keep: deque[str] = deque(maxlen=_TAIL_LINES if log or on_line else None)
    partial = b""
    sink = log.open("ab") if log else None
    try:
        with selectors.DefaultSelector() as ready:
            ready.register(child.stdout, selectors.EVENT_READ)
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                if not ready.select(min(left, 1.0)):
                    continue
                chunk = os.read(child.stdout.fileno(), 1 << 16)
                if sink and chunk:
                    sink.write(chunk)
                lines = (partial + chunk).split(b"\n")
                partial = lines.pop()
                for raw in lines:
                    line = raw.decode(errors="replace")
                    keep.append(line)
                    if on_line:
                        on_line(line)
                if not chunk:
                    break
    finally:
        if sink:
            sink.close()
    if partial:
        keep.append(partial.decode(errors="replace"))
    return "\n".join(keep)


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """End whatever is left of the child's process group, and reap the child."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, sig)
        except ProcessLookupError:
            break
        try:
            child.wait(timeout=2)
        except subprocess.TimeoutExpired:
            continue
    if child.stdout:
        child.stdout.close()

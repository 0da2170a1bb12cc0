# SPDX-License-Identifier: GPL-2.0-only
"""Running other programs: argv lists, an allow-list of variables, a time limit, and no orphans.

No other module starts a process (a test sees to it).  What a child gets of the user's environment
is decided in :mod:`harness.proc.environment`.

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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from harness.errors import HarnessError, MachineError, UserError
from harness.foreign import disk_full, in_output
from harness.proc import environment
from harness.proc.packages import OF_PROGRAM, install
from harness.proc.sandbox import HINT, Cell, Limits, Sandbox, unavailable
from harness.proc.stop import current

_TAIL_LINES = 400
_LOOK_S = 0.5
"""Seconds between checks of a sandbox's limits: a program that cannot fork may try for ever."""
_LONGEST_LINE = 1 << 20
"""A longer line of a program in a sandbox is taken apart."""
_NO_ROOM = 1 << 20
"""A disk with fewer free bytes than this is full."""
_LITTLE_ROOM = 2 << 30
"""One with fewer was full for git, which then removes what it wrote: a tree of Linux is 1.4 GB."""


class Completed(msgspec.Struct, frozen=True):
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


class Captured(msgspec.Struct, frozen=True):
    """A program that has ended, with its two outputs apart."""

    argv: tuple[str, ...]
    status: int
    """Exit status; a death by signal N is -N."""
    stdout: bytes
    stderr: bytes

    @property
    def ok(self) -> bool:
        """Whether the program ended with status 0."""
        return self.status == 0


PIPE = subprocess.PIPE
Child = subprocess.Popen[bytes]
"""A process that :func:`start` has started."""


def find(program: str) -> str | None:
    """Return the path of *program*, None where it is not installed."""
    return shutil.which(program, path=environment.search_path())


def which(program: str) -> str:
    """Return the path of *program*, or raise MachineError that says how to install it."""
    path = find(program)
    if path is None:
        raise MachineError(
            f"{program} is not installed",
            where=f"PATH={environment.search_path()}",
            hint=f"{install(OF_PROGRAM.get(program, program))} "
            "(`make setup` installs everything that is needed)",
        )
    return path


def start(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.STDOUT,
    pass_fds: Collection[int] = (),
    on_death: signal.Signals = signal.SIGTERM,
) -> Child:
    """Start *argv* and return the process, which the caller ends with :func:`kill_group`.

    *env* is the whole environment, :func:`~harness.proc.environment.clean` where it is None.  The
    kernel sends *on_death* to the process when the thread that called this is gone.

    Raises MachineError when the program is missing.
    """
    which(argv[0])
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", on_death.name.removeprefix("SIG"), "--", *argv],
        cwd=cwd,
        env=environment.clean() if env is None else env,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
        start_new_session=True,
        # What is built must not depend on it, and has to be read by others in a guest.
        umask=0o022,
    )


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    limit_s: float = 600,
    log: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    sandbox: Sandbox | None = None,
) -> Completed:
    """Run *argv* and return how it ended; a status other than 0 is the caller's to judge.

    *env* is the whole environment, as of :func:`start`.  *log* receives all output (appended),
    *on_line* each line as it comes.  Raises MachineError when the program is missing, when
    *limit_s* seconds pass, and when it failed for want of disk space.

    With a *sandbox* the program is a stranger's: it sees no more than that, and a limit that it
    reaches is a UserError, time included.
    """
    begun = time.monotonic()
    with _confined(argv, cwd, sandbox) as (wrapped, place, cell):
        child = start(wrapped, cwd=place, env=env)
        try:
            output = _collect(child, begun + limit_s, log, on_line, cell)
            status = child.wait(timeout=max(0.1, begun + limit_s - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired):
            raise _too_long(argv, limit_s, cell) from None
        except _Exceeded as error:
            raise _stopped(argv, str(error)) from None
        finally:
            kill_group(child)
        if cell and status and (why := cell.blamed(output)):
            raise _stopped(argv, why)
    done = Completed(tuple(argv), status, output, time.monotonic() - begun)
    # What a stranger's program says of this machine is no evidence.
    if trouble := host_trouble("" if sandbox else output, log, cwd, status=status):
        raise trouble
    return done


class _Exceeded(Exception):
    """A program in a sandbox has reached a limit."""


@contextmanager
def _confined(
    argv: Sequence[str], cwd: Path | None, sandbox: Sandbox | None
) -> Iterator[tuple[Sequence[str], Path | None, Cell | None]]:
    """Give the command line that runs *argv* where it shall run, and its cell if it has one."""
    if sandbox is None:
        yield argv, cwd, None
        return
    which("bwrap")
    cell = Cell.open(sandbox)
    try:
        yield cell.argv(argv, cwd), None, cell
    finally:
        cell.close()


def why_no_sandbox() -> str:
    """Return why a sandbox does not work on this machine; empty if it does."""
    if find("bwrap") is None:
        return "bubblewrap is not installed"
    # A smaller number of processes than make needs, so that it can be seen to count.
    sandbox = Sandbox(limits=Limits(processes=64))
    try:
        done = run(["true"], limit_s=20, sandbox=sandbox)
    except HarnessError as error:
        return error.why or error.what
    return "" if done.ok else done.output.strip() or f"bwrap ended with status {done.status}"


def need_sandbox() -> None:
    """Raise MachineError, with --trust as the way out, where a sandbox does not work."""
    if why := why_no_sandbox():
        raise unavailable(why)


def capture(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    limit_s: float = 600,
    sandbox: Sandbox | None = None,
) -> Captured:
    """Run *argv* with *stdin* as its input and return how it ended and what it wrote.

    Otherwise as :func:`run`.  Raises MachineError when the program is missing, and when *limit_s*
    seconds pass.
    """
    source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
    with _confined(argv, cwd, sandbox) as (wrapped, place, cell):
        child = start(wrapped, cwd=place, env=env, stdin=source, stderr=subprocess.PIPE)
        try:
            stdout, stderr = _communicate(child, stdin or b"", limit_s, cell)
        except (TimeoutError, subprocess.TimeoutExpired):
            raise _too_long(argv, limit_s, cell) from None
        except _Exceeded as error:
            raise _stopped(argv, str(error)) from None
        finally:
            kill_group(child)
            for pipe in (child.stdin, child.stderr):
                if pipe:
                    pipe.close()
        if cell and child.returncode and (why := cell.blamed(stderr.decode(errors="replace"))):
            raise _stopped(argv, why)
    return Captured(tuple(argv), child.returncode, stdout, stderr)


def _stopped(argv: Sequence[str], why: str) -> UserError:
    return UserError(
        f"the sandbox killed {argv[0]}, which ran a stranger's code",
        where=" ".join(argv[:8]),
        why=why,
        hint=f"look at what the series does; {HINT}",
    )


def _communicate(
    child: Child, stdin: bytes, limit_s: float, cell: Cell | None
) -> tuple[bytes, bytes]:
    """Write *stdin* and return both outputs, once the child has ended.

    Raises TimeoutError, :class:`_Exceeded`, and whatever stops this thread.
    """
    outputs = [pipe.fileno() for pipe in (child.stdout, child.stderr) if pipe]
    told: dict[int, list[bytes]] = {output: [] for output in outputs}
    deadline = time.monotonic() + limit_s
    stop, source = current(), child.stdin
    count, at = 0, 0
    with selectors.DefaultSelector() as ready:
        for output in outputs:
            ready.register(output, selectors.EVENT_READ)
        if source is not None:
            os.set_blocking(source.fileno(), False)
            ready.register(source.fileno(), selectors.EVENT_WRITE)
        if stop is not None:
            ready.register(stop.fd, selectors.EVENT_READ)
        while outputs:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            for key, _ in ready.select(min(left, 1.0)):
                if stop is not None and key.fd == stop.fd:
                    stop.check()
                elif key.fd in told:
                    chunk = os.read(key.fd, 1 << 16)
                    told[key.fd].append(chunk)
                    count += len(chunk)
                    if not chunk:
                        ready.unregister(key.fd)
                        outputs.remove(key.fd)
                elif source is not None:
                    at = _feed(key.fd, stdin, at)
                    if at >= len(stdin):
                        ready.unregister(key.fd)
                        source.close()
            _check_size(count, cell)
    child.wait(timeout=max(0.1, deadline - time.monotonic()))
    stdout, stderr = (b"".join(chunks) for chunks in told.values())
    return stdout, stderr


def _feed(pipe: int, data: bytes, at: int) -> int:
    """Write what fits of *data* from *at* on; return where to go on.

    That is the end where the program has closed its input.
    """
    try:
        return at + os.write(pipe, data[at : at + (1 << 16)])
    except BlockingIOError:
        return at
    except BrokenPipeError:
        return len(data)


def _check_size(count: int, cell: Cell | None) -> None:
    """Raise :class:`_Exceeded` if a program in a sandbox has printed too much, *count* bytes."""
    if cell and count > cell.sandbox.limits.output_bytes:
        raise _Exceeded(f"it printed more than {cell.sandbox.limits.output_bytes >> 20} MiB")


def _too_long(argv: Sequence[str], limit_s: float, cell: Cell | None = None) -> HarnessError:
    if cell:
        return _stopped(argv, f"it did not end within {limit_s:.0f} s")
    return MachineError(
        f"{argv[0]} did not end within {limit_s:.0f} s and was killed",
        where=" ".join(argv),
        hint="raise the limit under [limits] in harness.toml if the machine is only slow",
    )


def host_trouble(output: str, *places: Path | None, status: int) -> HarnessError | None:
    """Return the error of the machine for which a program has failed; None where it has not.

    Its *output* may tell it; but git, for one, reports that a file could not be written and not
    why, so the file systems of *places* are asked whether there is space.
    """
    if status == 0:
        return None
    there = [place for place in places if place]
    enough = _LITTLE_ROOM if "unable to write file" in output else _NO_ROOM
    for place in there:
        if _free(place) < enough:
            return disk_full(place)
    if status == -signal.SIGXFSZ:
        output += "File size limit exceeded"  # as a shell says it
    return in_output(output, there[0] if there else "")


def _free(place: Path) -> int:
    """Return the free bytes of the file system of *place*, which need not exist."""
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


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
    child: Child,
    deadline: float,
    log: Path | None,
    on_line: Callable[[str], None] | None,
    cell: Cell | None,
) -> str:
    assert child.stdout is not None  # noqa: S101  asked for above
    keep: deque[str] = deque(maxlen=_TAIL_LINES if log or on_line else None)
    partial, count = b"", 0
    stop = current()
    sink = log.open("ab") if log else None
    look_at = 0.0
    try:
        with selectors.DefaultSelector() as ready:
            ready.register(child.stdout, selectors.EVENT_READ)
            if stop is not None:
                ready.register(stop.fd, selectors.EVENT_READ)
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                if cell and time.monotonic() >= look_at:
                    look_at = time.monotonic() + _LOOK_S
                    if why := cell.exceeded():
                        raise _Exceeded(why)
                if not ready.select(min(left, 1.0)):
                    continue
                if stop is not None:
                    stop.check()
                chunk = os.read(child.stdout.fileno(), 1 << 16)
                if sink and chunk:
                    sink.write(chunk)
                count += len(chunk)
                _check_size(count, cell)
                lines = (partial + chunk).split(b"\n")
                partial = lines.pop()
                if cell and len(partial) > _LONGEST_LINE:
                    lines.append(partial)
                    partial = b""
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


def kill_group(child: Child) -> None:
    """Kill the rest of the child's process group, and reap the child."""
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

# SPDX-License-Identifier: GPL-2.0-only
"""Errors of Python, the operating system and libraries, as errors of this project: the one map.

Where a room knows what it was doing, it says so with :func:`told`; what comes to the command line
without such words is translated there.  What has no translation is a fault of the harness.
"""

from __future__ import annotations

import errno
import os
import pwd
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CalledProcessError, TimeoutExpired
from typing import NamedTuple

from harness.errors import HarnessError, MachineError


class _Kind(NamedTuple):
    what: str
    hint: str


_MOVE = "free some, or move the cache with HARNESS_CACHE=DIR"
_ELSEWHERE = "HARNESS_CACHE=DIR moves the cache, --out DIR a run, TMPDIR=DIR temporary files"
_LOCAL = f"use a directory on a local disk: {_ELSEWHERE}"
_DENIED = _Kind("permission is denied", f"use directories of your own: {_ELSEWHERE}")
_FILES = _Kind("too many files are open", "raise the limit: ulimit -n 4096")
_PATH = _Kind(
    "a path cannot be used", "check what is at that path, and whether another program changes it"
)
_REMOTE = _Kind("the file system does not answer as it should", _LOCAL)

_KINDS = {
    errno.ENOSPC: _Kind("no space is left on the disk", _MOVE),
    errno.EDQUOT: _Kind("the disk quota is used up", _MOVE),
    errno.EFBIG: _Kind("a file has become larger than is allowed", "raise the limit: ulimit -f"),
    errno.EROFS: _Kind("the file system is read-only", _ELSEWHERE),
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.ENOMEM: _Kind("there is not enough memory", "run fewer guests at a time: --jobs 1"),
    errno.EAGAIN: _Kind("no further process can be started", "raise the limit: ulimit -u"),
    errno.EIO: _Kind("a disk or device has failed", "see the host's kernel log (dmesg)"),
    errno.ENOENT: _Kind(
        "a file or directory does not exist",
        "if it was removed while it was in use, run again; missing cache entries are built again",
    ),
    errno.ENAMETOOLONG: _Kind("a path is too long", f"use a shorter one: {_ELSEWHERE}"),
    errno.EPIPE: _Kind("the reader of a pipe has closed it", "run again"),
    errno.ENOEXEC: _Kind("a program cannot be run on this machine", "is it for another processor?"),
    **dict.fromkeys(
        (
            errno.ENOTDIR,
            errno.EISDIR,
            errno.ELOOP,
            errno.EEXIST,
            errno.ENOTEMPTY,
            errno.EBUSY,
            errno.ETXTBSY,
            errno.EXDEV,
            errno.ENXIO,
            errno.ENODEV,
            errno.EINVAL,
        ),
        _PATH,
    ),
    **dict.fromkeys(
        (
            errno.ESTALE,
            errno.ENOLCK,
            errno.ENOSYS,
            errno.EOPNOTSUPP,
            errno.ENOTCONN,
            errno.ETIMEDOUT,
            errno.EHOSTDOWN,
            errno.EREMOTEIO,
        ),
        _REMOTE,
    ),
}

_NO_WONDER = frozenset(
    (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.ESTALE,
    )
)
"""What is the machine's also where a path is concerned that the user has named."""

_OF_PROGRAMS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE)
"""What a program that failed may say, and only a machine is the cause of."""
_ALSO_SAID = {
    "File size limit exceeded": errno.EFBIG,
    # So git tells that one of its own programs got SIGXFSZ.
    f"died of signal {signal.SIGXFSZ.value}": errno.EFBIG,
}


def of_os(
    error: OSError,
    doing: str = "",
    where: str | Path = "",
    *,
    kind: type[HarnessError] = MachineError,
    hint: str = "",
) -> HarnessError:
    """Return *error* in four parts; *doing* says what cannot be done because of it.

    *where* is the path, if the error has none of its own or one that says less.  With UserError as
    the *kind*, a full disk and the like are a MachineError all the same, and *hint* says what to do
    about the rest.
    """
    number = error.errno or 0
    known = _KINDS.get(number, _Kind("a system call failed", ""))
    place = str(where or _path_of(error))
    why = error.strerror or str(error)
    if number in (errno.EACCES, errno.EPERM):
        why += _ownership(Path(_path_of(error) or place or "."))
    if kind is MachineError or number in _NO_WONDER:
        kind, hint = MachineError, known.hint
    if number == errno.ENOENT and not place:
        place, hint = "the current directory", "change to a directory that exists"
    return kind(f"{doing}: {known.what}" if doing else known.what, where=place, why=why, hint=hint)


def disk_full(where: str | Path) -> HarnessError:
    """Return the error for a full disk at *where*."""
    return of_os(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), where=where)


def in_output(output: str, where: str | Path) -> HarnessError | None:
    """Return the machine's error that a program told of in its *output*; None for none."""
    said = {os.strerror(number): number for number in _OF_PROGRAMS} | _ALSO_SAID
    for text, number in said.items():
        if text in output:
            return of_os(OSError(number, text), where=where)
    return None


@contextmanager
def told(
    doing: str,
    where: str | Path = "",
    *,
    kind: type[HarnessError] = MachineError,
    hint: str = "",
) -> Iterator[None]:
    """Turn an OSError of the block into an error that :func:`of_os` makes of these words."""
    try:
        yield
    except OSError as error:
        raise of_os(error, doing, where, kind=kind, hint=hint) from error


def translate(error: BaseException) -> HarnessError | None:
    """Return what *error* means to a user; None for a fault of the harness.

    Of a group, the first that has a meaning stands for all: the others followed from it.
    """
    import filelock
    import msgspec

    match error:
        case HarnessError():
            return error
        case BaseExceptionGroup():
            found = (translate(each) for each in error.exceptions)
            return next((each for each in found if each is not None), None)
        case filelock.Timeout():
            return MachineError(
                "a lock could not be acquired",
                where=error.lock_file,
                hint="wait for the run that holds it",
            )
        case OSError():
            if error.errno in (None, errno.EBADF, errno.EFAULT, errno.ECHILD):
                return None
            return of_os(error)
        case NotImplementedError() if "flock" in str(error) or "lock" in str(error):
            return MachineError(_REMOTE.what, why=str(error), hint=_LOCAL)
        case msgspec.MsgspecError():
            return MachineError(
                "a file that the harness wrote has been changed",
                why=str(error),
                hint="if it is in the cache, remove it; it will be created again",
            )
        case UnicodeError():
            return MachineError(
                "a text or a file name is not UTF-8",
                why=str(error),
                hint="write it in UTF-8, and set a UTF-8 locale: LC_ALL=C.UTF-8",
            )
        case CalledProcessError() | TimeoutExpired():
            return MachineError(
                "a program failed or took too long", where=str(error.cmd), why=str(error)
            )
        case MemoryError():
            return MachineError(_KINDS[errno.ENOMEM].what, hint=_KINDS[errno.ENOMEM].hint)
        case RuntimeError() if "home directory" in str(error):
            return MachineError(
                "there is no home directory",
                where=f"HOME={os.environ.get('HOME', '')}",
                why=str(error),
                hint="set HOME, or HARNESS_CACHE to a directory that you may write to",
            )
        case RuntimeError() if "start new thread" in str(error):
            return of_os(OSError(errno.EAGAIN, str(error)))
    return None


def _path_of(error: OSError) -> str:
    names = [name for name in (error.filename, error.filename2) if name is not None]
    return ", ".join(os.fsdecode(name) if isinstance(name, bytes) else str(name) for name in names)


def _ownership(path: Path) -> str:
    """Tell to which user the nearest thing at *path* belongs that can be looked at."""
    for place in (path, *path.parents):
        try:
            status = place.stat()
        except OSError:
            continue
        mode = status.st_mode & 0o7777
        return (
            f" ({place} belongs to {_user(status.st_uid)}, mode {mode:04o};"
            f" this user is {_user(os.geteuid())})"
        )
    return ""


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"

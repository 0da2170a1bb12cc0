# SPDX-License-Identifier: GPL-2.0-only
"""The files that a run leaves behind, and what stands in their places until it has ended.

A report of an earlier run that is still there would be taken for that of a run which was refused,
failed or was killed.  So the first thing that a run does is to put a JUnit report in its place that
says "cut off", which is an error, and to remove ``results.json``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import select
import stat
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError, UserError
from harness.foreign import told
from harness.model.results import Kernel, Machine, Results
from harness.report.formats import FORMATS
from harness.report.text import short

JUNIT = "junit"
_CUT_OFF = "the run was cut off before it could write its reports"
_READER_S = 30.0
"""Seconds in which the reader of a pipe has to take the next bytes, or to come at all."""
_IN_PLACE = (errno.EBUSY, errno.EACCES, errno.EPERM, errno.EROFS, errno.EXDEV)
"""Why a file cannot be replaced that may be written: it is a mount point, or its directory is not
the user's."""


@dataclass(frozen=True)
class Written:
    """Where the reports of a run are."""

    paths: Mapping[str, Path]
    """By the name of the format."""


class Reports:
    """The reports of one run, from its first moment to its end."""

    def __init__(self, junit: Path | None = None, command: Sequence[str] = ()) -> None:
        self.junit = junit
        """Where the JUnit report goes if not into the run's directory."""
        self._command = tuple(command)
        self._directory: Path | None = None
        self._whole = False

    @contextlib.contextmanager
    def kept_true(self) -> Iterator[None]:
        """Let no report say in the block, or after it, what is not the outcome of this run.

        Raises UserError at once where :attr:`junit` cannot be written.
        """
        if self.junit is not None:
            with _refused(self.junit):
                _check(self.junit)
                self._mark(self.junit, _CUT_OFF)
        try:
            yield
        except BaseException as error:
            if not self._whole:
                self.stopped(error)
            raise

    def begin_in(self, directory: Path) -> None:
        """Take note of the run's directory; what an earlier run reported there goes.

        Raises UserError where reports cannot be written there.
        """
        for path in _places(directory).values():
            with _refused(path):
                path.unlink(missing_ok=True)
        self._directory = directory
        if self.junit is None:
            path = _places(directory)[JUNIT]
            with _refused(path):
                self._mark(path, _CUT_OFF)

    def write(self, results: Results) -> Written:
        """Write all reports; MachineError where that fails."""
        assert self._directory is not None  # noqa: S101  the run's directory comes first
        written = write_reports(results, self._directory, self.junit)
        self._whole = True
        return written

    def stopped(self, error: BaseException) -> None:
        """Let the JUnit report say why there is no other, as far as that can be written."""
        if isinstance(error, KeyboardInterrupt):
            why = "the run was interrupted before it had a plan"
        else:
            why = str(error) or type(error).__name__
        place = self.junit or (_places(self._directory)[JUNIT] if self._directory else None)
        if place is not None:
            with contextlib.suppress(OSError, HarnessError):
                self._mark(place, why)

    def _mark(self, path: Path, why: str) -> None:
        """Write a report with one error; a pipe or device gets the report at the end alone."""
        if _kind_of(path) != _FILE:
            return
        unknown = Kernel(release="", source="", base_commit="")
        results = Results(
            run="",
            started="",
            interrupted=True,
            error=why,
            command=self._command,
            kernel=unknown,
            machine=Machine(),
        )
        _write(path, FORMATS[JUNIT].render(results, ""))


def write_reports(results: Results, directory: Path, junit: Path | None = None) -> Written:
    """Write every report that a run leaves into *directory*, the JUnit report to *junit* if given.

    Raises MachineError when a file cannot be written.
    """
    paths = _places(directory, junit)
    for name, path in paths.items():
        # A CI's job reads the JUnit report from where it runs, wherever the file is.
        beside = "" if name != JUNIT else short(directory, Path.cwd())
        write_report(path, FORMATS[name].render(results, beside))
    return Written(paths)


def _places(directory: Path, junit: Path | None = None) -> dict[str, Path]:
    """Return where the reports of the run in *directory* are, by the name of the format."""
    places = {name: directory / each.of_run for name, each in FORMATS.items() if each.of_run}
    return {**places, JUNIT: junit} if junit else places


def write_report(path: Path, data: bytes) -> None:
    """Write *data* to *path*; MachineError where that fails, and then no temporary file is left.

    A file is replaced, so that a reader sees the old one or the new one, never half; the directory
    is made if it is missing.  A link is followed: the file that it names is replaced.  A pipe or a
    character device is written to, and so is standard output or error, by whichever name.
    """
    with told("a report cannot be written", path):
        _write(path, data)


def is_stdout(path: Path | None) -> bool:
    """Whether *path* names what standard output goes to; the null device takes anything."""
    try:
        return path is not None and _kind_of(path) == 1 and not path.samefile(os.devnull)
    except OSError:
        return False


@contextlib.contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Raise UserError for a path that cannot be written; MachineError where the path is good."""
    with told(
        "a report cannot be written", path, kind=UserError, hint="name another file or directory"
    ):
        yield


_FILE, _SPECIAL = -1, -2


def _kind_of(path: Path) -> int:
    """Return what *path* is: a file that is there or not, a pipe or device, or 1 or 2.

    These are the descriptors of standard output and error, where *path* names what they go to.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return _FILE
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if stat.S_ISBLK(status.st_mode) or stat.S_ISSOCK(status.st_mode):
        raise OSError(errno.ENXIO, "a block device or socket is no place for it", str(path))
    for number in (1, 2):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(number), status):
                return number
    return _FILE if stat.S_ISREG(status.st_mode) else _SPECIAL


def _check(path: Path) -> None:
    """Raise OSError where *path* is a pipe or device that this user may not write to."""
    if _kind_of(path) == _SPECIAL and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def _write(path: Path, data: bytes) -> None:
    kind = _kind_of(path)
    if kind == _FILE:
        # Not Path.resolve(), which raises RuntimeError for a link to itself.
        _replace(Path(os.path.realpath(path, strict=False)), data)
    elif kind == _SPECIAL:
        handle = _open_special(path)
        try:
            _pour(handle, data)
        finally:
            os.close(handle)
    else:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        _pour(kind, data)


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.fchmod(handle, stat.S_IMODE(path.stat().st_mode))
            _pour(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        if error.errno not in _IN_PLACE or not path.is_file() or not os.access(path, os.W_OK):
            raise
        # A file that is cut off here does not parse, so it is not taken for a good report.
        path.write_bytes(data)


def _open_special(path: Path) -> int:
    """Open a pipe or device; a pipe has until the limit to be opened by a reader."""
    end = time.monotonic() + _READER_S
    while True:
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO or not path.is_fifo():
                raise
            if time.monotonic() > end:
                why = f"the pipe was not opened for reading within {_READER_S:.0f} s"
                raise OSError(errno.ENXIO, why, str(path)) from None
        time.sleep(0.05)


def _pour(handle: int, data: bytes) -> None:
    """Write all of *data*; OSError where a reader takes nothing for as long as the limit."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(handle, left) :]
        except BlockingIOError:
            if not select.select([], [handle], [], _READER_S)[1]:
                why = f"the reader took nothing for {_READER_S:.0f} s"
                raise OSError(errno.ETIMEDOUT, why) from None

# SPDX-License-Identifier: GPL-2.0-only
"""The report files of a run, and their placeholders until the run has ended.

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
from pathlib import Path

import msgspec

from harness.errors import ExitCode, HarnessError, UserError
from harness.foreign import told
from harness.model.results import Kernel, Machine, Results
from harness.report.formats import FORMATS, View
from harness.report.text import short

JUNIT = "junit"
PAGE = "html"
SUMMARY = "markdown"
_CUT_OFF = "the run was cut off before it could write its reports"
_READER_S = 30.0
"""Seconds in which the reader of a pipe has to take the next bytes, or to come at all."""
_IN_PLACE = (errno.EBUSY, errno.EACCES, errno.EPERM, errno.EROFS, errno.EXDEV)
"""Why a file cannot be replaced that may be written: it is a mount point, or its directory is not
the user's."""


class Written(msgspec.Struct, frozen=True):
    """Where the reports of a run are."""

    paths: Mapping[str, Path]
    """By the name of the format."""
    note: str = ""
    """Why the summary could not be added to the page of the CI's job."""


class Reports:
    """The reports of one run, from its start to its end."""

    def __init__(
        self,
        junit: Path | None = None,
        command: Sequence[str] = (),
        *,
        summary: Path | None = None,
        job_page: Path | None = None,
    ) -> None:
        """*summary* is where a summary in Markdown goes; to *job_page* it is appended as well.

        Neither is wanted where it is None.
        """
        self.junit = junit
        """The path of the JUnit report, if it is not in the run's directory."""
        named = {JUNIT: junit, SUMMARY: summary if summary != job_page else None}
        self._named = {name: path for name, path in named.items() if path is not None}
        self._job_page = job_page
        self._command = tuple(command)
        self._directory: Path | None = None
        self._whole = False

    @property
    def on_stdout(self) -> bool:
        """Whether a report goes to standard output, where nothing else must go then."""
        return any(is_stdout(path) for path in self._named.values())

    @contextlib.contextmanager
    def kept_true(self) -> Iterator[None]:
        """Let no report say in the block, or after it, what is not the outcome of this run.

        Raises UserError at once where :attr:`junit` cannot be written.
        """
        for name, path in self._named.items():
            with _refused(path):
                _check(path)
                self._mark(name, path, _CUT_OFF)
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
                self._mark(JUNIT, path, _CUT_OFF)

    def write(self, results: Results) -> Written:
        """Write all reports; MachineError where that fails."""
        assert self._directory is not None  # noqa: S101  the run's directory comes first
        written = write_reports(results, self._directory, **self._named)
        self._whole = True
        if self._job_page is not None:
            page = FORMATS[SUMMARY].render(results, _of_job(self._directory))
            try:
                _append(self._job_page, page)
            except HarnessError as error:
                # It was not asked for; a container may have the variable without the file.
                return msgspec.structs.replace(written, note=f"{error.what}: {error.where}")
        return written

    def stopped(self, error: BaseException) -> None:
        """Write reports with the reason why there is no other one, as far as possible."""
        code = error.exit_code if isinstance(error, HarnessError) else ExitCode.MACHINE
        if isinstance(error, KeyboardInterrupt):
            why, code = "the run was interrupted before it had a plan", ExitCode.INTERRUPTED
        else:
            why = str(error) or type(error).__name__
        places = {JUNIT: _places(self._directory)[JUNIT]} if self._directory else {}
        for name, path in (places | self._named).items():
            with contextlib.suppress(OSError, HarnessError):
                self._mark(name, path, why, code)
        # Only once, because the page is only appended to.
        page, self._job_page = self._job_page, None
        if page is not None:
            with contextlib.suppress(OSError, HarnessError):
                _append(page, FORMATS[SUMMARY].render(self._nothing(why, code), View()))

    def _mark(self, name: str, path: Path, why: str, code: ExitCode = ExitCode.MACHINE) -> None:
        """Write a report with one error; a pipe or device gets the report at the end alone."""
        if _kind_of(path) != _FILE:
            return
        _write(path, FORMATS[name].render(self._nothing(why, code), View()))

    def _nothing(self, why: str, code: ExitCode) -> Results:
        """Return empty results for a run without a plan."""
        return Results(
            run="",
            started="",
            interrupted=True,
            error=why,
            error_code=int(code),
            command=self._command,
            kernel=Kernel(release="", source="", base_commit=""),
            machine=Machine(),
        )


def write_reports(results: Results, directory: Path, **named: Path) -> Written:
    """Write every report that a run leaves into *directory*, or to the path *named* for its format.

    Raises MachineError when a file cannot be written.
    """
    paths = _places(directory) | named
    for name, path in paths.items():
        view = View() if name not in named and name != JUNIT else _of_job(directory)
        write_report(path, FORMATS[name].render(results, view))
    return Written(paths)


def _places(directory: Path) -> dict[str, Path]:
    """Return where the reports of the run in *directory* are, by the name of the format."""
    return {name: directory / each.of_run for name, each in FORMATS.items() if each.of_run}


def _of_job(directory: Path) -> View:
    """Return the view of a CI's job, which reads reports from where it runs."""
    return View(short(directory, Path.cwd()))


def _append(path: Path, data: bytes) -> None:
    """Append *data* to the file at *path*; MachineError where that fails."""
    with told("the summary cannot be written", path), path.open("ab") as file:
        file.write(data)


def write_report(path: Path, data: bytes) -> None:
    """Write *data* to *path*; MachineError where that fails, and then no temporary file is left.

    A file is replaced, so that a reader sees the old one or the new one, never half; the directory
    is made if it is missing.  A link is followed: the file that it names is replaced.  A pipe or a
    character device is written to, and so is standard output or error, by whichever name.
    """
    with told("a report cannot be written", path):
        _write(path, data)


def is_stdout(path: Path) -> bool:
    """Whether *path* names what standard output goes to; the null device takes anything."""
    try:
        return _kind_of(path) == 1 and not path.samefile(os.devnull)
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
        raise OSError(errno.ENXIO, "it cannot be written to a block device or socket", str(path))
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

# SPDX-License-Identifier: GPL-2.0-only
"""A worker on this machine, connected by two pipes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.digest import DigestingSink, Write
from harness.proc import environment
from harness.proc.process import PIPE, kill_group, start

_LAST_WORDS = 4096


class PipeLink:
    """The link to a worker that *argv* starts, with *env* besides what every program gets.

    The worker dies with the thread that makes this.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self._errors = tempfile.TemporaryFile(prefix="harness-worker-")  # noqa: SIM115 (closed)
        self._process = start(
            argv,
            env=environment.clean() | dict(env),
            stdin=PIPE,
            stdout=PIPE,
            stderr=self._errors,
        )
        assert self._process.stdin is not None  # noqa: S101  asked for
        assert self._process.stdout is not None  # noqa: S101  asked for
        self._to, self._from = self._process.stdin, self._process.stdout

    @property
    def pid(self) -> int:
        """The worker's process."""
        return self._process.pid

    def read(self, size: int) -> bytes:
        """Return at most *size* bytes; none where the worker is gone."""
        try:
            return os.read(self._from.fileno(), size)
        except (OSError, ValueError):
            return b""

    def write(self, data: bytes) -> None:
        """Send all of *data*; raises OSError where the worker is gone."""
        try:
            self._to.write(data)
            self._to.flush()
        except ValueError as error:
            raise BrokenPipeError(str(error)) from None

    def put(self, write: Write, name: str) -> DigestingSink:
        """Write the file *name*."""
        with Path(name).open("wb") as file:
            sink = DigestingSink(file)
            write(sink)
        return sink

    def close(self) -> None:
        """End the worker."""
        kill_group(self._process)

    def last_words(self) -> str:
        """Return the end of what the worker wrote to standard error."""
        if self._errors.closed:
            return ""
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), _LAST_WORDS, max(0, size - _LAST_WORDS)).decode(
            errors="replace"
        )

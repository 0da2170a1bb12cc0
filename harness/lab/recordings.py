# SPDX-License-Identifier: GPL-2.0-only
"""Recording attempts, so that they can be replayed to the same end.

A directory of the run holds them:

    logs/=replay/KERNEL/TEST.N/   the recording of attempt N (harness/guest/record.py)
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from harness.errors import MachineError
from harness.foreign import of_os
from harness.guest import snapshot
from harness.guest.record import Recorder
from harness.lab.templates import Template
from harness.model.events import Guest
from harness.model.logfiles import LOGS, file_name

REPLAY = Path(LOGS, "=replay")
"""The directory, relative to that of a run."""


class Recordings(msgspec.Struct, frozen=True):
    """Records attempts on one kernel."""

    out: Path
    """The run's directory."""
    kernel: str
    """The kernel's name in the run."""
    vmlinux: Path
    """The kernel with its symbols."""

    def path(self, test: str, attempt: int) -> Path:
        """Return where an attempt is recorded, relative to the run's directory."""
        below = file_name(self.kernel) if self.kernel else "="
        return REPLAY / below / f"{file_name(test)}.{attempt}"

    @contextlib.asynccontextmanager
    async def guest(self, template: Template, test: str, attempt: int) -> AsyncIterator[Guest]:
        """Have a guest from *template* in which an attempt at *test* is recorded.

        Raises MachineError where there is none.
        """
        if template.saved is None:
            raise MachineError("a guest that has no snapshot cannot be recorded", where=test)
        directory = self.out / self.path(test, attempt)
        try:
            # What an earlier try at the same attempt has left.
            if directory.exists():
                shutil.rmtree(directory)
            directory.mkdir(parents=True)
        except OSError as error:
            raise of_os(error, "a recording cannot be made", directory) from error
        about = {
            "test": test,
            "attempt": str(attempt),
            "kernel": self.kernel,
            "vmlinux": str(self.vmlinux),
            "build_id": template.hello.build_id.hex(),
            "snapshot": str(template.saved.directory),
        }
        with tempfile.TemporaryDirectory(prefix="harness-record-") as scratch:
            memory = snapshot.memory_files(template.saved)
            recorder = Recorder(directory.resolve(), Path(scratch, "gdb"), memory, about)
            async with await snapshot.restore(template.saved, recorder=recorder) as guest:
                yield guest

# SPDX-License-Identifier: GPL-2.0-only
"""One attempt at a test, in a guest of its own."""

from __future__ import annotations

import time
from pathlib import PurePosixPath

from harness.lab.templates import GUEST_ROOT
from harness.model.events import Command
from harness.model.plan import PlannedTest

_ENVIRONMENT = (
    ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("TERM", "dumb"),
    # What waits in a buffer at a fork() would be written twice.
    ("PYTHONUNBUFFERED", "1"),
)


def command_of(test: PlannedTest, seed: str, limit_s: float) -> Command:
    """Return what runs *test*, from now on by the guest's clock; *seed* is in hex."""
    directory = f"/{GUEST_ROOT}/{test.suite}"
    return Command(
        argv=(f"{directory}/{test.path}",),
        timeout_s=limit_s,
        seed=bytes.fromhex(seed),
        wall_clock_ns=time.time_ns(),
        env=_ENVIRONMENT,
        # As the kernel's own runner does: scripts call what lies beside them.
        cwd=str(PurePosixPath(directory, test.path).parent),
        # An assertion goes to standard error and its "not ok" to standard output: only one
        # pipe keeps them in order.
        merge_output=True,
    )

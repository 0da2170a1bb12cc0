# SPDX-License-Identifier: GPL-2.0-only
"""The command as a user calls it, and what it leaves behind."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.model import results
from harness.model.results import Results

LIMIT_S = 3000
"""Seconds; a kernel may have to be built.  It only ends what does not end."""


def harness(directory: Path, *arguments: str) -> tuple[int, str]:
    """Run the command in *directory*; return its exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert "Traceback" not in done.stdout, done.stdout
    return done.returncode, done.stdout


def read(out: Path) -> Results:
    """Return the results of the run in *out*."""
    return results.decode((out / "results.json").read_bytes())


def qemu_release() -> tuple[int, ...]:
    """Return the release of the QEMU of this machine; nothing without one."""
    try:
        said = subprocess.check_output(["qemu-system-x86_64", "--version"], text=True)
    except FileNotFoundError:
        return ()
    found = re.search(r"version (\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else ()


REPLAYS = qemu_release() < (10,)
"""Whether QEMU can replay a recording: docs/failures.md."""
needs_replay = pytest.mark.skipif(not REPLAYS, reason="QEMU 10 does not end a replay")

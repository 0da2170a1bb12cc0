# SPDX-License-Identifier: GPL-2.0-only
"""Builds the agent with the host's compiler, as a static program."""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness.errors import MachineError

SOURCES = Path(__file__).with_name("agent")
FLAGS = ("-static", "-O2", "-Wall", "-Wextra", "-Werror")
_LIMIT_S = 120


def source_files() -> list[Path]:
    """Return the agent's source files: with compiler and flags they are its identity."""
    return sorted(SOURCES.glob("*.[ch]"))


def build_agent(out: Path, compiler: str = "gcc") -> Path:
    """Compile the agent to *out* and return that.

    Raises :class:`MachineError` with the compiler's words when that does not work.
    """
    sources = [str(path) for path in source_files() if path.suffix == ".c"]
    command = [compiler, *FLAGS, "-o", str(out), *sources]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except FileNotFoundError as e:
        raise MachineError(
            "no C compiler for the guest's agent",
            where=compiler,
            hint="on Debian: apt install gcc libc6-dev",
        ) from e
    except subprocess.TimeoutExpired as e:
        raise MachineError(
            "the compiler hangs", where=" ".join(command), why=f"no end within {_LIMIT_S} s"
        ) from e
    if done.returncode:
        raise MachineError(
            "the guest's agent does not compile",
            where=" ".join(command),
            why=done.stderr[-2000:],
            hint="it needs the static C library: on Debian, apt install libc6-dev",
        )
    return out

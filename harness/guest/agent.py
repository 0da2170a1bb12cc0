# SPDX-License-Identifier: GPL-2.0-only
"""Builds the agent with the host's compiler, as a static program."""

from __future__ import annotations

from pathlib import Path

from harness.errors import MachineError
from harness.proc.process import find, run

SOURCES = Path(__file__).with_name("agent")
FLAGS = ("-static", "-pthread", "-O2", "-Wall", "-Wextra", "-Werror")
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
    if find(compiler) is None:
        raise MachineError(
            "no C compiler for the guest's agent",
            where=compiler,
            hint="on Debian: apt install gcc libc6-dev",
        )
    done = run(command, limit_s=_LIMIT_S)
    if not done.ok:
        raise MachineError(
            "the guest's agent does not compile",
            where=" ".join(command),
            why=done.output[-2000:],
            hint="it needs the static C library: on Debian, apt install libc6-dev",
        )
    return out

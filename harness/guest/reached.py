# SPDX-License-Identifier: GPL-2.0-only
"""The plugin with which QEMU notes what code a guest has reached; ``plugin/reached.c`` is it."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from harness.errors import MachineError
from harness.guest.machine import escaped
from harness.proc.process import find, run

SOURCE = Path(__file__).with_name("plugin") / "reached.c"
FLAGS = ("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden")
_LIMIT_S = 120


def build_plugin(source: Path, out: Path, compiler: str = "gcc") -> Path:
    """Compile the plugin in *source* to *out* and return that.

    Raises :class:`MachineError` with the compiler's words when that does not work.
    """
    command = [compiler, *FLAGS, "-o", str(out), str(source)]
    if find(compiler) is None:
        raise MachineError(
            "no C compiler for the plugin that watches guests",
            where=compiler,
            hint="on Debian: apt install gcc libc6-dev",
        )
    done = run(command, limit_s=_LIMIT_S)
    if not done.ok:
        raise MachineError(
            "the plugin that watches guests does not compile",
            where=" ".join(command),
            why=done.output[-2000:],
        )
    return out


def encode_ranges(ranges: Iterable[tuple[int, int]]) -> bytes:
    """Return the plugin's file of *ranges*, which are sorted and do not overlap.

    A range is its first address and the one behind its last.
    """
    return b"".join(struct.pack("=QQ", start, end) for start, end in ranges)


def plugin_argv(plugin: Path, ranges: Path, hits: Path) -> tuple[str, ...]:
    """Return what QEMU's command line needs to watch the file *ranges*.

    *hits* must be there, with a byte 0 for each range: those that are reached become 1.
    """
    parts = {"file": plugin, "map": ranges, "out": hits}
    return "-plugin", ",".join(f"{name}={escaped(str(path))}" for name, path in parts.items())

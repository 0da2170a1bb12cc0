# SPDX-License-Identifier: GPL-2.0-only
"""Measurements around an attempt besides its outcome: the changed lines that it ran.

A directory holds all of it, so that a run that was killed, taken up again or rendered once more
has the same coverage:

    logs/=coverage/code.json    a CodeMap: the addresses of lines, and the lines of patches
    logs/=coverage/ranges       the same addresses for QEMU's plugin
    logs/=coverage/hits/TEST.N  one byte for each address, of attempt N at a test
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import msgspec

from harness.context import Context
from harness.digest import digest
from harness.guest import reached
from harness.model.cost import FunctionCost
from harness.model.coverage import CodeMap, Coverage, evaluate
from harness.model.logfiles import LOGS, file_name
from harness.model.metrics import Metric

COVERAGE = Path(LOGS, "=coverage")
"""The directory, relative to that of a run."""
PLUGIN = "plugin"
"""The kind of entry that holds QEMU's plugin."""
_CODE, _RANGES, _HITS = "code.json", "ranges", "hits"
_NUMBERED = re.compile(r"^(?P<name>.*)\.\d+$")


class Seen(msgspec.Struct, frozen=True):
    """What was measured of an attempt; paths are relative to the run's directory."""

    metrics: tuple[Metric, ...] = ()
    faults: tuple[str, ...] = ()
    """Figures that could not be measured, with the reason."""
    functions: tuple[FunctionCost, ...] = ()
    folded: str = ""
    graph: str = ""


class Probe(Protocol):
    """Measures something during each attempt, through QEMU."""

    def let_go(self, test: str, attempt: int) -> Callable[[], None] | None:
        """Return what lets the guest go that waits for its command without a step, if it does."""
        ...

    def qemu_argv(self, test: str, attempt: int) -> tuple[str, ...]:
        """Return what the command line of QEMU needs for an attempt at *test*."""
        ...

    def seen(self, test: str, attempt: int) -> Seen:
        """Return what was measured of an attempt whose guest is gone."""
        ...


class LineProbe(msgspec.Struct, frozen=True):
    """Watches which lines of a :class:`CodeMap` attempts run, under QEMU's TCG."""

    directory: Path
    plugin: Path
    points: int

    def qemu_argv(self, test: str, attempt: int) -> tuple[str, ...]:
        """Return what the command line of QEMU needs for an attempt at *test*.

        What an earlier try at the same attempt has left is forgotten.
        """
        if not self.points:
            return ()
        hits = self.directory / _HITS / f"{file_name(test)}.{attempt}"
        hits.write_bytes(bytes(self.points))
        return reached.plugin_argv(self.plugin, self.directory / _RANGES, hits)

    def let_go(self, test: str, attempt: int) -> None:
        """Return nothing: the guest wakes at once."""

    def seen(self, test: str, attempt: int) -> Seen:
        """Return nothing: what lines were run is read when all tests have ended."""
        return Seen()


def compiled(source: Path, context: Context) -> Path:
    """Return the plugin of QEMU that *source* is the code of, compiled if need be.

    Raises MachineError where it cannot be compiled.
    """
    key = digest(source.read_bytes(), " ".join(reached.FLAGS))
    name = source.with_suffix(".so").name

    def compile_plugin(out: Path) -> None:
        reached.build_plugin(source, out / name)

    return context.obtain(PLUGIN, key, compile_plugin) / name


def start(directory: Path, code: CodeMap, context: Context) -> LineProbe:
    """Return a probe that keeps what it sees in *directory*, which is made if need be.

    Raises MachineError where the plugin cannot be compiled.
    """
    plugin = compiled(reached.SOURCE, context)
    (directory / _HITS).mkdir(parents=True, exist_ok=True)
    (directory / _CODE).write_bytes(msgspec.json.encode(code))
    (directory / _RANGES).write_bytes(reached.encode_ranges(code.points))
    return LineProbe(directory.resolve(), plugin, len(code.points))


def read(directory: Path, planned: Iterable[str], ran: Iterable[str]) -> Coverage | None:
    """Return what is known in *directory* of the tests *planned*; None if nothing was measured.

    Only of those that *ran* is it known what they reached: a guest that did not come up has reached
    nothing either.
    """
    try:
        code = msgspec.json.decode((directory / _CODE).read_bytes(), type=CodeMap)
    except FileNotFoundError:
        return None
    files: dict[str, list[Path]] = {}
    for path in sorted((directory / _HITS).iterdir()):
        if numbered := _NUMBERED.match(path.name):
            files.setdefault(numbered["name"], []).append(path)
    hits: dict[str, bytes] = {}
    for name in ran:
        whole = [
            data
            for path in files.get(file_name(name), ())
            if len(data := path.read_bytes()) == len(code.points)
        ]
        if whole or not code.points:
            hits[name] = bytes(map(any, zip(*whole, strict=True)))
    return evaluate(code, hits, planned)

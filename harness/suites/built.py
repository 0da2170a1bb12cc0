# SPDX-License-Identifier: GPL-2.0-only
"""Suites that are built, as the store has them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.store import Store


class Program(msgspec.Struct, frozen=True):
    """A program that was built."""

    name: str
    """As in the test's name: the file's name without its directory."""
    path: str
    """Relative to the suite's directory."""
    interpreter: str = ""
    """The interpreter of a script: ``sh``, ``python3``, …"""


class BrokenProgram(msgspec.Struct, frozen=True):
    """A program that cannot be run, or a file that is listed and cannot be packed."""

    name: str
    reason: str
    """What is wrong, such as "does not build" with the first error."""


class Meta(msgspec.Struct, frozen=True):
    """The metadata of a suite's entry."""

    timeout_s: float | None
    programs: tuple[Program, ...]
    broken: tuple[BrokenProgram, ...]


class Suite(msgspec.Struct, frozen=True):
    """A built suite in the store."""

    key: str
    name: str
    path: Path
    timeout_s: float | None
    """From its ``settings`` file; 0 means no limit, None that the file has none."""
    programs: tuple[Program, ...]
    broken: tuple[BrokenProgram, ...]

    @property
    def files(self) -> Path:
        """The directory that goes into the guest."""
        return self.path / "files"

    @property
    def root(self) -> Path:
        """Other files that the programs need, in their places below ``/`` in a sealed guest."""
        return self.path / "root"

    @property
    def beside(self) -> Path:
        """Files beside the suite that its scripts call, placed below ``/`` in any guest."""
        return self.path / "beside"

    @property
    def build_log(self) -> Path:
        """Everything that make printed."""
        return self.path / "build.log"


def barred(suite: Suite, reason: str) -> Suite:
    """Return *suite* with each of its programs an error for this *reason*."""
    refused = (BrokenProgram(program.name, reason) for program in suite.programs)
    return msgspec.structs.replace(suite, programs=(), broken=(*refused, *suite.broken))


def load(store: Store, key: str, name: str) -> Suite | None:
    """Return the suite *name* that was built before under *key*, if the store still has it."""
    path = store.find("suite", key)
    try:
        return read_suite(key, name, path) if path else None
    except msgspec.MsgspecError:
        return None  # of another release


def read_suite(key: str, name: str, path: Path) -> Suite:
    meta = msgspec.json.decode((path / "suite.json").read_bytes(), type=Meta)
    return Suite(key, name, path, meta.timeout_s, meta.programs, meta.broken)

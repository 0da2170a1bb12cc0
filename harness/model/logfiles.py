# SPDX-License-Identifier: GPL-2.0-only
"""The names of log files: one for each test, whatever characters its name has.

    logs/kernel-build.log             what make printed for the kernel
    logs/SUITE/PROGRAM.output.log     PROGRAM.N.output.log for attempt N of several
    logs/SUITE/PROGRAM.kernel.log
    logs/SUITE/PROGRAM=N.output.log   of attempt N, where one was planned and more were needed
    logs/SUITE/=boot.kernel.log       of the guest's boot; =boot.2… of another guest
    logs/SUITE/=boot=PROGRAM.kernel.log   of a test's own boot, where the kernel complained in it
    logs/SUITE/build.log
    logs/=coverage/                   of a run with --coverage (harness/lab/probes.py)
    logs/@KERNEL/...              the same of each kernel, where a run has several

A name of letters, digits and ``_ + . -`` stays as it is.  Every other byte of its UTF-8 form is
written as ``=`` and two hex digits, and so are a dot or a dash at the beginning.  A name that is
too long for a file keeps its beginning; ``~`` and a digest take the place of the rest.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from harness.model.ids import ONLY, KernelName
from harness.model.plan import Group, PlannedTest
from harness.model.results import Logs

LOGS = "logs"
KERNEL_BUILD = "kernel-build.log"
"""In that directory: no suite has a directory of this name."""
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-")
_NOT_FIRST = frozenset(b".-")
_MOST = 128
"""Bytes of a mapped name; with a number and ``.output.log`` it fits into 143, the least that a file
system in use on Linux allows (eCryptfs)."""
_HASH = 32
"""Hex digits of the digest."""


def file_name(name: str) -> str:
    """Return a file name of at most 128 bytes for *name*; two names never have the same one."""
    # Bytes of a file name that are not UTF-8 come as such surrogates.
    raw = name.encode("utf-8", "surrogateescape")
    mapped = "".join(
        chr(byte) if byte in _PLAIN and not (at == 0 and byte in _NOT_FIRST) else f"={byte:02X}"
        for at, byte in enumerate(raw)
    )
    return mapped if len(mapped) <= _MOST else _digested(mapped, raw)


def file_names(names: Iterable[str], taken: Iterable[str] = ()) -> Mapping[str, str]:
    """Return the file name of each of *names*, different also where the case of letters is not.

    Names that differ in case only get a digest, because there are file systems that ignore case.
    So does one whose file would be one of those *taken*.
    """
    mapped = {name: file_name(name) for name in names}
    alike = Counter(each.casefold() for each in (*mapped.values(), *taken))
    return {
        name: each if alike[each.casefold()] == 1 else _digested(each, each.encode())
        for name, each in mapped.items()
    }


def kernel_build_log(kernel: KernelName = ONLY) -> Path:
    """Return where the log of a kernel's build is, relative to the run's directory."""
    return _below(kernel) / KERNEL_BUILD


def build_logs(suites: Iterable[str], kernel: KernelName = ONLY) -> Mapping[str, Path]:
    """Return for each suite where its build log is, relative to the run's directory."""
    return {name: each / "build.log" for name, each in _directories(suites, kernel).items()}


def _directories(suites: Iterable[str], kernel: KernelName) -> Mapping[str, Path]:
    below = _below(kernel)
    return {name: below / each for name, each in file_names(suites, (KERNEL_BUILD,)).items()}


def _below(kernel: KernelName) -> Path:
    """Return the directory for the logs of a kernel; no suite's has a name with an ``@``."""
    return Path(LOGS, f"@{kernel}") if kernel else Path(LOGS)


class LogNames(Protocol):
    """Says what logs are called, relative to a directory."""

    def of(self, test: PlannedTest, attempt: int) -> Logs:
        """Return the log files of an attempt at *test*."""
        ...

    def boot_of(self, test: PlannedTest, attempt: int) -> str:
        """Return where the log of the boot is, where an attempt at *test* has one of its own."""
        ...

    def boot(self, group: Group) -> str:
        """Return where the log of the boot of the guest for *group* is."""
        ...


class LogFiles:
    """Where the logs of planned tests are, relative to the run's directory."""

    def __init__(
        self, tests: Iterable[PlannedTest], *, repeated: bool, kernel: KernelName = ONLY
    ) -> None:
        self._repeated = repeated
        self._groups: dict[str, list[Group]] = {}
        programs: dict[str, list[str]] = {}
        for test in tests:
            programs.setdefault(test.suite, []).append(test.program)
            groups = self._groups.setdefault(test.suite, [])
            if test.group not in groups:
                groups.append(test.group)
        self._suites = _directories(programs, kernel)
        self._programs = {suite: file_names(names) for suite, names in programs.items()}

    def of(self, test: PlannedTest, attempt: int) -> Logs:
        """Return the log files of an attempt at *test*."""
        base = self._programs[test.suite][test.program]
        if self._repeated:
            base += f".{attempt}"
        elif attempt > 1:
            # Nothing that stands for a program's name ends in this.
            base += f"={attempt}"
        directory = self._suites[test.suite]
        return Logs(
            output=str(directory / f"{base}.output.log"),
            kernel=str(directory / f"{base}.kernel.log"),
        )

    def boot_of(self, test: PlannedTest, attempt: int) -> str:
        """Return where the log of the boot is, where an attempt at *test* has one of its own."""
        kernel = Path(self.of(test, attempt).kernel)
        return str(kernel.with_name(f"=boot={kernel.name}"))

    def boot(self, group: Group) -> str:
        """Return where the log of the boot of the guest for *group* is."""
        suite, _ = group
        number = self._groups[suite].index(group)
        name = "=boot" if number == 0 else f"=boot.{number + 1}"
        return str(self._suites[suite] / f"{name}.kernel.log")


def _digested(mapped: str, raw: bytes) -> str:
    kept = mapped[: _MOST - _HASH - 1]
    return f"{kept}~{hashlib.sha256(raw).hexdigest()[:_HASH]}"

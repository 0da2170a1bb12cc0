# SPDX-License-Identifier: GPL-2.0-only
"""Runs all checks, on this machine or on one whose files are below another root."""

from __future__ import annotations

import difflib
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import msgspec

from harness import __version__
from harness.context import Context
from harness.doctor import machine, setup, trial
from harness.doctor.model import Check, Diagnosis
from harness.errors import HarnessError, UserError
from harness.guest.capabilities import HostFacts
from harness.guest.machine import GuestConfig, MachineType
from harness.model.spec import GuestTable
from harness.progress import Progress
from harness.store import Store

_ROOT = Path("/")


class Doctor(msgspec.Struct, frozen=True):
    """Runs all checks.  *root* is the directory of the machine's files."""

    host_facts: HostFacts
    progress: Progress
    guest: GuestTable
    """The guest of the project's tests."""
    root: Path = _ROOT
    quick: bool = False
    """Whether to skip all checks that boot a guest."""

    def diagnose(self) -> Diagnosis:
        """Return the results of all checks; something missing is a value, not an error."""
        checks = tuple(self._checks())
        host = self.host_facts.host
        return Diagnosis(
            harness=__version__,
            time=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            machine=f"{host.processor or 'unknown processor'}; Linux {host.release or 'unknown'}",
            ready=not any(check.fatal for check in checks),
            checks=checks,
        )

    def _checks(self) -> Iterator[Check]:
        yield from setup.checks(self.root, self.host_facts)
        yield _virtme()
        store, trouble = None, ""
        try:
            store = Store.default()
        except HarnessError as error:
            trouble = ": ".join(filter(None, (error.what, error.where, error.why)))
        yield from machine.checks(self.host_facts, store, trouble, self.guest)
        yield from self._booted(store)
        yield _always("numa", "a guest with numa_nodes = 2 or more")
        yield _always("snapshot", "sealed guests are restored from one")
        yield machine.firmware_note(self.host_facts)
        yield from machine.confidential_checks(self.host_facts, self.guest.memory_mib)

    def _booted(self, store: Store | None) -> Iterator[Check]:
        if self.quick:
            yield from trial.not_tried("not tried: --quick boots nothing", "harness doctor")
        elif not self.host_facts.emulator.installed:
            yield from trial.not_tried("there is no QEMU to boot with", "see qemu")
        elif store is None:
            yield from trial.not_tried("there is no cache to take a kernel from", "see disk")
        else:
            config = GuestConfig(
                machine=MachineType(self.guest.machine),
                cpus=self.guest.cpus,
                memory_mib=self.guest.memory_mib,
            )
            yield from trial.checks(Context(store, self.progress), self.host_facts, config)


def missing(diagnosis: Diagnosis, names: tuple[str, ...]) -> list[Check]:
    """Return the checks of these *names* that do not say yes; UserError for an unknown name."""
    known = {check.name: check for check in diagnosis.checks}
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            raise UserError(
                f"there is no check '{name}'",
                where=f"--require {name}",
                why=f"there are: {', '.join(known)}",
                hint="did you mean " + " or ".join(f"'{each}'" for each in close) + "?"
                if close
                else "",
            )
    return [known[name] for name in names if known[name].state != "yes"]


def _always(name: str, detail: str) -> Check:
    return Check(name=name, group="guests", state="yes", detail=detail)


def _virtme() -> Check:
    """virtme-ng provides the host's file system in guests: the requirement host-root."""
    program = Path(sys.executable).with_name("virtme-run")
    found = program.exists() or shutil.which("virtme-run") is not None
    try:
        version = metadata.version("virtme-ng")
    except metadata.PackageNotFoundError:
        version = ""
    works = found and bool(version)
    return Check(
        name="host-root",
        group="setup",
        state="yes" if works else "no",
        detail=f"virtme-ng {version}"
        if works
        else "virtme-ng is not installed: no guests with the host's file system (--guest vng)",
        do="" if works else "make setup",
    )

# SPDX-License-Identifier: GPL-2.0-only
"""Tests and guests one at a time, for a caller that decides itself what runs next: pytest."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from harness.context import Context
from harness.errors import UserError
from harness.foreign import told
from harness.guest.qemu import QemuGuest
from harness.judge.boot import held_against
from harness.judge.witnesses import AtBoot
from harness.lab.boot import observe_boot
from harness.lab.room import too_small
from harness.model.plan import PlannedTest
from harness.model.results import Results
from harness.model.spec import GuestTable
from harness.proc.background import Background
from harness.report.display import Display
from harness.report.files import Reports
from harness.run import prepare, rundir
from harness.run.job import Job
from harness.run.prepare import Prepared
from harness.run.request import Request
from harness.shell.choose import path_of, shell_files
from harness.shell.scripted import ScriptedGuest
from harness.store import Store


def prepared(request: Request, context: Context, out: Path) -> Prepared:
    """Build the kernel and the suites of *request*, of whose kernels there is one; plan the tests.

    Logs of builds go to *out*.  Raises UserError and MachineError as the rooms do.
    """
    with told("logs cannot be written", out):
        out.mkdir(parents=True, exist_ok=True)
    return prepare.prepare(request, context, out)


def run_one(
    request: Request, test: PlannedTest, directory: Path, store: Store, display: Display
) -> Results:
    """Run *test* of *request* alone; *directory* then holds a whole run: journal, logs, reports.

    Raises KeyboardInterrupt for a signal, and UserError and MachineError as the rooms do.
    """
    reports = Reports(command=request.command)
    with reports.kept_true(), rundir.fresh(directory) as place:
        reports.begin_in(place.path)
        job = Job(
            request=msgspec.structs.replace(request, expression=test.name),
            store=store,
            display=display,
            jobs=1,
            place=place,
            reports=reports,
        )
        ended = job.run(rundir.new_name())
    if ended.error is not None:
        raise ended.error
    if ended.results.interrupted:
        raise KeyboardInterrupt
    return ended.results


def start_guest(
    ready: Prepared, changes: Mapping[str, Any], background: Background
) -> ScriptedGuest:
    """Return a guest that runs, with the suites of *ready* and a shell in it.

    *changes* are keys of ``[guest]`` in the project file.  Raises UserError for one that is wrong,
    MachineError where there is no such guest.
    """
    table = _changed(ready.built.selected.request.guest_table(), changes)
    for suite in ready.suites:
        if why := too_small(suite, table):
            raise UserError("the suite does not fit into this guest", where=suite.name, why=why)
    files = shell_files(ready.factory, ready.suites, table)
    names = ", ".join(suite.name for suite in ready.suites)
    starter = background.run(ready.factory.starter(names, table, files))
    allow = {entry for test in ready.tests for entry in test.allow}
    plan = PlannedTest(name=names, suite=names, program="", allow=tuple(allow))

    def at_boot(guest: QemuGuest) -> AtBoot:
        boot = observe_boot(guest.boot_log, guest.hello)
        return held_against(plan, boot, datetime.now(UTC).date())

    return ScriptedGuest.start(starter, background, path_of(ready.suites), at_boot)


def _changed(table: GuestTable, changes: Mapping[str, Any]) -> GuestTable:
    try:
        return msgspec.convert(msgspec.to_builtins(table) | dict(changes), GuestTable)
    except msgspec.ValidationError as error:
        raise UserError(
            "there is no such guest",
            where="pytest.mark.guest",
            why=str(error),
            hint=f"it takes suite and the keys of [guest]: {', '.join(table.__struct_fields__)}",
        ) from None

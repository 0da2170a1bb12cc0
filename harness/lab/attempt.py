# SPDX-License-Identifier: GPL-2.0-only
"""One attempt at a test, in a guest of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath

import msgspec

from harness.errors import MachineError
from harness.foreign import of_os
from harness.judge.boot import allowed_at
from harness.lab.boot import observe_boot
from harness.lab.executor import Attempt
from harness.lab.faults import parse_left, settings_of
from harness.lab.observe import CappedLog, Observer
from harness.lab.packing import GUEST_ROOT
from harness.lab.probes import Probe, Seen
from harness.lab.recordings import Recordings
from harness.lab.templates import Template
from harness.model.events import Command, Guest
from harness.model.logfiles import LogNames
from harness.model.plan import PlannedTest
from harness.model.races import NS, Schedule
from harness.model.records import Boot, Ending, TestEnded

_ENVIRONMENT = (
    ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("TERM", "dumb"),
    # What waits in a buffer at a fork() would be written twice.
    ("PYTHONUNBUFFERED", "1"),
)


COUNTED_TIME_NS = 1_767_225_600 * 10**9
"""When it is in each guest whose instructions are counted: the beginning of 2026."""


def command_of(
    test: PlannedTest, seed: str, limit_s: float, files: tuple[tuple[str, str], ...] = ()
) -> Command:
    """Return what runs *test*, from now on by the guest's clock; *seed* is in hex.

    *files* of the guest are written before, as pairs of name and content.
    """
    directory = f"/{GUEST_ROOT}/{test.suite}"
    return Command(
        argv=(f"{directory}/{test.path}",),
        timeout_s=limit_s,
        seed=bytes.fromhex(seed),
        wall_clock_ns=COUNTED_TIME_NS if test.guest.counted else time.time_ns(),
        env=_ENVIRONMENT,
        # As the kernel's own runner does: scripts call files in their directory.
        cwd=str(PurePosixPath(directory, test.path).parent),
        # An assertion goes to standard error and its "not ok" to standard output: only one
        # pipe keeps them in order.
        merge_output=True,
        files=files,
        faults=settings_of(test.fault) if test.fault else None,
        watch_left=test.fault is not None,
        points=_points(test.schedule) if test.schedule else None,
    )


def _points(schedule: Schedule) -> tuple[tuple[int, int], ...]:
    return tuple((each.at * NS, each.length * NS) for each in schedule.points)


class Place(msgspec.Struct, frozen=True):
    """The paths of the logs of attempts."""

    out: Path
    """The run's directory."""
    logs: LogNames
    """What they are called there."""

    def keep(self, path: str, log: bytes) -> None:
        """Write the console's *log* of a boot to *path*; raises MachineError where that fails."""
        try:
            (self.out / path).parent.mkdir(parents=True, exist_ok=True)
            (self.out / path).write_bytes(log)
        except OSError as error:
            raise of_os(error, "the log of a boot cannot be written") from error


async def run_attempt(
    attempt: Attempt,
    template: Template,
    place: Place,
    watch: Probe | Recordings | None = None,
) -> TestEnded:
    """Run *attempt* in a guest that *template* makes for it, and which is destroyed after it.

    *watch* measures something of it, where its guest can be watched, or records it.

    Raises OSError where a log cannot be written, or no process be made.
    """
    test, started = attempt.test, attempt.started
    begun = time.monotonic()
    logs = place.logs.of(test, started.attempt)
    command = command_of(test, started.seed, started.limit_s, attempt.files)
    failure = ""
    boot: Boot | None = None
    with CappedLog(place.out / logs.output) as output, CappedLog(place.out / logs.kernel) as kernel:
        observer = Observer(
            output,
            kernel,
            patient=bool(allowed_at("test", test)),
            cut_off_s=started.limit_s if attempt.hasty else None,
        )
        try:
            async with (
                _guest(attempt, template, watch) as guest,
                contextlib.aclosing(guest.run(command)) as events,
            ):
                if template.saved is None:
                    boot = _own_boot(attempt, guest, place)
                async for event in events:
                    observer.hear(event)
                    if observer.ending is not None:
                        break
        except MachineError as error:
            failure = str(error)
        report, findings, tail = observer.close()
        metrics, faults = observer.metrics()
    seen, recording = Seen(), ""
    if isinstance(watch, Recordings):
        recording = str(watch.path(test.name, started.attempt)) if not failure else ""
    elif watch is not None and template.watched is not None and not failure:
        seen = watch.seen(test.name, started.attempt)
    ending = observer.ending
    if failure or ending is None:
        ending = Ending(how="harness", detail=failure or "the guest reported no end of the test")
    return TestEnded(
        kernel=started.kernel,
        name=test.name,
        attempt=started.attempt,
        ending=ending,
        report=report,
        findings=findings,
        output=tail,
        guest_s=observer.guest_s,
        total_s=time.monotonic() - begun,
        metrics=tuple(
            msgspec.structs.replace(each, exact=test.guest.counted)
            for each in (*metrics, *seen.metrics)
        ),
        metric_faults=(*faults, *seen.faults),
        functions=seen.functions,
        logs=msgspec.structs.replace(
            logs, folded=seen.folded, graph=seen.graph, recording=recording
        ),
        boot=boot,
        fault_hit=observer.fault_hit if test.fault else None,
        left=parse_left(observer.left),
    )


@contextlib.asynccontextmanager
async def _guest(
    attempt: Attempt, template: Template, watch: Probe | Recordings | None
) -> AsyncIterator[Guest]:
    which = attempt.test.name, attempt.started.attempt
    if isinstance(watch, Recordings):
        async with watch.guest(template, *which) as guest:
            yield guest
        return
    if watch is None or template.watched is None:
        made = await template.start()
    else:
        made = await template.watched(watch.qemu_argv(*which), watch.let_go(*which))
    async with made as guest:
        yield guest


def _own_boot(attempt: Attempt, guest: Guest, place: Place) -> Boot:
    """Return the findings of the boot of *guest*; its log is kept if there are any."""
    boot = observe_boot(guest.boot_log, guest.hello)
    if not boot.findings and not boot.taint:
        return boot
    log = place.logs.boot_of(attempt.test, attempt.started.attempt)
    place.keep(log, guest.boot_log)
    return msgspec.structs.replace(boot, log=log)

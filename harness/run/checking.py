# SPDX-License-Identifier: GPL-2.0-only
"""The checks of a series, from the request to the last result.

Trees are built one after the other in a thread.  The kernel of each boots while the next is built,
and messages and style are checked beside that.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec

from harness import __version__, kbuild, series, source
from harness.checks import BUILT, Checks, Subject, Tell
from harness.context import Context
from harness.digest import digest_file
from harness.errors import HarnessError, UserError
from harness.foreign import translate
from harness.guest import accel
from harness.guest.capabilities import HostFacts
from harness.guest.machine import BootFiles, GuestConfig
from harness.judge import checks as judge
from harness.kbuild import Kernel, toolchain
from harness.kbuild.kernel import Meta
from harness.kbuild.warnings import Workshop
from harness.lab.smoke import PROGRAM, Seen, pack_program, smoke
from harness.lab.templates import TemplateFactory
from harness.model import results
from harness.model.checks import CheckResult, Finding, PlannedCheck, Severity
from harness.model.events import Accelerator
from harness.model.logfiles import KERNEL_BUILD, LOGS
from harness.model.records import CheckEnded, ChecksPlanned, RunEnded
from harness.proc import signals
from harness.proc.git import git
from harness.proc.process import need_sandbox
from harness.run.builder import Builder
from harness.run.journal import Journal
from harness.run.request import Request
from harness.run.rundir import RunDirectory
from harness.run.schedule import now


class Wish(msgspec.Struct, frozen=True):
    """What is to be checked."""

    request: Request
    wanted: tuple[str, ...]
    fail_on: Severity
    rerun: Callable[[int, str], str]
    """Returns a command line that makes a check of a patch again."""


def check(
    wish: Wish, name: str, place: RunDirectory, book: Journal, context: Context
) -> Exception | None:
    """Run the checks as the run *name* in *place*, record them in *book*; return what stopped them.

    Where *book* has a plan already, they go on: what has a result keeps it, unless that is an
    error of this machine.  Before there is a plan, raises as the rooms do, and UserError where
    something else was planned; KeyboardInterrupt at any time, which *book* is told of.
    """
    begun = time.monotonic()
    subject, plan = prepare(wish, name, place.path / LOGS, context)
    records = book.records()
    made = {
        (each.result.number, each.result.check): not each.result.trouble
        for each in records
        if isinstance(each, CheckEnded)
    }
    checks = Checks(
        subject,
        wish.wanted,
        lambda each: book.write(CheckEnded(result=each)),
        frozenset(at for at, is_known in made.items() if is_known),
    )
    files = {number: patch.path.name for number, patch in checks.patches.items()}
    planned = tuple(
        PlannedCheck(
            number=number,
            check=each,
            title=checks.patches[number].title,
            patch=files[number],
            rerun=wish.rerun(number, each),
        )
        for number, each in checks.planned()
    )
    if (earlier := judge.planned(records)) is None:
        book.write(plan(planned))
        place.planned(book)
    else:
        _need_same(earlier, plan(planned), place.path)
    (place.path / LOGS).mkdir(exist_ok=True)
    workshop, error, interrupted = subject.workshop, None, True
    try:
        with ExitStack() as held:
            if checks.trees:
                held.enter_context(workshop.context.lock(workshop.place.name))
            scratch = held.enter_context(context.store.scratch("boots"))
            booth = _Booth(wish, place.path / LOGS, scratch, context)
            signals.run(_make(checks, booth))
        interrupted = False
    except KeyboardInterrupt:
        raise
    except Exception as failure:
        if translate(failure) is None:
            raise
        error, interrupted = failure, False
    finally:
        why = str(translate(error)) if error else ""
        seconds = round(time.monotonic() - begun, 3)
        book.write(RunEnded(time=now(), seconds=seconds, interrupted=interrupted, error=why))
    return error


def prepare(
    wish: Wish, name: str, logs: Path, context: Context
) -> tuple[Subject, Callable[[tuple[PlannedCheck, ...]], ChecksPlanned]]:
    """Return the series on its source, and a function that makes the plan from the checks."""
    request, spec, time = wish.request, wish.request.kernels[0], now()
    names, added = request.fragments(spec)
    fragments = kbuild.load(request.project_dir / request.project.kernel.config_dir, names)
    stack = request.stack(spec)
    if not stack.series:
        raise UserError("there is nothing to check", where="'none' is the source as it is")
    where = request.working_dir if spec.source else request.project_dir
    base = source.resolve_first(
        (spec.source,) if spec.source else request.project.kernel.sources,
        context,
        relative_to=where,
    )
    tree = series.apply(stack.series, base, context)
    lineage = request.lineage(spec, stack, base.spec)
    if lineage is not None:
        need_sandbox()
    limit_s = request.project.limits.build_s
    log = logs / KERNEL_BUILD
    workshop = Workshop.of(
        context, base.spec, fragments, lineage, cc=request.compiler(spec), log=log, limit_s=limit_s
    )
    kernel = results.Kernel(
        release="",
        source=base.description,
        base_commit=base.commit,
        series=stack.title,
        series_name=stack.name,
        series_commit=tree.commit,
        series_digest=stack.digest,
        patches=tuple(patch.subject for patch in stack.patches),
        config=fragments.names if set(wish.wanted) & set(BUILT) else (),
    )

    def plan(checks: tuple[PlannedCheck, ...]) -> ChecksPlanned:
        return ChecksPlanned(
            run=name,
            time=time,
            harness=__version__,
            command=request.command,
            kernel=kernel,
            checks=checks,
            fail_on=wish.fail_on,
            notes=((base.note,) if base.note else ()) + stack.notes + added,
        )

    histories = tuple(_history(base.spec, where))
    return Subject(stack, base, tree, fragments, workshop, histories), plan


def _need_same(earlier: ChecksPlanned, now: ChecksPlanned, where: Path) -> None:
    """Raise UserError if what would be checked now is not what the earlier plan says."""

    def told(plan: ChecksPlanned) -> dict[str, object]:
        kernel = plan.kernel
        return {
            "the source": (kernel.source, kernel.base_commit),
            "the series": kernel.series_digest,
            "the configuration": kernel.config,
            "the checks": [(each.number, each.check) for each in plan.checks],
            "--fail-on": plan.fail_on,
        }

    before = told(earlier)
    other = [name for name, value in told(now).items() if value != before[name]]
    if other:
        raise UserError(
            "these are not the checks that were cut off",
            where=str(where),
            why=f"{', '.join(other)} {'differ' if len(other) > 1 else 'differs'}",
            hint="begin anew, without --resume: trees that were built are not built again",
        )


async def _make(checks: Checks, booth: _Booth) -> None:
    """Run all checks of *checks*; each tree boots in *booth* while the next one is built.

    Messages and style are checked beside the builds.
    """
    with Builder() as builder, Builder() as aside:
        async with asyncio.TaskGroup() as group:
            group.create_task(aside.do(checks.static))
            boots: dict[int, asyncio.Task[Seen | None]] = {}
            for number in checks.trees:
                image = await builder.do(partial(checks.build, number))
                if any(checks.is_open(n, "boots") for n in (number, number + 1)):
                    boots[number] = group.create_task(booth.boot(image, number))
                if number - 1 not in checks.trees:
                    continue
                await builder.do(partial(checks.compare, number))
                if checks.is_open(number, "boots"):
                    pair = boots[number - 1], boots[number]
                    group.create_task(_compare(checks.tell, number, *pair))
                await builder.do(partial(checks.options, number))


async def _compare(
    tell: Tell,
    number: int,
    before: asyncio.Task[Seen | None],
    after: asyncio.Task[Seen | None],
) -> None:
    """Record the findings of a boot that are new with the patch *number*."""
    begun = time.monotonic()
    earlier = f"patch {number - 1}" if number > 1 else "the source itself"
    old, new = await before, await after
    notrun, found = "", list[Finding]()
    if new is None:
        notrun = f"patch {number} does not build"
    elif new.error:
        tell(CheckResult(number=number, check="boots", trouble=new.error))
        return
    elif new.trouble:
        if old and old.trouble:
            notrun = f"{earlier} does not boot: {old.trouble}"
        found.append(Finding(Severity.ERROR, new.trouble))
    elif old is None or old.trouble or old.error:
        # It boots; the origin of its reports is unknown.
        found += [Finding(Severity.NOTE, f"its kernel reports {each}") for each in new.reports]
    else:
        fresh = [each for each in new.reports if each not in old.reports]
        found += [Finding(Severity.ERROR, f"its kernel reports {each}") for each in fresh]
    tell(
        CheckResult(
            number=number,
            check="boots",
            findings=() if notrun else tuple(found),
            notrun=notrun,
            seconds=new.seconds if new else time.monotonic() - begun,
        )
    )


class _Booth:
    """Boots kernels, one at a time; identical ones once."""

    def __init__(self, wish: Wish, logs: Path, scratch: Path, context: Context) -> None:
        self.scratch = scratch
        self._wish = wish
        self._logs = logs
        self._context = context
        self._alone = asyncio.Lock()
        self._seen: dict[str, Seen] = {}
        self._ready: tuple[GuestConfig, Accelerator, Path] | None = None

    async def boot(self, image: Path | None, number: int) -> Seen | None:
        """Return the findings of the boot of *image*; None if there was no boot."""
        if image is None:
            return None
        async with self._alone:
            data = await asyncio.to_thread(digest_file, image)
            if data not in self._seen:
                begun = time.monotonic()
                try:
                    seen = await self._boot(image, number)
                except HarnessError as error:
                    seen = Seen(error=" ".join(str(error).split()))
                self._seen[data] = seen.after(time.monotonic() - begun)
            return self._seen[data]

    async def _boot(self, image: Path, number: int) -> Seen:
        if self._ready is None:
            self._ready = await self._prepare(image)
        config, accelerator, initramfs = self._ready
        log = self._logs / f"boot-{number}.kernel.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        return await smoke(config, accelerator, BootFiles(image, initramfs), log)

    async def _prepare(self, image: Path) -> tuple[GuestConfig, Accelerator, Path]:
        """Choose the accelerator, and pack the files that guests boot with."""
        request = self._wish.request
        own = self.scratch / "first"
        # There already if this has failed for an earlier kernel.
        own.mkdir(exist_ok=True)
        shutil.copyfile(image, own / "bzImage")
        meta = Meta(
            release="",
            build_id="",
            commit="",
            tree="",
            config_digest="",
            toolchain=toolchain.identify().identity,
            headers_digest="",
            warnings=(),
        )
        factory = TemplateFactory(
            Kernel("", own, meta), request.project.limits.boot_s, self._context, HostFacts()
        )
        guest = request.guest_table()
        files = await asyncio.to_thread(pack_program, factory, PROGRAM)
        config = factory.config(guest)
        memory = accel.ProbeCache(self._context.store.place("accelerator"), factory.host_facts.host)
        wanted = accel.Wanted(guest.accel)
        found = await accel.find(config, files, wanted, memory, self._context.progress)
        return config, found.accelerator, files.initramfs


def _history(spec: str, relative_to: Path) -> Sequence[Path]:
    """Return the git directory of a source on this machine, which may have more than its tree."""
    place = relative_to / spec.partition("#")[0]
    if not place.is_dir():
        return []
    found = git("rev-parse", "--absolute-git-dir", cwd=place)
    if not found.ok:
        return []
    # The directory may lie in a repository of something else.
    inside = git("rev-parse", "--show-prefix", cwd=place)
    return [Path(found.text)] if not inside.text else []

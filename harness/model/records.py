# SPDX-License-Identifier: GPL-2.0-only
"""What a journal holds: facts in the order in which they became known.

A record says what was observed, never what it means; ``harness.judge.verdict`` decides that, so a
better verdict can be derived later from an old journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from harness.klog import Finding
from harness.ktap import Report
from harness.model.checks import CheckResult, PlannedCheck, Severity
from harness.model.cost import FunctionCost
from harness.model.events import How
from harness.model.faults import BudgetSpent, InjectSpec, Surveyed, Survivor, SweepStarted
from harness.model.ids import HERE, ONLY, HostName, KernelName, TestId
from harness.model.metrics import Metric
from harness.model.mutants import Mutant, MutantRun, Status
from harness.model.plan import ALL, Cell, PlannedTest
from harness.model.races import Paced, RaceSpec, Shortened
from harness.model.recording import RecordSpec
from harness.model.results import Bisected, Kernel, Logs, Machine
from harness.model.spec import BisectTable, GuestTable, KernelSpec, MutantsAsked, Trust

SCHEMA = 2
"""What a journal says of itself in its first record.  1, which such records do not say, has one
kernel and one :class:`RunStarted`; 2 has kernels and cells.  Both are read."""


class Requested(msgspec.Struct, frozen=True, kw_only=True, tag="requested"):
    """What the user asked for; the first record, so that the run can be taken up again."""

    schema: int = 1
    command: tuple[str, ...]
    time: str = ""
    """When that was; journals before this field do not say."""
    working_dir: str
    project_file: str
    source: str | None = None
    series: tuple[str, ...] = ()
    upto: int | None = None
    series_version: int | None = None
    config: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    expression: str = ""
    guest: str = ""
    trust: Trust | None = None
    repeat: int = 1
    until_fail: bool = False
    coverage: bool = False
    """Whether it is watched which changed lines the tests run."""
    reuse: bool = False
    """Whether what earlier runs observed of the same may stand for a test."""
    cost: bool = False
    """Whether the instructions of tests are counted."""
    functions: bool = False
    """Whether it is counted, too, in which functions of the kernel they are."""
    metrics: tuple[str, ...] = ()
    """By which figures the kernels are compared, if they are variants."""
    for_patch: int | None = None
    """The patch whose tests run, those in ``left_out`` not among them."""
    left_out: tuple[str, ...] = ()
    inject: InjectSpec | None = None
    """Which calls of the tests fail on purpose, if any."""
    recording: RecordSpec | None = None
    """How tests are recorded, if they are."""
    race: RaceSpec | None = None
    """Under which schedules the tests run, if any."""
    reruns: int = 0
    """How often, on each kernel, a test is run again that differs between two."""
    base: KernelName = ONLY
    """The kernel that the others are compared with."""
    bisect: BisectTable | None = None
    """Between which kernels the first bad one is looked for."""
    hosts: tuple[str, ...] = ()
    """The hosts that run the tests, by name; none is this machine."""
    mutants: MutantsAsked | None = None
    """Which faults are planted, if any."""
    dask: str = ""
    """The scheduler of the Dask cluster that runs the tests, or ``auto``; empty for none."""
    kernels: tuple[KernelSpec, ...] = ()
    """What was asked for since schema 2, in place of the fields of one kernel."""

    @property
    def specs(self) -> tuple[KernelSpec, ...]:
        """The kernels that were asked for, whatever the schema."""
        only = KernelSpec(
            source=self.source,
            series=self.series,
            upto=self.upto,
            series_version=self.series_version,
            config=self.config,
        )
        return self.kernels or (only,)


class KernelPlanned(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel of the run, and what is known of it before it is built."""

    name: KernelName = ONLY
    facts: Kernel
    position: int = 0
    """Where it stands among the kernels of the run, whichever is built first."""


class RunPlanned(msgspec.Struct, frozen=True, kw_only=True, tag="planned"):
    """The first half of the plan: kernels and cells.  Each cell will be reported.

    The other half are one :class:`KernelBuilt` or :class:`KernelFailed` of each kernel, and one
    :class:`CellPlanned` of each cell whose kernel is built.
    """

    run: str
    time: str
    harness: str
    """Version of the harness."""
    command: tuple[str, ...]
    kernels: tuple[KernelPlanned, ...]
    cells: tuple[Cell, ...]
    repeat: int = 1
    """How often each test runs; 0 is until it fails or the run is interrupted."""
    until_fail: bool = False
    """Whether a test that did not end as expected is not run again."""


class KernelAdded(msgspec.Struct, frozen=True, kw_only=True, tag="kernel-added"):
    """A kernel has been added to the plan, as what is known of others makes it necessary."""

    kernel: KernelPlanned
    cells: tuple[Cell, ...]


class BisectionEnded(msgspec.Struct, frozen=True, kw_only=True, tag="bisected"):
    """What git says after the last kernel of a bisection, for one test."""

    found: Bisected


class KernelBuilt(msgspec.Struct, frozen=True, kw_only=True, tag="kernel-built"):
    """A kernel is there."""

    kernel: KernelName = ONLY
    facts: Kernel
    warnings: tuple[str, ...] = ()
    """What the compiler warned of; for a kernel that was in the cache, when it was built."""
    seconds: float
    """How long it took to have it and the suites; next to nothing for what was in the cache."""
    notes: tuple[str, ...] = ()


class KernelFailed(msgspec.Struct, frozen=True, kw_only=True, tag="kernel-failed"):
    """A kernel is not available, so nothing can be tested on it."""

    kernel: KernelName = ONLY
    reason: str
    why: str = ""
    log: str = ""
    """The log of its build, relative to the run's directory."""


class CellPlanned(msgspec.Struct, frozen=True, kw_only=True, tag="cell"):
    """The tests of a suite on a kernel."""

    kernel: KernelName = ONLY
    suite: str
    tests: tuple[PlannedTest, ...]
    same_as: KernelName | None = None
    """The kernel of the run that is the same by content, with the same tests: they run on that one
    only, and what is observed there counts for this cell too."""


class RunStarted(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """The whole plan over one kernel; in journals of schema 1, and as :func:`of_kernel` has it."""

    run: str
    time: str
    harness: str
    """Version of the harness."""
    command: tuple[str, ...]
    kernel: Kernel
    tests: tuple[PlannedTest, ...]
    notes: tuple[str, ...] = ()
    repeat: int = 1
    """How often each test runs; 0 is until it fails or the run is interrupted."""
    until_fail: bool = False
    """Whether a test that did not end as expected is not run again."""
    surveys: tuple[Surveyed, ...] = ()
    """What is known of tests of which calls fail on purpose."""

    def survey_of(self, test: PlannedTest) -> Surveyed | None:
        """Return what is known of the test of which *test* is a point; None for another."""
        if test.fault is None:
            return None
        return next((each for each in self.surveys if each.test == test.fault.test), None)


class RunResumed(msgspec.Struct, frozen=True, kw_only=True, tag="resumed"):
    """The run was taken up again after it was cut off."""

    time: str
    notes: tuple[str, ...] = ()


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest's kernel has shown from its first line on the console until it was ready."""

    findings: tuple[Finding, ...] = ()
    taint: int = 0
    """Taint flags that the kernel had then."""
    lockdep_off: bool = False
    """The kernel has lockdep, and it is off, so it can complain of nothing any more."""
    once_reset: bool = False
    """The kernel was told to forget which of its WARN_ONCE() have come."""
    unquiet: bool = False
    """The kernel was still busy."""
    log: str = ""
    """Where the console's log is, relative to the run's directory."""


class GuestReady(msgspec.Struct, frozen=True, kw_only=True, tag="guest"):
    """A guest of a suite is up and showed which kernel it runs."""

    kernel: KernelName = ONLY
    """On which kernel of the run."""
    host: HostName = HERE
    suite: str
    guest: GuestTable = GuestTable()
    release: str
    build_id: str
    machine: Machine
    seconds: float
    boot: Boot | None = None
    """Of the guest that tests are restored from; None in the journals of old versions."""
    identity: str = ""
    """Digest of all that its guests are made from, by content; empty where they see more."""
    reused: str = ""
    """The earlier run in which it was up; empty for this one."""


class GuestFailed(msgspec.Struct, frozen=True, kw_only=True, tag="guest-failed"):
    """No guest of this kind for a suite: the kernel does not come up."""

    kernel: KernelName = ONLY
    """On which kernel of the run."""
    host: HostName = HERE
    suite: str
    guest: GuestTable = GuestTable()
    reason: str
    kernel_log: str = ""
    log: str = ""


class CacheDamaged(msgspec.Struct, frozen=True, kw_only=True, tag="cache-damaged"):
    """Cache entries had lost bits, so what was observed of some tests so far does not count."""

    time: str
    kernel: KernelName = ONLY
    """On which kernel of the run."""
    tests: tuple[str, ...]
    """Whose guests were made from such an entry."""
    why: str
    """Each entry with what was wrong, one a line."""


class TestStarted(msgspec.Struct, frozen=True, kw_only=True, tag="test"):
    """A test was begun."""

    kernel: KernelName = ONLY
    """On which kernel of the run."""
    name: str
    attempt: int = 1
    time: str
    seed: str
    limit_s: float = 0.0
    """The time limit in seconds of guest time, scaled by how fast the accelerator is."""
    reused: str = ""
    """The earlier run in which it was begun; empty for this one."""
    host: HostName = HERE
    """Where it runs."""


class AttemptLost(msgspec.Struct, frozen=True, kw_only=True, tag="lost"):
    """An attempt does not count; it begins again, on the same host or another."""

    kernel: KernelName = ONLY
    """On which kernel of the run."""
    name: str
    attempt: int = 1
    time: str
    host: HostName = HERE
    why: str
    starved: bool = False
    """Whether it has ended, in a guest that the host kept from running; else the host was lost."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How the program or its guest ended."""

    how: Literal["exit", "signal", "timeout", "not-started", "died", "harness"]
    """``died``: the guest went away under it; ``harness``: our side failed."""
    status: int | None = None
    """Exit status for ``exit``, signal number for ``signal``."""
    death: How | None = None
    """For ``died``."""
    detail: str = ""
    """Text for people."""
    log_complete: bool = True
    """Whether the kernel log is there up to the end of the test."""
    taint: int = 0
    """Taint flags that the kernel got during the test."""
    restless: tuple[str, ...] = ()
    """What of the kernel was still busy with the test when its log ended: ``busy`` (threads),
    ``rcu`` (a grace period)."""
    stood_still_s: float = 0.0
    """How long, in seconds, the guest did not run while its clock did, as its host was stopped."""
    starved_s: float = 0.0
    """For how many of any 20 s, at most, it was ready to run and its host did not let it."""


class TestEnded(msgspec.Struct, frozen=True, kw_only=True, tag="test-ended"):
    """Everything that was observed of one test."""

    kernel: KernelName = ONLY
    """On which kernel of the run."""
    name: str
    attempt: int = 1
    ending: Ending
    report: Report
    """What its standard output says in KTAP."""
    findings: tuple[Finding, ...] = ()
    """What the kernel log says."""
    output: str = ""
    """The end of its output."""
    guest_s: float | None = None
    total_s: float
    metrics: tuple[Metric, ...] = ()
    """Its figures: those that it printed, and those that were measured around it."""
    metric_faults: tuple[str, ...] = ()
    """Lines with a metric that cannot be read, and figures that could not be taken."""
    functions: tuple[FunctionCost, ...] = ()
    """What it took of the kernel, function by function, where that was counted."""
    logs: Logs = Logs()
    boot: Boot | None = None
    """Of its own guest, where each test has one that is booted for it."""
    reused: str = ""
    """The earlier run that observed it, on the same in every respect; empty for this one."""
    fault_hit: bool | None = None
    """Whether the call that was to fail has failed; None where that is not known."""
    left: tuple[Survivor, ...] | None = None
    """What it has left in the kernel's memory; None where the kernel does not say."""


class Decoded(msgspec.Struct, frozen=True, kw_only=True, tag="decoded"):
    """A kernel's report with file and line behind its addresses."""

    kernel: KernelName = ONLY
    """On which kernel of the run."""
    name: str
    attempt: int = 1
    reports: tuple[str, ...]
    """One for each finding of the test, in their order; empty where nothing could be added."""
    left: tuple[str, ...] = ()
    """The same for where the objects were allocated that it has left."""


class ChecksPlanned(msgspec.Struct, frozen=True, kw_only=True, tag="checks"):
    """The plan of ``harness series check``: each check of each patch will be reported."""

    run: str
    time: str
    harness: str
    """Version of the harness."""
    command: tuple[str, ...]
    kernel: Kernel
    checks: tuple[PlannedCheck, ...]
    fail_on: Severity
    """From which severity on a finding fails its check."""
    notes: tuple[str, ...] = ()


class CheckEnded(msgspec.Struct, frozen=True, kw_only=True, tag="check-ended"):
    """A check of a patch was made, or could not be."""

    result: CheckResult


class MutantsPlanned(msgspec.Struct, frozen=True, kw_only=True, tag="mutants"):
    """All faults that will be reported; what was said of any before does not count."""

    time: str
    mutants: tuple[Mutant, ...]
    min_score: float | None = None
    notes: tuple[str, ...] = ()


class MutantsBuilt(msgspec.Struct, frozen=True, kw_only=True, tag="mutants-built"):
    """The kernel that has all faults which can share one."""

    seconds: float
    """What it took to build it, those builds included that showed which do not compile."""
    build_id: str = ""


class MutantControl(msgspec.Struct, frozen=True, kw_only=True, tag="mutants-control"):
    """A test on that kernel with no fault chosen: it has to end as on the kernel without any."""

    run: MutantRun


class MutantEnded(msgspec.Struct, frozen=True, kw_only=True, tag="mutant-ended"):
    """What became of a fault.

    Unlike other records it has outcomes, as the expectations that held had them: what was observed
    of a hundred tests under a hundred faults would be gigabytes.
    """

    number: int
    status: Status
    reason: str = ""
    runs: tuple[MutantRun, ...] = ()
    seconds: float = 0.0
    alone: bool = False
    """Whether a kernel was built for it alone."""
    build_s: float | None = None
    """What that took."""
    logs: Logs = Logs()
    """Of the test that noticed it."""


class MutantsEnded(msgspec.Struct, frozen=True, kw_only=True, tag="mutants-ended"):
    """All faults have an end."""

    seconds: float
    """From the first test under one to the last."""


class RunEnded(msgspec.Struct, frozen=True, kw_only=True, tag="ended"):
    """The run came to an end of its own or was interrupted."""

    time: str
    seconds: float
    prepare_s: float | None = None
    """How many of the seconds passed before the tests began."""
    interrupted: bool = False
    error: str = ""
    """What stopped it: the machine, or a fault of the harness."""


Record = (
    Requested
    | RunPlanned
    | KernelAdded
    | BisectionEnded
    | KernelBuilt
    | KernelFailed
    | CellPlanned
    | RunStarted
    | RunResumed
    | GuestReady
    | GuestFailed
    | CacheDamaged
    | TestStarted
    | AttemptLost
    | TestEnded
    | Decoded
    | ChecksPlanned
    | CheckEnded
    | Surveyed
    | Paced
    | Shortened
    | SweepStarted
    | BudgetSpent
    | MutantsPlanned
    | MutantsBuilt
    | MutantControl
    | MutantEnded
    | MutantsEnded
    | RunEnded
)


OfKernel = (
    KernelBuilt
    | KernelFailed
    | CellPlanned
    | GuestReady
    | GuestFailed
    | CacheDamaged
    | TestStarted
    | AttemptLost
    | TestEnded
    | Decoded
    | Surveyed
    | Paced
    | Shortened
    | SweepStarted
)
"""Records that speak of one kernel of the run."""


def standing(records: Sequence[Record]) -> list[Record]:
    """Return *records* without what was observed of tests before it turned out not to count."""
    kept: list[Record] = []
    void: set[tuple[KernelName, str]] = set()
    for record in reversed(records):
        if isinstance(record, CacheDamaged):
            void |= {(record.kernel, test) for test in record.tests}
        elif (
            isinstance(record, TestStarted | TestEnded | Decoded)
            and (record.kernel, record.name) in void
        ):
            continue
        kept.append(record)
    return kept[::-1]


def kernel_names(records: Iterable[Record]) -> tuple[KernelName, ...]:
    """Return the kernels of the run's plan in its order; none where there is no plan yet."""
    planned: list[KernelPlanned] = []
    for record in records:
        if isinstance(record, RunPlanned):
            planned += record.kernels
        elif isinstance(record, KernelAdded):
            planned.append(record.kernel)
        elif isinstance(record, RunStarted):
            return (ONLY,)
    return tuple(each.name for each in sorted(planned, key=lambda each: each.position))


def of_kernel(records: Sequence[Record], name: KernelName) -> list[Record]:
    """Return what *records* say of the kernel *name*, as the journal of a run over it alone.

    Its plan stands there as one :class:`RunStarted`; ValueError where the run has no such kernel.
    Of a cell that is the same on another kernel it has what was observed there.  A cell whose tests
    are not known is in it as one test: an error with the reason where there is no kernel, and else
    one that was never begun.
    """
    names = kernel_names(records)
    if name not in names:
        what = f"a plan without the kernel '{name}'" if names else "a journal without a plan"
        raise ValueError(f"{what} says nothing of it")
    mine = list(_told_of(records, name))
    planned = next((each for each in mine if isinstance(each, RunPlanned)), None)
    if planned is None:
        return mine
    whole = _whole_plan(planned, name, mine)
    return [
        whole if each is planned else each
        for each in mine
        if not isinstance(each, KernelAdded | KernelBuilt | KernelFailed | CellPlanned)
    ]


def _told_of(records: Sequence[Record], name: KernelName) -> Iterator[Record]:
    """Yield the records that speak of the kernel *name*, and those of cells that are the same.

    What was observed on another kernel, for a cell that is the same there, is told of this one.
    """
    cells = [each for each in records if isinstance(each, CellPlanned) and each.kernel == name]
    same = {each.suite: each.same_as for each in cells if each.same_as is not None}
    suites = {test.name: each.suite for each in cells if each.suite in same for test in each.tests}
    others = frozenset(same.values())
    for each in records:
        if not isinstance(each, OfKernel) or each.kernel == name:
            yield each
        elif each.kernel not in others:
            continue
        elif isinstance(each, GuestReady | GuestFailed):
            if same.get(each.suite) == each.kernel:
                yield msgspec.structs.replace(each, kernel=name)
        elif isinstance(each, TestStarted | TestEnded | Decoded):
            if same.get(suites.get(each.name, "")) == each.kernel:
                yield msgspec.structs.replace(each, kernel=name)
        elif isinstance(each, CacheDamaged):
            tests = [test for test in each.tests if same.get(suites.get(test, "")) == each.kernel]
            if tests:
                yield msgspec.structs.replace(each, kernel=name, tests=tuple(tests))


def _whole_plan(planned: RunPlanned, name: KernelName, mine: Sequence[Record]) -> RunStarted:
    built = next((each for each in mine if isinstance(each, KernelBuilt)), None)
    failed = next((each for each in mine if isinstance(each, KernelFailed)), None)
    cells = {each.suite: each for each in mine if isinstance(each, CellPlanned)}
    tests: list[PlannedTest] = []
    added = [each for each in mine if isinstance(each, KernelAdded)]
    for cell in (*planned.cells, *(cell for each in added for cell in each.cells)):
        if cell.kernel != name:
            continue
        if cell.suite in cells:
            tests += cells[cell.suite].tests
            continue
        why = f"{failed.reason}: {failed.why}".removesuffix(": ") if failed and not built else ""
        log = failed.log if failed else ""
        tests.append(
            PlannedTest(
                name=str(TestId(ONLY, cell.suite, ALL)),
                suite=cell.suite,
                program=ALL,
                broken=why,
                build_log=log,
            )
        )
    kernels = (*planned.kernels, *(each.kernel for each in added))
    facts = next(each.facts for each in kernels if each.name == name)
    return RunStarted(
        run=planned.run,
        time=planned.time,
        harness=planned.harness,
        command=planned.command,
        kernel=built.facts if built else facts,
        tests=tuple(tests),
        notes=built.notes if built else (),
        repeat=planned.repeat,
        until_fail=planned.until_fail,
        surveys=tuple(each for each in mine if isinstance(each, Surveyed)),
    )

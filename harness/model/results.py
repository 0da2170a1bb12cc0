# SPDX-License-Identifier: GPL-2.0-only
"""The results of a run: plain values from which every report is rendered.

``results.json`` is exactly :class:`Results` in JSON; its JSON Schema is :func:`schema`, and
``docs/results.md`` explains it.  Fields may be added under the same schema number; a field that
changes its meaning raises it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from harness.errors import ExitCode
from harness.model.changes import Changes
from harness.model.cost import FunctionCost
from harness.model.coverage import Coverage
from harness.model.faults import Injection, Injections
from harness.model.metrics import Metric
from harness.model.mutants import Mutants
from harness.model.races import Races, Schedule, Shortened
from harness.outcome import Outcome
from harness.visible import defuse_json

SCHEMA = 1


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One case inside a test program."""

    name: str
    """``suite:program/case[/case…]``; a second case of the same name ends in ``#2``."""
    outcome: Outcome
    reason: str = ""
    """One line: why it was skipped, or what went wrong."""
    text: str = ""
    """What the case printed, as far as it was kept: the assertion that failed stands here."""
    excused: str = ""
    """Why it does not let the run fail although it is not as expected, in a run against a base;
    empty where it does, and where it ended as expected."""

    @property
    def good(self) -> bool:
        """Whether it does not let the run fail."""
        return self.outcome.as_expected or bool(self.excused)


class Logs(msgspec.Struct, frozen=True, kw_only=True):
    """Log files, as paths relative to the run's directory; empty where there is none."""

    output: str = ""
    """Standard output and error of the program, in the order in which they came."""
    kernel: str = ""
    build: str = ""
    folded: str = ""
    """Chains of calls in the kernel with their instructions, one a line, as of ``--functions``."""
    graph: str = ""
    """The same as a flame graph, SVG."""
    recording: str = ""
    """The directory of the recording, as of ``harness replay``."""


class KernelReport(msgspec.Struct, frozen=True, kw_only=True):
    """One report of the kernel about a fault."""

    kind: str
    """See docs/kernel-log.md."""
    severity: str
    """``crash``, ``splat`` or ``note``."""
    title: str
    """The line that names the fault, as printed."""
    function: str = ""
    location: str = ""
    """``file:line`` as printed, else ``function+offset``."""
    fingerprint: str
    """16 hex digits, the same for the same fault in another run or another build."""
    name: str = ""
    """``KIND: TITLE in FUNCTION`` without what differs from boot to boot, for expectations."""
    count: int = 1
    """How often it came; the rest is that of the first time."""
    allowed: str = ""
    """Why it does not count, from ``expectations.toml``."""
    report: str
    """The whole report, with file and line behind its addresses as far as known."""


class BootReport(msgspec.Struct, frozen=True, kw_only=True):
    """One report of the kernel while guests booted, before any test."""

    report: KernelReport
    suites: tuple[str, ...]
    """The suites whose guests' kernel reported it."""
    log: str = ""
    """The console's log of the first such boot, relative to the run's directory."""


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """One finding of a check of a patch."""

    severity: str
    """``error``, ``warning`` or ``note``."""
    text: str
    """The tool's message, in one line."""
    file: str = ""
    """As the patched tree names it; empty where it is about the patch as a whole."""
    line: int | None = None
    """In that file, from 1."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One of several attempts at a test."""

    outcome: Outcome
    reason: str = ""
    guest_s: float | None = None
    total_s: float | None = None
    seed: str = ""
    logs: Logs = Logs()
    metrics: tuple[Metric, ...] = ()
    failed: tuple[str, ...] = ()
    """The cases that did not end as expected, without the test's name; of a failed attempt also
    those which only others have."""
    host: str = ""
    """Where it ran; empty for the machine that the harness ran on."""


class Test(msgspec.Struct, frozen=True, kw_only=True):
    """One planned test: a program of a suite, run in a guest of its own."""

    name: str
    """``suite:program``; ``kernel@suite:program`` where the run has several kernels."""
    kernel: str = ""
    """The kernel's name in the run; empty where there is only one."""
    suite: str
    """Its name, behind ``kernel@`` where there are several."""
    program: str
    outcome: Outcome
    """The worst of exit status, reported cases, kernel log and guest."""
    reason: str = ""
    """One line for every outcome but pass; for a pass a remark on it, if there is one."""
    ending: str = ""
    """How its program or guest ended, as expectations name it: ``exit 1``, ``signal SIGSEGV``,
    ``timeout``, ``hang``; empty for a test that did not run."""
    planned: bool = False
    """Whether it gave a plan for all its cases, so that a missing one shows."""
    cases: tuple[Case, ...] = ()
    output: str = ""
    """The end of what the program printed, for a test that did not end as expected."""
    kernel_log: str = ""
    """The reports that the kernel printed under this test; empty if it had no complaint."""
    findings: tuple[KernelReport, ...] = ()
    """The same one by one, with those that are no complaint."""
    remarks: tuple[Remark, ...] = ()
    """Findings of a check of a patch; empty for tests in guests."""
    at_boot: tuple[str, ...] = ()
    """Fingerprints of those reports in ``Results.at_boot`` that count against it."""
    started: str = ""
    """When its program was started, RFC 3339 in UTC; empty if it was not."""
    guest_s: float | None = None
    """Seconds on the guest's monotonic clock from start to end of the program."""
    total_s: float | None = None
    """Seconds on the host, start and end of QEMU included."""
    timeout_s: float = 0.0
    """Time limit in seconds as the suite says it."""
    limit_s: float = 0.0
    """The same, scaled for the accelerator: what was enforced."""
    guest: str = ""
    """The machine that it ran on, as in ``machine.guest``."""
    accelerator: str = ""
    """``tcg`` or ``kvm``; empty where it had no guest."""
    host: str = ""
    """The host that it ran on, as the project file calls it; empty for the machine that the harness
    ran on."""
    lost: int = 0
    """Number of attempts that were started again: their host was lost, or starved the guest."""
    seed: str = ""
    """The random seed set in the guest, 32 bytes in hex."""
    metrics: tuple[Metric, ...] = ()
    """Its figures: those that it printed, and those that were measured around it."""
    metric_faults: tuple[str, ...] = ()
    """Lines with a metric that cannot be read, each with the reason."""
    functions: tuple[FunctionCost, ...] = ()
    """Its instructions per kernel function, if they were counted."""
    logs: Logs = Logs()
    rerun: str = ""
    """A command line for a shell that runs this test alone."""
    attempts: tuple[Attempt, ...] = ()
    """Every attempt, where there were several; all else is then that of the worst one."""
    reruns: int = 0
    """How many of them, the last, were added to find out whether the test is unstable."""
    reused: str = ""
    """The earlier run that observed it, where it did not run in this one: it is no run of its own
    in any count of how often a test fails."""
    same_as: str | None = None
    """The kernel of the run on which it ran, where that is the same as its own; else null."""
    injected: Injection | None = None
    """For a point of a sweep: the result of the call that was made to fail."""
    schedule: Schedule | None = None
    """The preemption schedule under which it ran."""
    shortened: Shortened | None = None
    """The points of that schedule that are needed for the failure, and what ran there."""
    excused: str = ""
    """As of a case: why the program as a whole does not let the run fail."""

    @property
    def good(self) -> bool:
        """Whether neither it nor one of its cases lets the run fail."""
        own = self.outcome.as_expected or bool(self.excused)
        return own and all(case.good for case in self.cases)

    @property
    def elsewhere(self) -> str:
        """Where it ran, if not in this run on this kernel: ``reused from RUN``; empty otherwise."""
        if self.reused:
            return f"reused from {self.reused}"
        return "" if self.same_as is None else f"the same as on kernel {self.same_as}"


class CoverMail(msgspec.Struct, frozen=True, kw_only=True):
    """The mail that a reply about a series answers: its cover letter, or its first patch."""

    message_id: str = ""
    """With its angle brackets; empty where the series was not read from posted mails."""
    subject: str = ""
    """Decoded, with its prefix: ``[PATCH v10 0/9] KVM: do this``."""
    sender: str = ""
    """``Name <address>``, and so are :attr:`to` and :attr:`cc`."""
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()


class Kernel(msgspec.Struct, frozen=True, kw_only=True):
    """The kernel that was tested, and what it was made from."""

    release: str
    """As ``uname -r`` in the guest says it; from the build where no guest came up."""
    source: str
    base_commit: str
    series: str = ""
    """Title of the series, empty for none."""
    series_name: str = ""
    """The name by which expectations know it: that of its directory or file; ``none`` for none."""
    series_commit: str = ""
    """The commit with all patches applied; the base where there is no series."""
    series_digest: str = ""
    cover_mail: CoverMail = CoverMail()
    """Of the topmost series that was posted."""
    patches: tuple[str, ...] = ()
    patch_digests: tuple[str, ...] = ()
    """SHA-256 of each patch in hex."""
    patch_contents: tuple[str, ...] = ()
    """16 hex digits for each patch, the same as long as it changes the same lines."""
    config: tuple[str, ...] = ()
    config_digest: str = ""
    toolchain: str = ""
    warnings: tuple[str, ...] = ()
    """What the compiler warned of when the kernel was built, one line each."""
    build_id: str = ""
    """The GNU build ID that the running kernel showed to the agent, in hex."""
    same_as: str | None = None
    """The first kernel of the run that is the same by content; null where there is none before."""


class Bisected(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a bisection for one test."""

    test: str
    """``suite:program``; or what was looked for where a kernel does not build or boot."""
    first_bad: str = ""
    """The name of the first bad kernel; empty where it was not found."""
    last_good: str = ""
    """The name of a kernel just before it, on which it is good."""
    title: str = ""
    """The subject of the first bad commit or patch."""
    author: str = ""
    possible: tuple[str, ...] = ()
    """Where kernels that cannot tell are in the way: any of these may be the first bad one."""
    why: str = ""
    """Why it was not found."""
    confirmed: str = ""
    """The results of the reruns on both sides; empty if there were none."""
    log: str = ""
    """The log that ``git bisect replay`` takes."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine; if there were several, each field has all of them, joined by ``; ``."""

    accelerator: str = ""
    """``tcg`` or ``kvm``."""
    accelerator_reason: str = ""
    qemu: str = ""
    guest: str = ""
    """Machine type, processors and memory of the guest in one line."""


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """All results of a run."""

    schema: int = SCHEMA
    run: str
    """The run's identity, which is also the name of its directory."""
    requested: str = ""
    """When it was asked for, before anything was built: RFC 3339, UTC."""
    started: str
    """When everything was ready and the tests began."""
    ended: str = ""
    """Empty for a run that was cut off."""
    seconds: float | None = None
    """From the request, or from when it was taken up again, to the end."""
    prepare_s: float | None = None
    """The part of :attr:`seconds` before the tests: fetching, applying, building."""
    tests_s: float | None = None
    """The part of :attr:`seconds` that the tests took."""
    interrupted: bool = False
    error: str = ""
    """What stopped it before its end, other than the user."""
    error_code: int = 3
    """The exit code that goes with :attr:`error`: 2 where the input was wrong, else 3."""
    command: tuple[str, ...] = ()
    kernel: Kernel
    """The kernel that was tested; the last of several."""
    kernels: dict[str, Kernel] = {}
    """All of them by name, where there are several."""
    machine: Machine
    tests: tuple[Test, ...] = ()
    """One for every planned test, in the order of the plan."""
    at_boot: tuple[BootReport, ...] = ()
    """What the kernel reported before the tests, once each; tests point to it."""
    against: Changes | None = None
    """What its kernel changes against the base, where that was asked for: only a change for the
    worse lets the run fail then."""
    bisection: bool = False
    """Whether the run was there to find the first bad commit, so that finding it is success."""
    bisected: tuple[Bisected, ...] = ()
    """Results of a bisection, one per test."""
    coverage: Coverage | None = None
    """The changed lines that the tests ran; None if coverage was not measured."""
    injections: Injections | None = None
    """Results of the sweeps of ``harness inject``; None for other runs."""
    races: Races | None = None
    """Results of the schedules of ``harness race``; None for other runs."""
    mutants: Mutants | None = None
    """Results of the tests with planted faults; None if none were planted."""
    notes: tuple[str, ...] = ()
    """Deviations from the request, with reasons."""

    def outcome_at_boot(self, boot: BootReport) -> Outcome:
        """Return what a report before the tests comes to: as expected where all tests are that."""
        against = self._met(boot)
        if any(not test.outcome.as_expected for test in against):
            return Outcome(boot.report.severity)
        return Outcome.XFAIL if against else Outcome.PASS

    def excused_at_boot(self, boot: BootReport) -> str:
        """Return why a report before the tests does not let the run fail; empty where it does."""
        bad = [test for test in self._met(boot) if not test.outcome.as_expected]
        return bad[0].excused if bad and all(test.excused for test in bad) else ""

    def _met(self, boot: BootReport) -> list[Test]:
        """Return the tests that a report before the tests counts against."""
        return [
            test
            for test in self.tests
            if boot.report.fingerprint in test.at_boot and test.suite in boot.suites
        ]

    @property
    def counts(self) -> dict[Outcome, int]:
        """How many tests ended with each outcome; outcomes that did not occur are absent."""
        return _count(test.outcome for test in self.tests)

    @property
    def case_counts(self) -> dict[Outcome, int]:
        """The same over cases, a test without cases counting as one."""
        return _count(
            outcome
            for test in self.tests
            for outcome in ([case.outcome for case in test.cases] or [test.outcome])
        )

    @property
    def exit_code(self) -> ExitCode:
        """What ``harness run`` returns; a run that planned nothing is not green.

        Nor is one whose tests notice fewer of the planted faults than was asked for.

        A test's outcome is never better than its cases; if one is all the same, its case counts.
        Against a base, what fails there as well lets no run fail.
        """
        if self.error:
            return ExitCode(self.error_code)
        if self.interrupted:
            return ExitCode.INTERRUPTED
        if self.bisection:
            found = all(each.first_bad and not each.why for each in self.bisected)
            good = bool(self.bisected) and found
            return ExitCode.AS_EXPECTED if good else ExitCode.NOT_AS_EXPECTED
        if self.against is not None:
            bad = self.against.worse or self.against.unknown
            return ExitCode.NOT_AS_EXPECTED if bad else ExitCode.AS_EXPECTED
        outcomes = [test.outcome for test in self.tests]
        outcomes += [case.outcome for test in self.tests for case in test.cases]
        enough = self.mutants is None or self.mutants.enough
        if outcomes and enough and all(outcome.as_expected for outcome in outcomes):
            return ExitCode.AS_EXPECTED
        return ExitCode.NOT_AS_EXPECTED


def _count(outcomes: Any) -> dict[Outcome, int]:
    counts: dict[Outcome, int] = {}
    for outcome in outcomes:
        counts[outcome] = counts.get(outcome, 0) + 1
    return counts


def encode(results: msgspec.Struct) -> bytes:
    """Return *results*, or another such value, as indented JSON with a final newline.

    A lone surrogate (what Python makes of a file name or output that is not UTF-8) has no JSON
    form and is written as the escape ``\\udcXX``: a stray byte must not cost the whole report.
    What could act where the file is shown is escaped as JSON has it, which changes no value.
    """
    try:
        data = msgspec.json.encode(results)
    except UnicodeEncodeError:
        data = msgspec.json.encode(_encodable(msgspec.to_builtins(results)))
    return defuse_json(msgspec.json.format(data, indent=2).decode()).encode() + b"\n"


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value


def decode(data: bytes) -> Results:
    """Return the results in *data*; raises msgspec.ValidationError where they do not fit."""
    return msgspec.json.decode(data, type=Results)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of ``results.json``."""
    return msgspec.json.schema(Results)

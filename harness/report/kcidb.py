# SPDX-License-Identifier: GPL-2.0-only
"""Reports for KCIDB, the database of KernelCI: JSON of its schema 5.3, to be sent as it is.

A checkout and a build for each kernel, and a test for each program, for each of its cases, and for
each report of the kernel before the tests.

    pass, xfail                                 PASS; an xfail also has an incident of its issue
    fail, xpass, timeout, splat, crash          FAIL
    error                                       ERROR
    notrun                                      MISS
    skip                                        SKIP

The outcome itself, reason, seed and command line are in ``misc``.  Identities are digests of what
they stand for, so the same kernel is the same checkout and build in every run, and a run that is
rendered again has the same tests.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from harness.digest import digest
from harness.model.ids import case_of
from harness.model.results import Kernel, KernelReport, Results, Test
from harness.outcome import Outcome
from harness.report.injections import fault_text
from harness.report.races import preempted_text
from harness.report.testcases import CASE_TEXT_LIMIT, story_text
from harness.report.text import one_line
from harness.report.verdict import complaints_at_boot, run_trouble
from harness.visible import defuse_json

ORIGIN = "kernel_selftest_harness"
"""The CI system that reports, where the user names no other."""
VERSION = {"major": 5, "minor": 3}
_PATH = 400
"""Characters of a path."""
_EXCERPT = 16_384
"""Characters that the schema allows."""
_STATUS = {
    Outcome.PASS: "PASS",
    Outcome.XFAIL: "PASS",
    Outcome.SKIP: "SKIP",
    Outcome.NOTRUN: "MISS",
    Outcome.ERROR: "ERROR",
}
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ADDRESS = re.compile(r"<([^<>@\s]+@[^<>@\s]+)>")
_REPOSITORY = re.compile(r"https://[^\s#]+")
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")

Table = dict[str, Any]


def render(results: Mapping[str, Results], origin: str = ORIGIN) -> bytes:
    """Return the report about *results*, by the name of their kernel, as UTF-8."""
    report = _Report(origin)
    for name, each in results.items():
        report.add(name, each)
    data = msgspec.json.format(msgspec.json.encode(report.tables), indent=1)
    return defuse_json(data.decode()).encode() + b"\n"


class _Report:
    """The tables of a report; issues are there once, whichever tests they are seen in."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._checkouts: dict[str, Table] = {}
        self._builds: dict[str, Table] = {}
        self._tests: list[Table] = []
        self._issues: dict[str, Table] = {}
        self._incidents: list[Table] = []

    @property
    def tables(self) -> Table:
        """The whole report; empty tables are left out."""
        found: Table = {
            "checkouts": list(self._checkouts.values()),
            "builds": list(self._builds.values()),
            "tests": self._tests,
            "issues": list(self._issues.values()),
            "incidents": self._incidents,
        }
        return {"version": VERSION} | {name: table for name, table in found.items() if table}

    def add(self, name: str, results: Results) -> None:
        """Add what *results* say of the kernel *name*."""
        kernel = results.kernel
        checkout = self._id(kernel.source, kernel.base_commit, *kernel.patch_digests or (name,))
        if checkout not in self._checkouts:
            self._checkouts[checkout] = self._own(checkout, _checkout(name, results))
        build = self._id(checkout, kernel.config_digest, kernel.toolchain, kernel.build_id)
        if build not in self._builds:
            table = _build(results) | {"checkout_id": checkout}
            self._builds[build] = self._own(build, table)
        run = self._id(results.run, results.started, shlex.join(results.command), build)
        for number, test in enumerate(_tests(results)):
            outcome = test.pop("outcome")
            excused = test.pop("excused", "")
            identity = f"{run}/{number}"
            test["status"] = _STATUS.get(outcome, "FAIL")
            test["build_id"] = build
            self._tests.append(self._own(identity, test))
            if outcome is Outcome.XFAIL:
                self._known(test["misc"].get("reason", ""), identity)
            elif excused:
                self._known(excused, identity)

    def _id(self, *parts: str) -> str:
        return f"{self._origin}:{digest(*(_encoded(part) for part in parts))[:24]}"

    def _own(self, identity: str, table: Table) -> Table:
        """Return *table* with its identity, and without what is empty."""
        found = {"id": identity, "origin": self._origin} | table
        return {name: value for name, value in found.items() if value not in ("", None, (), {})}

    def _known(self, reason: str, test: str) -> None:
        """Note that a known failure was seen in *test*."""
        issue = self._id("known failure", reason)
        if issue not in self._issues:
            self._issues[issue] = self._own(
                issue,
                {
                    "version": 1,
                    "comment": reason or "known failure",
                    "culprit": {"code": True, "tool": False, "harness": False},
                },
            )
        self._incidents.append(
            {
                "id": f"{test}/known",
                "origin": self._origin,
                "issue_id": issue,
                "issue_version": 1,
                "test_id": test,
                "present": True,
            }
        )


def _checkout(name: str, results: Results) -> Table:
    kernel, mail = results.kernel, results.kernel.cover_mail
    repository = _REPOSITORY.search(kernel.source)
    address = _ADDRESS.fullmatch(mail.message_id)
    return {
        "git_commit_hash": kernel.base_commit if _COMMIT.fullmatch(kernel.base_commit) else "",
        "git_repository_url": one_line(repository[0]) if repository else "",
        "patchset_hash": _patchset(kernel),
        "message_id": one_line(address[1]) if address else "",
        "comment": one_line(mail.subject or kernel.series or kernel.release),
        "start_time": results.requested or results.started,
        "valid": True,
        "misc": _facts(
            kernel=name,
            source=kernel.source,
            series=kernel.series,
            series_name=kernel.series_name,
            series_commit=kernel.series_commit,
            patches="\n".join(kernel.patches),
        ),
    }


def _patchset(kernel: Kernel) -> str:
    """Return the digest as KCIDB has it: of a line for each patch with its digest."""
    lines = "".join(f"{each}\n" for each in kernel.patch_digests)
    return hashlib.sha256(lines.encode()).hexdigest() if lines else ""


def _build(results: Results) -> Table:
    kernel = results.kernel
    return {
        "architecture": "x86_64",
        "compiler": one_line(kernel.toolchain),
        "config_name": one_line("+".join(kernel.config)),
        "comment": one_line(kernel.release),
        "start_time": results.requested or results.started,
        # A kernel that was not built has no release; why not, its tests say.
        "status": "PASS" if kernel.release else "ERROR",
        "log_excerpt": _excerpt("\n".join(kernel.warnings)),
        "misc": _facts(build_id=kernel.build_id, config_digest=kernel.config_digest)
        | {"warnings": len(kernel.warnings)},
    }


def _tests(results: Results) -> Iterator[Table]:
    """Yield all tests, each with its ``outcome`` in place of a status."""
    trouble = run_trouble(results)
    if trouble:
        yield _test("harness.run", "the run as a whole", Outcome.ERROR, trouble, results.started)
    for boot in complaints_at_boot(results):
        outcome, report = results.outcome_at_boot(boot), boot.report
        reason = report.allowed or report.title
        excused = results.excused_at_boot(boot)
        yield _test("boot", report.title, outcome, reason, results.started, excused) | {
            "log_excerpt": _excerpt(report.report)
        }
    for test in results.tests:
        yield from _of_program(test, test.started or results.started)


def _of_program(test: Test, started: str) -> Iterator[Table]:
    path = _path((test.suite, test.program))
    table = _test(path, test.name, test.outcome, test.reason, started, test.excused)
    machine = ", ".join(filter(None, (test.accelerator, test.guest)))
    printed = "\n".join(filter(None, (test.output, test.kernel_log)))
    table |= {
        "duration": test.total_s,
        "log_excerpt": _excerpt(printed),
        "environment": {"comment": one_line(machine)} if machine else None,
    }
    table["misc"] |= _facts(seed=test.seed, rerun=test.rerun, ending=test.ending)
    table["misc"] |= _facts(verdict=test.elsewhere)
    table["misc"] |= _facts(preempted=preempted_text(test), failed_on_purpose=fault_text(test))
    if test.findings:
        table["misc"]["kernel"] = [_finding(each) for each in test.findings]
    if test.metrics:
        table["misc"]["metrics"] = [
            {"name": each.name, "value": each.value, "unit": each.unit} for each in test.metrics
        ]
    if test.attempts:
        table["misc"]["attempts"] = len(test.attempts)
        table["misc"]["passed"] = sum(each.outcome is Outcome.PASS for each in test.attempts)
    yield table
    for case in test.cases:
        below = re.split(r"[/.]", case_of(test.name, case.name))
        whole = _path((test.suite, test.program, *below))
        found = _test(whole, case.name, case.outcome, case.reason, started, case.excused)
        if case.outcome not in (Outcome.PASS, Outcome.SKIP):
            found["log_excerpt"] = _excerpt(case.text)
        yield found


def _test(
    path: str, name: str, outcome: Outcome, reason: str, started: str, excused: str = ""
) -> Table:
    return {
        "path": path,
        "comment": one_line(name),
        "outcome": outcome,
        "start_time": started,
        "excused": excused,
        "misc": _facts(outcome=str(outcome), reason=reason, excused=excused),
    }


def _path(names: Sequence[str]) -> str:
    """Return *names* as a path; one that is too long ends in a digest of all of it."""
    path = ".".join(map(_node, names))
    if len(path) <= _PATH:
        return path
    return f"{path[: _PATH - 17].rstrip('.')}.{digest(*map(_encoded, names))[:16]}"


def _node(name: str) -> str:
    """Return *name* as a node of a path; the whole name is in the comment."""
    return _UNFIT.sub("_", one_line(name, 100)) or "_"


def _finding(each: KernelReport) -> Table:
    return _facts(
        kind=each.kind,
        severity=each.severity,
        title=each.title,
        fingerprint=each.fingerprint,
        allowed=each.allowed,
    )


def _facts(**facts: str) -> Table:
    """Return those *facts* that are known, printable."""
    return {name: story_text(text, 2000) for name, text in facts.items() if text}


def _excerpt(text: str) -> str:
    """Return what fits into an excerpt: escapes may make a text longer."""
    return story_text(text, CASE_TEXT_LIMIT)[:_EXCERPT]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")

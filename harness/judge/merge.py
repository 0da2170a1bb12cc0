# SPDX-License-Identifier: GPL-2.0-only
"""Merge the results of several kernels into one value, which every report can render."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from harness.judge import changes, checks, verdict
from harness.judge.excused import excuse_base, excuse_tip
from harness.judge.mutants import mutants
from harness.model.ids import ONLY, KernelName
from harness.model.records import BisectionEnded, Record, Requested
from harness.model.results import BootReport, Results, Test


def whole(records: Sequence[Record]) -> Results:
    """Return what the run says of all its kernels; ValueError where it has no plan yet."""
    if checks.planned(records):
        return checks.results(records)
    each = verdict.every(records)
    if not each:
        raise ValueError("a journal without a plan says nothing")
    found = tuple(record.found for record in records if isinstance(record, BisectionEnded))
    asked = next((each for each in records if isinstance(each, Requested)), None)
    base = asked.base if asked else ""
    against = None
    if base in each and len(each) > 1:
        tip = list(each)[-1]
        against = changes.of_kernels(each[base], each[tip], base, tip)
        each |= {base: excuse_base(each[base]), tip: excuse_tip(each[tip], against)}
    results = merged(each)
    subjects = dict(enumerate(results.kernel.patches, 1))
    return msgspec.structs.replace(
        results,
        mutants=mutants(records, subjects),
        bisected=found,
        bisection=bool(asked and asked.bisect and asked.bisect.repository),
        against=against,
    )


def merged(each: Mapping[KernelName, Results]) -> Results:
    """Return the results by kernel as one, in which tests, suites and notes name their kernel."""
    if len(each) == 1:
        return next(iter(each.values()))
    last = list(each.values())[-1]
    return msgspec.structs.replace(
        last,
        kernels={name: one.kernel for name, one in each.items()},
        machine=verdict.all_of([one.machine for one in each.values()]),
        tests=tuple(_on(name, test) for name, one in each.items() for test in one.tests),
        at_boot=tuple(_boot_on(name, boot) for name, one in each.items() for boot in one.at_boot),
        notes=_notes(each),
    )


def split(results: Results) -> dict[KernelName, Results]:
    """Return the results of each kernel, with names as in a run over it alone; undoes merged()."""
    if not results.kernels:
        return {ONLY: results}
    return {
        name: msgspec.structs.replace(
            results,
            kernel=kernel,
            kernels={},
            tests=tuple(_off(name, test) for test in results.tests if test.kernel == name),
            at_boot=tuple(
                msgspec.structs.replace(boot, suites=suites)
                for boot in results.at_boot
                if (suites := tuple(_without(name, boot.suites)))
            ),
        )
        for name, kernel in results.kernels.items()
    }


def comparable(one: Results, other: Results) -> tuple[Results, Results]:
    """Return two runs with names that can be the same: of a matrix beside a run over one kernel,
    the last kernel, which has all patches.
    """
    if bool(one.kernels) == bool(other.kernels):
        return one, other
    return _last(one), _last(other)


def _last(results: Results) -> Results:
    if not results.kernels:
        return results
    name, last = list(split(results).items())[-1]
    return msgspec.structs.replace(last, run=f"{results.run}, kernel {name}")


def _without(kernel: KernelName, names: Iterable[str]) -> Iterator[str]:
    prefix = f"{kernel}@"
    return (each.removeprefix(prefix) for each in names if each.startswith(prefix))


def _off(kernel: KernelName, test: Test) -> Test:
    prefix = f"{kernel}@"
    cases = tuple(
        msgspec.structs.replace(case, name=case.name.removeprefix(prefix)) for case in test.cases
    )
    return msgspec.structs.replace(
        test,
        name=test.name.removeprefix(prefix),
        kernel=ONLY,
        suite=test.suite.removeprefix(prefix),
        cases=cases,
    )


def _on(kernel: KernelName, test: Test) -> Test:
    cases = tuple(
        msgspec.structs.replace(case, name=f"{kernel}@{case.name}") for case in test.cases
    )
    return msgspec.structs.replace(
        test,
        name=f"{kernel}@{test.name}",
        kernel=kernel,
        suite=f"{kernel}@{test.suite}",
        cases=cases,
    )


def _boot_on(kernel: KernelName, boot: BootReport) -> BootReport:
    return msgspec.structs.replace(boot, suites=tuple(f"{kernel}@{each}" for each in boot.suites))


def _notes(each: Mapping[KernelName, Results]) -> tuple[str, ...]:
    """Return the notes; a note of all kernels is listed once, without their names."""
    found: dict[str, list[KernelName]] = {}
    for name, one in each.items():
        for note in one.notes:
            found.setdefault(note, []).append(name)
    return tuple(
        note if len(names) == len(each) else f"{', '.join(names)}: {note}"
        for note, names in found.items()
    )

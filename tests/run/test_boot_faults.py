# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel can do before the first test, and after the last line of one, in real guests.

The kernel has one patch more than the project's own, ``selftests/faults/boot/kernel``: which fault
it has at boot says the name of the suite that its guest is packed with.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from harness.klog import Severity
from harness.model.records import GuestReady, TestEnded
from harness.model.results import Results
from harness.outcome import Outcome
from harness.run import journal
from harness.run.prepare import Prepared
from tests.guest.test_vng import needs_vng
from tests.run.test_faults import FAULTS, Fault, Row, compare, render, run

pytestmark = [pytest.mark.kernel, pytest.mark.long(30)]
BOOT = FAULTS / "boot"
STACK = ("--series", "v10+test-vm", "--series", str(BOOT / "kernel"))
"""Upon the project's own stack: so one object file is all that must be compiled."""
LOCKDEP = ("guest", "crash", "debug")
LIMIT_S = 3000


def table(*features: str, proof: bool = False) -> Mapping[str, Fault]:
    """Return the rows for a kernel with these features that every run has, or the proofs only."""
    rows = msgspec.convert(tomllib.loads((BOOT / "expected.toml").read_text()), dict[str, Fault])
    return {
        name: row
        for name, row in rows.items()
        if row.proof is proof and (not row.needs or row.needs in features)
    }


def suites(names: Mapping[str, Fault], directory: Path) -> list[str]:
    """Write a suite for each fault below *directory*; return the options that run them."""
    options = []
    for name in names:
        suite = directory / f"boot_{name}"
        shutil.copytree(BOOT / "suite", suite)
        if name == "warn_once":
            makefile = suite / "Makefile"
            makefile.write_text(makefile.read_text().replace("green\n", "green again\n"))
        options += ["--suite", str(suite)]
    return options


def rows(said: Results, out: Path, expected: Mapping[str, Fault]) -> list[Row]:
    """Return what became of each fault at boot."""
    boots = {each.suite: each.boot for each in journal.read(out) if isinstance(each, GuestReady)}
    found = []
    for test in said.tests:
        name = test.suite.removeprefix("boot_")
        if test.program != "green":
            continue
        boot = boots.get(test.suite)
        findings = boot.findings if boot else ()
        complaints = [each.kind for each in findings if each.severity is not Severity.NOTE]
        notes = [each.kind for each in findings if each.severity is Severity.NOTE]
        found.append(
            Row(
                name=f"boot_{name}",
                expected=expected[name],
                test=test,
                complaints=tuple(dict.fromkeys(complaints)),
                notes=tuple(dict.fromkeys(notes)),
            )
        )
    return found


def test_faults_at_boot_and_after_the_end(prepared: Prepared, tmp_path: Path) -> None:
    expected, out = table(), tmp_path / "out"
    options = [*STACK, *suites(expected, tmp_path), "--suite", str(FAULTS)]
    said = run(out, *options, "--jobs", "3", "-k", "boot_ or late_", limit_s=LIMIT_S)
    at_boot = rows(said, out, expected)
    of_faults = tuple(test for test in said.tests if test.suite == "faults")
    late = msgspec.structs.replace(said, tests=of_faults)
    after = compare(late, out, features=["harness_faults"])
    print(f"\n{render([*at_boot, *after])}, {said.seconds:.0f} s")
    assert [row.name for row in (*at_boot, *after) if row.wrong] == []
    assert sorted(row.name for row in at_boot) == sorted(f"boot_{name}" for name in expected)
    assert len(after) == 6
    # One place that warns once: all guests' kernels that have it count, the report stands once.
    titles = [boot.report.title for boot in said.at_boot]
    assert len(titles) == len(set(titles))
    assert all("boot_words" not in boot.suites for boot in said.at_boot)
    # What came once at boot can come again under a test.
    again = next(
        each
        for each in journal.read(out)
        if isinstance(each, TestEnded) and each.name == "boot_warn_once:again"
    )
    assert [finding.kind for finding in again.findings] == ["warning"]


@needs_vng
@pytest.mark.proof
def test_faults_at_boot_of_a_guest_that_is_booted_for_each_test(
    prepared: Prepared, tmp_path: Path
) -> None:
    names = {name: row for name, row in table().items() if name in ("warn", "words")}
    out = tmp_path / "out"
    options = [*STACK, *suites(names, tmp_path), "--guest", "vng"]
    said = run(out, *options, limit_s=LIMIT_S)
    assert {test.name: test.outcome for test in said.tests} == {
        "boot_warn:green": Outcome.SPLAT,
        "boot_words:green": Outcome.PASS,
    }
    ended = [each for each in journal.read(out) if isinstance(each, TestEnded)]
    assert all(each.boot is not None for each in ended)


@pytest.mark.proof
def test_faults_at_boot_that_take_long(prepared: Prepared, tmp_path: Path) -> None:
    expected, out = table(proof=True), tmp_path / "out"
    said = run(out, *STACK, *suites(expected, tmp_path), limit_s=LIMIT_S)
    found = rows(said, out, expected)
    assert [row.name for row in found if row.wrong] == []
    assert sorted(row.name for row in found) == sorted(f"boot_{name}" for name in expected)


@pytest.mark.proof
def test_a_lockdep_that_has_turned_itself_off(prepared: Prepared, tmp_path: Path) -> None:
    names = {"lockdep": table("lockdep")["lockdep"]}
    out = tmp_path / "out"
    fragments = [word for name in LOCKDEP for word in ("--config", name)]
    series = ["--series", str(BOOT / "kernel")]
    said = run(out, *series, *fragments, *suites(names, tmp_path), limit_s=LIMIT_S)
    (row,) = rows(said, out, names)
    assert not row.wrong
    assert any("lockdep is off since 'WARNING: possible recursive" in note for note in said.notes)

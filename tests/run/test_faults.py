# SPDX-License-Identifier: GPL-2.0-only
"""Every fault of selftests/faults in a real guest: its table says what is right."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from harness.errors import ExitCode
from harness.klog import Severity
from harness.model import results
from harness.model.events import STARVED_S
from harness.model.records import TestEnded
from harness.model.results import Results, Test
from harness.outcome import Outcome
from harness.run import journal
from harness.run.prepare import Prepared
from tests.guest.test_vng import needs_vng

pytestmark = [pytest.mark.kernel, pytest.mark.long(90)]
REPOSITORY = Path(__file__).parents[2]
FAULTS = REPOSITORY / "selftests" / "faults"
SLOW_LIMIT_S = 600
KASAN = ("guest", "crash", "kasan")


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of the table."""

    outcome: Outcome
    reason: str = ""
    """A regular expression that is found in the reason; without one, there is no reason."""
    kernel: tuple[str, ...] = ()
    """Kinds of findings that are in the kernel log; without one, the kernel has no complaint."""
    starved: tuple[str, ...] = ()
    """Kinds of complaints that come or not, by how much the guest gets of its host."""
    slow: bool = False
    """The suite's time limit, which is for endless loops, is too short for it."""
    proof: bool = False
    """It takes long, and others show the like: `make test` leaves it to `make proofs`."""
    needs: str = ""
    """A feature of the kernel, without which the fault is skipped with a reason that says so."""

    def on(self, features: Sequence[str]) -> Fault:
        """Return what is right on a kernel with these features only."""
        if not self.needs or self.needs in features:
            return self
        return Fault(outcome=Outcome.SKIP, reason=f"no {self.needs.upper()}")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What was expected of one fault, and what was got."""

    name: str
    expected: Fault
    test: Test
    complaints: tuple[str, ...]
    notes: tuple[str, ...]
    starved: tuple[str, ...] = ()
    """Kinds of complaints of time, of a guest that its host hardly let run."""

    @property
    def wrong(self) -> str:
        """What is wrong, or nothing."""
        wrong = []
        unknown = self.test.outcome is Outcome.ERROR and "nothing follows" in self.test.reason
        if self.starved and unknown:
            return ""
        if self.test.outcome is not self.expected.outcome:
            wrong.append(f"expected {self.expected.outcome}")
        if self.expected.reason and not re.search(self.expected.reason, self.test.reason):
            wrong.append(f"expected a reason like {self.expected.reason!r}")
        if not self.expected.reason and self.test.reason:
            wrong.append("expected no reason")
        if missing := set(self.expected.kernel) - {*self.complaints, *self.notes}:
            wrong.append(f"expected of the kernel: {', '.join(sorted(missing))}")
        others = [
            each for each in self.complaints if each not in (*self.expected.starved, *self.starved)
        ]
        if not self.expected.kernel and others:
            wrong.append(f"the kernel complained: {', '.join(others)}")
        return "; ".join(wrong)


def table() -> Mapping[str, Fault]:
    rows = tomllib.loads((FAULTS / "expected.toml").read_text())
    return msgspec.convert(rows, dict[str, Fault])


def run(out: Path, *options: str, limit_s: float) -> Results:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "run", "--out", str(out), *options],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=limit_s,
        check=False,
    )
    assert "Traceback" not in done.stdout, done.stdout
    assert done.returncode == ExitCode.NOT_AS_EXPECTED, done.stdout
    return results.decode((out / "results.json").read_bytes())


def compare(said: Results, out: Path, features: Sequence[str]) -> list[Row]:
    """Return a row for each fault that was run."""
    ended = {each.name: each for each in journal.read(out) if isinstance(each, TestEnded)}
    expected = table()
    rows = []
    for test in said.tests:
        findings = ended[test.name].findings
        rows.append(
            Row(
                name=test.program,
                expected=expected[test.program].on(features),
                test=test,
                complaints=_kinds(f.kind for f in findings if f.severity is not Severity.NOTE),
                notes=_kinds(f.kind for f in findings if f.severity is Severity.NOTE),
                starved=_kinds(f.kind for f in findings if f.of_time)
                if ended[test.name].ending.starved_s >= STARVED_S
                else (),
            )
        )
    return rows


def _kinds(kinds: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(kinds))


def render(rows: Sequence[Row]) -> str:
    """Return the table for people: fault, expected, got, what it was told with."""
    lines = [f"{'fault':38} {'expected':9} {'got':9} {'time':>6}  reason"]
    for row in rows:
        got, seconds = row.test.outcome, row.test.total_s or 0
        reason = row.test.reason.splitlines()[0][:90] if row.test.reason else ""
        line = f"{row.name:38} {row.expected.outcome:9} {got:9} {seconds:5.1f}s  {reason}"
        lines.append(line.rstrip())
        if row.wrong:
            lines.append(f"    WRONG: {row.wrong}")
    wrong = sum(bool(row.wrong) for row in rows)
    return "\n".join([*lines, f"{len(rows)} faults, {wrong} wrong"])


def run_faults(names: Iterable[str], work: Path, *options: str) -> tuple[Results, list[Row]]:
    """Run these faults, each with the time limit that it needs, and compare."""
    faults = table()
    # A suite has one time limit, and nobody wants to wait that long for all the endless loops.
    slow = work / "slow_faults"
    shutil.copytree(FAULTS, slow)
    (slow / "settings").write_text(f"timeout={SLOW_LIMIT_S}\n")
    tests = [f"{'slow_' * faults[name].slow}faults:{name}" for name in names]
    out = work / "out"
    # One guest more than processors: many faults do nothing but wait for their end.
    jobs = len(os.sched_getaffinity(0)) + 1
    given = ["--jobs", str(jobs), "-k", " or ".join(tests), *options]
    given += ["--suite", str(slow), "--suite", str(FAULTS)]
    said = run(out, *given, limit_s=1800)
    return said, compare(said, out, features=())


@pytest.mark.parametrize("proof", [False, pytest.param(True, marks=pytest.mark.proof)])
def test_every_fault_is_told_for_what_it_is(
    prepared: Prepared, tmp_path: Path, proof: bool
) -> None:
    wanted = [name for name, fault in table().items() if fault.proof is proof]
    said, rows = run_faults(wanted, tmp_path)
    print(f"\n{render(rows)}, {said.seconds:.0f} s")
    # None lost: every fault of the table was planned and reported, and nothing else was.
    assert [row.name for row in rows if row.wrong] == []
    assert sorted(test.program for test in said.tests) == sorted(wanted)


def test_what_is_left_to_the_proofs_has_its_like_in_each_run() -> None:
    sample = [fault for fault in table().values() if not fault.proof]
    for name, fault in table().items():
        assert any(
            (each.outcome, each.reason) == (fault.outcome, fault.reason) for each in sample
        ), name
        for kind in fault.kernel:
            assert any(kind in each.kernel for each in sample), name


VNG_SAMPLE = (
    "break_agent",
    "kernel_panic",
    "kill_everybody",
    "no_newline_after_failure",
    "power_off",
    "stop_agent",
)


@needs_vng
def test_faults_are_told_from_vng_guests_too(tmp_path: Path) -> None:
    said, rows = run_faults(VNG_SAMPLE, tmp_path, "--guest", "vng")
    print(f"\n{render(rows)}, {said.seconds:.0f} s")
    assert [row.name for row in rows if row.wrong] == []
    assert sorted(test.program for test in said.tests) == list(VNG_SAMPLE)
    assert all(test.guest.startswith("vng, ") for test in said.tests)


@needs_vng
@pytest.mark.proof
def test_every_fault_is_told_from_vng_guests(tmp_path: Path) -> None:
    said, rows = run_faults(table(), tmp_path, "--guest", "vng")
    print(f"\n{render(rows)}, {said.seconds:.0f} s")
    assert [row.name for row in rows if row.wrong] == []
    assert sorted(test.program for test in said.tests) == sorted(table())


def test_the_table_has_every_fault_of_the_suite(tmp_path: Path) -> None:
    """The suite's own list, as its Makefile says it, against the table."""
    stage = tmp_path / "faults"
    shutil.copytree(FAULTS, stage)
    (tmp_path / "lib.mk").touch()
    listing = "--eval=list: ; @echo $(TEST_GEN_PROGS)"
    argv = ["make", "-s", "-C", str(stage), f"OUTPUT={stage}", listing, "list"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert sorted(done.stdout.split()) == sorted(table())


@pytest.mark.proof
def test_what_only_kasan_sees(tmp_path: Path) -> None:
    out = tmp_path / "out"
    fragments = [word for name in KASAN for word in ("--config", name)]
    options = [*fragments, "--series", "none", "--suite", str(FAULTS), "-k", "kasan"]
    said = run(out, *options, limit_s=1800)
    rows = compare(said, out, features=["kasan"])
    print(f"\n{render(rows)}, {said.seconds:.0f} s")
    assert [row.name for row in rows if row.wrong] == []
    wanted = [name for name, fault in table().items() if fault.needs == "kasan"]
    assert sorted(test.program for test in said.tests) == sorted(wanted)
    # The stacks of the allocation and of the free come after the end of the trace.
    freed = next(row.test for row in rows if row.name == "kasan_read_after_free")
    assert "Allocated by task" in freed.kernel_log
    assert "Freed by task" in freed.kernel_log

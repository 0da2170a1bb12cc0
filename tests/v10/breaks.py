# SPDX-License-Identifier: GPL-2.0-only
"""Teeth: faults put into v11, one at a time, and whether the test that is to notice does.

A break is ``tests/breaks/NAME.patch``: three lines, then a diff for the tree of v11::

    Rule: B1.flags
    Test: restrictedmem:create_test/global.any_flag_is_einval
    Why: the check of the flags is gone

    python -m tests.v10.breaks [NAME…]

builds and runs each (or those that are named) and prints the table.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.model import results
from harness.model.expectations import matches
from harness.model.results import Results
from harness.outcome import Outcome
from tests.v10.tags import REPOSITORY, SELFTESTS

BREAKS = REPOSITORY / "tests" / "breaks"
STACK = "v11"
_MAIL = """\
From: Kernel Selftest Harness <kernel-selftest-harness@project.example>
Date: Sun, 22 Nov 2026 12:00:00 +0000
Subject: [PATCH] break: {name}

{why}

---
{diff}"""
_LIMIT_S = 3600


@dataclass(frozen=True)
class Break:
    """One fault."""

    name: str
    rule: str
    tests: tuple[str, ...]
    """``SUITE:PROGRAM/CASE``, whole names or globs; one of them has to notice."""
    why: str
    diff: str

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites of the tests."""
        return tuple(dict.fromkeys(test.partition(":")[0] for test in self.tests))

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs of the tests, as ``SUITE:PROGRAM``."""
        return tuple(dict.fromkeys(test.partition("/")[0] for test in self.tests))

    @classmethod
    def read(cls, path: Path) -> Break:
        """Read *path*."""
        head, begin, diff = path.read_text().partition("diff --git ")
        fields = [line.partition(": ") for line in head.splitlines() if line.strip()]
        values = {key: value for key, _, value in fields}
        assert begin, f"{path.name} has no diff"
        assert list(values) == ["Rule", "Test", "Why"], f"{path.name}: {list(values)}"
        tests = tuple(word.strip() for word in values["Test"].split(","))
        return cls(path.stem, values["Rule"], tests, values["Why"], begin + diff)


@dataclass(frozen=True)
class Bite:
    """What became of a break."""

    fault: Break
    caught: bool
    said: str


def all_breaks() -> tuple[Break, ...]:
    """Return every break."""
    return tuple(Break.read(path) for path in sorted(BREAKS.glob("*.patch")))


def bite(fault: Break, scratch: Path) -> Bite:
    """Put *fault* into the kernel, run its tests, and judge."""
    mail = scratch / f"{fault.name}.patch"
    mail.write_text(_MAIL.format(name=fault.name, why=fault.why, diff=fault.diff))
    out = scratch / "run"
    argv = [sys.executable, "-m", "harness", "run", "--out", str(out)]
    argv += ["--series", STACK, "--series", str(mail), "-k", " or ".join(fault.programs)]
    argv += [word for suite in fault.suites for word in ("--suite", str(SELFTESTS / suite))]
    done = subprocess.run(
        argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=_LIMIT_S, check=False
    )
    if not (out / "results.json").exists():
        lines = done.stderr.splitlines()
        first = next((n for n, line in enumerate(lines) if line.startswith("error:")), 0)
        return Bite(fault, False, "not run: " + " ".join(lines[first : first + 4]))
    return judge(fault, results.decode((out / "results.json").read_bytes()))


def judge(fault: Break, said: Results) -> Bite:
    """Say whether *fault* is caught: one of its cases, or its program, ends unlike expected.

    A program counts where it reported none of the cases, because it died before.  One that could
    not be built or started has caught nothing.
    """
    outcomes: dict[str, Outcome] = {}
    for test in said.tests:
        if test.outcome in (Outcome.ERROR, Outcome.NOTRUN):
            return Bite(fault, False, f"not run: {test.name} {test.outcome.value}: {test.reason}")
        named = [case for case in test.cases if any(matches(t, case.name) for t in fault.tests)]
        outcomes |= {case.name: case.outcome for case in named} or {test.name: test.outcome}
    wrong = {name: outcome for name, outcome in outcomes.items() if not outcome.as_expected}
    shown = ", ".join(f"{name} {outcome.value}" for name, outcome in (wrong or outcomes).items())
    return Bite(fault, bool(wrong), shown)


def table(bites: Sequence[Bite]) -> str:
    """Return what became of all, and caught/total below."""
    lines = [f"{'caught' if b.caught else 'MISSED':<7} {b.fault.name:<40} {b.said}" for b in bites]
    caught = sum(b.caught for b in bites)
    return "\n".join([*lines, f"caught/total: {caught}/{len(bites)}"])


def main() -> None:
    """Run the breaks that are named, or all."""
    wanted = set(sys.argv[1:])
    done: list[Bite] = []
    for fault in all_breaks():
        if not wanted or fault.name in wanted:
            with tempfile.TemporaryDirectory(prefix="break-") as scratch:
                done.append(bite(fault, Path(scratch)))
            print(table(done[-1:]).splitlines()[0], flush=True)
    print(table(done).splitlines()[-1])
    sys.exit(not all(each.caught for each in done))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-2.0-only
"""Faults that share a kernel against one incremental build for each: time, and what came out.

Both ways try the same faults with the same tests.  The second takes a quarter of an hour.
A command that was cut off goes on where it was, in the same directory.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ExitCode, MachineError
from harness.model import results
from harness.model.mutants import MutantResult, Mutants, Status
from harness.proc.environment import network
from harness.proc.process import run
from harness.progress import Progress
from harness.run import journal
from harness.run.request import Request
from harness.store import Store
from tools.bench.figures import Figure
from tools.bench.measured import OneStage

SPEED_UP = 5.0
A_MINUTE = 30.0
SERIES, SUITE, FILE = "v11", "restrictedmem", "mm/restrictedmem.c"
SAMPLE = 50
"""How many faults; those without a test take no time either way."""
_RUN_LIMIT_S = 7200.0
_VERDICTS = (ExitCode.AS_EXPECTED, ExitCode.NOT_AS_EXPECTED)


@dataclass(frozen=True)
class MutantsBench(OneStage):
    """Measures on the project of *request*, in *directory*, where a command is gone on with."""

    title = "faults that share a kernel"

    request: Request
    store: Store
    progress: Progress
    directory: Path

    def _measure(self) -> tuple[Figure, ...]:
        """Measure both ways; MachineError where a run does not come to a verdict."""
        together, alone = (self._run(way) for way in ("together", "alone"))
        shutil.rmtree(self.directory)
        return compare(together, alone)

    def _run(self, way: str) -> Mutants:
        """Return what became of the faults, tried *way*: an option of ``harness mutants``."""
        out = self.directory / way
        argv = [sys.executable, "-m", "harness", "mutants"]
        argv += ["--project", str(self.request.project_file)]
        if (out / journal.FILE_NAME).exists():
            argv += ["--resume", str(out)]
        else:
            argv += ["--series", SERIES, "--suite", SUITE, "--at", FILE, "--sample", str(SAMPLE)]
            argv += [f"--{way}", "--out", str(out)]
        with self.progress.step(f"{SAMPLE} faults, {way}"):
            done = run(
                argv,
                env={**network(), "HARNESS_CACHE": str(self.store.root)},
                limit_s=_RUN_LIMIT_S,
            )
        found = None
        if done.status in _VERDICTS:
            found = results.decode((out / "results.json").read_bytes()).mutants
        if found is None:
            raise MachineError(
                "a run that is to be measured came to no verdict",
                where=" ".join(argv),
                why="\n".join(done.output.splitlines()[-20:]),
            )
        return found


def compare(together: Mutants, alone: Mutants) -> tuple[Figure, ...]:
    """Hold the same faults against each other, as far as they have a test.

    ``--together`` leaves out what only a kernel of its own can have: neither its verdict nor its
    share of the time counts.
    """
    planned = {each.name for each in together.mutants}
    first = _tried(together)
    second = {name: each for name, each in _tried(alone).items() if name in planned}
    both = sorted(first.keys() & second.keys())
    other = [
        f"{name}: {first[name].status}, alone {second[name].status}"
        for name in both
        if first[name].status.noticed != second[name].status.noticed
        or Status.ERROR in (first[name].status, second[name].status)
    ]
    other += [f"{name}: tried one way only" for name in sorted(first.keys() ^ second.keys())]
    one = (together.build_s or 0.0) + (together.tests_s or 0.0)
    # A build is most of what each fault takes there, and all builds are of one file.
    apart = len(_tried(alone)) - len(second)
    each = (alone.tests_s or 0.0) * len(second) / max(1, len(second) + apart)
    gain = each / one if one else 0.0
    rate = 60 * len(both) / together.tests_s if together.tests_s else 0.0
    return (
        Figure(
            name=f"{len(both)} faults with a test in one kernel, tried in a minute",
            value=rate,
            unit="",
            bound=f">= {A_MINUTE:g}",
            reached=rate >= A_MINUTE,
            note=f"{together.build_s or 0:.0f} s to build, {together.tests_s or 0:.0f} s of tests",
        ),
        Figure(
            name="a kernel for each of them, against one for all",
            value=gain,
            unit="times as long",
            bound=f">= {SPEED_UP:g}",
            reached=gain >= SPEED_UP,
            note=f"{each:.0f} s against {one:.0f} s, builds and tests",
        ),
        Figure(
            name="faults that end otherwise alone",
            value=len(other),
            unit="",
            bound="0",
            reached=not other and bool(both),
            note="; ".join(_first(other)) or f"{apart} that need a kernel each left out",
        ),
    )


def _tried(found: Mutants) -> Mapping[str, MutantResult]:
    """Return by name the faults under which a test was to run."""
    no_test = (Status.UNCOVERED, Status.EQUIVALENT)
    return {each.name: each for each in found.mutants if each.status not in no_test}


def _first(words: Sequence[str], most: int = 3) -> list[str]:
    more = len(words) - most
    return [*words[:most], *([f"and {more} more"] if more > 0 else [])]

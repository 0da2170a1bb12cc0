# SPDX-License-Identifier: GPL-2.0-only
"""The figures that the project stands for, measured on one kernel in one go.

Each is the wall-clock time that a user waits.  The machine may be shared and noisy, so the
comparison with virtme-ng is a ratio of medians from the same minutes.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from harness import loop
from harness.errors import MachineError, UserError
from harness.guest import bench as guest_bench
from harness.progress import Progress
from harness.project import NO_SERIES
from harness.run import journal
from harness.run.guests import GUEST_ROOT
from harness.run.prepare import Prepared, Request, prepare
from harness.run.records import TestStarted
from harness.store import Store
from harness.suites import Program, Suite

RESTORED_LIMIT_S = 0.35
VIRTME_RATIO = 8.0
UNCHANGED_LIMIT_S = 2.0
EDITED_LIMIT_S = 20.0
_RUN_LIMIT_S = 1800.0
_NEW_C_FILE = re.compile(
    rb"^(?P<head>diff --git a/(?P<path>mm/\S+\.c) .*\n(?:(?!diff --git )(?!@@ ).*\n)*"
    rb"@@ -0,0 \+1,)(?P<count>\d+)(?P<tail> @@.*\n)(?P<body>(?:\+.*\n)+)",
    re.MULTILINE,
)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured figure and the bound it has to keep."""

    name: str
    value: float
    unit: str
    bound: str
    """In words, such as ``<= 0.35``."""
    reached: bool
    samples: tuple[float, ...] = ()
    """Seconds of each round."""
    note: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All figures with what they were measured on."""

    kernel: str
    program: str
    accelerator: str
    machine: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Bench:
    """Measures on the project and options of *request*."""

    request: Request
    store: Store
    progress: Progress
    rounds: int
    virtme_rounds: int

    def measure(self) -> Report:
        """Build what is missing, then measure everything.

        Raises UserError where the series creates no C file below ``mm/`` that could be edited,
        and MachineError where a tool is missing or a round fails.
        """
        with tempfile.TemporaryDirectory(prefix="harness-bench-") as name:
            scratch = Path(name)
            prepared = prepare(self.request, self.store, scratch / "prepare", self.progress)
            suite, program = _first_program(prepared)
            figures, accelerator = self._guests(prepared, suite, program)
            unchanged = self._unchanged(scratch)
            edited = self._edited(prepared, scratch)
        return Report(
            kernel=prepared.facts.release,
            program=f"{suite.name}:{program.name}",
            accelerator=accelerator,
            machine=f"{len(os.sched_getaffinity(0))} CPUs, {platform.platform()}",
            figures=(*figures, *unchanged, edited),
        )

    def _guests(
        self, prepared: Prepared, suite: Suite, program: Program
    ) -> tuple[tuple[Figure, ...], str]:
        template = loop.run(prepared.foundry.template(suite, self.request.guest_table()))
        argv = (f"/{GUEST_ROOT}/{suite.name}/{program.path}",)
        with self.progress.step(f"{self.rounds} tests in restored guests"):
            restored = loop.run(guest_bench.measure_restored(template.start, argv, self.rounds))
        with self.progress.step(f"{self.virtme_rounds} tests under virtme-run"):
            virtme = guest_bench.measure_virtme(
                prepared.kernel.image, suite.files / program.path, (), self.virtme_rounds
            )
        ratio = virtme.median / restored.median
        return (
            Figure(
                name="a test in a restored guest, median",
                value=restored.median,
                unit="s",
                bound=f"<= {RESTORED_LIMIT_S}",
                reached=restored.median <= RESTORED_LIMIT_S,
                samples=restored.seconds,
                note=f"worst of {len(restored.seconds)}: {restored.worst:.3f} s",
            ),
            Figure(
                name="the same under virtme-run --script-sh",
                value=ratio,
                unit="times as long",
                bound=f">= {VIRTME_RATIO:g}",
                reached=ratio >= VIRTME_RATIO,
                samples=virtme.seconds,
                note=f"median of {len(virtme.seconds)}: {virtme.median:.2f} s",
            ),
        ), template.machine.accelerator

    def _unchanged(self, scratch: Path) -> tuple[Figure, ...]:
        """Run again what has just been built."""
        self._run("A run, so that nothing is new to the next", scratch / "first", {})
        calls = scratch / "compiler-calls"
        spy = _compiler_spy(scratch / "bin", calls)
        start = time.time()
        out = scratch / "second"
        self._run("A run after which nothing has changed", out, {"PATH": spy})
        begun = next(each for each in journal.read(out) if isinstance(each, TestStarted))
        seconds = datetime.fromisoformat(begun.time).timestamp() - start
        compiled = len(calls.read_text().splitlines()) if calls.exists() else 0
        return (
            Figure(
                name="nothing changed: start of the first test",
                value=seconds,
                unit="s",
                bound=f"<= {UNCHANGED_LIMIT_S:g}",
                reached=seconds <= UNCHANGED_LIMIT_S,
            ),
            Figure(
                name="nothing changed: calls of the compiler",
                value=compiled,
                unit="",
                bound="0",
                reached=compiled == 0,
            ),
        )

    def _edited(self, prepared: Prepared, scratch: Path) -> Figure:
        """Change one line of a file in mm/ that the series brings, and wait for the verdict."""
        series = scratch / "series"
        path = _edit_series(prepared, series)
        options = [w for each in sorted(series.iterdir()) for w in ("--series", str(each))]
        start = time.monotonic()
        self._run(f"A run after {path} was edited", scratch / "third", {}, options)
        seconds = time.monotonic() - start
        return Figure(
            name=f"{path} edited in the series: verdict",
            value=seconds,
            unit="s",
            bound=f"<= {EDITED_LIMIT_S:g}",
            reached=seconds <= EDITED_LIMIT_S,
        )

    def _run(
        self, title: str, out: Path, env: Mapping[str, str], options: list[str] | None = None
    ) -> None:
        """Run ``harness run`` as a user does, in a process of its own."""
        argv = [sys.executable, "-m", "harness", "run", "--project", str(self.request.project_file)]
        argv += [word for name in self.request.config for word in ("--config", name)]
        argv += ["--out", str(out), *(options or [])]
        with self.progress.step(title):
            done = subprocess.run(
                argv,
                env={**os.environ, "HARNESS_CACHE": str(self.store.root), **env},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_RUN_LIMIT_S,
                check=False,
            )
        if done.returncode != 0:
            raise MachineError(
                "a run that is to be measured did not end as expected",
                where=" ".join(argv),
                why="\n".join(done.stdout.splitlines()[-20:]),
            )


def _first_program(prepared: Prepared) -> tuple[Suite, Program]:
    for suite in prepared.suites:
        for program in suite.programs:
            if not program.script:
                return suite, program
    raise UserError("there is no program to measure with", where="the project's suites")


def _compiler_spy(directory: Path, calls: Path) -> str:
    """Return a PATH on which gcc notes each call in *calls*, unless it only asks who gcc is."""
    directory.mkdir()
    for name in ("gcc", "cc", "cc1", "as", "ld"):
        real = shutil.which(name)
        if real:
            spy = directory / name
            spy.write_text(
                f'#!/bin/sh\n[ "$*" = --version ] || echo "{name} $*" >>{calls}\nexec {real} "$@"\n'
            )
            spy.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


def _edit_series(prepared: Prepared, target: Path) -> str:
    """Copy the stack with one more line at the end of a new C file of mm/; return its path."""
    edited = ""
    for level, series in enumerate(prepared.stack.series):
        directory = target / f"{level:02}"
        directory.mkdir(parents=True)
        for patch in series.patches:
            data = patch.data
            found = _NEW_C_FILE.search(data)
            if found and not edited:
                edited = found["path"].decode()
                # A definition, not a comment: ccache sees through comments.
                line = b'+const char restart_mark[] = "%d";\n' % time.time_ns()
                data = b"".join(
                    (
                        data[: found.start()],
                        found["head"],
                        b"%d" % (int(found["count"]) + 1),
                        found["tail"],
                        found["body"],
                        line,
                        data[found.end() :],
                    )
                )
            (directory / f"{patch.number:04}.patch").write_bytes(data)
    if not edited:
        raise UserError(
            "the series brings no C file below mm/ that could be edited",
            where=prepared.stack.title or NO_SERIES,
        )
    return edited


def encode(report: Report) -> str:
    """Return *report* as indented JSON."""
    return json.dumps(msgspec.to_builtins(report), indent=2)

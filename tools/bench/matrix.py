# SPDX-License-Identifier: GPL-2.0-only
"""What a matrix takes: ten kernels from nothing, one patch changed, nothing changed, many tests.

Everything happens in a cache of its own, which has nothing but the kernel's source, so "from
nothing" is that.  It takes some half an hour on two processors.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.context import Context
from harness.errors import ExitCode, MachineError, UserError
from harness.model import results
from harness.model.logfiles import kernel_build_log
from harness.model.spec import KernelSpec
from harness.proc.environment import network
from harness.proc.process import run
from harness.progress import Progress
from harness.run.request import Request
from harness.series import Series, apply, read
from harness.source import resolve_first
from harness.store import Store
from tools.bench.figures import Figure
from tools.bench.measured import OneStage, Stage
from tools.bench.overhead import Overhead

BUILDS = 2.5
"""How many builds of the tip from nothing all kernels may take, beside their tests."""
IDENTICAL_LIMIT_S = 10.0
LINEAR_RATIO = 1.5
"""How much more a test of many may take than one of few, in time, memory and bytes."""
SERIES = "v10"
EDITED = 7
FEW, MANY = (1, 1000), (10, 1000)
"""Kernels and tests of each that do nothing."""
_RUN_LIMIT_S = 7200.0
_VERDICTS = (ExitCode.AS_EXPECTED, ExitCode.NOT_AS_EXPECTED)
_STATEMENT = re.compile(rb"^\+\t+\w[^\n]*;\n", re.MULTILINE)
_HUNK = re.compile(
    rb"^(@@ -\d+(?:,\d+)? \+\d+,)(\d+)( @@[^\n]*\n)((?:[ +\-\\][^\n]*\n)*)", re.MULTILINE
)


Applies = Callable[[Series], object]
"""Applies a series; raises UserError where that does not go."""


@dataclass(frozen=True)
class OverheadBench(OneStage):
    """Measures what the harness itself takes for a test."""

    title = "tests that do nothing"

    progress: Progress

    def _measure(self) -> tuple[Figure, ...]:
        """Compare many tests that do nothing with few, in a process each."""
        few, many = (self._overhead(*each) for each in (FEW, MANY))
        pairs = (
            ("time", few.run_s, many.run_s, "ms", 1000.0),
            ("reports", few.reports_s, many.reports_s, "ms", 1000.0),
            ("journal", few.journal_bytes, many.journal_bytes, "bytes", 1.0),
            ("size of reports", few.report_bytes, many.report_bytes, "bytes", 1.0),
        )
        return (
            *(
                Figure(
                    name=f"{MANY[0]} x {MANY[1]} tests that do nothing, {what} of each",
                    value=scale * much / many.tests,
                    unit=unit,
                    bound=f"<= {LINEAR_RATIO * scale * little / few.tests:.3g}",
                    reached=much / many.tests <= LINEAR_RATIO * little / few.tests,
                    note=f"of {few.tests} it is {scale * little / few.tests:.3g} {unit}",
                )
                for what, little, much, unit, scale in pairs
            ),
            Figure(
                name=f"{MANY[0]} x {MANY[1]} tests that do nothing, memory of the run",
                value=many.run_kib / 1024,
                unit="MiB",
                bound=f"<= {LINEAR_RATIO * few.run_kib / 1024:.0f}",
                reached=many.run_kib <= LINEAR_RATIO * few.run_kib,
                note=f"with the reports {many.reports_kib / 1024:.0f} MiB",
            ),
        )

    def _overhead(self, kernels: int, tests: int) -> Overhead:
        argv = [sys.executable, "-m", "tools.bench.overhead", str(kernels), str(tests)]
        with self.progress.step(f"{kernels} x {tests} tests that do nothing"):
            done = run(argv, limit_s=_RUN_LIMIT_S)
        if not done.ok:
            raise MachineError("a run that is to be measured failed", why=done.output)
        return msgspec.json.decode(done.output.splitlines()[-1], type=Overhead)


@dataclass(frozen=True)
class MatrixBench:
    """Measures on the project of *request*; the kernel's source is taken from *store*."""

    request: Request
    store: Store
    progress: Progress

    def check(self) -> None:
        """Do nothing: what a run needs, the first one tells within a second."""

    @contextmanager
    def stages(self) -> Iterator[Iterator[Stage]]:
        """Yield what measures a matrix, and many tests that do nothing."""

        def stages() -> Iterator[Stage]:
            yield "a matrix of ten kernels", self._matrix
            with OverheadBench(self.progress).stages() as more:
                yield from more

        yield stages()

    def _matrix(self) -> Iterator[Figure]:
        """Measure a matrix; MachineError where a run does not come to a verdict."""
        spec = KernelSpec(series=(SERIES,))
        context = Context(self.store, self.progress)
        base = resolve_first(
            self.request.project.kernel.sources, context, relative_to=self.request.project_dir
        )
        stack = self.request.stack(spec)
        apply(stack.series, base, context)
        with tempfile.TemporaryDirectory(
            prefix="harness-bench-", dir=self.store.root.parent
        ) as name:
            scratch = Path(name)
            tip = cache_with_source(scratch / "tip-cache", self.store)
            whole, _ = self._run("The tip from nothing", tip, scratch / "tip", ["run"])
            tests, _ = self._run("The tests of the tip", tip, scratch / "tip", ["run"])
            build = whole - tests
            shutil.rmtree(tip)
            cache = cache_with_source(scratch / "cache", self.store)
            fresh = ["matrix", "--fresh"]
            ten, first = self._run("Ten kernels from nothing", cache, scratch / "first", fresh)
            yield against_tip(len(first.kernels), ten, build, tests)
            same, _ = self._run("The same again", cache, scratch / "second", ["matrix"])
            yield Figure(
                name="the same matrix again",
                value=same,
                unit="s",
                bound=f"<= {IDENTICAL_LIMIT_S:g}",
                reached=same <= IDENTICAL_LIMIT_S,
            )
            edited = scratch / "edited"
            _edit(stack.series[0], edited, lambda each: apply([each], base, context))
            options = ["matrix", "--series", str(edited)]
            changed, _ = self._run(f"Patch {EDITED} changed", cache, scratch / "third", options)
            built = [each for each in first.kernels if _was_built(scratch / "third", each)]
            yield Figure(
                name=f"patch {EDITED} changed: kernels built",
                value=len(built),
                unit="",
                bound=f"{len(first.kernels) - EDITED}",
                reached=built == [each for each in first.kernels if each.isdigit()][EDITED - 1 :],
                note=f"{', '.join(built)}; {changed:.0f} s",
            )

    def _run(
        self,
        title: str,
        cache: Path,
        out: Path,
        words: Sequence[str],
    ) -> tuple[float, results.Results]:
        """Call the harness as a user does; return how long it took, and what it said."""
        argv = [sys.executable, "-m", "harness", *words, "--out", str(out)]
        argv += ["--project", str(self.request.project_file)]
        argv += [] if "--series" in words else ["--series", SERIES]
        start = time.monotonic()
        with self.progress.step(title):
            done = run(argv, env={**network(), "HARNESS_CACHE": str(cache)}, limit_s=_RUN_LIMIT_S)
        took = time.monotonic() - start
        if done.status not in _VERDICTS:
            raise MachineError(
                "a run that is to be measured came to no verdict",
                where=" ".join(argv),
                why="\n".join(done.output.splitlines()[-20:]),
            )
        return took, results.decode((out / "results.json").read_bytes())


def against_tip(kernels: int, took: float, build: float, tests: float) -> Figure:
    """Hold a matrix of *kernels* that *took* so many seconds against the tip alone.

    The bound is :data:`BUILDS` builds of the tip from nothing, of *build* seconds, and one test run
    of the tip, of *tests* seconds, for each kernel.
    """
    bound = BUILDS * build + kernels * tests
    return Figure(
        name=f"{kernels} kernels from nothing, against {BUILDS:g} builds and {kernels} test runs",
        value=took / bound,
        unit="times as long",
        bound="<= 1",
        reached=took <= bound,
        note=f"{took:.0f} s; a build takes {build:.0f} s, a test run {tests:.0f} s; "
        f"{took / (build + tests):.1f} times the tip alone",
    )


def cache_with_source(root: Path, store: Store) -> Path:
    """Make a cache at *root* that has nothing but the kernel's source, of *store*; return it."""
    cache = Store(root)
    shutil.rmtree(cache.place("git"))
    shutil.copytree(
        store.place("git"),
        root / "places" / "git",
        copy_function=_link,
        ignore=lambda _directory, _names: {"worktrees"},
    )
    return root


def _link(source: str, target: str) -> str:
    """Make *target* the same file as *source* where that never changes, and a copy elsewhere.

    A link to a file changes the time of its inode, and git takes that for a change: a fetch that is
    under way fails.
    """
    if "objects" in Path(source).parts:
        Path(target).hardlink_to(source)
    else:
        shutil.copy2(source, target)
    return target


def _was_built(out: Path, kernel: str) -> bool:
    return (out / kernel_build_log(kernel)).exists()


def _edit(series: Series, directory: Path, applies: Applies) -> None:
    """Write *series* to *directory* with one more line in the code of patch :data:`EDITED`.

    It goes behind a statement that the patch adds, where all later patches still apply.
    """
    directory.mkdir()
    for patch in series.patches:
        (directory / f"{patch.number:04}.patch").write_bytes(patch.data)
    edited = next(each for each in series.patches if each.number == EDITED)
    path = directory / f"{EDITED:04}.patch"
    for data in _candidates(edited.data):
        path.write_bytes(data)
        with suppress(UserError):
            applies(read(directory))
            return
    raise UserError(f"patch {EDITED} has no place for one more line", where=SERIES)


def _candidates(data: bytes) -> Iterator[bytes]:
    """Yield *data*, of a patch, with one more line behind each statement that it adds."""
    mark = b"+\t\t/* edited %d */\n" % time.time_ns()
    for hunk in _HUNK.finditer(data):
        head, count, tail, body = hunk.groups()
        for statement in _STATEMENT.finditer(body):
            at = statement.end()
            longer = b"%d" % (int(count) + 1)
            parts = (head, longer, tail, body[:at], mark, body[at:])
            yield data[: hunk.start()] + b"".join(parts) + data[hunk.end() :]

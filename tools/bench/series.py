# SPDX-License-Identifier: GPL-2.0-only
"""What a series costs before it is tested: to check it, and to build a stranger's.

Builds are measured in a cache of their own, which begins with nothing but the kernel's source, so
ccache has none of the objects.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness import kbuild, series
from harness.checks import CHECKS, Checks
from harness.context import Context
from harness.errors import ExitCode, MachineError
from harness.kbuild import toolchain
from harness.kbuild.configure import configure
from harness.model.checks import Severity
from harness.model.spec import KernelSpec
from harness.proc.environment import network
from harness.proc.git import object_id
from harness.proc.process import need_sandbox, run
from harness.proc.sandbox import Sandbox
from harness.progress import Progress
from harness.run import checking
from harness.run.request import Request
from harness.series import Tree
from harness.source import Source, resolve_first, worktree
from harness.store import Store
from tools.bench.figures import Figure
from tools.bench.matrix import cache_with_source
from tools.bench.measured import OneStage, Stage

SERIES = "v10"
SANDBOX_RATIO = 1.05
SANDBOX_ROUNDS = 3
SUBSET = ("mm/", "kernel/")
CHECK_RATIO = 1.5
_RUN_LIMIT_S = 7200.0
_VERDICTS = (ExitCode.AS_EXPECTED, ExitCode.NOT_AS_EXPECTED)


@dataclass(frozen=True)
class SandboxBench:
    """Builds the same objects by turns with the user's rights and in the sandbox."""

    request: Request
    store: Store
    progress: Progress

    def check(self) -> None:
        """Raise MachineError if there is no sandbox here."""
        need_sandbox()

    @contextmanager
    def stages(self) -> Iterator[Iterator[Stage]]:
        """Yield what measures the sandbox."""
        yield iter([("the sandbox", self._measure)])

    def _measure(self) -> tuple[Figure, ...]:
        took: dict[str, list[float]] = {"own": [], "stranger": []}
        with _scratch(self.store) as name:
            scratch = Path(name)
            context = Context(
                Store(cache_with_source(scratch / "cache", self.store)), self.progress
            )
            base, fragments = _base(self.request, context), _fragments(self.request)
            place = kbuild.slot(context.store, base.spec, fragments, purpose="bench")
            worktree.checkout(base.repo, base.commit, place.source, self.progress)
            make = place.make(scratch / "log", _RUN_LIMIT_S)
            tree = Tree(base.repo, base.commit, base.tree, base.commit, ())
            configure(make, tree, fragments, toolchain.identify(), context)
            # Without ccache, which would give the same objects again.
            make = msgspec.structs.replace(make, options=("CC=gcc",))
            inside = Sandbox((place.source, place.request), (place.objects, place.ccache))
            ways = {"own": make, "stranger": msgspec.structs.replace(make, sandbox=inside)}
            with self.progress.step("Building what the others need"):
                make.must(["prepare"], "the tree cannot be prepared")
            for number in range(SANDBOX_ROUNDS):
                # By turns, and each way first as often as the other.
                for way in sorted(ways, reverse=bool(number % 2)):
                    for directory in SUBSET:
                        for path in (place.objects / directory).rglob("*.[oa]"):
                            path.unlink()
                    begun = time.monotonic()
                    with self.progress.step(f"Building {' '.join(SUBSET)}, trust {way}"):
                        ways[way].must([*SUBSET], "the objects cannot be built")
                    took[way].append(time.monotonic() - begun)
        return (of_sandbox(took["own"], took["stranger"]),)


@dataclass(frozen=True)
class CheckBench(OneStage):
    """Builds each patch, then checks each; both begin with the source, which is built."""

    title = "checks of a series"

    request: Request
    store: Store
    progress: Progress

    def _measure(self) -> tuple[Figure, ...]:
        with _scratch(self.store) as name:
            scratch = Path(name)
            cache = cache_with_source(scratch / "cache", self.store)
            context = Context(Store(cache), self.progress)
            built = self._built_one_after_the_other(context, scratch)
            checked = self._checked(context, scratch)
        return (
            Figure(
                name=f"checks of {SERIES}, against building its {len(built)} patches",
                value=checked / sum(built),
                unit="times as long",
                bound=f"<= {CHECK_RATIO:g}",
                reached=checked <= CHECK_RATIO * sum(built),
                samples=tuple(built),
                note=f"{checked:.0f} s against {sum(built):.0f} s",
            ),
        )

    def _built_one_after_the_other(self, context: Context, scratch: Path) -> list[float]:
        """Build the source, then the tree of each patch; return how long each of these took."""
        base, fragments = _base(self.request, context), _fragments(self.request)
        stack = self.request.stack(KernelSpec(series=(SERIES,)))
        tree = series.apply(stack.series, base, context)
        place = kbuild.slot(context.store, base.spec, fragments, purpose="bench")
        commits = [base.commit, *(patch.commit for patch in tree.patches)]
        took = []
        for commit in commits:
            begun = time.monotonic()
            kbuild.build(
                Tree(tree.repo, commit, _tree_of(tree.repo, commit), base.commit, ()),
                fragments,
                place,
                context=context,
                log=scratch / "log",
                limit_s=_RUN_LIMIT_S,
            )
            took.append(time.monotonic() - begun)
        return took[1:]

    def _checked(self, context: Context, scratch: Path) -> float:
        """Check the source, then call the command; return how long that took, in seconds."""
        request = msgspec.structs.replace(self.request, kernels=(KernelSpec(series=(SERIES,)),))
        wish = checking.Wish(request, CHECKS, Severity.ERROR, lambda _number, _check: "")
        subject, _ = checking.prepare(wish, "bench", scratch, context)
        with context.lock(subject.workshop.place.name):
            Checks(subject, CHECKS, lambda _result: None).build(0)
        argv = [sys.executable, "-m", "harness", "series", "check", SERIES]
        argv += ["--project", str(self.request.project_file), "--out", str(scratch / "out")]
        begun = time.monotonic()
        with self.progress.step(f"Checking {SERIES}"):
            done = run(
                argv,
                env={**network(), "HARNESS_CACHE": str(context.store.root)},
                limit_s=_RUN_LIMIT_S,
            )
        took = time.monotonic() - begun
        if done.status not in _VERDICTS:
            raise MachineError(
                "checks that are to be measured came to no verdict",
                where=" ".join(argv),
                why="\n".join(done.output.splitlines()[-20:]),
            )
        return took


def _scratch(store: Store) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="harness-bench-", dir=store.root.parent)


def _base(request: Request, context: Context) -> Source:
    sources = request.project.kernel.sources
    return resolve_first(sources, context, relative_to=request.project_dir)


def _fragments(request: Request) -> kbuild.Fragments:
    names, _ = request.fragments(request.kernels[0])
    return kbuild.load(request.project_dir / request.project.kernel.config_dir, names)


def of_sandbox(own: Sequence[float], stranger: Sequence[float]) -> Figure:
    """Compare the seconds of builds in the sandbox with those of the others, pair by pair.

    By the clock: bwrap does not wait for what runs in it, so the kernel does not add its processor
    time to that of its parent.
    """
    ratio = statistics.median(s / o for o, s in zip(own, stranger, strict=True))
    return Figure(
        name=f"building {' '.join(SUBSET)} in the sandbox, against without, by turns",
        value=ratio,
        unit="times as long",
        bound=f"<= {SANDBOX_RATIO:g}",
        reached=ratio <= SANDBOX_RATIO,
        samples=tuple(stranger),
        note=f"median of {len(own)} pairs: {statistics.median(own):.1f} s without",
    )


def _tree_of(repo: Path, commit: str) -> str:
    tree = object_id(repo, f"{commit}^{{tree}}")
    if tree is None:
        raise MachineError("the cache's git repository is damaged", where=f"{repo} {commit}")
    return tree

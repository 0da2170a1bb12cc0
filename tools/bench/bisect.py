# SPDX-License-Identifier: GPL-2.0-only
"""What a bisection takes, against ``git bisect run`` with the same command.

Both search 64 commits on the kernel's source, each of which changes the code of another file.
Each begins with a copy of the same cache, at the same path, in which the good commit has been
built and tested: so what is compared is the search.  It takes some twenty minutes.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.context import Context
from harness.errors import ExitCode, MachineError
from harness.model.logfiles import kernel_build_log
from harness.proc.environment import network
from harness.proc.git import borrow, git, must
from harness.proc.process import run
from harness.progress import Progress
from harness.run.request import Request
from harness.source import resolve_first
from harness.store import Store
from tools.bench.figures import Figure
from tools.bench.matrix import cache_with_source
from tools.bench.measured import OneStage

COMMITS = 64
BAD = 43
"""The number of the first bad commit; it is in neither half's middle."""
BUILDS = 7
RATIO = 1.3
SUITE, TEST = "kernel:memfd", "memfd_test"
_BROKEN_FILE = "mm/memfd.c"
_SEALS = "\t*file_seals |= seals;\n"
"""The statement of that file which the bad commit drops: seals are taken and have no effect."""
_RUN_LIMIT_S = 3600.0
# A kernel that cannot be tested is skipped, as a user's script has to say.
_SCRIPT = """#!/bin/sh
"$@"
status=$?
[ "$status" -le 1 ] || exit 125
exit "$status"
"""


@dataclass(frozen=True)
class BisectBench(OneStage):
    """Measures on the project of *request*; the kernel's source is taken from *store*."""

    title = f"a bisection over {COMMITS} commits"

    request: Request
    store: Store
    progress: Progress

    def _measure(self) -> Iterator[Figure]:
        """Search twice; MachineError where a search does not find the commit."""
        context = Context(self.store, self.progress)
        base = resolve_first(
            self.request.project.kernel.sources, context, relative_to=self.request.project_dir
        )
        with tempfile.TemporaryDirectory(
            prefix="harness-bench-", dir=self.store.root.parent
        ) as name:
            scratch = Path(name)
            with self.progress.step(f"{COMMITS} commits"):
                place = borrow(base.repo, scratch / "linux.git")
                commits = make_commits(place, base.commit)
            cache, kept = scratch / "cache", scratch / "kept"
            cache_with_source(cache, self.store)
            first = self._harness("run", "--source", f"{place}#{base.commit}")
            self._timed("The good commit", first, cache, scratch)
            cache.rename(kept)

            shutil.copytree(kept, cache, symlinks=True)
            out = scratch / "out"
            ours = self._harness("bisect", "--source", str(place), "--out", str(out))
            ours += ["--good", base.commit, "--bad", "topic"]
            took, said = self._timed("harness bisect", ours, cache, scratch)
            _must_name(commits[BAD - 1], said)
            built = sum(1 for each in commits if (out / kernel_build_log(each[:12])).exists())
            shutil.rmtree(cache)

            # A copy as well: in one, git has to look into each file of a work tree once.
            shutil.copytree(kept, cache, symlinks=True)
            script = scratch / "script"
            script.write_text(_SCRIPT)
            script.chmod(0o755)
            tree = scratch / "linux"
            with self.progress.step("A work tree"):
                add = git(
                    *("worktree", "add", "-q", str(tree), "topic"), repo=place, limit_s=_RUN_LIMIT_S
                )
                must(add, "git cannot check the commits out")
                start = git("bisect", "start", "topic", base.commit, cwd=tree)
                must(start, "git cannot start a bisection")
            theirs = ["git", "bisect", "run", str(script)]
            theirs += self._harness("run", "--source", ".", "--out", str(scratch / "theirs"))
            usual, said = self._timed("git bisect run", theirs, cache, tree)
            _must_name(commits[BAD - 1], said)
        yield Figure(
            name=f"harness bisect over {COMMITS} commits: kernels built",
            value=built,
            unit="",
            bound=f"<= {BUILDS}",
            reached=built <= BUILDS,
        )
        yield Figure(
            name="harness bisect, against git bisect run with the same test",
            value=took / usual,
            unit="times as long",
            bound=f"<= {RATIO:g}",
            reached=took / usual <= RATIO,
            note=f"{took:.0f} s against {usual:.0f} s",
        )

    def _harness(self, command: str, *words: str) -> list[str]:
        argv = [sys.executable, "-m", "harness", command, *words, "--series", "none"]
        argv += ["--project", str(self.request.project_file)]
        return [*argv, "--suite", SUITE, "-k", TEST]

    def _timed(self, title: str, argv: Sequence[str], cache: Path, cwd: Path) -> tuple[float, str]:
        """Return how long the command took in seconds, and what it printed."""
        # What was copied before is written to the disk meanwhile otherwise.
        os.sync()
        start = time.monotonic()
        with self.progress.step(title):
            done = run(
                argv,
                cwd=cwd,
                env={
                    **network(),
                    "HARNESS_CACHE": str(cache),
                    "PYTHONPATH": str(self.request.project_dir),
                },
                limit_s=_RUN_LIMIT_S,
            )
        took = time.monotonic() - start
        if done.status != ExitCode.AS_EXPECTED:
            raise MachineError(
                "a command that is to be measured failed",
                where=" ".join(argv),
                why="\n".join(done.output.splitlines()[-20:]),
            )
        return took, done.output


def make_commits(repository: Path, base: str) -> list[str]:
    """Make :data:`COMMITS` commits on *base* in a bare *repository*.

    Return their ids, the oldest first.  Each adds a constant to another file below ``mm/``;
    :data:`BAD` breaks seals of memfd, too.  The last one is the branch ``topic``.  MachineError
    where git fails.
    """

    def ask(*words: str, given: bytes | None = None) -> str:
        return must(git(*words, repo=repository, stdin=given), "git cannot make commits").text

    listed = ask("ls-tree", "--name-only", base, "mm/").split()
    files = [each for each in listed if each.endswith(".c") and each != _BROKEN_FILE]
    ask("read-tree", base)
    commits, parent = [], base
    for number in range(1, COMMITS + 1):
        file = _BROKEN_FILE if number == BAD else files[number]
        text = ask("show", f"{base}:{file}")
        text += f"\nstatic const int bench_{number} __used = {number};\n"
        if number == BAD:
            if _SEALS not in text:
                raise MachineError("the source has not the statement to drop", where=file)
            text = text.replace(_SEALS, "")
        blob = ask("hash-object", "-w", "--stdin", given=text.encode(errors="surrogateescape"))
        ask("update-index", "--cacheinfo", f"100644,{blob},{file}")
        tree = ask("write-tree")
        parent = ask("commit-tree", tree, "-p", parent, "-m", f"mm: Change {file}")
        commits.append(parent)
    ask("update-ref", "refs/heads/topic", parent)
    return commits


def _must_name(commit: str, said: str) -> None:
    """Raise MachineError unless *said* names *commit*."""
    if commit[:12] not in said:
        raise MachineError("a search found another commit", where=commit, why=said[-2000:])

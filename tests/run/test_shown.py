# SPDX-License-Identifier: GPL-2.0-only
"""What is foretold of a run over several kernels, from what earlier ones took."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from harness import kbuild
from harness.context import Context
from harness.model.plan import PlannedTest
from harness.model.records import KernelBuilt, RunStarted
from harness.model.results import Kernel, Machine, Results, Test
from harness.outcome import Outcome
from harness.report.console import Terminal
from harness.report.plain import PlainProgress
from harness.run import times
from harness.run.attempts import Attempts, Ready
from harness.run.prepare import Selected
from harness.run.shown import Shown
from harness.store import Store

pytestmark = pytest.mark.unit
PLAIN = Terminal(live=False, colour=False, unicode=True)
FACTS = Kernel(release="6.1.0", source="s", base_commit="c", series_name="v10")
TESTS = tuple(PlannedTest(name=f"s:{each}", suite="s", program=each) for each in "abc")


def selected(name: str) -> Selected:
    suite, stack = SimpleNamespace(name="s"), SimpleNamespace(name="v10")
    found = SimpleNamespace(
        name=name, suites=(suite,), stack=stack, tree=None, fragments=None, place=None
    )
    return cast(Selected, found)


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """Return a context in which a run has taken 20 s for a build and 30 s for three tests."""
    store = Store(tmp_path)
    results = Results(
        run="r",
        started="",
        kernel=FACTS,
        machine=Machine(),
        tests=tuple(
            Test(name=each.name, suite="s", program="p", outcome=Outcome.PASS, total_s=10.0)
            for each in TESTS
        ),
    )
    built = KernelBuilt(kernel="1", facts=FACTS, seconds=20.0)
    times.remember(store, results, [built])
    # The first is in the cache.
    monkeypatch.setattr(
        kbuild, "are_built", lambda each, _context: [True] + [False] * (len(each) - 1)
    )
    return Context(store, PlainProgress(io.StringIO(), PLAIN))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_builds_that_the_cache_has_take_no_time_and_tests_share_the_guests(
    context: Context, stack: ExitStack
) -> None:
    progress = cast(PlainProgress, context.progress)
    shown = Shown(progress, [selected("base"), selected("1")], context, stack, guests=2)
    assert progress.active_matrix is not None
    board = progress.active_matrix.board
    # 15 s of tests of the base, beside the build of the next, and those of that one.
    assert board.left_s() == 20.0 + 15.0
    shown.building("base")
    head = RunStarted(run="r", time="t", harness="0", command=(), kernel=FACTS, tests=TESTS)
    attempts = Attempts(head)
    attempts.ended("s:a", 1, Outcome.PASS)
    shown.built("base", head, attempts, {})
    assert board.progress == "0 of 2 kernels, 1 of 3 tests, about 35s left"
    # Of the next all is the same.
    shown.building("1")
    nothing = Attempts(msgspec.structs.replace(head, tests=()))
    shown.built("1", head, nothing, {"s": "base"})
    assert board.left_s() == 10.0
    watcher = shown.watch(Ready("base", head, attempts))
    for name in "bc":
        test = Test(name=f"s:{name}", suite="s", program=name, outcome=Outcome.PASS)
        watcher.finished(test, f"base@s:{name}")
    assert board.left_s() == 0.0


def test_one_kernel_has_no_table(context: Context, stack: ExitStack) -> None:
    progress = cast(PlainProgress, context.progress)
    Shown(progress, [selected("")], context, stack, guests=2)
    assert progress.active_matrix is None

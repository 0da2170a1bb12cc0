# SPDX-License-Identifier: GPL-2.0-only
"""Which lines of a real kernel a guest has run, seen by QEMU's plugin."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import kbuild, project
from harness.context import Context
from harness.guest import snapshot
from harness.guest.snapshot import Snapshot
from harness.kbuild.codelines import code_lines
from harness.kbuild.kernel import refill
from harness.lab import probes
from harness.lab.probes import LineProbe
from harness.model.coverage import CodeMap, Coverage
from harness.model.events import Command, How
from harness.progress import Quiet
from harness.run.prepare import Prepared
from harness.source import Source
from harness.store import Store
from tests.conftest import PROJECT_FILE
from tests.guest.conftest import Outcome, probe, run

pytestmark = pytest.mark.kernel

FILE = "drivers/misc/lkdtm/bugs.c"


@pytest.fixture(scope="module")
def source(prepared: Prepared) -> list[str]:
    """The lines of :data:`FILE`."""
    argv = ["git", f"--git-dir={prepared.tree.repo}", "show", f"{prepared.tree.commit}:{FILE}"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.fixture(scope="module")
def code(
    prepared: Prepared,
    source: list[str],
    linux_source: Source,
    user_store: Store,
    tmp_path_factory: pytest.TempPathFactory,
) -> CodeMap:
    """Where the project's kernel has the code of :data:`FILE`."""
    table = project.load(PROJECT_FILE).kernel
    fragments = kbuild.load(PROJECT_FILE.parent / table.config_dir, table.config)
    place = kbuild.slot(user_store, linux_source.spec, fragments)

    def again() -> None:
        refill(
            prepared.kernel, prepared.tree, fragments, place,
            context=Context(user_store, Quiet()),
            log=tmp_path_factory.mktemp("again") / "log", limit_s=3600.0,
        )  # fmt: skip

    wanted = {FILE: range(1, len(source) + 1)}
    return code_lines(prepared.kernel, place, wanted, Context(user_store, Quiet()), again)


Watched = Callable[[Command], Outcome]


@pytest.fixture
def line_probe(code: CodeMap, user_store: Store, tmp_path: Path) -> LineProbe:
    # A comma ends an option of QEMU.
    return probes.start(tmp_path / "a, b", code, Context(user_store, Quiet()))


@pytest.fixture
def watched(guest_snapshot: Snapshot, line_probe: LineProbe) -> Watched:
    """Runs a command in a guest of its own, as the one attempt at the test ``s:t``."""

    def run_one(command: Command) -> Outcome:
        async def work() -> Outcome:
            extra = line_probe.qemu_argv("s:t", 1)
            async with await snapshot.restore(guest_snapshot, extra=extra) as guest:
                return await run(guest, command)

        return asyncio.run(work())

    return run_one


def covered(line_probe: LineProbe) -> Coverage:
    found = probes.read(line_probe.directory, ["s:t"], ["s:t"])
    assert found is not None
    return found


def statement(source: list[str], function: str, text: str) -> int:
    """Return the number of the first line with *text* in *function*."""
    start = next(n for n, line in enumerate(source) if line.endswith(f"{function}(void)"))
    return next(n for n in range(start, len(source)) if text in source[n]) + 1


def test_what_runs_is_covered_and_what_does_not_is_not(
    watched: Watched, line_probe: LineProbe, code: CodeMap, source: list[str]
) -> None:
    assert watched(probe("lkdtm", "WARNING")).exit.status == 0
    found = covered(line_probe)
    ran = statement(source, "lkdtm_WARNING", "WARN_ON(")
    planted = statement(source, "lkdtm_BUG", "BUG()")
    with_code = {line.line for line in code.lines}
    assert {ran, planted} <= with_code
    assert found.tests_of(FILE, ran) == ("s:t",)
    assert found.tests_of(FILE, planted) == ()
    assert found.unmeasured == ()
    # Nothing else of that file ran but what WARNING needs.
    assert sum(each.count for each in found.tests[0].covered) < len(with_code) // 4


def test_a_kernel_that_panics_keeps_its_coverage(
    watched: Watched, line_probe: LineProbe, source: list[str]
) -> None:
    assert watched(probe("lkdtm", "PANIC")).died.how is How.PANIC
    found = covered(line_probe)
    assert found.tests_of(FILE, statement(source, "lkdtm_PANIC", "panic(")) == ("s:t",)
    assert found.tests_of(FILE, statement(source, "lkdtm_WARNING", "WARN_ON(")) == ()


def test_each_guest_starts_with_nothing_covered(
    watched: Watched, line_probe: LineProbe, source: list[str]
) -> None:
    watched(probe("lkdtm", "WARNING"))
    watched(probe("exit", "0"))
    assert covered(line_probe).tests_of(FILE, statement(source, "lkdtm_WARNING", "WARN_ON(")) == ()


def test_a_watched_guest_prints_and_ends_as_others_do(watched: Watched) -> None:
    done = watched(probe("output"))
    assert done.exit.status == 0
    assert done.exit.log_complete

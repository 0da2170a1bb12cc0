# SPDX-License-Identifier: GPL-2.0-only
"""Error paths with planted mistakes: each is found by a sweep, shown again, and explained.

The kernel has one patch more than the project's own, ``selftests/faults/errors/kernel``, and the
suite beside it opens its files.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.errors import ExitCode
from harness.model.faults import What
from harness.model.results import Results, Test
from harness.outcome import Outcome
from tests.run.commands import LIMIT_S, harness, read
from tests.run.test_faults import FAULTS, REPOSITORY

pytestmark = [pytest.mark.kernel, pytest.mark.proof, pytest.mark.long(600)]
ERRORS = FAULTS / "errors"
STACK = ("--series", "v10+test-vm", "--series", str(ERRORS / "kernel"))
PATCH = 11
"""The number of that patch in the stack."""


def inject(
    out: Path, *options: str, stack: Sequence[str] = STACK, suite: Path = ERRORS / "suite"
) -> tuple[int, str]:
    """Return exit code and output of ``harness inject``, on the kernel with mistakes at first."""
    words = ("inject", *options, *stack, "--suite", str(suite), "--out", str(out))
    return harness(REPOSITORY, *words)


def of(said: Results, program: str) -> list[Test]:
    return [each for each in said.tests if each.injected and each.injected.test.endswith(program)]


def test_planted_mistakes_are_found_and_nothing_else(tmp_path: Path) -> None:
    code, output = inject(tmp_path / "out")
    print(output)
    said = read(tmp_path / "out")
    assert code == ExitCode.NOT_AS_EXPECTED
    assert {each.injected.what for each in of(said, ":right") if each.injected} <= {
        What.HANDLED,
        What.UNNOTICED,
        What.NOT_REACHED,
    }
    # The next one to open waits for the lock for ever.
    expected = {":leak": What.LEAK, ":locked": What.HANG, ":double": What.SPLAT}
    for program, what in expected.items():
        bad = [each for each in of(said, program) if not each.outcome.as_expected]
        # The second object, at each of the two times that the file is opened.
        assert [each.injected.what for each in bad if each.injected] == [what, what], program
        for each in bad:
            assert each.injected is not None
            assert any("errors_take" in frame for frame in each.injected.where)
            assert each.injected.patches == (PATCH,)
            assert each.rerun in output
    locked = next(each for each in of(said, ":locked") if not each.outcome.as_expected)
    assert "mutex_lock" in locked.kernel_log
    assert "locked_open+" in locked.kernel_log
    double = next(each for each in of(said, ":double") if not each.outcome.as_expected)
    assert "already free" in double.reason
    leak = next(each for each in of(said, ":leak") if not each.outcome.as_expected)
    assert "kmalloc-64" in leak.reason
    assert "errors_take" in leak.reason
    assert "kernel/harness_errors.c:" in leak.reason
    assert said.injections is not None
    (patch,) = [each for each in said.injections.patches if each.number == PATCH]
    assert sum(each.points for each in patch.taken) >= 10 * 2
    # What is found is shown again by the command that stands beside it.
    shown = tmp_path / "again"
    done = subprocess.run(
        [*shlex.split(leak.rerun), "--out", str(shown)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == ExitCode.NOT_AS_EXPECTED, done.stdout
    assert [each.name for each in read(shown).tests if not each.outcome.as_expected] == [leak.name]
    assert "never freed" in done.stdout


def test_a_function_is_made_fail(tmp_path: Path) -> None:
    code, output = inject(tmp_path / "out", "--function", "errors_check=EIO")
    print(output)
    assert code == ExitCode.NOT_AS_EXPECTED
    said = read(tmp_path / "out")
    bad = [each for each in said.tests if not each.outcome.as_expected]
    assert {each.injected.what for each in bad if each.injected} == {What.LEAK}
    assert {each.injected.test.partition(":")[2] for each in bad if each.injected} == {"checked"}
    right = [each for each in of(said, ":right") if each.injected and each.injected.nth]
    assert [(each.outcome, each.reason) for each in right] == [
        (Outcome.PASS, "handled: EIO"),
        (Outcome.PASS, "handled: EIO"),
    ]


@pytest.mark.parametrize("stack", ["v10+test-vm", "v11"])
def test_the_calls_of_the_series_stand_a_failure_of_each_allocation(
    tmp_path: Path, stack: str
) -> None:
    """What a sweep has found in them is in docs/failures.md, and mended in v11."""
    code, output = inject(tmp_path / "out", stack=("--series", stack), suite=ERRORS / "calls")
    print(output)
    assert code == ExitCode.AS_EXPECTED
    said = read(tmp_path / "out")
    points = [each.injected for each in said.tests if each.injected and each.injected.nth]
    assert {each.test for each in points} == {
        f"calls:{name}" for name in ("create", "allocate", "attributes", "slot")
    }
    # The file, its inode, the state, the hidden file; the slot, and what it is known by.
    assert said.injections is not None
    functions = {line.function for patch in said.injections.patches for line in patch.taken}
    # Which of them it is depends on what the compiler has put into which.
    assert any(name.startswith("restrictedmem_") for name in functions), functions
    assert len(points) > 300


def test_a_function_that_cannot_fail_is_refused(tmp_path: Path) -> None:
    code, output = inject(tmp_path / "out", "--function", "kmalloc_order", "-k", "right")
    assert code == ExitCode.USER
    assert "ALLOW_ERROR_INJECTION" in output

# SPDX-License-Identifier: GPL-2.0-only
"""``harness matrix`` on a real series: which patch breaks what, and which mends it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import ExitCode
from harness.run.prepare import Prepared
from tests.conftest import PROJECT_FILE
from tests.run.patches import series_of, text_of

pytestmark = [pytest.mark.kernel, pytest.mark.proof]


def planted(prepared: Prepared, directory: Path) -> Path:
    """Return a series of four: harmless, breaks memfd's seals, does not compile, mends both."""
    text = text_of(prepared)
    mark = "static int memfd_add_seals(struct file *file, unsigned int seals)\n{\n"
    assert mark in text
    broken = text.replace(mark, mark.replace("{\n", "{\n\tif (seals)\n\t\treturn -EBUSY;\n"))
    stages = [
        ("mm: Say nothing new", f"/* planted */\n{text}"),
        ("mm: Refuse all seals", f"/* planted */\n{broken}"),
        ("mm: Break the build", f"#error planted\n{broken}"),
        ("mm: Mend it", f"/* planted */\n{text}"),
    ]
    return series_of(text, stages, directory)


def test_the_guilty_patches_are_named(prepared: Prepared, tmp_path: Path) -> None:
    series = planted(prepared, tmp_path / "series")
    argv = [sys.executable, "-m", "harness", "matrix", "--series", str(series)]
    argv += ["--suite", "memfd", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        argv, cwd=PROJECT_FILE.parent, capture_output=True, text=True, timeout=1800, check=False
    )
    assert done.returncode == ExitCode.NOT_AS_EXPECTED, done.stdout + done.stderr
    said = done.stdout
    (row,) = (line for line in said.splitlines() if line.startswith("memfd:memfd_test "))
    # The last patch makes the kernel of the first again.
    assert row.split() == ["memfd:memfd_test", ".", ".", "F", "E", "=."]
    assert "patch 2, 'mm: Refuse all seals', breaks memfd:memfd_test: pass, then fail" in said
    assert f"run again: {sys.executable} -m harness run --series {series} --upto 2" in said
    assert "patch 3, 'mm: Break the build', cannot be tested: the kernel does not compile" in said
    assert "patch 4, 'mm: Mend it', mends 1 test (memfd:memfd_test)" in said
    assert "Not bisectable: memfd:memfd_test broken by 2 and mended by 4" in said
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(results["kernels"]) == ["base", "1", "2", "3", "4"]
    assert len(results["tests"]) == 5
    again = subprocess.run(
        [sys.executable, "-m", "harness", "report", str(tmp_path / "out")],
        cwd=PROJECT_FILE.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert again.returncode == ExitCode.NOT_AS_EXPECTED
    assert "Not bisectable" in again.stdout


def matrix(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "harness", "matrix", *words],
        cwd=PROJECT_FILE.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def table(out: Path) -> list[str]:
    """Return what the run in *out* comes to: the table, and who changed what."""
    done = subprocess.run(
        [sys.executable, "-m", "harness", "report", str(out)],
        cwd=PROJECT_FILE.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = done.stdout.splitlines()
    end = next(number for number, line in enumerate(lines) if line.startswith("run: "))
    return [*lines[:end], lines[-1]]


KILLS = 20


def test_a_matrix_that_is_killed_at_any_moment_comes_to_the_same(
    prepared: Prepared, tmp_path: Path
) -> None:
    (tmp_path / "slow").mkdir()
    names = [f"slow_{number}" for number in range(8)]
    (tmp_path / "slow" / "Makefile").write_text(
        f"TEST_GEN_PROGS := {' '.join(names)}\ninclude ../lib.mk\n"
    )
    for number, name in enumerate(names):
        body = f"#include <unistd.h>\nint main(void)\n{{\n\tsleep(1);\n\treturn {number % 2};\n}}\n"
        (tmp_path / "slow" / f"{name}.c").write_text(body)
    words = ["--fresh", "--series", str(planted(prepared, tmp_path / "series"))]
    words += ["--suite", "memfd", "--suite", str(tmp_path / "slow")]
    began = time.monotonic()
    whole = matrix(*words, "--out", str(tmp_path / "whole"))
    assert whole.wait(1800) == ExitCode.NOT_AS_EXPECTED
    took = time.monotonic() - began
    expected = table(tmp_path / "whole")
    assert len(json.loads((tmp_path / "whole" / "results.json").read_text())["tests"]) == 38
    # Which moments these are does not matter, and a failure has to be found again.
    moments = random.Random(12)  # noqa: S311
    kills, turn = 0, 0
    while kills < KILLS:
        out = tmp_path / f"out-{turn}"
        turn += 1
        options = [*words, "--out", str(out)]
        while True:
            run = matrix(*options)
            try:
                status = run.wait(
                    moments.uniform(0.0, min(20.0, took / 2)) if kills < KILLS else 1800
                )
            except subprocess.TimeoutExpired:
                run.kill()
                run.wait()
                kills += 1
                planned = out / "journal.jsonl"
                if planned.exists() and '"planned"' in planned.read_text():
                    options = ["--resume", str(out)]
                continue
            assert status == ExitCode.NOT_AS_EXPECTED, run.stdout and run.stdout.read()
            break
        assert table(out) == expected

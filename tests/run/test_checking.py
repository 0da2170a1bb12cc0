# SPDX-License-Identifier: GPL-2.0-only
"""What boots of the kernels of a series are held against, and real ones."""

from __future__ import annotations

import asyncio
import difflib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.guest.machine import BootFiles
from harness.lab.smoke import PROGRAM, Seen, pack_program, smoke
from harness.model.checks import CheckResult
from harness.model.events import Accelerator
from harness.proc import signals
from harness.proc.git import git
from harness.run.checking import _compare
from harness.run.prepare import Prepared
from tests.conftest import PROJECT_FILE

UP, WARNS, PANICS = Seen(), Seen(reports=("WARNING in b",)), Seen(trouble="kernel panic")
ERROR = Seen(error="QEMU is not there")


class Told:
    """Takes what checks have seen."""

    def __init__(self) -> None:
        self.results: list[CheckResult] = []

    def tell(self, result: CheckResult) -> None:
        self.results.append(result)


def compared(before: Seen | None, after: Seen | None) -> CheckResult:
    told = Told()

    async def seen(what: Seen | None) -> Seen | None:
        return what

    async def go() -> None:
        old, new = (asyncio.create_task(seen(each)) for each in (before, after))
        await _compare(told.tell, 2, old, new)

    signals.run(go())
    (result,) = told.results
    return result


@pytest.mark.unit
@pytest.mark.parametrize(
    ("before", "after", "worst", "notrun", "trouble"),
    [
        (UP, UP, None, "", ""),
        (UP, PANICS, "error", "", ""),
        (UP, WARNS, "error", "", ""),
        (WARNS, WARNS, None, "", ""),
        (WARNS, Seen(reports=("WARNING in b", "WARNING in c")), "error", "", ""),
        # Whose they are, nothing says.
        (PANICS, WARNS, "note", "", ""),
        (None, WARNS, "note", "", ""),
        (ERROR, WARNS, "note", "", ""),
        (None, PANICS, "error", "", ""),
        # One before has it broken.
        (PANICS, PANICS, None, "patch 1 does not boot: kernel panic", ""),
        (UP, None, None, "patch 2 does not build", ""),
        (UP, ERROR, None, "", "QEMU is not there"),
    ],
)
def test_a_patch_is_blamed_for_what_its_boot_shows_anew(
    before: Seen | None, after: Seen | None, worst: str | None, notrun: str, trouble: str
) -> None:
    result = compared(before, after)
    assert (result.worst(), result.notrun, result.trouble) == (worst, notrun, trouble)


@pytest.mark.kernel
def test_a_kernel_comes_up_and_runs_a_program(prepared: Prepared, tmp_path: Path) -> None:
    files = pack_program(prepared.factory, PROGRAM)
    config = prepared.factory.config(prepared.tests[0].guest)
    seen = signals.run(smoke(config, Accelerator.TCG, files, tmp_path / "boot.log"))
    assert seen == Seen()
    assert b"Linux version" in (tmp_path / "boot.log").read_bytes()
    # Without the agent in it, the kernel panics.
    empty = tmp_path / "empty.cpio"
    empty.write_bytes(b"")
    bare = BootFiles(files.kernel, empty)
    seen = signals.run(smoke(config, Accelerator.TCG, bare, tmp_path / "panic.log"))
    assert "panic" in seen.trouble.lower()
    assert b"Linux version" in (tmp_path / "panic.log").read_bytes()


FILE = "mm/memfd.c"
HEAD = """\
From: A Developer <a@example.org>
Date: Wed, 1 Jul 2026 03:00:0{number} +0000
Subject: [PATCH {number}/{total}] {subject}

Planted.

Signed-off-by: A Developer <a@example.org>
---
"""
LATE = """
static int __init planted(void)
{{
\t{}
\treturn 0;
}}
late_initcall(planted);
"""


def series(prepared: Prepared, directory: Path, stages: dict[str, str]) -> Path:
    """Write a series in which FILE has after each patch, by its subject, these lines more."""
    tree = prepared.tree
    text = git("show", f"{tree.base_commit}:{FILE}", repo=tree.repo).text + "\n"
    before = text
    directory.mkdir()
    for number, (subject, more) in enumerate(stages.items(), 1):
        after = text + more
        diff = difflib.unified_diff(
            before.splitlines(keepends=True),
            after.splitlines(keepends=True),
            f"a/{FILE}",
            f"b/{FILE}",
        )
        head = HEAD.format(number=number, total=len(stages), subject=subject)
        (directory / f"{number:04}.patch").write_text(head + "".join(diff))
        before = after
    return directory


@pytest.mark.proof
@pytest.mark.kernel
def test_faults_at_boot_are_found_at_their_patch(prepared: Prepared, tmp_path: Path) -> None:
    """On the project's own kernel, built at W=1."""
    stages = {
        "mm: Say nothing": "/* planted */\n",
        "mm: Warn at boot": LATE.format("WARN_ON(1);"),
        "mm: Warn on": LATE.format("WARN_ON(1);") + "/* planted */\n",
        "mm: Panic at boot": LATE.format('panic("planted");'),
        "mm: Panic on": LATE.format('panic("planted again");'),
        "mm: Mend it": "/* planted */\n",
    }
    out = tmp_path / "out"
    argv = [sys.executable, "-m", "harness", "series", "check", "--out", str(out)]
    argv += ["--check", "boots", "--check", "builds"]
    argv += [str(series(prepared, tmp_path / "series", stages))]
    done = subprocess.run(
        argv, cwd=PROJECT_FILE.parent, capture_output=True, text=True, timeout=1800, check=False
    )
    found = json.loads((out / "results.json").read_text())["tests"]
    outcomes = {test["name"]: test["outcome"] for test in found}
    boots = [outcomes[f"series:{n}-boots"] for n in range(1, 7)]
    assert boots == ["pass", "fail", "pass", "fail", "notrun", "pass"], done.stdout
    assert {outcomes[f"series:{n}-builds"] for n in range(1, 7)} == {"pass"}
    assert "its kernel reports WARNING" in done.stdout
    assert "planted" in done.stdout
    assert done.returncode == 1


FAULTS = """
/**
 * planted() - Plant something
 * @nope: what it has not
 */
int planted(int a)
{
	int set;

	set = a;\x20
	return 0;
}

int planted_symbol;
"""


@pytest.mark.proof
@pytest.mark.kernel
def test_what_tools_say_of_a_kernel_is_at_its_line_and_of_one_patch(
    prepared: Prepared, tmp_path: Path
) -> None:
    """The second patch shifts all of it, which is no fault of that one."""
    stages = {
        "mm: Plant faults": FAULTS,
        "mm: Shift them": f"\n/* Further down. */\n{FAULTS}",
        "mm: Mend them": "\n/* Nothing. */\n",
    }
    out = tmp_path / "out"
    argv = [sys.executable, "-m", "harness", "series", "check", "--out", str(out)]
    wanted = ("builds", "warnings", "kernel-doc", "sparse", "checkpatch")
    argv += [word for name in wanted for word in ("--check", name)]
    argv += [str(series(prepared, tmp_path / "series", stages))]
    done = subprocess.run(
        argv, cwd=PROJECT_FILE.parent, capture_output=True, text=True, timeout=1800, check=False
    )
    found = json.loads((out / "results.json").read_text())["tests"]
    told = {
        test["name"].removeprefix("series:"): [
            (each["line"], each["text"]) for each in test.get("remarks", ())
        ]
        for test in found
    }
    tree = prepared.tree
    first = len(git("show", f"{tree.base_commit}:{FILE}", repo=tree.repo).text.splitlines()) + 1

    def says(name: str, *words: tuple[int, str]) -> None:
        lines = [(line - first, text) for line, text in told[name]]
        assert len(lines) == len(words), (name, lines, done.stdout)
        assert all(
            any(line == at and word in text for line, text in lines) for at, word in words
        ), (name, lines)

    says("1-checkpatch", (9, "TRAILING_WHITESPACE"))
    says("1-warnings", (5, "no previous prototype"), (7, "set but not used"))
    says("1-sparse", (5, "'planted' was not declared"), (13, "'planted_symbol' was not declared"))
    says("1-kernel-doc", (6, "Excess function parameter"), (6, "'a' not described"))
    assert all(told[f"{n}-{name}"] == [] for n in (2, 3) for name in wanted), done.stdout
    assert done.returncode == 1

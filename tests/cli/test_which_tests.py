# SPDX-License-Identifier: GPL-2.0-only
"""``harness which-tests`` and coverage in reports, on runs that need no kernel."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest

from harness.context import Context
from harness.lab import probes
from harness.lab.probes import COVERAGE
from harness.model.coverage import CodeLine, CodeMap, PatchLines, as_files
from harness.model.plan import PlannedTest
from harness.model.records import Ending, Record
from harness.progress import Quiet
from harness.store import Store
from tests.cli.test_report import END, PLAN, REQUESTED, exited, harness, write

pytestmark = [pytest.mark.unit, pytest.mark.slow]

CODE = CodeMap(
    points=((16, 20), (32, 33), (40, 41)),
    lines=(
        CodeLine(path="mm/a.c", line=3, code=(0,)),
        CodeLine(path="mm/a.c", line=4, code=(1,)),
        CodeLine(path="mm/b.c", line=9, code=(2,)),
    ),
    patches=(
        PatchLines(number=1, subject="mm: First", changed=as_files({"mm/a.c": [2, 3]})),
        PatchLines(number=2, subject="mm: Second", changed=as_files({"mm/a.c": [4]})),
        PatchLines(number=3, subject="docs: Third", changed=as_files({"mm/b.c": [9]})),
    ),
)
THREE = msgspec.structs.replace(
    PLAN, tests=(*PLAN.tests, PlannedTest(name="s:c", suite="s", program="c"))
)


def watched(directory: Path, *records: Record, **hits: bytes) -> Path:
    """Write a run in which tests have reached what *hits* says."""
    write(directory, REQUESTED, THREE, *records, END)
    store = Store(directory.parent.parent / "cache")
    probe = probes.start(directory / COVERAGE, CODE, Context(store, Quiet()))
    for name, data in hits.items():
        Path(probe.qemu_argv(f"s:{name}", 1)[1].split(",out=")[1]).write_bytes(data)
    return directory


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with three runs: one with coverage, one newer without, one with an older one."""
    (tmp_path / "harness.toml").write_text('[kernel]\nsource = "linux"\nconfig = ["a"]\n')
    ended = (exited("s:a"), exited("s:b"))
    watched(tmp_path / "runs/20260101-000000-aaaa", *ended, a=b"\0\0\1", b=b"\0\0\1")
    watched(tmp_path / "runs/20260201-000000-aaaa", *ended, a=b"\1\0\0", b=b"\1\1\0", c=b"\0\0\0")
    write(tmp_path / "runs/20260301-000000-aaaa", REQUESTED, PLAN, exited("s:a"), END)
    return tmp_path


@pytest.mark.parametrize(
    ("what", "status", "tests"),
    [
        ("mm/a.c:3", 0, ["s:a", "s:b"]),
        ("mm/a.c:4", 0, ["s:b"]),
        ("1", 0, ["s:a", "s:b"]),
        ("2", 0, ["s:b"]),
        ("second", 0, ["s:b"]),
        ("3", 1, []),
        ("mm/b.c:9", 1, []),
    ],
)
def test_it_answers_from_the_newest_run_that_watched(
    project: Path, what: str, status: int, tests: list[str]
) -> None:
    code, said = harness(project, "which-tests", what)
    # It ran to no end, so what it would have run is not known: it is never "none".
    assert said.splitlines() == [*tests, "not known of: s:c"]
    assert code == status


def test_it_answers_from_a_run_that_is_named(project: Path) -> None:
    code, said = harness(project, "which-tests", "3", "20260101-000000-aaaa")
    assert (code, said.splitlines()[:2]) == (0, ["s:a", "s:b"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mm/a.c:77",), "no patch has changed this line"),
        (("mm/a.c:2",), "the kernel has no code for this line"),
        (("4",), "no patch is called that"),
        (("mm:",), "several patches are called that"),
        (("1", "20260301-000000-aaaa"), "this run has no coverage data"),
    ],
)
def test_what_has_no_answer_is_refused(project: Path, words: tuple[str, ...], said: str) -> None:
    code, text = harness(project, "which-tests", *words)
    assert code == 2
    assert said in text


def test_without_any_coverage_it_says_how_to_get_one(tmp_path: Path) -> None:
    (tmp_path / "harness.toml").write_text('[kernel]\nsource = "linux"\nconfig = ["a"]\n')
    code, text = harness(tmp_path, "which-tests", "1")
    assert code == 2
    assert "harness run --coverage" in text


def test_a_report_of_an_old_run_has_its_coverage(project: Path) -> None:
    code, text = harness(project, "report", "20260201-000000-aaaa")
    assert "not run: mm/b.c:9" in text
    assert "not watched: s:c" in text
    _, data = harness(project, "report", "20260201-000000-aaaa", "--format", "json")
    coverage = json.loads(data)["coverage"]
    assert [patch["tests"] for patch in coverage["patches"]] == [["s:a", "s:b"], ["s:b"], []]
    _, info = harness(project, "report", "20260201-000000-aaaa", "--format", "lcov")
    assert info.startswith("TN:s_a\nSF:mm/a.c\nDA:3,1\nDA:4,0\n")
    code, text = harness(project, "report", "20260301-000000-aaaa", "--format", "lcov")
    assert code == 2
    assert "has no coverage data" in text


def test_a_test_that_ended_in_an_error_was_not_watched(tmp_path: Path) -> None:
    (tmp_path / "harness.toml").write_text('[kernel]\nsource = "linux"\nconfig = ["a"]\n')
    failed = msgspec.structs.replace(exited("s:a"), ending=Ending(how="harness", detail="x"))
    watched(tmp_path / "runs/20260101-000000-aaaa", failed, exited("s:b"), a=b"\1\1\1", b=b"\1\0\0")
    _, said = harness(tmp_path, "which-tests", "1")
    assert said.splitlines() == ["s:b", "not known of: s:a, s:c"]


def test_a_run_whose_reports_cannot_be_read_is_passed_over(project: Path) -> None:
    newest = project / "runs/20260401-000000-aaaa"
    watched(newest, exited("s:a"), a=b"\1\1\1")
    os.truncate(newest / "journal.jsonl", 10)
    _, said = harness(project, "which-tests", "2")
    assert said.splitlines()[0] == "s:b"

# SPDX-License-Identifier: GPL-2.0-only
"""Planted faults from the command line to the reports, on the project's own kernel."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from harness.judge.mutants import planned
from harness.model import results
from harness.model.mutants import Mutants, Status
from harness.model.records import MutantControl, MutantEnded, MutantsEnded, Record
from harness.run import journal
from tests.run.test_coverage import harness
from tests.run.test_main_job import REPOSITORY, suite

pytestmark = [pytest.mark.kernel, pytest.mark.long(60)]

FILE = "mm/restrictedmem.c"
FUNCTION = "restrictedmem_setattr"
CHECKS = f"{FILE}:124-129"
"""Of the size, in that function as the posted series has it."""
SETS = """
	int fd = syscall(451, 0);	/* memfd_restricted */
	if (fd < 0 || ftruncate(fd, 8192))
		return 1;
	/* A size is set once; with which error the second is refused is not looked at. */
	if (!ftruncate(fd, 4096))
		return 1;
	return 0;
"""
EQUAL = f"{FILE}:{FUNCTION}: attr->ia_valid & ATTR_SIZE => attr->ia_valid | ATTR_SIZE"
SURVIVES = f"{FILE}:{FUNCTION}: -EPERM => -EINVAL"
ENTRY = '[[equivalent]]\nmutant = "{}"\nreason = "as a sample"\nowner = "me"\nseries = ["{}"]\n'
LIST = (
    ENTRY.format(EQUAL, "v10*")
    + ENTRY.format(SURVIVES, "another")
    + ENTRY.format(f"{FILE}:gone: a => b", "another")
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with a suite that looks at little, and runs apart from the user's."""
    root = tmp_path_factory.mktemp("project")
    text = (REPOSITORY / "harness.toml").read_text()
    kernel, _, _ = text.partition("\n[suites.")
    kernel = kernel.replace('"patches/', f'"{REPOSITORY}/patches/')
    kernel = kernel.replace("[kernel]\n", f'[kernel]\nconfig_dir = "{REPOSITORY}/kernel-configs"\n')
    (root / "harness.toml").write_text(f'{kernel}\n[suites.mine]\npath = "mine"\n')
    (root / "mutants.toml").write_text(LIST)
    suite(root / "mine", idle="	return 0;", sets=SETS)
    return root


@pytest.fixture(scope="module")
def tried(project: Path) -> Path:
    status, text = harness(project, "mutants", "--at", CHECKS, "--out", "tried")
    assert status == 0, text
    assert "No test noticed (1):" in text
    assert "+			return -EINVAL;".expandtabs() in text
    # Two entries are about another series.
    assert "no mutant is called" not in text
    return project / "tried"


def said(directory: Path) -> Mutants:
    found = results.decode((directory / "results.json").read_bytes()).mutants
    assert found is not None
    return found


def test_each_planted_fault_is_told_rightly(tried: Path) -> None:
    found = said(tried)
    assert {(each.line, each.after): each.status for each in found.mutants} == {
        (124, "!(attr->ia_valid & ATTR_SIZE)"): Status.KILLED,
        (124, "attr->ia_valid | ATTR_SIZE"): Status.EQUIVALENT,
        (125, "!(i_size_read(hidden))"): Status.KILLED,
        (126, "-EINVAL"): Status.SURVIVED,
        (126, "0"): Status.KILLED,
        (128, "PAGE_ALIGNED(attr->ia_size)"): Status.KILLED,
        (129, "-EPERM"): Status.UNCOVERED,
        (129, "0"): Status.UNCOVERED,
    }
    assert found.score == pytest.approx(100 * 4 / 7)
    survivor = found.of(Status.SURVIVED)[0]
    assert survivor.tests == ("mine:sets",)
    assert survivor.name == SURVIVES
    assert "-\t\t\treturn -EPERM;" in survivor.diff
    assert {each.killer for each in found.of(Status.KILLED)} == {"mine:sets"}
    assert (tried / found.of(Status.KILLED)[0].output).exists()
    assert "as a sample (me)" in found.of(Status.EQUIVALENT)[0].reason


def test_a_run_that_was_cut_off_tries_what_is_left(
    project: Path, tried: Path, tmp_path: Path
) -> None:
    before = said(tried)
    records = journal.read(tried)
    ends = [each for each in records if isinstance(each, MutantEnded) and each.runs]
    kept: list[Record] = records[: records.index(ends[2])]
    again = project / "again"
    shutil.copytree(tried, again)
    lines = b"".join(msgspec.json.encode(each) + b"\n" for each in kept)
    (again / journal.FILE_NAME).write_bytes(lines)
    status, text = harness(project, "mutants", "--resume", "again")
    assert status == 0, text
    after = said(again)
    assert [(each.name, each.status) for each in after.mutants] == [
        (each.name, each.status) for each in before.mutants
    ]
    new = journal.read(again)[len(kept) :]
    assert len([each for each in new if isinstance(each, MutantEnded)]) == len(ends) - 2
    # The tests have run with no fault chosen before.
    assert not any(isinstance(each, MutantControl) for each in new)
    assert any(isinstance(each, MutantsEnded) for each in new)
    assert planned(new) is None


def test_too_low_a_score_is_a_failure(project: Path, tried: Path) -> None:
    """The report of the same run, had 60 % been asked for."""
    wanted = project / "wanted"
    shutil.copytree(tried, wanted)
    text = (wanted / journal.FILE_NAME).read_text()
    lines = text.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith('{"type":"mutants"'))
    plan = msgspec.json.decode(lines[at])
    lines[at] = msgspec.json.encode(plan | {"min_score": 60.0}).decode()
    (wanted / journal.FILE_NAME).write_text("\n".join(lines) + "\n")
    status, text = harness(project, "report", str(wanted))
    assert status == 1
    assert "Not enough: the tests notice 57.1 % of the planted faults, and 60 % are wanted" in text


@pytest.mark.proof
def test_what_is_built_alone_ends_the_same(project: Path, tried: Path) -> None:
    """And so does what can only be built alone: the table of the file's operations."""
    status, text = harness(
        project, "mutants", "--alone", "--at", CHECKS, "--at", f"{FILE}:146-149",
        "--out", "alone",
    )  # fmt: skip
    assert status == 0, text
    alone = {each.name: each for each in said(project / "alone").mutants}
    for each in said(tried).mutants:
        assert alone[each.name].status is each.status, each.name
    assert alone[f"{FILE}:: .setattr = restrictedmem_setattr => "].status is Status.KILLED
    assert all(each.alone for each in alone.values() if each.tests)

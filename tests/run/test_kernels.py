# SPDX-License-Identifier: GPL-2.0-only
"""Two kernels in one run: built one after the other, while the tests of the first run."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from harness import project
from harness.errors import ExitCode
from harness.judge import merge, verdict
from harness.model.records import (
    CellPlanned,
    GuestReady,
    KernelBuilt,
    KernelFailed,
    Record,
    RunEnded,
    RunPlanned,
    TestEnded,
    TestStarted,
)
from harness.model.spec import KernelSpec
from harness.outcome import Outcome
from harness.report.files import Reports
from harness.report.plain import PlainProgress
from harness.run import journal, rundir
from harness.run.job import Job
from harness.run.prepare import Prepared
from harness.run.request import Request
from harness.store import Store
from tests.conftest import PROJECT_FILE

pytestmark = pytest.mark.kernel

BROKEN = """\
From: A <a@example.org>
Subject: [PATCH] mm: Break the build

Signed-off-by: A <a@example.org>
---
 mm/memfd.c | 1 +

diff --git a/mm/memfd.c b/mm/memfd.c
--- a/mm/memfd.c
+++ b/mm/memfd.c
@@ -1 +1,2 @@
+#error "not like this"
 /*
"""


def job(out: Path, store: Store, *kernels: KernelSpec) -> Job:
    """Return a run of the suite ``memfd`` over *kernels*; its progress goes nowhere."""
    out.mkdir(exist_ok=True)
    reports = Reports()
    reports.begin_in(out)
    request = Request(
        project_file=PROJECT_FILE,
        project=project.load(PROJECT_FILE),
        working_dir=PROJECT_FILE.parent,
        kernels=kernels,
        suites=("memfd",),
    )
    place = rundir.RunDirectory(out, out)
    return Job(request, store, PlainProgress(io.StringIO()), 1, place, reports)


@pytest.mark.usefixtures("prepared")
def test_the_tests_of_one_kernel_run_while_the_next_is_built(
    user_store: Store, tmp_path: Path
) -> None:
    (tmp_path / "broken.patch").write_text(BROKEN)
    base, tip = KernelSpec(name="base", series=("none",)), KernelSpec(name="tip")
    broken = KernelSpec(name="broken", series=(str(tmp_path / "broken.patch"),))
    out = tmp_path / "out"
    ended = job(out, user_store, tip, broken, base).run("r")
    assert ended.error is None
    records = journal.read(out)
    each = verdict.every(records)
    assert list(each) == ["tip", "broken", "base"]
    assert [test.name for test in each["tip"].tests] == ["memfd:memfd_test"]
    assert each["tip"].exit_code == each["base"].exit_code == ExitCode.AS_EXPECTED
    assert each["tip"].kernel.build_id != each["base"].kernel.build_id
    # A kernel that does not build is one row with the reason, and the others are tested.
    (row,) = each["broken"].tests
    assert row.outcome is Outcome.ERROR
    assert "the kernel does not compile" in row.reason
    assert "not like this" in row.reason
    assert (out / row.logs.build).is_file()
    # In one: every report has them all.
    assert [test.name for test in ended.results.tests] == [
        "tip@memfd:memfd_test",
        "broken@memfd:*",
        "base@memfd:memfd_test",
    ]
    assert ended.results.exit_code is ExitCode.NOT_AS_EXPECTED
    junit = (out / "junit.xml").read_text()
    assert 'name="tip@memfd"' in junit
    assert "not like this" in junit
    for name in ("tip", "base"):
        assert (out / "logs" / f"@{name}" / "memfd" / "memfd_test.output.log").is_file()
    # The first kernel's test had begun before the second was given up.
    kinds = [type(record) for record in records]
    assert kinds.index(TestStarted) < kinds.index(KernelFailed)
    assert kinds.index(RunPlanned) < kinds.index(CellPlanned) < kinds.index(KernelBuilt)


@pytest.mark.usefixtures("prepared")
def test_a_run_over_two_kernels_goes_on_where_it_was_cut_off(
    user_store: Store, tmp_path: Path
) -> None:
    kernels = (KernelSpec(name="base", series=("none",)), KernelSpec(name="tip"))
    out = tmp_path / "out"
    job(out, user_store, *kernels).run("r")
    whole = journal.read(out)
    # As if the machine had lost power when the second kernel was there and not yet tested.
    kept = [
        each
        for each in whole
        if not isinstance(each, RunEnded)
        and not (isinstance(each, GuestReady | TestStarted | TestEnded) and each.kernel == "tip")
    ]
    _write(out, kept)
    cut = merge.whole(journal.read(out))
    assert [test.outcome for test in cut.tests] == [Outcome.PASS, Outcome.NOTRUN]
    ended = job(out, user_store, *kernels).resume()
    assert [test.outcome for test in ended.results.tests] == [Outcome.PASS, Outcome.PASS]
    begun = [each.kernel for each in journal.read(out) if isinstance(each, TestEnded)]
    assert begun == ["base", "tip"]


def _write(out: Path, records: Sequence[Record]) -> None:
    lines = [msgspec.json.encode(record) + b"\n" for record in records]
    (out / journal.FILE_NAME).write_bytes(b"".join(lines))


def test_what_is_asked_for_is_found_again(prepared: Prepared) -> None:
    kernels = (KernelSpec(name="base", series=("none",)), KernelSpec(name="2", upto=2))
    request = dataclasses.replace(prepared.built.selected.request, kernels=kernels)
    asked = request.record("2026-07-01T03:00:00.000Z")
    assert asked.schema == 2
    assert Request.again(asked, ("harness",)).kernels == kernels

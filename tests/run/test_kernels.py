# SPDX-License-Identifier: GPL-2.0-only
"""Two kernels in one run: built one after the other, while the tests of the first run."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from harness import project
from harness.errors import ExitCode
from harness.judge import merge, verdict
from harness.judge.sequential import MOST
from harness.model.changes import Kind
from harness.model.counts import Counts
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


def job(out: Path, store: Store, *kernels: KernelSpec, reuse: bool = False) -> Job:
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
        reuse=reuse,
    )
    place = rundir.RunDirectory(out, out)
    return Job(request, store, PlainProgress(io.StringIO()), 1, place, reports)


@pytest.mark.usefixtures("prepared")
def test_the_tests_of_one_kernel_run_while_the_next_is_built(
    user_store: Store, tmp_path: Path
) -> None:
    (tmp_path / "broken.patch").write_text(BROKEN)
    base, tip = KernelSpec(name="base", series=("none",)), KernelSpec(name="tip")
    # Upon the project's own stack: so little comes before the file that does not compile.
    broken = KernelSpec(name="broken", series=("v10+test-vm", str(tmp_path / "broken.patch")))
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


PAGE = """\
From: A <a@example.org>
Subject: [PATCH] Documentation: Say more

Signed-off-by: A <a@example.org>
---
 Documentation/a-page.rst | 1 +

diff --git a/Documentation/a-page.rst b/Documentation/a-page.rst
new file mode 100644
--- /dev/null
+++ b/Documentation/a-page.rst
@@ -0,0 +1 @@
+Nothing that is compiled.
"""


@pytest.mark.usefixtures("prepared")
def test_what_is_the_same_is_not_tested_again(user_store: Store, tmp_path: Path) -> None:
    (tmp_path / "page.patch").write_text(PAGE)
    kernels = (
        KernelSpec(name="base"),
        KernelSpec(name="1", series=("v10+test-vm", str(tmp_path / "page.patch"))),
    )
    first = job(tmp_path / "first", user_store, *kernels, reuse=True).run("first")
    base, one = first.results.tests
    assert [base.outcome, one.outcome] == [Outcome.PASS, Outcome.PASS]
    assert [base.same_as, one.same_as] == [None, "base"]
    assert first.results.kernels["1"].same_as == "base"
    assert first.results.kernels["1"].build_id == first.results.kernels["base"].build_id
    assert first.results.kernels["1"].series_commit != first.results.kernels["base"].series_commit
    ran = [each.kernel for each in journal.read(tmp_path / "first") if isinstance(each, TestEnded)]
    assert ran in (["base"], [])
    # Whether this one ran depends on what was tested on this machine before; the next does not.
    second = job(tmp_path / "second", user_store, *kernels, reuse=True).run("second")
    records = journal.read(tmp_path / "second")
    (ended,) = (each for each in records if isinstance(each, TestEnded))
    assert ended.reused == (base.reused or "first")
    assert [test.reused for test in second.results.tests] == [ended.reused] * 2
    assert (tmp_path / "second" / ended.logs.output).is_file() is bool(base.logs.output)
    # One that is taken up again knows the kernels that it had before.
    cut = [
        each
        for each in records
        if not isinstance(each, RunEnded)
        and not (isinstance(each, CellPlanned | KernelBuilt) and each.kernel == "1")
    ]
    _write(tmp_path / "second", cut)
    again = job(tmp_path / "second", user_store, *kernels, reuse=True).resume()
    assert [test.same_as for test in again.results.tests] == [None, "base"]
    assert again.results.kernels["1"].same_as == "base"
    # With --fresh all of it runs, and so it does where it is repeated.
    fresh = job(tmp_path / "fresh", user_store, *kernels).run("fresh")
    assert [test.elsewhere for test in fresh.results.tests] == ["", ""]


def _write(out: Path, records: Sequence[Record]) -> None:
    lines = [msgspec.json.encode(record) + b"\n" for record in records]
    (out / journal.FILE_NAME).write_bytes(b"".join(lines))


@pytest.mark.usefixtures("prepared")
def test_what_differs_runs_again_on_both_until_the_counts_decide(
    user_store: Store, tmp_path: Path
) -> None:
    """The kernel without the series is held against the one with it, so a call is lost."""
    kernels = (KernelSpec(name="tip"), KernelSpec(name="base", series=("none",)))
    run = job(tmp_path / "out", user_store, *kernels)
    suite = str(Path(__file__).parent / "differs")
    request = msgspec.structs.replace(run.request, suites=(suite,), base="tip", reruns=MOST)
    ended = msgspec.structs.replace(run, request=request).run("r")
    assert ended.error is None
    assert ended.results.against is not None
    (case,) = ended.results.against.cases
    assert (case.name, case.kind) == ("differs:call_test", Kind.REGRESSION)
    assert case.before is not None
    assert case.after is not None
    assert (case.before.counts, case.after.counts) == (Counts(4, 0), Counts(4, 4))
    assert ended.results.exit_code is ExitCode.NOT_AS_EXPECTED
    logs = tmp_path / "out" / "logs"
    for kernel in ("tip", "base"):
        names = sorted(path.name for path in (logs / f"@{kernel}").glob("differs/*.output.log"))
        again = [f"call_test={attempt}.output.log" for attempt in range(2, 6)]
        assert names == ["call_test.output.log", *again]


def test_what_is_asked_for_is_found_again(prepared: Prepared) -> None:
    kernels = (KernelSpec(name="base", series=("none",)), KernelSpec(name="2", upto=2))
    request = msgspec.structs.replace(prepared.built.selected.request, kernels=kernels)
    asked = request.record("2026-07-01T03:00:00.000Z")
    assert asked.schema == 2
    assert Request.again(asked, ("harness",)).kernels == kernels

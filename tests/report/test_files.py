# SPDX-License-Identifier: GPL-2.0-only
"""results.json and the files of a run."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import stat
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from harness import ktap
from harness.errors import MachineError, UserError
from harness.judge import verdict
from harness.model import results as r
from harness.model.plan import PlannedTest
from harness.model.records import (
    Ending,
    GuestReady,
    Record,
    RunEnded,
    RunStarted,
    TestEnded,
    TestStarted,
)
from harness.model.spec import KernelSpec
from harness.outcome import Outcome
from harness.project import KernelTable, Project
from harness.report import files, junit
from harness.run.request import Request
from tests.report import samples as s

pytestmark = [pytest.mark.unit, pytest.mark.slow]

DOCS = Path(__file__).parents[2] / "docs" / "results.md"


@pytest.mark.parametrize(
    "results", [sample.results for sample in s.SAMPLES if sample.name != "hostile"]
)
def test_results_survive_the_file(results: r.Results, tmp_path: Path) -> None:
    written = files.write_reports(results, tmp_path / "run")
    assert r.decode(written.paths["json"].read_bytes()) == results
    assert written.paths["junit"].read_bytes() == junit.render(results, str(tmp_path / "run"))
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "junit.xml",
        "report.html",
        "results.json",
    ]


def test_what_json_cannot_say_does_not_cost_the_report(tmp_path: Path) -> None:
    written = files.write_reports(s.HOSTILE_RUN, tmp_path, junit=tmp_path / "ci" / "report.xml")
    assert written.paths["junit"] == tmp_path / "ci" / "report.xml"
    found = r.decode(written.paths["json"].read_bytes())
    assert found.tests[0].reason == s.HOSTILE.replace("\udc80", r"\udc80")
    assert found.tests[1] == s.HOSTILE_RUN.tests[1]


def test_a_report_is_replaced_whole_and_readable(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    files.write_report(path, b"old")
    with path.open("rb") as reader:
        files.write_report(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_report_that_cannot_be_written_is_a_machine_error(tmp_path: Path) -> None:
    (tmp_path / "results.json").mkdir()
    with pytest.raises(MachineError) as caught:
        files.write_report(tmp_path / "results.json", b"new")
    assert caught.value.where == str(tmp_path / "results.json")
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory for a report, apart from what the tests keep elsewhere."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def test_a_device_is_written_to_and_stays(place: Path) -> None:
    before = Path("/dev/null").stat()
    files.write_report(Path("/dev/null"), b"new")
    (place / "link").symlink_to("/dev/null")
    files.write_report(place / "link", b"new")
    assert os.path.samestat(Path("/dev/null").stat(), before)
    assert (place / "link").is_symlink()
    with pytest.raises(MachineError, match="no space"):
        files.write_report(Path("/dev/full"), b"new")


def test_a_link_is_followed(place: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name in ("old", "dangling"):
        (place / name).symlink_to(f"../there/{name}")
    (tmp_path / "there" / "old").write_bytes(b"old")
    (tmp_path / "there" / "old").chmod(0o600)
    for name in ("old", "dangling"):
        files.write_report(place / name, b"new")
        assert (place / name).is_symlink()
        assert (tmp_path / "there" / name).read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "there" / "old").stat().st_mode) == 0o600
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["dangling", "old"]
    (place / "circle").symlink_to("circle")
    with pytest.raises(MachineError) as caught:
        files.write_report(place / "circle", b"new")
    assert caught.value.where == str(place / "circle")


def test_a_pipe_gets_the_report_once_it_has_a_reader(place: Path) -> None:
    """More than a pipe holds, to a reader that comes late."""
    os.mkfifo(place / "pipe")
    data = b"x" * (1 << 20)
    script = "import pathlib, sys, time; time.sleep(0.3); print(len(open(sys.argv[1]).read()))"
    reader = subprocess.Popen(
        [sys.executable, "-c", script, str(place / "pipe")], stdout=subprocess.PIPE, text=True
    )
    files.write_report(place / "pipe", data)
    assert reader.communicate(timeout=60)[0].strip() == str(len(data))
    assert (place / "pipe").is_fifo()


def test_a_pipe_that_is_not_read_is_not_waited_for_for_ever(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_READER_S", 0.1)
    os.mkfifo(place / "pipe")
    with pytest.raises(MachineError) as caught:
        files.write_report(place / "pipe", b"new")
    assert "not opened for reading" in caught.value.why
    handle = os.open(place / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(MachineError) as caught:
            files.write_report(place / "pipe", b"x" * (1 << 20))
    finally:
        os.close(handle)
    assert "took nothing" in caught.value.why


def test_standard_output_by_any_name(place: Path) -> None:
    """Also where it is a file, which is not replaced under what is printed besides."""
    script = (
        "import sys; from pathlib import Path; from harness.report import files\n"
        "print('before')\n"
        "assert files.is_stdout(Path(sys.argv[1]))\n"
        "files.write_report(Path(sys.argv[1]), b'report\\n')\n"
        "print('after')\n"
    )
    for name in ("/dev/stdout", "/proc/self/fd/1", "/dev/fd/1", str(place / "out")):
        with (place / "out").open("wb") as out:
            argv = [sys.executable, "-c", script, name]
            subprocess.run(argv, stdout=out, check=True, timeout=60)
        assert (place / "out").read_text() == "before\nreport\nafter\n", name
    done = subprocess.run(
        [sys.executable, "-c", script, "/dev/stdout"], capture_output=True, check=True, timeout=60
    )
    assert done.stdout == b"before\nreport\nafter\n"


def test_a_mount_point_is_written_in_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "report.xml").write_bytes(b"old")

    def busy(self: Path, target: Path) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(target))

    monkeypatch.setattr(Path, "replace", busy)
    files.write_report(place / "report.xml", b"new")
    assert (place / "report.xml").read_bytes() == b"new"
    assert [path.name for path in place.iterdir()] == ["report.xml"]
    with pytest.raises(MachineError):
        files.write_report(place / "other.xml", b"new")
    assert [path.name for path in place.iterdir()] == ["report.xml"]


def red(path: Path) -> str:
    """Return the message of the one error in a JUnit report, which has no good testcase."""
    root = ET.fromstring(path.read_bytes())  # noqa: S314  our own text
    (testcase,) = root.iter("testcase")
    (error,) = testcase.iter("error")
    return error.get("message", "")


@pytest.mark.parametrize("chosen", [False, True])
def test_from_the_first_moment_no_report_is_of_an_earlier_run(place: Path, chosen: bool) -> None:
    run = place / "run"
    report = place / "ci.xml" if chosen else run / "junit.xml"
    for path in (place / "ci.xml", run / "junit.xml", run / "results.json"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("<testsuites/>")
    (run / "report.html").write_text("all is well")
    reports = files.Reports(report if chosen else None, ("harness", "run"))
    with reports.kept_true():
        if chosen:
            assert "cut off" in red(report)
        reports.begin_in(run)
        assert "cut off" in red(report)
        there = [path.name for path in run.iterdir()]
        assert there == ([] if chosen else ["junit.xml"])
        written = reports.write(s.ALL_PASS)
    assert written.paths["junit"] == report
    assert report.read_bytes() == junit.render(s.ALL_PASS)


def test_a_summary_is_kept_true_and_the_page_of_a_job_is_appended_to(place: Path) -> None:
    """So far every step of a job has written to that page; the summary's file is ours."""
    (place / "run").mkdir()
    (place / "summary.md").write_text("## ✅ AS EXPECTED")
    (place / "page.md").write_text("of another step\n")
    reports = files.Reports(summary=place / "summary.md", job_page=place / "page.md")
    with reports.kept_true():
        assert "cut off" in (place / "summary.md").read_text()
        assert "✅" not in (place / "summary.md").read_text()
        reports.begin_in(place / "run")
        written = reports.write(s.ALL_PASS)
    summary = (place / "summary.md").read_text()
    assert written.note == ""
    assert summary.startswith("## ✅ AS EXPECTED (exit 0)")
    assert (place / "page.md").read_text() == f"of another step\n{summary}"


def test_a_summary_that_is_the_page_of_the_job_is_there_once(place: Path) -> None:
    (place / "run").mkdir()
    (place / "page.md").write_text("of another step\n")
    reports = files.Reports(summary=place / "page.md", job_page=place / "page.md")
    with reports.kept_true():
        reports.begin_in(place / "run")
        reports.write(s.ALL_PASS)
    text = (place / "page.md").read_text()
    assert text.startswith("of another step\n## ✅")
    assert text.count("## ") == 1


def test_a_page_that_is_not_there_costs_no_report(place: Path) -> None:
    """A container may have the variable, and not the file."""
    (place / "run").mkdir()
    reports = files.Reports(job_page=place / "nowhere" / "page.md")
    with reports.kept_true():
        reports.begin_in(place / "run")
        written = reports.write(s.ALL_PASS)
    assert "nowhere" in written.note
    assert (place / "run" / "junit.xml").read_bytes() == junit.render(
        s.ALL_PASS, str(place / "run")
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (UserError("the series does not apply", where="mm/foo.c:7"), "the series does not apply"),
        (MachineError("no space is left on the disk"), "no space is left"),
        (KeyboardInterrupt(), "interrupted"),
        (KeyError("x"), "x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_report_of_a_run_that_did_not_begin_says_why(
    place: Path, error: BaseException, words: str
) -> None:
    reports = files.Reports(place / "ci.xml")
    with pytest.raises(type(error)), reports.kept_true():
        raise error
    assert words in red(place / "ci.xml")


@pytest.mark.parametrize("name", ["directory", "file/below", "socket", "circle"])
def test_what_cannot_be_a_report_is_refused_at_once(place: Path, name: str) -> None:
    (place / "directory").mkdir()
    (place / "file").write_bytes(b"mine")
    (place / "circle").symlink_to("circle")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "socket"))
        with pytest.raises(UserError) as caught, files.Reports(place / name).kept_true():
            raise AssertionError
    assert caught.value.where == str(place / name)
    assert caught.value.why
    assert (place / "file").read_bytes() == b"mine"


def sections() -> dict[str, str]:
    """Return the parts of the documentation by heading."""
    parts = re.split(r"^## (.+)$", DOCS.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def structures() -> dict[str, Any]:
    return {
        name: found for name, found in r.schema()["$defs"].items() if found.get("type") == "object"
    }


def test_the_schema_has_the_structures_that_the_documentation_is_about() -> None:
    assert set(structures()) == {
        "Results",
        "Injections",
        "Injection",
        "SweepSummary",
        "PatchPaths",
        "TakenPath",
        "Survivor",
        "Races",
        "RaceSummary",
        "Schedule",
        "Preemption",
        "Shortened",
        "Stand",
        "Kernel",
        "CoverMail",
        "Machine",
        "Mutants",
        "MutantResult",
        "PatchScore",
        "SourceLines",
        "Test",
        "Attempt",
        "Metric",
        "Remark",
        "Bisected",
        "Changed",
        "Changes",
        "Counts",
        "CaseResult",
        "MetricChange",
        "BootReport",
        "Coverage",
        "FileLines",
        "PatchCoverage",
        "TestCoverage",
        "Case",
        "KernelReport",
        "Logs",
    }


@pytest.mark.parametrize("name", sorted(structures()))
def test_each_field_is_documented_and_no_other(name: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \|", sections()[name], flags=re.MULTILINE)
    assert rows == list(structures()[name]["properties"])


def test_each_outcome_is_documented() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", sections()["Outcomes"], flags=re.MULTILINE)
    assert sorted(rows) == sorted(Outcome)


def test_the_example_is_valid() -> None:
    example = re.search(r"```json\n(.*?)```", sections()["Example"], flags=re.DOTALL)
    assert example is not None
    found = r.decode(example[1].encode())
    assert found.exit_code == 1
    assert holds(json.loads(r.encode(found)), json.loads(example[1]))


def test_the_example_is_what_a_run_writes(tmp_path: Path) -> None:
    """From the journal of such a run, with the command line that a request gives."""
    output = (
        b"TAP version 13\n1..2\nok 1 global.create\n"
        b"# a_test.c:118:punch:Expected 0 (0) == ret (-1)\nnot ok 2 global.punch\n"
    )
    parser = ktap.Parser()
    parser.feed(output)
    request = Request(
        project_file=tmp_path / "harness.toml",
        project=Project(kernel=KernelTable(source="s", config=())),
        working_dir=tmp_path,
        suites=("kvm",),
    )
    name = "kvm:a_test"
    rerun = request.rerun(KernelSpec(), ["kvm"], name)
    kernel = r.Kernel(
        release="6.1.176",
        source="Debian linux-source-6.1 6.1.176-1",
        base_commit="1f0c2a5b8e0c1d5b1a7e3d1c9f60a2b34c5d6e7f",
    )
    records: list[Record] = [
        request.record("2026-07-01T02:59:59.800Z"),
        RunStarted(
            run="20260701-030000-3f2a",
            time="2026-07-01T03:02:20.000Z",
            harness="0",
            command=("harness", "run"),
            kernel=kernel,
            tests=(PlannedTest(name=name, suite="kvm", program="a_test", rerun=rerun),),
        ),
        GuestReady(
            suite="kvm",
            release="6.1.176",
            build_id="b1",
            machine=r.Machine(accelerator="tcg", accelerator_reason="no /dev/kvm"),
            seconds=2.0,
        ),
        TestStarted(name=name, time="2026-07-01T03:02:20.000Z", seed="5eed"),
        TestEnded(
            name=name,
            ending=Ending(how="exit", status=1),
            report=parser.close(),
            output=output.decode(),
            guest_s=0.12,
            total_s=0.25,
            logs=r.Logs(output="logs/kvm/a_test.output.log", kernel="logs/kvm/a_test.kernel.log"),
        ),
        RunEnded(time="2026-07-01T03:02:31.000Z", seconds=151.25, prepare_s=140.25),
    ]
    example = re.search(r"```json\n(.*?)```", sections()["Example"], flags=re.DOTALL)
    assert example is not None
    written = json.loads(r.encode(verdict.results(records)))
    assert holds(written, json.loads(example[1]))


def holds(whole: Any, part: Any) -> bool:
    """Return whether all that *part* says stands in *whole*: unknown fields get lost on the way."""
    if isinstance(part, dict):
        return all(key in whole and holds(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(holds, whole, part))
    return bool(whole == part)

# SPDX-License-Identifier: GPL-2.0-only
"""results.json and the files of a run."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from harness import ktap
from harness.errors import MachineError
from harness.outcome import Outcome
from harness.project import KernelTable, Project
from harness.report import files, junit
from harness.run import results as r
from harness.run import verdict
from harness.run.prepare import Request
from harness.run.records import (
    Ending,
    GuestReady,
    PlannedTest,
    Record,
    RunEnded,
    RunStarted,
    TestEnded,
    TestStarted,
)
from tests.report import samples as s

pytestmark = pytest.mark.unit

DOCS = Path(__file__).parents[2] / "docs" / "results.md"


@pytest.mark.parametrize(
    "results", [sample.results for sample in s.SAMPLES if sample.name != "hostile"]
)
def test_results_survive_the_file(results: r.Results, tmp_path: Path) -> None:
    written = files.write_reports(results, tmp_path / "run")
    assert r.decode(written.results.read_bytes()) == results
    assert written.junit.read_bytes() == junit.render(results)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "junit.xml",
        "results.json",
    ]


def test_what_json_cannot_say_does_not_cost_the_report(tmp_path: Path) -> None:
    written = files.write_reports(s.HOSTILE_RUN, tmp_path, tmp_path / "ci" / "report.xml")
    assert written.junit == tmp_path / "ci" / "report.xml"
    found = r.decode(written.results.read_bytes())
    assert found.tests[0].reason == s.HOSTILE.replace("\udc80", r"\udc80")
    assert found.tests[1] == s.HOSTILE_RUN.tests[1]


def test_a_report_is_replaced_whole_and_readable(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    files.write_atomically(path, b"old")
    with path.open("rb") as reader:
        files.write_atomically(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_report_that_cannot_be_written_is_a_machine_error(tmp_path: Path) -> None:
    (tmp_path / "results.json").mkdir()
    with pytest.raises(MachineError) as caught:
        files.write_atomically(tmp_path / "results.json", b"new")
    assert caught.value.where == str(tmp_path / "results.json")
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


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
        "Kernel",
        "Machine",
        "Test",
        "Attempt",
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
    rerun = request.rerun(["kvm"], name)
    kernel = r.Kernel(
        release="6.1.176",
        source="Debian linux-source-6.1 6.1.176-1",
        base_commit="1f0c2a5b8e0c1d5b1a7e3d1c9f60a2b34c5d6e7f",
    )
    records: list[Record] = [
        RunStarted(
            run="20260701-030000-3f2a",
            time="2026-07-01T03:00:00.000Z",
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
        RunEnded(time="2026-07-01T03:02:31.000Z", seconds=151.2),
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

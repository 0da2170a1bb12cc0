# SPDX-License-Identifier: GPL-2.0-only
"""results.json and the files of a run."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from harness.errors import MachineError
from harness.outcome import Outcome
from harness.report import files, junit
from harness.run import results as r
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


def holds(whole: Any, part: Any) -> bool:
    """Return whether all that *part* says stands in *whole*: unknown fields get lost on the way."""
    if isinstance(part, dict):
        return all(key in whole and holds(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(holds, whole, part))
    return bool(whole == part)

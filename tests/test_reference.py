# SPDX-License-Identifier: GPL-2.0-only
"""The reference is what the program says, and the schemas are what it takes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.cli import _COMMANDS
from harness.model import results
from tests.report import samples
from tools.reference.pages import DIRECTORY

pytestmark = [pytest.mark.unit, pytest.mark.slow]
REPOSITORY = Path(__file__).parents[1]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def test_what_is_published_is_what_the_program_says(tmp_path: Path) -> None:
    # In a process of its own, as it is published: click keeps the option --help of a command as it
    # was first asked for, and tests ask for commands in ways that users cannot.
    argv = [sys.executable, "-m", "tools.reference", str(tmp_path)]
    subprocess.run(argv, cwd=REPOSITORY, check=True, timeout=60)
    said = {path.name: path.read_text() for path in tmp_path.iterdir()}
    there = {path.name: path.read_text() for path in DIRECTORY.iterdir()}
    stale = [name for name, text in said.items() if there.get(name) != text]
    assert not stale, "write them anew: .venv/bin/python -m tools.reference"
    assert set(there) == set(said)


def test_every_command_is_in_the_reference() -> None:
    text = (DIRECTORY / "cli.md").read_text()
    # It is for other machines to call, and people do not.
    shown = set(_COMMANDS) - {"worker"}
    for name in (*shown, "series check", "series show", "series apply"):
        assert f"harness {name}\n" in text
    assert "harness worker\n" not in text


def check(schema: str, file: Path) -> int:
    argv = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(DIRECTORY / schema)]
    done = subprocess.run([*argv, str(file)], capture_output=True, timeout=60, check=False)
    return done.returncode


def test_the_schema_takes_the_projects_own_file_and_refuses_a_wrong_one(tmp_path: Path) -> None:
    own = REPOSITORY / "harness.toml"
    assert check("harness.schema.json", own) == 0
    for number, (right, wrong) in enumerate(
        [
            ("[suites.memfd]", "[suites.memfd]\nprogramms = []"),
            ('series = "v10+test-vm"', "series = 10"),
            ('trust = "own"', 'trust = "mine"'),
        ]
    ):
        text = own.read_text()
        assert right in text
        bad = tmp_path / f"{number}.toml"
        bad.write_text(text.replace(right, wrong, 1))
        assert check("harness.schema.json", bad) != 0


@pytest.mark.parametrize("sample", samples.SAMPLES, ids=lambda sample: sample.name)
def test_the_schema_takes_every_report(sample: samples.Sample, tmp_path: Path) -> None:
    import jsonschema

    schema = json.loads((DIRECTORY / "results.schema.json").read_text())
    document: dict[str, Any] = json.loads(results.encode(sample.results))
    jsonschema.validate(document, schema)
    document["tests"] = 7
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


def test_fields_in_the_schema_say_what_they_are() -> None:
    schema = json.loads((DIRECTORY / "harness.schema.json").read_text())
    memory = schema["$defs"]["GuestTable"]["properties"]["accel"]
    assert "KVM" in memory["description"]
    assert memory["enum"] == ["auto", "kvm", "tcg"]


def test_links_of_the_readme_lead_somewhere() -> None:
    text = (REPOSITORY / "README.md").read_text()
    links = [link for link in LINK.findall(text) if "://" not in link]
    assert len(links) > 20
    for link in links:
        file, _, anchor = link.partition("#")
        page = REPOSITORY / file
        assert page.exists(), link
        heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
        known = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
        assert not anchor or anchor in known, link

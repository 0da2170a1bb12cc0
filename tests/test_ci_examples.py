# SPDX-License-Identifier: GPL-2.0-only
"""The examples of docs/ci: valid for the CI systems' own schemas, and with options that exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from harness.cli.run import run

pytestmark = pytest.mark.unit
REPOSITORY = Path(__file__).parents[1]
EXAMPLES = REPOSITORY / "docs" / "ci"
SCHEMAS = {
    "github-actions.yml": "vendor.github-workflows",
    "gitlab-ci.yml": "vendor.gitlab-ci",
}


def check(path: Path, schema: str) -> subprocess.CompletedProcess[str]:
    """Hold the file at *path* against a schema that comes with check-jsonschema."""
    program = Path(sys.executable).with_name("check-jsonschema")
    return subprocess.run(
        [str(program), "--builtin-schema", schema, str(path)],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_example_has_a_schema() -> None:
    assert {path.name for path in EXAMPLES.iterdir()} == set(SCHEMAS)


@pytest.mark.parametrize(("name", "schema"), SCHEMAS.items())
def test_the_ci_system_takes_it(name: str, schema: str, tmp_path: Path) -> None:
    done = check(EXAMPLES / name, schema)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = re.sub("when: always|runs-on:", "no-such-key:", (EXAMPLES / name).read_text())
    (tmp_path / name).write_text(broken)
    assert check(tmp_path / name, schema).returncode != 0


@pytest.mark.parametrize("name", SCHEMAS)
def test_its_command_lines_are_what_the_harness_takes(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    lines = re.findall(r"\.venv/bin/harness run (.*)", text)
    assert lines
    options = {name for parameter in run.params for name in parameter.opts}
    for line in lines:
        words = shlex.split(line)
        assert {word for word in words if word.startswith("-")} <= options
        # What is kept as an artefact is what the run writes.
        assert words[words.index("--junit") + 1] == "junit.xml"
        assert words[words.index("--out") + 1] == "result"


@pytest.mark.parametrize("name", SCHEMAS)
def test_its_stacks_are_those_of_the_project(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    (matrix,) = re.findall(r"\[\"?none.*?\]", text)
    stacks = tomllib.loads((REPOSITORY / "harness.toml").read_text())["stacks"]
    assert set(re.findall(r"\w+", matrix)) - {"none"} <= set(stacks)

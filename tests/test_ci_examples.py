# SPDX-License-Identifier: GPL-2.0-only
"""The examples of docs/ci: valid for the CI systems' own schemas, and with options that exist."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from harness.cli.run import run
from tests.cli import projects
from tests.kerneltree import FakeLinux

pytestmark = [pytest.mark.unit, pytest.mark.slow]
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


@dataclass(frozen=True)
class Job:
    """What a job of an example does in a shell, and what it keeps."""

    steps: tuple[str, ...]
    environ: dict[str, str]
    kept: tuple[str, ...]


def github(place: Path, series: str) -> Job:
    """Return the job of the GitHub example for one stack, as its runner would have it."""
    job = load("github-actions.yml")["jobs"]["selftests"]
    values = {"matrix.series": series, "github.workspace": str(place), "github.run_id": "1"}

    def filled(text: object) -> str:
        return re.sub(r"\$\{\{ (\S+) \}\}", lambda found: values[found[1]], str(text))

    upload = job["steps"][-1]
    assert upload["if"] == "always()"
    return Job(
        tuple(filled(step["run"]) for step in job["steps"] if "run" in step),
        {name: filled(value) for name, value in job["env"].items()}
        | {"GITHUB_STEP_SUMMARY": str(place / "page.md")},
        (*upload["with"]["path"].split(), "page.md"),
    )


def gitlab(place: Path, series: str) -> Job:
    """Return the job of the GitLab example for one stack."""
    job = load("gitlab-ci.yml")["selftests"]
    known = {"CI_PROJECT_DIR": str(place), "SERIES": series}
    environ = {
        name: re.sub(r"\$(\w+)", lambda found: known[found[1]], str(value))
        for name, value in job["variables"].items()
    }
    artifacts = job["artifacts"]
    assert artifacts["when"] == job["cache"]["when"] == "always"
    kept = (*artifacts["paths"], artifacts["reports"]["junit"])
    # As its runner does: one script, which the first command that fails ends.
    script = "\n".join([*job["before_script"], *job["script"]])
    return Job((script,), environ | known, tuple(kept))


def load(name: str) -> Any:
    return YAML(typ="safe").load((EXAMPLES / name).read_text())


@pytest.mark.parametrize("job_of", [github, gitlab])
@pytest.mark.parametrize(
    ("series", "code", "why"), [("v11", 2, "the kernel does not compile"), ("none", 1, "own:")]
)
def test_a_job_keeps_its_reports_and_the_exit_code_of_the_run(
    tmp_path: Path, job_of: Callable[[Path, str], Job], series: str, code: int, why: str
) -> None:
    """With a kernel in miniature, on which no test can run: what the job keeps must say so."""
    project = projects.make(tmp_path)
    project.write(
        f'[stacks]\nv11 = ["{project.patches(_change)}"]',
        f'[suites.own]\npath = "{REPOSITORY / "selftests" / "restrictedmem"}"',
    )
    place = project.root
    tools = tmp_path / "tools"
    tools.mkdir()
    venv = place / ".venv" / "bin"
    # The steps of set-up are tests of their own: tests/test_setup.py.
    scripts = {
        tools / "apt-get": 'echo "$@" >>"$NOTED"',
        tools / "make": f"""
[ "$1" = setup ] || exec {shutil.which("make")} "$@"
echo "$@" >>"$NOTED"; mkdir -p {venv} && cp "$HARNESS" {venv}/harness""",
        tools / "wrapper": f'exec {shlex.quote(sys.executable)} -m harness "$@"',
    }
    for path, text in scripts.items():
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    noted = tmp_path / "noted"
    job = job_of(place, series)
    environ = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "NOTED": str(noted),
        "HARNESS": str(tools / "wrapper"),
        **job.environ,
    }
    codes = []
    for step in job.steps:
        argv = ["bash", "-e", "-o", "pipefail", "-c", step]
        done = subprocess.run(
            argv, cwd=place, env=environ, capture_output=True, text=True, timeout=120, check=False
        )
        codes.append(done.returncode)
        if done.returncode:
            break
    assert len(codes) == len(job.steps), (done.stdout, done.stderr)
    assert codes[-1] == code, (done.stdout, done.stderr)
    assert noted.read_text().splitlines()[-1] == "setup"
    for name in job.kept:
        assert (place / name).exists(), (name, done.stderr)
    junit = ET.parse(place / "junit.xml").getroot()  # noqa: S314  our own file
    assert list(junit.iter("error"))
    page = "page.md" if job_of is github else "summary.md"
    told = (place / page).read_text()
    assert f"(exit {code})" in told
    assert why in told
    assert (place / "cache" / "CACHEDIR.TAG").exists()


def _change(fake: FakeLinux) -> None:
    fake.write(mm__foo_dot_c="#error not like this\n")


def test_the_container_file_has_what_set_up_needs_and_gives_up_root() -> None:
    text = (REPOSITORY / "Containerfile").read_text()
    lines = re.findall(r"^([A-Z]+) (.*)", text, re.MULTILINE)
    words = [word for word, _ in lines]
    assert words.index("USER") > words.index("RUN")
    assert dict(lines)["USER"] != "root"
    copied = {
        name
        for word, rest in lines
        if word == "COPY"
        for name in rest.split()[:-1]
        if not name.startswith("--")
    }
    for name in copied - {"."}:
        assert (REPOSITORY / name).exists(), name
    # What set-up reads before it installs is there when it runs.
    script = (REPOSITORY / "scripts" / "setup.sh").read_text()
    for name in ("constraints.txt", "packages.txt", "pyproject.toml"):
        assert name in script
        assert name in copied
    # What is copied last must not bring an environment of another system.
    ignored = (REPOSITORY / ".containerignore").read_text().split()
    assert {".venv", "runs", ".git"} <= set(ignored)


def test_the_container_is_tried_as_it_is_documented() -> None:
    """The proof in tests/test_releases.py runs the lines that the documents have."""
    lines = re.findall(
        r"^#     (\S.*[^\\])$", (REPOSITORY / "Containerfile").read_text(), re.MULTILINE
    )
    build, make, run = lines[:3]
    assert build.startswith("podman build")
    assert run.startswith("podman run")
    script = (REPOSITORY / "scripts" / "try-release.sh").read_text()
    page = (REPOSITORY / "docs" / "reports.md").read_text()
    for line in (build, make, run):
        assert f"\n    {line}\n" in page
        assert f"\n{line}\n" in script.replace(' "$@"\n', "\n")

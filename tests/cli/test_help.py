# SPDX-License-Identifier: GPL-2.0-only
"""``harness help``, and what a shell completes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.unit, pytest.mark.slow]
REPOSITORY = Path(__file__).parents[2]


def harness(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *words],
        cwd=REPOSITORY,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_each_page_of_the_documentation_can_be_had() -> None:
    listed = harness("help").stdout
    pages = sorted((REPOSITORY / "docs").glob("*.md"))
    for page in pages:
        assert f"  {page.stem} " in listed
    matrix = harness("help", "matrix").stdout
    assert matrix.startswith("# A verdict per patch\n")
    assert matrix.strip() == (REPOSITORY / "docs" / "matrix.md").read_text().strip()
    assert "<!--" not in harness("help", "reports").stdout


def test_of_a_command_it_shows_the_options() -> None:
    assert harness("help", "compare").stdout == harness("compare", "--help").stdout


def test_what_is_not_there_is_told_with_what_is_near() -> None:
    done = harness("help", "expectation")
    assert done.returncode == 2
    assert "did you mean expectations?" in done.stderr


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("harness ru", ["plain,run"]),
        ("harness series ch", ["plain,check"]),
        ("harness help expec", ["plain,expectations"]),
        ("harness run --series v1", ["plain,v10", "plain,v11"]),
        ("harness series show v1", ["plain,v10", "plain,v11"]),
        ("harness run --suite mi", ["plain,mine"]),
        ("harness report 2026", ["plain,20260702-a", "plain,20260701-b"]),
        ("harness run --resume 20260701", ["plain,20260701-b"]),
        # Where no name begins so, it may be a path, of which bash knows.
        ("harness run --series ../my", ["file,../my"]),
        ("harness run --suite /home", ["file,/home"]),
        ("harness run --source li", ["file,li"]),
        ("harness report ./o", ["file,./o"]),
        ("harness compare ou", ["file,ou"]),
    ],
)
def test_a_shell_completes_commands_names_and_paths(
    tmp_path: Path, words: str, found: list[str]
) -> None:
    (tmp_path / "harness.toml").write_text(
        '[stacks]\nv10 = ["a"]\nv11 = ["b"]\nother = ["c"]\n[suites.mine]\npath = "x"\n'
    )
    for name in ("20260701-b", "20260702-a"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert complete(tmp_path, words) == found


def test_completion_outside_a_project_is_that_of_paths(tmp_path: Path) -> None:
    (tmp_path / "harness.toml").write_text("this is no TOML")
    for place in (tmp_path, Path("/")):
        assert complete(place, "harness run --series v1") == ["file,v1"]
        assert complete(place, "harness report latest") == ["file,latest"]


def complete(place: Path, words: str) -> list[str]:
    """Return what bash is told in the directory *place*."""
    number = str(len(words.split()) - 1)
    asked = {"COMP_WORDS": words, "COMP_CWORD": number, "_HARNESS_COMPLETE": "bash_complete"}
    argv = [
        sys.executable,
        "-c",
        "import sys; sys.argv[0] = 'harness'; from harness.cli import main; main()",
    ]
    done = subprocess.run(
        argv,
        cwd=place,
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()

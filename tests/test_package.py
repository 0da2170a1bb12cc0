# SPDX-License-Identifier: GPL-2.0-only
"""What is installed, which in a checkout nobody would miss."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.unit, pytest.mark.slow]
REPOSITORY = Path(__file__).parents[1]


def test_a_wheel_has_every_file_of_the_program(tmp_path: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "harness", "pyproject.toml", "README.md"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    files = [name for name in listed.stdout.split("\0") if name]
    tree = tmp_path / "tree"
    for name in files:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes((REPOSITORY / name).read_bytes())
    argv = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(tmp_path),
    ]
    subprocess.run([*argv, str(tree)], check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    assert {name for name in files if name.startswith("harness/")} - inside == set()
    with zipfile.ZipFile(wheel) as archive:
        entry = archive.read(next(n for n in inside if n.endswith("entry_points.txt"))).decode()
    assert re.search(r"^harness = harness.cli:main$", entry, re.MULTILINE)

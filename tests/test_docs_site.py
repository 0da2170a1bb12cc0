# SPDX-License-Identifier: GPL-2.0-only
"""The documentation as a site, in which every warning is an error."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.extra
REPOSITORY = Path(__file__).parents[1]


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=root,
        # What it says of its own future is no warning about these pages.
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what the site is made from."""
    shutil.copytree(REPOSITORY / "docs", tmp_path / "docs")
    shutil.copy(REPOSITORY / "mkdocs.yml", tmp_path)
    return tmp_path


def test_it_builds_without_a_warning_and_fetches_nothing_from_elsewhere(tmp_path: Path) -> None:
    site = tmp_path / "site"
    done = build(REPOSITORY, site)
    assert done.returncode == 0, done.stderr
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        fetched = re.findall(
            r"<(?:script|link|img)[^>]+(?:src|href)=\"?(https?://[^\s\">]+)", page.read_text()
        )
        assert not fetched, page
    for name in ("results.schema.json", "harness.schema.json"):
        assert (site / "reference" / name).is_file()


@pytest.mark.parametrize(
    "mistake",
    ["[a](nowhere.md)", "[a](suites.md#nowhere)", "[a](../README.md)", "[a](#nowhere)"],
)
def test_a_link_that_leads_nowhere_is_an_error(copy: Path, mistake: str) -> None:
    page = copy / "docs" / "doctor.md"
    page.write_text(f"{page.read_text()}\n{mistake}\n")
    done = build(copy, copy / "site")
    assert done.returncode != 0
    assert "doctor.md" in done.stderr

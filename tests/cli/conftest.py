# SPDX-License-Identifier: GPL-2.0-only
"""A project for the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli import projects


@pytest.fixture
def project(tmp_path: Path) -> projects.Project:
    """A project of its own for each test."""
    return projects.make(tmp_path)

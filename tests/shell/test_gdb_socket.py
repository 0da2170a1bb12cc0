# SPDX-License-Identifier: GPL-2.0-only
"""gdb's socket: a path that a socket can have, wherever temporary files go."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from harness.shell import visit

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("length", [20, 70, 82, 83, 84, 85, 86, 100, 200])
def test_the_path_fits_however_long_that_of_temporary_files_is(
    monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    with tempfile.TemporaryDirectory(prefix="g", dir="/tmp") as short:
        long = Path(short) / ("x" * max(1, length - len(short) - 1))
        long.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(long))
        directory = visit.directory_for_socket()
        # Where it fits, the user's choice counts.
        assert (directory == long) == (len(str(long)) <= 82)
        with (
            tempfile.TemporaryDirectory(prefix=visit.GDB, dir=directory) as made,
            socket.socket(socket.AF_UNIX) as end,
        ):
            end.bind(str(Path(made) / "gdb"))

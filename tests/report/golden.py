# SPDX-License-Identifier: GPL-2.0-only
"""Comparing with files that a person has read.

``HARNESS_GOLDEN=write pytest tests/report`` writes them anew; read the difference before you
commit it.
"""

from __future__ import annotations

import os
from pathlib import Path

DIRECTORY = Path(__file__).parent / "golden"


def same_as_golden(name: str, data: bytes) -> bool:
    """Return whether *data* is what the golden file *name* holds."""
    path = DIRECTORY / name
    if os.environ.get("HARNESS_GOLDEN") == "write":
        DIRECTORY.mkdir(exist_ok=True)
        path.write_bytes(data)
    return path.read_bytes() == data

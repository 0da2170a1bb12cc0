# SPDX-License-Identifier: GPL-2.0-only
"""``python -m tools.bench``, from the project's root."""

from harness.cli import main
from tools.bench.command import bench

main(bench)

# SPDX-License-Identifier: GPL-2.0-only
"""``python -m harness``."""

from harness.cli import main

if __name__ == "__main__":
    main()

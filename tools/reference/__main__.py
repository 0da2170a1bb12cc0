# SPDX-License-Identifier: GPL-2.0-only
"""Write the reference, or write it into the directory that is named."""

import sys
from pathlib import Path

from tools.reference.pages import DIRECTORY, write

write(Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY)

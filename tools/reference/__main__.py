# SPDX-License-Identifier: GPL-2.0-only
"""Write the reference."""

from tools.reference.pages import write

write()

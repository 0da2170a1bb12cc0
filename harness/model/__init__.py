# SPDX-License-Identifier: GPL-2.0-only
"""Values that all rooms share; they contain no logic of their own."""

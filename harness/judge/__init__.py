# SPDX-License-Identifier: GPL-2.0-only
"""Three witnesses, what was expected, several attempts: how a test ended."""

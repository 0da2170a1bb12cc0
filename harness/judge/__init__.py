# SPDX-License-Identifier: GPL-2.0-only
"""Verdicts: from three witnesses, expectations and several attempts to an outcome."""

# SPDX-License-Identifier: GPL-2.0-only
"""Kernel-selftest harness: from a patch series to a verdict, and nothing lost on the way."""

__version__ = "0.1.0"

# SPDX-License-Identifier: GPL-2.0-only
"""Checks of this machine: what works for the harness, what is missing, and what to do."""

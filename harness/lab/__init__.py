# SPDX-License-Identifier: GPL-2.0-only
"""Guests for tests: templates, executors, and running one attempt."""

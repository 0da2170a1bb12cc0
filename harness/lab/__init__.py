# SPDX-License-Identifier: GPL-2.0-only
"""Guests for tests, and the running of one attempt in them."""

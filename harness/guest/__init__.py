# SPDX-License-Identifier: GPL-2.0-only
"""Guests: virtual machines that run one test each."""

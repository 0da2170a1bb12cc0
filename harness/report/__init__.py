# SPDX-License-Identifier: GPL-2.0-only
"""Reports for people and CI systems: one module per format, pure functions of Results."""

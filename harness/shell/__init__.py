# SPDX-License-Identifier: GPL-2.0-only
"""Interactive and scripted access to a guest."""

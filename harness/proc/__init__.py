# SPDX-License-Identifier: GPL-2.0-only
"""Running other programs: no other package starts processes."""

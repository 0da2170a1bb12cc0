# SPDX-License-Identifier: GPL-2.0-only
"""What the v10 series promises, which test shows it, and whether the tests can fail."""

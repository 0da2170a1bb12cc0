# SPDX-License-Identifier: GPL-2.0-only
"""What this machine can do for the harness, what it lacks, and what to do about that."""

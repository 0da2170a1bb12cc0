# SPDX-License-Identifier: GPL-2.0-only
"""From a plan to verdicts: planning, executing, the journal, and what the journal says."""

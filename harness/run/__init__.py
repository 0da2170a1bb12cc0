# SPDX-License-Identifier: GPL-2.0-only
"""From a request to verdicts: planning, executing, the journal."""

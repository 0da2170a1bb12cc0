# SPDX-License-Identifier: GPL-2.0-only
"""All limits of the reader.  They are far above what a normal test prints.

Together they limit the memory for one stream to some 60 MB if it has only results, and to
well under 1 MB if it has only output.
"""

MAX_LINE = 64 * 1024
"""Longest line that is read, in bytes.  The rest of a longer one is only searched for results."""
MAX_EXCERPT = 8 * 1024
"""Bytes that are kept from the start, and again from the end, of the output before a result."""
MAX_NAME = 512
"""Longest name of a case, in characters; more is cut and noted."""
MAX_TEXT = 2048
"""Longest explanation or reason, in characters."""
MAX_NODES = 50_000
"""Most cases and collections in one report; beyond that the report is an error."""
MAX_DEPTH = 32
"""Deepest nesting that is read; a deeper line makes the report an error."""
MAX_DIAGNOSTICS = 1000
"""Most diagnostics that are kept; whether an error was among the others is kept too."""
MAX_KEPT = 8 * 1024 * 1024
"""Most characters of output and explanations in one report."""
MAX_NUMBER = 999_999_999
"""Highest number of a result or a plan; a result with a higher one is an error."""
MAX_GAP = 1000
"""Most missing numbers of a collection without a plan that become cases."""
MAX_CANDIDATES = 64
"""Results after other text that are remembered per level until it is clear whether they count."""
MAX_PREFIX = 200
"""Longest text before a version line that can be the prefix of every line, in bytes."""
MAX_KERNEL_LINES = 200
"""Most kernel messages between the two halves of an interrupted line."""

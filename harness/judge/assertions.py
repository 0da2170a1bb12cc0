# SPDX-License-Identifier: GPL-2.0-only
"""Find the lines of a test's output that name a failed assertion."""

from __future__ import annotations

import re

from harness.model.results import Case
from harness.outcome import Outcome

# A line that names a place in the source, or says how kselftest_harness.h saw a case end.
_ASSERTION = re.compile(
    r"(?:^|[\s(#])[\w./+-]+\.(?:c|h|S|cc|cpp|rs|py|sh):\d+\b"
    r"|\bTest (?:terminated|exited|ended)\b(?! by assertion)"
)


def is_assertion(line: str) -> bool:
    """Whether *line* of a test's output says what failed."""
    return _ASSERTION.search(line) is not None


def assertions(text: str) -> tuple[str, ...]:
    """Return each assertion in what a case or program printed, once and in order."""
    lines = (line.lstrip("# ").strip() for line in text.splitlines())
    return tuple(dict.fromkeys(filter(is_assertion, lines)))


def of_output(output: str) -> tuple[str, ...]:
    """Return the assertions in a program's output; all of it, as one line, where there is none."""
    whole = " ".join(output.split())
    return assertions(output) or ((whole,) if whole else ())


def of_case(case: Case) -> tuple[str, ...]:
    """Return the assertions of a case that was not as expected.

    For one that failed and has none, all it printed stands for them, or its reason.  One that was
    cut off, or not begun, need not have any.
    """
    found = assertions(case.text)
    if found or case.outcome in (Outcome.ERROR, Outcome.NOTRUN):
        return found
    return of_output(case.text) or (case.reason,)

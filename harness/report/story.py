# SPDX-License-Identifier: GPL-2.0-only
"""The complete description of one failed test, for the output of other programs."""

from __future__ import annotations

from harness.model.results import Test
from harness.report.evidence import evidence
from harness.report.text import one_line
from harness.visible import visible


def story(test: Test, directory: str = "") -> str:
    """Return how *test* ended, what shows it, where the logs are, and how to run it again.

    *directory* is the run's, as the reader finds it.  All of it is printable.
    """
    said = f": {one_line(test.reason)}" if test.reason else ""
    lines = [f"{one_line(test.name)}  {test.outcome}{said}"]
    for each in evidence(test):
        lines += [f"  {each.title}", *(f"    {line}" for line in each.lines)]
        lines += [f"    the same again: {each.command}"] if each.command else []
    place = f"{directory}/" if directory else ""
    for title, log in (
        ("kernel log", test.logs.kernel),
        ("output", test.logs.output),
        ("build log", test.logs.build),
    ):
        lines += [f"  {title + ':':<11} {visible(place + log)}"] if log else []
    lines += [f"  run again:  {visible(test.rerun)}"] if test.rerun else []
    return "\n".join(lines)

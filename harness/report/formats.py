# SPDX-License-Identifier: GPL-2.0-only
"""The formats of reports: the one table, for ``harness report`` and for what a run writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.model.results import Results, encode
from harness.report import html, junit
from harness.report.coverage import lcov

Render = Callable[[Results, str], bytes]
"""Returns the report; the text is the run's directory as the reader of the report finds it, empty
where the report lies in it."""


@dataclass(frozen=True)
class Format:
    """One format."""

    render: Render
    about: str
    """What it is, for the help of ``harness report``."""
    of_run: str = ""
    """The file in its directory that every run writes; empty where a run writes none."""


def name_of(results: Results) -> str:
    """Return the name of the kernel that *results* are about: that of its series."""
    return results.kernel.series_name or results.kernel.series or results.kernel.release


FORMATS: dict[str, Format] = {
    "json": Format(lambda results, _: encode(results), "results.json", "results.json"),
    "junit": Format(junit.render, "JUnit XML", "junit.xml"),
    "html": Format(
        lambda results, directory: html.render({name_of(results): results}, directory),
        "a page for a browser",
        "report.html",
    ),
    "lcov": Format(lambda results, _: lcov(results), "lcov, of a run with --coverage"),
}
"""By name, in the order in which a run writes them: all others can be made again from the JSON."""

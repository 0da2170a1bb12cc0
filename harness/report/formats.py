# SPDX-License-Identifier: GPL-2.0-only
"""The table of report formats, for ``harness report`` and for the files of a run.

Each is loaded when one is written: a run writes them when its tests are over, and its first test
would have to wait for them.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from harness.model.results import Results, encode
from harness.report.kernels import by_kernel


class View(msgspec.Struct, frozen=True):
    """The inputs of a report besides the results."""

    directory: str = ""
    """The run's, as the reader of the report finds it; empty where the report lies in it."""
    origin: str = ""
    """The CI system that reports, for KCIDB; empty for its default."""


class Format(msgspec.Struct, frozen=True):
    """One format."""

    render: Callable[[Results, View], bytes]
    of_run: str = ""
    """The file in its directory that every run writes; empty where a run writes none."""


def _junit(results: Results, view: View) -> bytes:
    from harness.report import junit

    return junit.render(results, view.directory)


def _html(results: Results, view: View) -> bytes:
    from harness.report import html

    return html.render(by_kernel(results), view.directory)


def _kcidb(results: Results, view: View) -> bytes:
    from harness.report import kcidb

    return kcidb.render(by_kernel(results), view.origin or kcidb.ORIGIN)


def _lcov(results: Results, _: View) -> bytes:
    from harness.report import coverage

    return coverage.lcov(results)


def _mail(results: Results, _: View) -> bytes:
    from harness.report import mail

    return mail.render(results)


def _markdown(results: Results, view: View) -> bytes:
    from harness.report import markdown

    return markdown.render(results, view.directory)


def _sarif(results: Results, _: View) -> bytes:
    from harness.report import sarif

    return sarif.render(results)


FORMATS: dict[str, Format] = {
    "json": Format(lambda results, _: encode(results), "results.json"),
    "junit": Format(_junit, "junit.xml"),
    "html": Format(_html, "report.html"),
    "kcidb": Format(_kcidb),
    "lcov": Format(_lcov),
    "mail": Format(_mail),
    "markdown": Format(_markdown),
    "sarif": Format(_sarif),
}
"""By name, in the order in which a run writes them: all others can be made again from the JSON."""

# SPDX-License-Identifier: GPL-2.0-only
"""Coverage of changed lines: for the console, for the HTML page, and as lcov."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.errors import UserError
from harness.model.coverage import (
    Coverage,
    FileLines,
    PatchCoverage,
    SourceLines,
    count,
    show,
)
from harness.model.results import Results
from harness.report.text import LOG_COLUMNS, Span, columns, fit, one_line, pad
from harness.visible import visible

_NUMBERS = 35
"""Columns of the numbers behind a patch's name."""
_MOST_NAMES = 5
_NOT_IN_A_NAME = re.compile(r"\W", re.ASCII)


def coverage_lines(coverage: Coverage, width: int = LOG_COLUMNS) -> Iterator[list[Span]]:
    """Yield one row a patch, and its lines that no test ran; rows have at most *width* columns."""
    names = {each.number: f"{each.number} {one_line(each.subject)}" for each in coverage.patches}
    widest = max((columns(name) for name in names.values()), default=0)
    room = min(width, LOG_COLUMNS) - _NUMBERS
    wide = max(len("changed lines run by tests"), min(widest, room))
    head = f"{'changed lines run by tests':<{wide}}  {'changed':>8}  {'with code':>9}  {'run':>5}"
    yield [(head, "dim")]
    for patch in coverage.patches:
        changed, code, run = map(count, (patch.changed, patch.instrumented, patch.covered))
        share = f"  {100 * run // code:>3} %" if code else ""
        style = "" if not code else "good" if run == code else "warn" if run else "bad"
        yield [
            (pad(fit(names[patch.number], wide), wide), ""),
            (f"  {changed:>8}  {code:>9}  {run:>5}", ""),
            (share, style),
        ]
        for each in patch.uncovered:
            yield [
                ("    not run: ", "dim"),
                (f"{one_line(each.path)}:{show(each.lines)}", ""),
            ]
    if coverage.unmeasured:
        left = coverage.unmeasured[_MOST_NAMES:]
        names_shown = ", ".join(map(one_line, coverage.unmeasured[:_MOST_NAMES]))
        more = f" and {len(left)} more" if left else ""
        yield [("    not watched: ", "warn"), (f"{names_shown}{more}", "")]
    for note in coverage.notes:
        yield [("    note: ", "warn"), (one_line(note, 2000), "")]


def lcov(results: Results) -> bytes:
    """Return the coverage of *results* as geninfo(1) describes it, for genhtml and the like.

    Each test has a record of every file; names of files are relative to the kernel tree.  Raises
    UserError for a run without coverage.
    """
    coverage = results.coverage
    if coverage is None:
        raise UserError(
            "this run has no coverage data",
            where=results.run,
            hint="harness run --coverage does",
        )
    code: dict[str, set[int]] = {}
    for patch in coverage.patches:
        for each in patch.instrumented:
            code.setdefault(each.path, set()).update(_numbers(each))
    records: list[str] = []
    ran = {test.name: test.covered for test in coverage.tests} or {"": ()}
    for name, covered in ran.items():
        lines = {each.path: set(_numbers(each)) for each in covered}
        for path, numbers in sorted(code.items()):
            hit = numbers & lines.get(path, set())
            records += [
                f"TN:{_NOT_IN_A_NAME.sub('_', name)}",
                f"SF:{path}",
                *(f"DA:{number},{int(number in hit)}" for number in sorted(numbers)),
                f"LF:{len(numbers)}",
                f"LH:{len(hit)}",
                "end_of_record",
            ]
    return "".join(f"{record}\n" for record in records).encode(errors="surrogateescape")


def describe_patch(patch: PatchCoverage) -> str:
    """Return a patch by number and subject, for messages."""
    return f'patch {patch.number} "{one_line(patch.subject)}"'


def page(coverage: Coverage | None) -> dict[str, object] | None:
    """Return the data of the HTML page: each changed line with the tests that ran it."""
    if coverage is None:
        return None
    return {
        "notes": [one_line(note, 2000) for note in coverage.notes],
        "unmeasured": [one_line(name) for name in coverage.unmeasured],
        "patches": [
            {
                "name": f"{patch.number} {one_line(patch.subject)}",
                "run": count(patch.covered),
                "code": count(patch.instrumented),
                "style": _style(patch),
                "files": [
                    {"path": one_line(each.path), "lines": list(_page_lines(patch, each, coverage))}
                    for each in patch.source
                ],
            }
            for patch in coverage.patches
            if patch.instrumented
        ],
    }


def _style(patch: PatchCoverage) -> str:
    run, code = count(patch.covered), count(patch.instrumented)
    return "good" if run == code else "warn" if run else "bad"


def _page_lines(
    patch: PatchCoverage, source: SourceLines, coverage: Coverage
) -> Iterator[tuple[int, str, str, str]]:
    """Yield number, text and style of each line, and what is known of it."""
    has = {
        kind: {
            line
            for each in getattr(patch, kind)
            if each.path == source.path
            for line in _numbers(each)
        }
        for kind in ("covered", "uncovered")
    }
    for line, text in source.lines:
        shown = visible(text.expandtabs(8))
        if line in has["covered"]:
            tests = coverage.tests_of(source.path, line)
            names = ", ".join(map(one_line, tests[:_MOST_NAMES]))
            more = f" and {len(tests) - _MOST_NAMES} more" if len(tests) > _MOST_NAMES else ""
            yield line, shown, "good", f"run by {names}{more}"
        elif line in has["uncovered"]:
            yield line, shown, "bad", "run by no test"
        else:
            yield line, shown, "dim", "no code"


def _numbers(each: FileLines) -> Iterator[int]:
    for first, last in each.lines:
        yield from range(first, last + 1)

# SPDX-License-Identifier: GPL-2.0-only
"""Coverage as part of a run: which lines are watched, and the data in the results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from harness.context import Context
from harness.errors import UserError
from harness.kbuild.codelines import code_lines
from harness.kbuild.kernel import refill
from harness.lab import probes
from harness.lab.probes import LineProbe
from harness.model.coverage import PatchLines, SourceLines, as_files
from harness.model.logfiles import kernel_build_log
from harness.model.results import Results
from harness.outcome import Outcome
from harness.run.prepare import Built
from harness.series.changed import ChangedLines, changed_lines

_UNKNOWN = frozenset({Outcome.ERROR, Outcome.NOTRUN})
"""Ends after which it is not known what a test would have run."""
_MOST_LINES = 20_000
_LONGEST = 300
"""Lines of source that reports have, and characters of each."""


def watch(built: Built, directory: Path, context: Context) -> LineProbe:
    """Return the probe for the changed lines of the kernel that is *built*.

    What is seen goes into the run's *directory*.  Raises UserError where there is no series, and
    MachineError where a tool fails.
    """
    selected = built.selected
    changed = changed_lines(selected.tree)
    if not changed:
        raise UserError("without a series no line is a changed one", where="--coverage")
    wanted: dict[str, set[int]] = {}
    for patch in changed:
        for path, lines in patch.files.items():
            wanted.setdefault(path, set()).update(lines)

    def again() -> None:
        refill(
            built.kernel,
            selected.tree,
            selected.fragments,
            selected.place,
            context=context,
            log=directory / kernel_build_log(selected.name),
            limit_s=selected.request.project.limits.build_s,
        )

    code = code_lines(built.kernel, selected.place, wanted, context, again)
    patches = tuple(_lines_of(changed))
    code = msgspec.structs.replace(code, patches=patches)
    return probes.start(directory / probes.COVERAGE, code, context)


def several(kernels: int) -> UserError:
    """Return the refusal to watch tests on so many *kernels*."""
    return UserError(
        "coverage is measured on one kernel only",
        where="--coverage",
        why=f"asked for are {kernels} kernels, and each has other changed lines, at other places",
        hint="measure each in a separate run; --upto N applies the first N patches",
    )


def _lines_of(changed: Iterable[ChangedLines]) -> Iterator[PatchLines]:
    """Yield the patches; the text of their lines as long as it is not too much for a report."""
    left = _MOST_LINES
    for each in changed:
        source = []
        for path, texts in sorted(each.texts.items()):
            if len(texts) <= left:
                left -= len(texts)
                lines = tuple((line, text[:_LONGEST]) for line, text in sorted(texts.items()))
                source.append(SourceLines(path=path, lines=lines))
        yield PatchLines(
            number=each.number,
            subject=each.subject,
            changed=as_files(each.files),
            source=tuple(source),
        )


def with_coverage(results: Results, directory: Path) -> Results:
    """Return *results* with the coverage data of the run's *directory*, if there are any."""
    planned = [test.name for test in results.tests]
    ran = [test.name for test in results.tests if test.outcome not in _UNKNOWN]
    coverage = probes.read(directory / probes.COVERAGE, planned, ran)
    return msgspec.structs.replace(results, coverage=coverage) if coverage else results

# SPDX-License-Identifier: GPL-2.0-only
"""Results of planted faults, as a pure function of a journal's records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.model.mutants import (
    Mutant,
    MutantResult,
    MutantRun,
    Mutants,
    Status,
    per_patch,
    score,
)
from harness.model.records import (
    MutantControl,
    MutantEnded,
    MutantsBuilt,
    MutantsEnded,
    MutantsPlanned,
    Record,
)
from harness.outcome import Outcome


def planned(records: Sequence[Record]) -> tuple[MutantsPlanned, list[Record]] | None:
    """Return the faults that are planned, and the records behind; None where none are."""
    for at in range(len(records) - 1, -1, -1):
        record = records[at]
        if isinstance(record, MutantsPlanned):
            return record, list(records[at + 1 :])
    return None


def ended(records: Sequence[Record]) -> dict[int, MutantEnded]:
    """Return by number how faults ended."""
    return {each.number: each for each in records if isinstance(each, MutantEnded)}


def controls(records: Sequence[Record]) -> dict[str, MutantRun]:
    """Return the outcomes of the tests with no fault selected, by name."""
    return {each.run.test: each.run for each in records if isinstance(each, MutantControl)}


def unfit_for_faults(control: MutantRun) -> str:
    """Return why a test with this result can notice no fault; empty if it can."""
    if control.outcome.as_expected and control.outcome is not Outcome.SKIP:
        return ""
    return f"{control.outcome}" + (f": {control.reason}" if control.reason else "")


def mutants(records: Sequence[Record], subjects: Mapping[int, str]) -> Mutants | None:
    """Return what became of the planted faults; None where none were asked for, or planned yet.

    *subjects* are those of the patches, by their numbers.  Each fault that is planned comes out.
    """
    found = planned(records)
    if found is None:
        return None
    plan, rest = found
    ends = ended(rest)
    results = tuple(_result(each, ends.get(each.number)) for each in plan.mutants)
    built = [each for each in rest if isinstance(each, MutantsBuilt)]
    over = [each for each in rest if isinstance(each, MutantsEnded)]
    unfit = [
        f"{name} is left out, as it ends otherwise in the kernel with all faults, of which none "
        f"happens: {why}"
        for name, run in controls(rest).items()
        if (why := unfit_for_faults(run))
    ]
    return Mutants(
        mutants=results,
        patches=per_patch(results, subjects),
        score=score(each.status for each in results),
        min_score=plan.min_score,
        build_s=sum(each.seconds for each in built) if built else None,
        tests_s=sum(each.seconds for each in over) if over else None,
        notes=(*plan.notes, *unfit),
    )


def _result(mutant: Mutant, end: MutantEnded | None) -> MutantResult:
    runs = end.runs if end else ()
    killer = runs[-1].test if runs and end and end.status.noticed else ""
    return MutantResult(
        name=mutant.name,
        patch=mutant.patch,
        path=mutant.path,
        line=mutant.line,
        last_line=mutant.last_line,
        function=mutant.function,
        operator=mutant.operator,
        before=mutant.before,
        after=mutant.after,
        status=end.status if end else Status.NOTRUN,
        reason=end.reason if end else "",
        killer=killer,
        tests=tuple(dict.fromkeys(run.test for run in runs)),
        alone=end.alone if end else mutant.alone,
        diff=mutant.diff,
        seconds=end.seconds if end and end.runs else None,
        rerun=mutant.rerun,
        output=end.logs.output if end else "",
        kernel_log=end.logs.kernel if end else "",
    )

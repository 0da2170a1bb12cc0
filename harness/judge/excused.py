# SPDX-License-Identifier: GPL-2.0-only
"""What does not let a run against a base fail, although it did not end as expected, and why.

That is all that failed on the base itself, and what is no worse on the other kernel.  Each report
reads this from the tests and cases, so that all of them agree with the exit code.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from harness.model.changes import Changed, Changes, Kind
from harness.model.plan import ALL
from harness.model.results import Case, Results, Test

_OF_BASE = "it belongs to the kernel that the other is compared with"
_WHY = {
    Kind.STILL_FAILING: "it fails on {base} as well",
    Kind.OTHER_FAILURE: "it fails on {base} as well, in another way",
    Kind.UNSTABLE: "it is unstable, and no more often bad than on {base}",
}


def excuse_base(results: Results) -> Results:
    """Return the *results* of the base, in which nothing lets the run fail."""
    tests = (
        msgspec.structs.replace(
            test,
            excused="" if test.outcome.as_expected else _OF_BASE,
            cases=tuple(
                msgspec.structs.replace(case, excused="" if case.outcome.as_expected else _OF_BASE)
                for case in test.cases
            ),
        )
        for test in results.tests
    )
    return msgspec.structs.replace(results, tests=tuple(tests))


def excuse_tip(results: Results, against: Changes) -> Results:
    """Return the *results* of the kernel that is compared with a base; excused ones are marked."""
    kinds = {each.name: each for each in against.cases}
    worse = {each.name.partition(":")[0] for each in against.cases if each.kind.worse}
    tests = tuple(_excused(test, kinds, worse, against.before) for test in results.tests)
    return msgspec.structs.replace(results, tests=tests)


def _excused(test: Test, kinds: Mapping[str, Changed], worse: set[str], base: str) -> Test:
    cases = tuple(_of_case(case, kinds, base) for case in test.cases)
    why = ""
    if not test.outcome.as_expected:
        if test.name in kinds:
            why = _why(kinds[test.name], base)
        elif test.program == ALL:
            # Its cases are known from the base, each as one that cannot be tested any more.
            why = "" if test.suite in worse else _WHY[Kind.STILL_FAILING].format(base=base)
        elif all(case.good for case in cases):
            why = next((case.excused for case in cases if case.excused), "")
    return msgspec.structs.replace(test, excused=why, cases=cases)


def _of_case(case: Case, kinds: Mapping[str, Changed], base: str) -> Case:
    if case.outcome.as_expected or case.name not in kinds:
        return case
    return msgspec.structs.replace(case, excused=_why(kinds[case.name], base))


def _why(changed: Changed, base: str) -> str:
    """Return why a case does not count; empty where it does."""
    why = _WHY.get(changed.kind, "")
    return why.format(base=base)

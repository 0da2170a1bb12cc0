# SPDX-License-Identifier: GPL-2.0-only
"""docs/v10-coverage.md: rule, test, outcome on v10 with the test VM, outcome on v11.

    python -m tests.v10.coverage DIR-OF-RUN-ON-v10+test-vm DIR-OF-RUN-ON-v11

writes it from the results of two runs; a test checks that it is true.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.model import expectations, results
from harness.model.results import Results
from harness.outcome import Outcome, worst
from tests.v10.tags import REPOSITORY, SELFTESTS, Rule, Tagged, all_tests, rules

DOCUMENT = REPOSITORY / "docs" / "v10-coverage.md"
STACKS = ("v10+test-vm", "v11")

_HEAD = """\
# What is tested of the v10 series

One row for each rule of the series' interface and each defect of the posted version
(`selftests/rules.toml`), and each test that shows it: how it ends on v10 with the test VM, and on
v11, where everything has to pass. `xfail` is a known failure, with its reason in the suite's
`expectations.toml`; `xfail or pass` one that is a race and not lost each time. A program that
crashes the kernel is judged as a whole.

Made by `python -m tests.v10.coverage RUN-ON-v10+test-vm RUN-ON-v11`; `make test` checks that it is
what the tests say.

| rule | says | test | v10+test-vm | v11 |
|---|---|---|---|---|
"""


def outcome_of(test: Tagged, said: Results) -> Outcome | None:
    """Return how *test* ended: its worst variant, or its program where that reported no such case.

    None where the run had no such program.
    """
    for program in said.tests:
        if program.name == test.test:
            cases = [case.outcome for case in program.cases if test.is_case(case.name)]
            return worst(cases) if cases else program.outcome
    return None


def shown(test: Tagged, said: Results) -> str:
    """Return how *test* ended, in the same words for each run that was as expected."""
    outcome = outcome_of(test, said)
    if outcome in (Outcome.XFAIL, Outcome.PASS) and _fails_sometimes(test, said):
        return "xfail or pass"
    return outcome.value if outcome else "not run"


def _fails_sometimes(test: Tagged, said: Results) -> bool:
    known = expectations.load(SELFTESTS / test.suite / expectations.FILE_NAME)
    entries, _ = expectations.for_program(known, test.program, said.kernel.series_name)
    case = f"{test.fixture}.{test.name}"
    variants = f"{test.fixture}.*.{test.name}"
    return any(entry.sometimes and entry.case in ("", case, variants) for entry in entries)


def render(known: dict[str, Rule], tests: Sequence[Tagged], runs: Sequence[Results]) -> str:
    """Return the document."""
    return _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in _rows(known, tests, runs))


def _rows(
    known: dict[str, Rule], tests: Sequence[Tagged], runs: Sequence[Results]
) -> Iterator[Sequence[str]]:
    for name, rule in known.items():
        showing = [test for test in tests if name in test.rules]
        if not showing:
            yield name, rule.says, f"none: {rule.untestable}", "", ""
        for number, test in enumerate(showing):
            yield (
                name if number == 0 else "",
                rule.says if number == 0 else "",
                f"`{test}`",
                *(shown(test, run) for run in runs),
            )


def main() -> None:
    """Write the document from the two runs that are named."""
    runs = [results.decode((Path(name) / "results.json").read_bytes()) for name in sys.argv[1:]]
    assert tuple(run.kernel.series_name for run in runs) == STACKS, "the runs of other stacks"
    DOCUMENT.write_text(render(rules(), all_tests(), runs))


if __name__ == "__main__":
    main()

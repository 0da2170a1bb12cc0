# SPDX-License-Identifier: GPL-2.0-only
"""When a break counts as caught."""

from __future__ import annotations

import pytest

from harness.model.results import Results
from harness.outcome import Outcome
from tests.report.samples import case, program, run
from tests.v10.breaks import Break, judge

pytestmark = pytest.mark.unit

FAULT = Break("some", "B1.flags", ("kvm:one/its.case", "kvm:two/*.late"), "because", "diff --git")


@pytest.mark.parametrize(
    ("said", "caught"),
    [
        pytest.param(
            run(program("one", Outcome.FAIL, cases=(case("one", "its.case", Outcome.FAIL),))),
            True,
            id="its case fails",
        ),
        pytest.param(
            run(program("one", Outcome.FAIL, cases=(case("one", "other", Outcome.FAIL),))),
            True,
            id="its case was never reported, and its program is not as expected",
        ),
        pytest.param(
            run(
                program(
                    "one",
                    Outcome.FAIL,
                    cases=(
                        case("one", "its.case", Outcome.PASS),
                        case("one", "other", Outcome.FAIL),
                    ),
                )
            ),
            False,
            id="another case fails",
        ),
        pytest.param(
            run(
                program("one", Outcome.PASS, cases=(case("one", "its.case", Outcome.PASS),)),
                program("two", Outcome.FAIL, cases=(case("two", "by_bit.late", Outcome.FAIL),)),
            ),
            True,
            id="one of several cases fails",
        ),
        pytest.param(run(program("one", Outcome.CRASH)), True, id="its program crashes"),
        pytest.param(run(program("one", Outcome.XFAIL)), False, id="it fails in any case"),
        pytest.param(run(program("one", Outcome.SKIP)), False, id="its program skips"),
        pytest.param(run(program("one", Outcome.ERROR)), False, id="its program was not built"),
        pytest.param(run(program("one", Outcome.NOTRUN)), False, id="its program never ran"),
        pytest.param(
            run(program("one", Outcome.CRASH), program("two", Outcome.ERROR)),
            False,
            id="one of its programs was not built",
        ),
        pytest.param(run(), False, id="nothing ran"),
    ],
)
def test_a_break_is_caught_by_its_case_or_its_program(said: Results, caught: bool) -> None:
    assert judge(FAULT, said).caught is caught

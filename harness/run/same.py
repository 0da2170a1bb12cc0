# SPDX-License-Identifier: GPL-2.0-only
"""Whether a run that is taken up again would go on with what it began with."""

from __future__ import annotations

import msgspec

from harness.errors import UserError
from harness.model.records import RunStarted
from harness.run.prepare import Prepared

_SAME = {
    "source": "the kernel's source",
    "base_commit": "the kernel's source",
    "series_commit": "the series",
    "config_digest": "the kernel's configuration",
    "toolchain": "the toolchain",
}


def check_same(head: RunStarted, prepared: Prepared) -> None:
    """Raise UserError unless what is ready now is what the plan was made for."""
    for fact, what in _SAME.items():
        then, today = getattr(head.kernel, fact), getattr(prepared.facts, fact)
        if then != today:
            _changed(what, f"{then} then, {today} now")
    then_names = [test.name for test in head.tests]
    if then_names != [test.name for test in prepared.tests]:
        _changed("the plan", "other tests than then")
    for planned, test in zip(head.tests, prepared.tests, strict=True):
        for field in msgspec.structs.fields(type(test)):
            if field.name in ("rerun", "build_log"):
                continue
            if getattr(planned, field.name) != getattr(test, field.name):
                _changed(f"the test {test.name}", f"its {field.name} is another than then")


def _changed(what: str, why: str) -> None:
    raise UserError(
        f"{what} has changed since the run began",
        why=why,
        hint="start a new run; `harness report` renders the old one as far as it went",
    )

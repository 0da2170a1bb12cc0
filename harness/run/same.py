# SPDX-License-Identifier: GPL-2.0-only
"""Compare by content: kernels of a run, and a run when it began and now."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from harness.digest import digest
from harness.errors import UserError
from harness.model.ids import KernelName
from harness.model.plan import PlannedTest
from harness.model.records import RunStarted
from harness.run.prepare import Prepared

_SAME = {
    "source": "the kernel's source",
    "base_commit": "the kernel's source",
    "series_commit": "the series",
    "config_digest": "the kernel's configuration",
    "toolchain": "the toolchain",
}


@dataclass
class Same:
    """The kernels of a run so far, by content: which is the same as one before it."""

    _kernels: dict[str, KernelName] = field(default_factory=dict)
    _cells: dict[tuple[str, str], KernelName] = field(default_factory=dict)

    def kernel(self, prepared: Prepared) -> KernelName | None:
        """Return the first kernel with the same image as that of *prepared*; None if it is that."""
        content = prepared.factory.kernel_content()
        first = self._kernels.setdefault(content, prepared.name)
        return None if first == prepared.name else first

    async def cells(self, prepared: Prepared) -> dict[str, KernelName]:
        """Return by suite the kernel on which the same tests run in the same guests."""
        found = {}
        for suite in prepared.suites:
            tests = [test for test in prepared.tests if test.suite == suite.name]
            guests = dict.fromkeys(test.guest for test in tests)
            contents = [await prepared.factory.content(suite, guest) for guest in guests]
            content = digest(*contents, *(msgspec.json.encode(bare(test)) for test in tests))
            first = self._cells.setdefault((suite.name, content), prepared.name)
            if first != prepared.name:
                found[suite.name] = first
        return found


def bare(test: PlannedTest) -> PlannedTest:
    """Return the inputs of *test* besides its guest.

    What it is called by a user, and where its build's log lies, changes nothing of what it does;
    the suite's files are part of its guest.
    """
    return msgspec.structs.replace(test, rerun="", build_log="", suite_key="")


def check_same(head: RunStarted, prepared: Prepared) -> None:
    """Raise UserError unless the plan was made for what is prepared now."""
    for fact, what in _SAME.items():
        then, today = getattr(head.kernel, fact), getattr(prepared.facts, fact)
        if then != today:
            _changed(what, f"{then} then, {today} now")
    then_names = [test.name for test in head.tests]
    if then_names != [test.name for test in prepared.tests]:
        _changed("the plan", "the tests differ")
    for planned, test in zip(head.tests, prepared.tests, strict=True):
        for each in msgspec.structs.fields(type(test)):
            if each.name in ("rerun", "build_log"):
                continue
            if getattr(planned, each.name) != getattr(test, each.name):
                _changed(f"the test {test.name}", f"its {each.name} has changed")


def _changed(what: str, why: str) -> None:
    raise UserError(
        f"{what} has changed since the run began",
        why=why,
        hint="start a new run; `harness report` renders the old one as far as it went",
    )

# SPDX-License-Identifier: GPL-2.0-only
"""The plan: every test that will be reported, known before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache

import msgspec

from harness.errors import UserError
from harness.lab.room import too_small
from harness.model.expectations import for_program
from harness.model.ids import ONLY, TestId
from harness.model.plan import PlannedTest
from harness.model.spec import GuestTable
from harness.proc.process import find
from harness.run.select import compile_expression
from harness.suites import Program, Suite, SuiteSource, userland

Lacks = Callable[[GuestTable, Sequence[str]], str]
"""Returns why a guest does not meet requirements; empty if it does."""

NO_LIMIT_S = 3600.0
"""Stands for ``timeout=0`` in a suite's settings: kselftest's "none", which no guest gets."""


class Terms(msgspec.Struct, frozen=True):
    """The inputs of the plan of a kernel's tests, besides the suites."""

    sources: Mapping[str, SuiteSource]
    """What is known of each suite and what it needs, by its name."""
    guest: GuestTable
    """The default guest of tests."""
    lacks: Lacks
    series: str
    """The name by which suites know the series."""
    default_timeout_s: float
    rerun: Callable[[str, str], str]
    """Makes the command line for a suite's name and a test's name."""
    build_logs: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Each suite's build log, relative to the run's directory."""
    needed: Collection[str] | None = None
    """The tests of a kernel that is there for these alone, as far as it has them; None for all."""


def plan(suites: Sequence[Suite], expression: str, terms: Terms) -> tuple[PlannedTest, ...]:
    """Return the tests of *suites* that *expression* selects, in the order of the suites.

    Where only some are needed, it is these as far as they are there.  Otherwise raises UserError
    when nothing is left: a run without tests has nothing to say, least of all that all is well.
    """
    tests = [test for suite in suites for test in _tests(suite, terms)]
    if terms.needed is not None:
        return tuple(test for test in tests if test.name in terms.needed)
    selected = compile_expression(expression, {test.name for test in tests})
    chosen = tuple(test for test in tests if selected(test.name))
    if not chosen:
        raise UserError(
            "no test is selected",
            where=f"-k '{expression}'" if expression else ", ".join(s.name for s in suites),
            why=f"available tests: {', '.join(test.name for test in tests) or 'none'}",
        )
    return chosen


def needed(
    suites: Sequence[Suite], sources: Sequence[SuiteSource], guest: GuestTable
) -> dict[GuestTable, frozenset[str]]:
    """Return the guests that programs run in, each with all that any of them requires of it."""
    found: dict[GuestTable, frozenset[str]] = {}
    for suite, source in zip(suites, sources, strict=True):
        for name in [each.name for each in suite.programs]:
            mine, needs = source.settings.of(name, guest)
            found[mine] = found.get(mine, frozenset()).union(needs)
    return found


def _tests(suite: Suite, terms: Terms) -> list[PlannedTest]:
    source, guest = terms.sources[suite.name], terms.guest
    timeout = terms.default_timeout_s if suite.timeout_s is None else suite.timeout_s or NO_LIMIT_S

    # Nearly all programs of a suite have the same guest, and its files are counted one by one.
    small = cache(lambda mine: too_small(suite, mine))

    def test(program: str, path: str = "", broken: str = "", unfit: str = "") -> PlannedTest:
        name = str(TestId(ONLY, suite.name, program))
        expect, allow = for_program(source.expectations, program, terms.series)
        mine, needs = source.settings.of(program, guest)
        broken = broken or small(mine)
        return PlannedTest(
            name=name,
            suite=suite.name,
            program=program,
            path=path,
            suite_key=suite.key,
            timeout_s=timeout,
            guest=mine,
            broken=broken,
            unfit=unfit or ("" if broken else terms.lacks(mine, needs)),
            build_log=terms.build_logs.get(suite.name, ""),
            rerun=terms.rerun(suite.name, name),
            expect=expect,
            allow=allow,
        )

    return [
        test(
            program.name,
            program.path,
            broken=_broken(program),
            unfit=_unfit(program, guest),
        )
        for program in suite.programs
    ] + [test(program.name, broken=program.reason) for program in suite.broken]


def _broken(program: Program) -> str:
    """Return why *program* can run nowhere; empty if it can."""
    runs = program.interpreter
    if not runs or runs in userland.SHELLS or find(runs):
        return ""
    # A name may end in a carriage return, which would not be seen.
    name = runs if runs.isprintable() else repr(runs)
    return f"{program.path} is a script for {name}, which this machine does not have"


def _unfit(program: Program, guest: GuestTable) -> str:
    """Return why *program* cannot run in such a guest; empty if it can."""
    runs = program.interpreter
    if not runs or runs in userland.SHELLS or guest.type != "sealed":
        return ""
    return f"a script for {runs}, which a sealed guest does not have: run it with --guest vng"

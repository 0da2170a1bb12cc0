# SPDX-License-Identifier: GPL-2.0-only
"""How long builds and tests took before: the longest tests begin first, and the rest is foretold.

Nothing but the order and what is shown depends on it: where it is lost or wrong, a run takes longer
than it says.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from harness.model.faults import parse_point
from harness.model.ids import KernelName, TestId
from harness.model.records import KernelBuilt, Record
from harness.model.results import Results
from harness.store import Store

_MOST = 20_000
"""Names that are remembered; those that have not come for longest are forgotten."""
_BUILT_S = 1.0
"""What takes less was in the cache."""


class Times(msgspec.Struct, frozen=True):
    """Seconds that were measured."""

    tests: dict[str, float] = msgspec.field(default_factory=dict)
    """By name, with and without the kernel's."""
    builds: dict[str, float] = msgspec.field(default_factory=dict)
    """Of kernels with their suites, by the name of the series and their own."""

    def of_test(self, kernel: KernelName, name: str) -> float | None:
        """Return what the test *name* took when it last ended, on *kernel* or on any."""
        return self.tests.get(f"{kernel}@{name}", self.tests.get(name))

    def of_tests(self, kernel: KernelName, names: Iterable[str]) -> dict[str, float]:
        """Return by name what those took that are known."""
        found = ((name, self.of_test(kernel, name)) for name in names)
        return {name: seconds for name, seconds in found if seconds is not None}

    def expected(self, kernel: KernelName, names: Sequence[str]) -> float | None:
        """Return what the tests *names* are expected to take together; None if all are unknown.

        A test that is not known is taken for a middle one.
        """
        known = self.of_tests(kernel, names)
        if not known:
            return 0.0 if not names else None
        return sum(known.values()) + statistics.median(known.values()) * (len(names) - len(known))

    def of_suites(self, kernel: KernelName, suites: Iterable[str]) -> float | None:
        """Return what the tests of *suites* took; None where none of them is known."""
        starts = tuple(str(TestId("", suite, "")) for suite in suites)
        names = [name for name in self.tests if name.startswith(starts)]
        return self.expected(kernel, names) if names else None

    def of_build(self, series: str, kernel: KernelName) -> float | None:
        """Return what the build of *kernel* took; a middle one of the series if it is not known."""
        known = self.builds.get(f"{series}@{kernel}")
        if known is not None:
            return known
        others = [took for name, took in self.builds.items() if name.startswith(f"{series}@")]
        return statistics.median(others) if others else None


def load(store: Store) -> Times:
    """Return what is remembered in *store*."""
    return Times(_read(_file(store, "times")), _read(_file(store, "builds")))


def remember(store: Store, results: Results, records: Iterable[Record]) -> None:
    """Keep what the tests of *results* and the builds of *records* took, in seconds on the host."""
    # A sweep has thousands of points, of which none takes longer than the others.
    ran = [
        (test, test.total_s)
        for test in results.tests
        if not test.elsewhere and parse_point(test.name) is None
    ]
    tests = {test.name: took for test, took in ran if took is not None}
    # By the name alone, too: another run may call its kernels otherwise.
    bare = {
        test.name.removeprefix(f"{test.kernel}@"): took
        for test, took in ran
        if took is not None and test.kernel
    }
    builds = {
        f"{each.facts.series_name}@{each.kernel}": each.seconds
        for each in records
        if isinstance(each, KernelBuilt) and each.seconds > _BUILT_S
    }
    _add(_file(store, "times"), {**bare, **tests}, results.run)
    _add(_file(store, "builds"), builds, results.run)


def _add(path: Path, new: dict[str, float], run: str) -> None:
    if not new:
        return
    old = {name: seconds for name, seconds in _read(path).items() if name not in new}
    kept = dict(list({**old, **new}.items())[-_MOST:])
    # Of two runs that end at once, one may be forgotten; a reader sees all of the other.
    draft = path.with_suffix(f".{run}")
    draft.write_bytes(msgspec.json.encode(kept))
    draft.rename(path)


def _file(store: Store, name: str) -> Path:
    return store.place("times") / f"{name}.json"


def _read(path: Path) -> dict[str, float]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    except (OSError, msgspec.MsgspecError):
        return {}

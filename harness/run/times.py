# SPDX-License-Identifier: GPL-2.0-only
"""How long tests took before, so that the longest can begin first.

Nothing but the order depends on it: where it is lost or wrong, a run takes longer.
"""

from __future__ import annotations

import msgspec

from harness.model.results import Results
from harness.store import Store

_MOST = 20_000
"""Tests that are remembered; those that have not run for longest are forgotten."""


def load(store: Store) -> dict[str, float]:
    """Return by name how many seconds tests took when they last ended."""
    try:
        return msgspec.json.decode((store.place("times") / "times.json").read_bytes(), type=_Times)
    except (OSError, msgspec.MsgspecError):
        return {}


def remember(store: Store, results: Results) -> None:
    """Keep what the tests of *results* took, in seconds on the host."""
    ran = (test for test in results.tests if not test.elsewhere)
    new = {test.name: test.total_s for test in ran if test.total_s is not None}
    old = {name: seconds for name, seconds in load(store).items() if name not in new}
    kept = dict(list({**old, **new}.items())[-_MOST:])
    path = store.place("times") / "times.json"
    # Of two runs that end at once, one may be forgotten; a reader sees all of the other.
    draft = path.with_suffix(f".{results.run}")
    draft.write_bytes(msgspec.json.encode(kept))
    draft.rename(path)


_Times = dict[str, float]

# SPDX-License-Identifier: GPL-2.0-only
"""Settings that make a call fail, and objects that a test has left in the kernel's memory.

Three of the kernel's parts can fail on purpose: slab caches, pages, and functions that are marked
for it.  All count alike: of the calls that a marked task makes, each ``interval``-th fails, until
``times`` have; so one that is to fail once fails at the number that is the interval.  A mark is
inherited by fork(), and the count is one for all, so it does not matter which thread or child of
the test makes the call.  ``/proc/PID/fail-nth`` would count for one thread alone, and for all kinds
together.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from harness.model.events import Faults
from harness.model.faults import PAGE, SLAB, Fault, Survivor

_NEVER = 2**31 - 1
"""An interval that no test comes to."""
_HEAD = re.compile(r"\s*(?P<count>\d+) (?P<by>\S+)")
_OWN = {
    SLAB: (("failslab/ignore-gfp-wait", "N"),),
    PAGE: (
        ("fail_page_alloc/ignore-gfp-wait", "N"),
        ("fail_page_alloc/ignore-gfp-highmem", "N"),
        ("fail_page_alloc/min-order", "0"),
    ),
}
_DIRECTORY = {SLAB: "failslab", PAGE: "fail_page_alloc"}
"""Below debugfs."""


def settings_of(fault: Fault) -> Faults:
    """Return the settings for *fault*; the control has all of them except the failure."""
    sweep = fault.sweep or SLAB
    directory = _DIRECTORY.get(sweep, "fail_function")
    settings = _settings(sweep, directory, fault.nth)
    if not fault.sweep:
        # Each file that is opened there leaves an object in the kernel: no point may open more than
        # the control, or that would be a leak.
        settings = (*_settings(PAGE, _DIRECTORY[PAGE], None), *settings)
    return Faults(settings, f"{directory}/times")


def _settings(sweep: str, directory: str, nth: int | None) -> tuple[tuple[str, str], ...]:
    own = _OWN.get(sweep) or tuple(_of_function(sweep))
    common = {
        "task-filter": "Y",
        "interval": str(nth or _NEVER),
        "times": "1",
        "space": "0",
        "verbose": "2",
        "probability": "100",
    }
    return (*own, *((f"{directory}/{name}", value) for name, value in common.items()))


def _of_function(sweep: str) -> Iterator[tuple[str, str]]:
    name, _, error = sweep.partition("=")
    yield "fail_function/inject", name
    if error:
        number = getattr(errno, error)
        yield f"fail_function/{name}/retval", f"{2**64 - number:#x}"


def parse_left(data: bytes) -> tuple[Survivor, ...] | None:
    """Return what the agent's lines say that a test has left; None where they do not say all.

    Objects of one cache that were allocated by the same functions are one survivor.
    """
    lines = data.decode(errors="replace").splitlines()
    if lines[-1:] != ["whole"]:
        return None
    found: dict[tuple[str, str], int] = {}
    cache, count, stack = "", 0, [""]

    def finish() -> None:
        if count:
            key = cache, "\n".join(stack)
            found[key] = found.get(key, 0) + count

    for line in lines[:-1]:
        if line.startswith("cache "):
            finish()
            cache, count = line.split(" ")[1], 0
        elif head := _HEAD.match(line):
            finish()
            count, stack = int(head["count"]), []
        elif count:
            stack.append(line.strip())
    finish()
    return tuple(
        Survivor(cache=cache, count=count, where=where)
        for (cache, where), count in sorted(found.items())
    )

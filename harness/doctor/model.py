# SPDX-License-Identifier: GPL-2.0-only
"""The results of ``harness doctor`` as plain values; docs/doctor.md explains their JSON form."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

SCHEMA = 1

State = Literal["yes", "no", "unknown"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check."""

    name: str
    """Stable, for scripts; names that a test can require are the same as in suite.toml."""
    group: str
    """Stable too: ``setup``, ``machine``, ``guests`` or ``confidential``."""
    state: State
    """``unknown`` if it was not tested, or cannot be tested."""
    required: bool = False
    """Whether ``make test-kernel`` fails without it."""
    detail: str
    """What was found, or why it is missing."""
    do: str = ""
    """What to do about it; empty if nothing is to be done."""

    @property
    def fatal(self) -> bool:
        """Whether ``make test-kernel`` cannot run because this is missing."""
        return self.required and self.state == "no"


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """The results of all checks."""

    schema: int = SCHEMA
    harness: str
    """Version of the harness."""
    time: str
    """RFC 3339, UTC."""
    machine: str
    """Processor and kernel in one line."""
    ready: bool
    """Whether everything that ``make test-kernel`` needs is there."""
    checks: tuple[Check, ...]

    def check(self, name: str) -> Check:
        """Return the check of that name; KeyError if there is none."""
        for each in self.checks:
            if each.name == name:
                return each
        raise KeyError(name)


def encode(diagnosis: Diagnosis) -> bytes:
    """Return *diagnosis* as indented JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(diagnosis), indent=2) + b"\n"


def schema() -> dict[str, Any]:
    """Return the JSON Schema of what :func:`encode` writes."""
    return msgspec.json.schema(Diagnosis)

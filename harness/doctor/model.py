# SPDX-License-Identifier: GPL-2.0-only
"""What ``harness doctor`` finds: plain values; docs/doctor.md explains their JSON form."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

SCHEMA = 1

State = Literal["yes", "no", "unknown"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a machine has or not."""

    name: str
    """Stable, for scripts; the names that a test can require are those of suite.toml."""
    group: str
    """Stable too: ``setup``, ``machine``, ``guests`` or ``confidential``."""
    state: State
    """``unknown`` where it was not looked for, or cannot be."""
    required: bool = False
    """Whether ``make test-kernel`` does not work without it."""
    detail: str
    """What is there, or why it is not."""
    do: str = ""
    """What to do about it; empty where nothing is to be done."""

    @property
    def fatal(self) -> bool:
        """Whether nothing works without what is missing here."""
        return self.required and self.state == "no"


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was found."""

    schema: int = SCHEMA
    harness: str
    """Version of the harness."""
    time: str
    """RFC 3339, UTC."""
    machine: str
    """Processor and kernel in one line."""
    ready: bool
    """Whether all that ``make test-kernel`` needs is there."""
    checks: tuple[Check, ...]

    def check(self, name: str) -> Check:
        """Return the check of that name; KeyError where there is none."""
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

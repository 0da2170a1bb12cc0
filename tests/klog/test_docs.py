# SPDX-License-Identifier: GPL-2.0-only
"""The manual names every kind, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.klog.rules import FLOOD, KINDS, LONELY_CUT, RULES

pytestmark = pytest.mark.unit
MANUAL = Path(__file__).parents[2] / "docs" / "kernel-log.md"


def rows() -> list[tuple[list[str], str]]:
    found = re.findall(r"^\| (`[^|]+) \| (\w+) \|", MANUAL.read_text(), re.MULTILINE)
    return [(re.findall(r"`([\w-]+)`", kinds), severity) for kinds, severity in found]


def test_every_kind_is_in_the_manual_once() -> None:
    assert sorted(kind for kinds, _ in rows() for kind in kinds) == sorted(KINDS)


def test_the_manual_has_their_severity() -> None:
    told = {kind: severity for kinds, severity in rows() for kind in kinds}
    for rule in (*RULES, LONELY_CUT, FLOOD):
        assert told[rule.kind] == rule.severity, rule.id

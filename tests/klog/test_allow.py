# SPDX-License-Identifier: GPL-2.0-only
"""Allowed messages: only with a reason, only until their day, only what they name."""

from __future__ import annotations

from datetime import date

import msgspec
import pytest

from harness.klog import Finding, Severity
from harness.klog.allow import Allowance, apply_allowances, check

pytestmark = pytest.mark.unit


def allowance(**changes: object) -> Allowance:
    values: dict[str, object] = {
        "kind": "warning",
        "pattern": r"WARNING: .* at mm/gup\.c:.*",
        "reason": "the test passes a bad address on purpose",
        "owner": "someone@example.org",
        "until": date(2030, 1, 31),
    }
    return Allowance(**(values | changes))  # type: ignore[arg-type]


def finding(title: str, kind: str = "warning", message: str = "") -> Finding:
    return Finding(
        kind=kind, severity=Severity.SPLAT, title=title, message=message, location="", function="",
        tainted="", report=title, fingerprint="0" * 16, rule=kind, line=1, timestamp=None,
    )  # fmt: skip


GUP = finding("WARNING: CPU: 0 PID: 3 at mm/gup.c:12 foo+0x1/0x2", message="bad address")


def test_allows_until_its_last_day_and_no_longer() -> None:
    entries = (allowance(),)
    applied = apply_allowances([GUP], entries, date(2030, 1, 31))
    assert (applied.remaining, applied.refused) == ((), ())
    assert [(a.finding, a.allowance.reason) for a in applied.allowed] == [
        (GUP, "the test passes a bad address on purpose")
    ]
    late = apply_allowances([GUP], entries, date(2030, 2, 1))
    assert (late.remaining, late.allowed) == ((GUP,), ())
    assert late.refused[0].allowance is entries[0]


@pytest.mark.parametrize(
    "other",
    [
        finding("x " + GUP.title),
        finding(GUP.title.replace("mm/gup.c", "mm/gup2c")),
        finding(GUP.title, kind="kasan"),
        finding(GUP.title + "\nanother line"),
    ],
)
def test_allows_nothing_else(other: Finding) -> None:
    entries = (allowance(),)
    applied = apply_allowances([other], entries, date(2029, 1, 1))
    assert (applied.remaining, applied.allowed) == ((other,), ())


def test_message_narrows_an_entry() -> None:
    today = date(2029, 1, 1)
    yes = (allowance(message="bad address"),)
    no = (allowance(message="bad"),)
    assert apply_allowances([GUP], yes, today).remaining == ()
    assert apply_allowances([GUP], no, today).remaining == (GUP,)


def test_a_valid_entry_wins_over_an_expired_one() -> None:
    entries = (allowance(until=date(2020, 1, 1)), allowance())
    applied = apply_allowances([GUP, GUP], entries, date(2029, 1, 1))
    assert len(applied.allowed) == 2
    assert applied.remaining == ()
    assert applied.refused == ()


def test_an_entry_covers_no_more_reports_than_it_says() -> None:
    today = date(2029, 1, 1)
    often = msgspec.structs.replace(GUP, count=3)
    other = msgspec.structs.replace(GUP, title=GUP.title.replace(":12", ":13"))
    for times, findings, remaining in (
        (1, [GUP], []),
        (1, [often], [often]),
        (3, [often], []),
        (3, [often, other], [other]),
        (4, [often, other], []),
        (2, [often, other], [often]),
        (None, [often, other], []),  # journals of old versions
    ):
        applied = apply_allowances(findings, (allowance(times=times),), today)
        assert list(applied.remaining) == remaining
        assert [each.finding for each in applied.refused] == remaining


def test_a_file_that_does_not_say_how_often_means_once() -> None:
    assert check(allowance(), "here").times == 1
    assert check(allowance(times=5), "here").times == 5

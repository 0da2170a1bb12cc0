# SPDX-License-Identifier: GPL-2.0-only
"""Allowed messages: only with a reason, only until their day, only what they name."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import date
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.klog import Finding, Severity
from harness.klog.allow import apply_allowances, load_allowances, parse_allowances

pytestmark = pytest.mark.unit

GOOD = {
    "kind": '"warning"',
    "pattern": "'WARNING: .* at mm/gup\\.c:.*'",
    "reason": '"the test passes a bad address on purpose"',
    "owner": '"someone@example.org"',
    "until": "2030-01-31",
}


def toml(**changes: str | None) -> str:
    entry = {**GOOD, **changes}
    return "[[allow]]\n" + "".join(f"{k} = {v}\n" for k, v in entry.items() if v is not None)


def finding(title: str, kind: str = "warning", message: str = "") -> Finding:
    return Finding(
        kind=kind, severity=Severity.SPLAT, title=title, message=message, location="", function="",
        tainted="", report=title, fingerprint="0" * 16, rule=kind, line=1, timestamp=None,
    )  # fmt: skip


GUP = finding("WARNING: CPU: 0 PID: 3 at mm/gup.c:12 foo+0x1/0x2", message="bad address")


def test_allows_until_its_last_day_and_no_longer() -> None:
    entries = parse_allowances(toml(), "allow.toml")
    applied = apply_allowances([GUP], entries, date(2030, 1, 31))
    assert (applied.remaining, applied.expired) == ((), ())
    assert [(a.finding, a.allowance.reason) for a in applied.allowed] == [
        (GUP, "the test passes a bad address on purpose")
    ]
    late = apply_allowances([GUP], entries, date(2030, 2, 1))
    assert (late.remaining, late.allowed, late.unused) == ((GUP,), (), ())
    assert late.expired[0].allowance is entries[0]


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
    entries = parse_allowances(toml(), "allow.toml")
    applied = apply_allowances([other], entries, date(2029, 1, 1))
    assert (applied.remaining, applied.allowed, applied.unused) == ((other,), (), entries)


def test_message_narrows_an_entry() -> None:
    today = date(2029, 1, 1)
    yes = parse_allowances(toml(message="'bad address'"), "f")
    no = parse_allowances(toml(message="'bad'"), "f")
    assert apply_allowances([GUP], yes, today).remaining == ()
    assert apply_allowances([GUP], no, today).remaining == (GUP,)


def test_a_valid_entry_wins_over_an_expired_one() -> None:
    entries = parse_allowances(toml(until="2020-01-01") + toml(), "f")
    applied = apply_allowances([GUP, GUP], entries, date(2029, 1, 1))
    assert len(applied.allowed) == 2
    assert applied.remaining == ()
    assert applied.expired == ()


def test_entries_are_frozen_and_know_their_place() -> None:
    (entry,) = parse_allowances(toml(), "allow.toml")
    assert entry.where == "allow.toml: allow[1]"
    with pytest.raises(FrozenInstanceError):
        entry.reason = "another"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        (toml(reason=None), "allow.toml: allow[1]", "'reason' is missing"),
        (toml(owner=None), "allow.toml: allow[1]", "'owner' is missing"),
        (toml(until=None), "allow.toml: allow[1]", "'until' is missing"),
        (toml(reason='"  "'), "allow.toml: allow[1]", "'reason' must be a text"),
        (toml() + toml(kind='"warnin"'), "allow.toml: allow[2]", "'kind' is 'warnin'"),
        (toml(kind='"flood"'), "allow.toml: allow[1]", "nobody may allow"),
        (toml(pattern="'['"), "allow.toml: allow[1]", "'pattern' is no regular expression"),
        (toml(pattern="'.*'"), "allow.toml: allow[1]", "'pattern' matches everything"),
        (toml(pattern="'.+'"), "allow.toml: allow[1]", "'pattern' matches everything"),
        (toml(pattern="7"), "allow.toml: allow[1]", "'pattern' must be a text"),
        (toml(until='"2030-01-31"'), "allow.toml: allow[1]", "'until' is '2030-01-31'"),
        (toml(until="2030-01-31T00:00:00"), "allow.toml: allow[1]", "'until' is"),
        (toml(patern="'x'"), "allow.toml: allow[1]", "unknown key 'patern'"),
        ("[[allwo]]\n", "allow.toml", "unknown key 'allwo'"),
        ("allow = 3\n", "allow.toml", "array of tables"),
        ("[[allow]\n", "allow.toml", "no TOML"),
    ],
)
def test_mistakes_are_named(text: str, where: str, what: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_allowances(text, "allow.toml")
    assert what in caught.value.what
    assert caught.value.where == where
    assert caught.value.hint or caught.value.why


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "allow.toml"
    with pytest.raises(UserError, match="cannot read") as caught:
        load_allowances(path)
    assert caught.value.where == str(path)
    path.write_text("")
    assert load_allowances(path) == ()
    path.write_text(toml())
    assert load_allowances(path)[0].until == date(2030, 1, 31)
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match="cannot read"):
        load_allowances(path)

# SPDX-License-Identifier: GPL-2.0-only
"""``expectations.toml``: whole names, a reason, an owner, a last day; and nothing that is dead."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from harness.entries import about_to_end
from harness.errors import UserError
from harness.model import expectations
from harness.model.expectations import Expectations
from harness.outcome import Outcome

pytestmark = pytest.mark.unit

EXPECT = {
    "test": '"size_test/twice"',
    "outcome": '"fail"',
    "says": '"Expected 0"',
    "series": '["v10"]',
    "reason": '"patch 1 checks too late"',
    "owner": '"someone@example.org"',
    "until": "2030-01-31",
}
ALLOW = {
    "kind": '"warning"',
    "pattern": "'WARNING: .* at mm/gup\\.c:.*'",
    "reason": '"a bad address on purpose"',
    "owner": '"someone@example.org"',
    "until": "2030-01-31",
}


def entry(table: str, values: dict[str, str], **changes: str | None) -> str:
    merged = {**values, **changes}
    return f"[[{table}]]\n" + "".join(f"{k} = {v}\n" for k, v in merged.items() if v is not None)


def expect(**changes: str | None) -> str:
    return entry("expect", EXPECT, **changes)


def allow(**changes: str | None) -> str:
    return entry("allow", ALLOW, **changes)


def load(tmp_path: Path, text: str) -> Expectations:
    path = tmp_path / expectations.FILE_NAME
    path.write_text(text)
    return expectations.load(path)


def test_an_entry_says_what_why_who_and_until_when(tmp_path: Path) -> None:
    found = load(tmp_path, expect() + allow(test='"gup_*"'))
    (known,), (allowed,) = found.expect, found.allow
    assert (known.program, known.case, known.outcome) == ("size_test", "twice", "fail")
    assert known.until == date(2030, 1, 31)
    assert str(known) == "patch 1 checks too late (someone@example.org, until 2030-01-31)"
    assert not known.expired(date(2030, 1, 31))
    assert known.expired(date(2030, 2, 1))
    assert allowed.test == "gup_*"


@pytest.mark.parametrize(
    ("pattern", "name", "yes"),
    [
        ("size_test", "size_test", True),
        ("size", "size_test", False),
        ("size_test", "size_test2", False),
        ("size_*", "size_test", True),
        ("size_*", "size_test/twice", False),
        ("size_test/*", "size_test/twice", True),
        ("size_test/*", "size_test/group/twice", False),
        ("size_test/*/twice", "size_test/group/twice", True),
        ("SIZE_test", "size_test", False),
        ("a.b", "axb", False),
        ("case [[]1]", "case [1]", True),
    ],
)
def test_names_are_whole_and_globs_stay_within_a_part(pattern: str, name: str, yes: bool) -> None:
    assert expectations.matches(pattern, name) is yes


def test_entries_concern_their_program_and_series(tmp_path: Path) -> None:
    text = expect() + expect(series='["v1?"]') + allow(test='"other"')
    found = load(tmp_path, text + allow(series='["v11"]'))
    known, allowed = expectations.for_program(found, "size_test", "v10")
    assert (len(known), allowed) == (2, ())
    known, allowed = expectations.for_program(found, "size_test", "v11")
    assert (len(known), len(allowed)) == (1, 1)
    assert expectations.for_program(found, "size_test", "none")[0] == ()
    assert expectations.for_program(found, "io_test", "v10")[0] == ()


def test_an_entry_for_no_test_is_an_error_whatever_the_series(tmp_path: Path) -> None:
    path = tmp_path / expectations.FILE_NAME
    programs = ["size_test", "io_test"]
    whole = {"says": None, "ends": '"exit 1"'}
    found = load(tmp_path, expect(test='"*_test"', **whole))
    expectations.check_programs(found, programs, path)
    for text, where, hint in (
        (
            expect() + expect(test='"sise_test"', **whole),
            "expect[1].test",
            "did you mean 'size_test'?",
        ),
        (expect(test='"size"', series='["v9"]', **whole), "expect[0].test", ""),
        (allow(test='"gone"'), "allow[0].test", "remove the entry"),
    ):
        with pytest.raises(UserError, match="matches no test") as caught:
            expectations.check_programs(load(tmp_path, text), programs, path)
        assert caught.value.where == f"{path}: {where}"
        assert hint in caught.value.hint


def test_entries_whose_day_is_over_or_near_are_told(tmp_path: Path) -> None:
    text = expect(until="2020-01-01") + expect() + expect(until=None, posted="true")
    found = expectations.named(load(tmp_path, text + allow()))
    assert about_to_end(found, date(2026, 1, 1)) == [
        "size_test/twice: patch 1 checks too late (expired on 2020-01-01)"
    ]
    gone = ["size_test/twice: patch 1 checks too late (expired on 2020-01-01)"]
    for today, left in (
        (date(2029, 12, 31), None),
        (date(2030, 1, 1), "in 30 days"),
        (date(2030, 1, 30), "in 1 day"),
        (date(2030, 1, 31), "today"),
    ):
        near = [] if left is None else [
            f"size_test/twice: patch 1 checks too late (ends {left}, on 2030-01-31; "
            "someone@example.org renews or removes it)",
            f"*: a bad address on purpose (ends {left}, on 2030-01-31; someone@example.org renews "
            "or removes it)",
        ]  # fmt: skip
        assert about_to_end(found, today) == gone + near


def test_a_case_may_have_a_colon_in_its_name(tmp_path: Path) -> None:
    (known,) = load(tmp_path, expect(test='"size_test/grow: twice"')).expect
    assert known.case == "grow: twice"


def test_an_entry_for_what_was_posted_has_no_end(tmp_path: Path) -> None:
    found = load(tmp_path, expect(until=None, posted="true") + expect() + allow())
    (posted, dated) = found.expect
    assert str(posted) == "patch 1 checks too late (someone@example.org, as posted)"
    assert not posted.expired(date(2999, 1, 1))
    assert (found.posted_for("v10"), found.posted_for("v11")) == (1, 0)
    assert found.dated().expect == (dated,)
    assert found.dated().allow == found.allow


def test_one_text_or_several(tmp_path: Path) -> None:
    whole = expect(
        test='"p"',
        says='["a", "b"]',
        ends='["hang", "signal SIGSEGV"]',
        outcome='["crash", "timeout"]',
        kernel="'oops: .*'",
        stack='"do_exit"',
        cases="3",
        sometimes="true",
    )
    (known,) = load(tmp_path, whole).expect
    assert known.expected == (Outcome.CRASH, Outcome.TIMEOUT)
    assert known.looks == (
        "hang or signal SIGSEGV, kernel 'oops: .*', stack 'do_exit', says 'a', says 'b', 3 cases"
    )


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        (expect(reason=None), "expect[0].reason", "required key is missing"),
        (expect(owner=None), "expect[0].owner", "required key is missing"),
        (expect(until=None), "expect[0].until", "required key is missing"),
        (expect(series=None), "expect[0].series", "required key is missing"),
        (expect(series="[]"), "expect[0].series", "at least one series"),
        (expect(series='"v10"'), "expect[0].series", "wrong value"),
        (expect(reason='" "'), "expect[0].reason", "must not be empty"),
        (expect(owner='""'), "expect[0].owner", "must not be empty"),
        (expect(test='""'), "expect[0].test", "must not be empty"),
        (expect(posted="true"), "expect[0].posted", "either until or"),
        (expect(until=None, posted="false"), "expect[0].until", "required key is missing"),
        (allow(until=None), "allow[0].until", "required key is missing"),
        (expect(says=None), "expect[0].says", "required key is missing"),
        (expect(test='"p"'), "expect[0].ends", "required key is missing"),
        (expect(test='"p"', ends='"exit"'), "expect[0].ends", "not a valid ending"),
        (expect(test='"p"', ends='"exit 256"'), "expect[0].ends", "not a valid ending"),
        (expect(test='"p"', ends='"exit 01"'), "expect[0].ends", "not a valid ending"),
        (expect(test='"p"', ends='"signal SEGV"'), "expect[0].ends", "not a valid ending"),
        (expect(test='"p"', ends='"qemu-died"'), "expect[0].ends", "not a valid ending"),
        (expect(test='"p"', ends='["hang", "?"]'), "expect[0].ends", "not a valid ending"),
        (expect(test='"p"', ends='"hang"', kernel='".*"'), "expect[0].kernel", "everything"),
        (
            expect(test='"p"', ends='"hang"', also='"("'),
            "expect[0].also",
            "not a regular expression",
        ),
        (
            expect(test='"p"', ends='"hang"', stack='"a b"'),
            "expect[0].stack",
            "not a function name",
        ),
        (expect(test='"p"', ends='"hang"', outcome="[]"), "expect[0].outcome", "key is missing"),
        (expect(says='["x", ""]'), "expect[0].says", "matches everything"),
        (expect(says='"."'), "expect[0].says", "matches everything"),
        (expect(ends='"exit 1"'), "expect[0].ends", "its program's"),
        (expect(cases="0"), "expect[0].cases", "its program's"),
        (expect(outcome='"crash"'), "expect[0].outcome", "for its program"),
        (allow(times="0"), "allow[0].times", "wrong value"),
        (expect() + expect(outcome='"pass"'), "expect[1].outcome", "wrong value"),
        (expect(outcome='"skip"'), "expect[0].outcome", "wrong value"),
        (expect(until='"soon"'), "expect[0].until", "wrong value"),
        (expect(test='"mm:size_test"'), "expect[0].test", "has a suite in it"),
        (expect(tset='"x"'), "expect[0].tset", "unknown key"),
        (allow(kind='"warnin"'), "allow[0].kind", "no rule finds"),
        (allow(kind='"flood"'), "allow[0].kind", "one that cannot be allowed"),
        (allow(pattern="'['"), "allow[0].pattern", "not a regular expression"),
        (allow(pattern="'.*'"), "allow[0].pattern", "matches everything"),
        (allow(message="'.+'"), "allow[0].message", "matches everything"),
        (allow(pattern="7"), "allow[0].pattern", "wrong value"),
        (allow(reason='""'), "allow[0].reason", "must not be empty"),
        ("[[expcet]]\n", "expcet", "unknown key"),
        ("expect = 3\n", "expect", "wrong value"),
        ("[[expect]\n", "", "is not TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, where: str, what: str) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, text)
    path = str(tmp_path / expectations.FILE_NAME)
    assert what in caught.value.what
    assert caught.value.where.replace("...", "0") == (f"{path}: {where}" if where else path)
    assert caught.value.hint or caught.value.why

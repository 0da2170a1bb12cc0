# SPDX-License-Identifier: GPL-2.0-only
"""One line at a time."""

from __future__ import annotations

import pytest

from harness.ktap import Report, lexer
from harness.outcome import Outcome

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("line", "outcome", "contradiction"),
    [
        ("ok 1 a", Outcome.PASS, False),
        ("not ok 1 a", Outcome.FAIL, False),
        ("ok 1 a # SKIP", Outcome.SKIP, False),
        ("ok 1 a # Skipping: no", Outcome.SKIP, False),
        ("ok 1 a # skip_count=3", Outcome.PASS, False),
        ("not ok 1 a # SKIP", Outcome.SKIP, False),
        ("not ok 1 a # skipped", Outcome.FAIL, False),
        ("ok 1 a # XFAIL", Outcome.XFAIL, False),
        ("not ok 1 a # xfail", Outcome.XFAIL, False),
        ("ok 1 a # TODO", Outcome.XPASS, False),
        ("not ok 1 a # Todo", Outcome.XFAIL, False),
        ("ok 1 a # TIMEOUT 45 seconds", Outcome.TIMEOUT, True),
        ("not ok 1 a # TIMEOUT 45 seconds", Outcome.TIMEOUT, False),
        ("ok 1 a # ERROR", Outcome.ERROR, True),
        ("not ok 1 a # error", Outcome.ERROR, False),
        ("not ok 1 a # b # ERROR", Outcome.ERROR, False),
        ("not ok 1 a # b # SKIP", Outcome.FAIL, False),
        ("not ok 1 a # b # XFAIL", Outcome.FAIL, False),
        ("not ok 1 a # b # TODO", Outcome.FAIL, False),
        ("ok 1 a # b # SKIP", Outcome.SKIP, False),
        ("ok 1 a # b # XFAIL", Outcome.XFAIL, False),
        ("ok 1 a # FLAKY", Outcome.PASS, False),
        ("not ok 1 a # FLAKY", Outcome.FAIL, False),
        ("ok 1 a#SKIP", Outcome.PASS, False),
        ("ok 1 #SKIP", Outcome.SKIP, False),
        ("ok 1 a # SKIPPY", Outcome.PASS, False),
        ("ok 1", Outcome.PASS, False),
        ("not\tok\t1\ta", Outcome.FAIL, False),
    ],
)
def test_decision_table(line: str, outcome: Outcome, contradiction: bool) -> None:
    token = lexer.tokenise(line.encode())
    assert isinstance(token, lexer.Result)
    assert lexer.judge(token.ok, token.directive) == (outcome, contradiction)


@pytest.mark.parametrize(
    ("line", "name", "explanation"),
    [
        ("ok 1 - a", "a", ""),
        ("ok 1 a b  c", "a b  c", ""),
        ("ok 1 -a", "-a", ""),
        ("ok 1 - - a", "- a", ""),
        ("ok 1 a # SKIP: why not", "a", "why not"),
        ("ok 1 # SKIP", "", ""),
        ("ok 5 check # rcode=0", "check", "rcode=0"),
        ("ok 5 a # b # c", "a", "b # c"),
        ("ok 5 a # b # SKIP c", "a # b", "c"),
        ("ok 5 5 selftests: a: b", "selftests: a: b", ""),
        ("ok 5 5 apples", "5 apples", ""),
        ("ok 1 na[    1.234567] kernel", "na", ""),
    ],
)
def test_name(line: str, name: str, explanation: str) -> None:
    token = lexer.tokenise(line.encode())
    assert isinstance(token, lexer.Result)
    assert (token.name, token.explanation) == (name, explanation)


@pytest.mark.parametrize(
    "line",
    ["okay this is prose", "ok", "notok 1 a", "okok 1", "OK 1 a", "1.. 5", "2..5", "x1..5",
     "KTAP version", "KTAP version one", "TAP version 13 or so", "# ok", "# not ok why"],
)  # fmt: skip
def test_no_token(line: str) -> None:
    assert lexer.tokenise(line.encode()) is None


@pytest.mark.parametrize(
    ("line", "column", "commented"),
    [
        ("ok 1 a", 0, False),
        ("  ok 1 a", 2, False),
        ("\tok 1 a", 8, False),
        ("# ok 1 a", 2, True),
        ("# # ok 1 a", 4, True),
        ("#   ok 1 a", 4, True),
        ("    # ok 1 a", 6, True),
        ("# 1..3", 2, True),
        ("# TAP version 13", 2, True),
        ("  Bail out! now", 2, False),
        ("    # Subtest: s", 4, False),
        ("# # Totals: pass:1", 2, False),
        ("# #  RUN           a.b ...", 2, False),
    ],
)
def test_depth(line: str, column: int, commented: bool) -> None:
    token = lexer.tokenise(line.encode())
    assert token is not None
    assert (token.column, token.commented) == (column, commented)


@pytest.mark.parametrize(
    ("line", "count", "reason"),
    [("1..4", 4, None), ("1..4 # four", 4, None), ("1..0", 0, None), ("1..0 # SKIP", 0, ""),
     ("1..0 # skip: no kvm", 0, "no kvm"), ("1..4 # SKIP", 4, None), ("1..0 # skimmed", 0, None),
     ("1..-1", None, None), ("1..12345678901", None, None), ("1..3 and on", None, None)],
)  # fmt: skip
def test_plan(line: str, count: int | None, reason: str | None) -> None:
    token = lexer.tokenise(line.encode())
    assert isinstance(token, lexer.Plan)
    assert (token.count, token.skip_reason) == (count, reason)


@pytest.mark.parametrize(
    ("version", "known"),
    [("KTAP version 1", True), ("TAP version 13", True), ("TAP version 14", True),
     ("KTAP version 2", False), ("TAP version 1", False)],
)  # fmt: skip
def test_version(version: str, known: bool) -> None:
    token = lexer.tokenise(version.encode() + b"  ")
    assert isinstance(token, lexer.Header)
    assert (token.version, token.known) == (version, known)


@pytest.mark.parametrize(
    ("line", "damaged", "strong"),
    [
        ("textok 1 a", False, True),
        ("not\x00ok 1 a", True, True),
        ("t ok 1 a", True, False),
        ("ot ok 1 a", True, False),
        ("at ok 1 a", False, False),
        ("this took 1 second", False, False),
        ("look, ok 1 a", False, False),
        ("dots...ok 1 a", False, True),
        ("x ok 1 selftests: a: b", False, True),
        ("textok 1", False, False),
    ],
)
def test_glued(line: str, damaged: bool, strong: bool) -> None:
    (found,) = lexer.glued_results(line.encode())
    assert (found.number, found.damaged, found.strong) == (1, damaged, strong)


def test_glued_not_ok() -> None:
    (found,) = lexer.glued_results(b"text not ok 7 a # TIMEOUT")
    assert (found.number, found.result.ok, found.result.directive) == (7, False, "TIMEOUT")
    assert lexer.glued_results(b"ok 1 a") == []


@pytest.mark.parametrize(
    ("raw", "text", "stamped"),
    [
        (b"ok 1 a\r\r", b"ok 1 a", False),
        (b"\x00\x07ok 1 a\x00", b"ok 1 a", False),
        (b"\tok 1 a", b"\tok 1 a", False),
        (b"[    1.000000]   ok 1", b"  ok 1", True),
        (b"[12345.000000] ok 1", b"ok 1", True),
        (b"<6>[    1.000000][ T1] ok 1", b"ok 1", True),
        (b"[ 1.5] ok 1", b"[ 1.5] ok 1", False),
        (b"\x1b[1;31mnot ok\x1b[0m 1", b"not ok 1", False),
    ],
)
def test_clean(raw: bytes, text: bytes, stamped: bool) -> None:
    assert lexer.clean(raw) == (text, stamped)


@pytest.mark.parametrize(
    ("head", "text", "joined"),
    [
        (b"not", b" ok 1 a", True),
        (b"# not ", b"ok 1 a", True),
        (b"not", b"so fast", False),
        (b"ok 1 a", b"# SKIP b", True),
        (b"ok 1 a", b"  # todo", True),
        (b"ok 1 a", b"# a comment", False),
        (b"ok 1 a", b"ok 2 b", False),
        (b"ok 1 a", b"bc", True),
        (b"ok 1 a", b"", True),
        (b"1..1", b"0", True),
        (b"1..1", b"TAP version 13", False),
    ],
)
def test_halves_of_an_interrupted_line(head: bytes, text: bytes, joined: bool) -> None:
    assert lexer.continues(head, text) is joined


def test_printable() -> None:
    assert lexer.printable(b"a\x00\x1b\xff\xc3\xa9\tb") == "a\\x00\\x1b\\xffé\tb"
    assert lexer.printable(b"a" * 50, 10) == "a" * 9 + "…"
    assert lexer.printable("\ufffe\u0085".encode()) == "\\ufffe\\x85"


def test_another_schema_is_refused() -> None:
    data = Report((), (), False, 0, 0).to_dict()
    assert Report.from_dict(data) == Report((), (), False, 0, 0)
    with pytest.raises(ValueError, match="schema"):
        Report.from_dict({**data, "schema": 2})

# SPDX-License-Identifier: GPL-2.0-only
"""What each quirk must come to, said by hand: the outcome, every case, and the remarks."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.ktap import Kind, parse

pytestmark = pytest.mark.unit

CORPUS = Path(__file__).parent / "corpus"

Q = [
    # A name that stands only in the line before; without one the number is the name.
    ("nameless-skip-harness", "fail", "mem.invalid_flags=pass mem.huge.private=skip mem.late=xfail "
     "mem.bad=fail", ""),
    ("nameless-skip-plain", "xfail", "opens=pass test_2=skip test_3=xfail", ""),
    ("ok-hint-short-form", "skip", "mem.short=skip", ""),
    ("hint-order", "pass", "f.two=skip f.two#2=pass", ""),
    ("runner-tap-level", "pass", "selftests:_f:_t=pass selftests:_f:_t/global.a=pass "
     "selftests:_f:_t/global.b=skip", ""),
    # Collections at one level.
    ("two-collections", "fail", "selftests:_one:_a=pass selftests:_one:_b=pass "
     "selftests:_two:_a=fail", ""),
    ("two-collections-one-name", "pass", "same=pass same#2=pass", ""),
    ("header-after-stray-subtest", "error", "test_1=error test_1/a=pass b=pass",
     "missing-result no-header"),
    ("second-header-empty", "notrun", "a=pass", ""),
    ("skip-then-failure-collection", "fail", "a=fail", ""),
    ("fork-double-header", "notrun", "test_1=notrun a=pass", "missing-result"),
    ("nested-two-collections", "pass", "parent=pass parent/a=pass parent/a#2=pass", ""),
    # Plans.
    ("beyond-plan-failure", "fail", "inside=pass outside=fail", "beyond-plan"),
    ("beyond-plan-ok", "error", "inside=pass forged=error", "beyond-plan"),
    ("plan-zero-skip", "skip", "", ""),
    ("plan-zero-skip-lower", "skip", "", ""),
    ("plan-zero-skip-twice", "skip", "", ""),
    ("running-with-totals", "error", "f.one=pass f.two=error", "missing-result"),
    ("plan-zero", "notrun", "", ""),
    ("plan-zero-then-result", "error", "and_yet=error", "beyond-plan"),
    ("short-plan", "notrun", "a=pass b=pass test_3=notrun test_4=notrun", "missing-result"),
    ("short-plan-running", "error", "f.one=pass f.two=error test_3=notrun", "missing-result"),
    ("running-no-plan", "error", "f.one=pass f.two=error", "missing-result"),
    ("plan-without-results", "notrun", "test_1=notrun test_2=notrun", "missing-result"),
    ("plan-at-end", "pass", "a=pass b=pass", ""),
    ("plan-at-end-short", "notrun", "a=pass b=pass test_3=notrun", "missing-result"),
    ("plan-at-end-low", "error", "a=pass b=error", "beyond-plan"),
    ("plan-at-end-low-parent", "fail", "first=pass late=fail late/sub=fail",
     "beyond-plan out-of-order parent-mismatch"),
    ("plan-twice", "error", "a=pass b=pass", "duplicate-plan"),
    ("plan-twice-smaller", "error", "a=pass test_2=notrun", "duplicate-plan missing-result"),
    ("plan-bad", "error", "a=pass", "bad-plan"),
    ("plan-with-words", "error", "a=pass b=pass", "bad-plan"),
    ("plan-huge", "error", "a=pass", "bad-plan"),
    ("no-plan", "pass", "a=pass b=pass", ""),
    ("gap-no-plan", "notrun", "a=pass test_2=notrun c=pass", "missing-result out-of-order"),
    ("out-of-order", "pass", "a=pass b=pass c=pass", "out-of-order"),
    ("planned-not-run", "error", "a=pass test_2=notrun", "plan-not-run missing-result"),
    ("planned-not-run-alone", "error", "a=pass", "plan-not-run"),
    # Results behind other text.
    ("glued-runner", "pass", "selftests:_a:_p.sh=pass selftests:_a:_q.sh=pass", "recovered"),
    ("glued-runner-last", "pass", "selftests:_a:_p.sh=pass", "recovered"),
    ("glued-runner-fail", "fail", "selftests:_a:_p.sh=fail selftests:_a:_q.sh=pass", "recovered"),
    ("glued-nested", "pass", "selftests:_a:_p=pass selftests:_a:_p/one=pass "
     "selftests:_a:_p/two=pass selftests:_a:_q=pass", "recovered"),
    ("glued-after-nested", "pass", "selftests:_a:_p=pass selftests:_a:_p/one=pass "
     "selftests:_a:_q=pass selftests:_a:_q/two=pass", "recovered"),
    ("glued-prose-crash", "error", "first=pass seconds=error", "damaged-result"),
    ("glued-prose-harmless", "pass", "first=pass second=pass", ""),
    ("glued-weak-then-next", "pass", "first=pass second=pass third=pass", "recovered"),
    ("glued-weak-with-totals", "pass", "first=pass second=pass", "recovered"),
    ("glued-damaged-not", "error", "first=error second=pass", "damaged-result"),
    ("glued-two-results", "fail", "first=pass second=fail", "recovered"),
    ("glued-two-results-no-plan", "error", "firstnot_ok_2_second=pass", "lost-result"),
    ("glued-not-ok-no-plan", "error", "first=pass", "lost-result"),
    ("glued-excuse", "fail", "first=fail second=skip", "recovered"),
    ("glued-conflict", "fail", "truly=fail second=pass", "recovered"),
    ("carriage-return-progress", "pass", "done=pass", "recovered"),
    # Directives.
    ("named-xfail-todo", "xpass", "broken=xfail later=xfail fixed=xpass odd=xfail", ""),
    ("only-todo", "xfail", "fine=pass later=xfail", ""),
    ("lower-case-skip", "fail", "a=skip b=skip c=skip d=fail", ""),
    ("timeout", "timeout", "selftests:_t:_slow=timeout", ""),
    ("timeout-bare-hash", "timeout", "slow=timeout", ""),
    ("timeout-ok", "timeout", "slow=timeout", "contradiction"),
    ("exit-139", "fail", "selftests:_t:_crash=fail", ""),
    ("error-directive", "error", "test_1=error named=error lies=error", "contradiction"),
    ("unknown-directive", "fail", "a=pass b=fail", ""),
    ("hash-in-name", "fail", "issue_#12_stays=pass C#_and_lock_#_2_more=skip a\\#b=pass lock=fail",
     ""),
    # Bail-outs.
    ("bail-out", "error", "first=pass test_2=notrun test_3=notrun test_4=notrun",
     "bail-out missing-result"),
    ("bail-out-before-plan", "error", "", "bail-out no-header"),
    ("bail-out-plan-full", "error", "first=pass", "bail-out"),
    ("bail-out-glued", "error", "first=pass test_2=notrun", "bail-out missing-result"),
    ("bail-out-nested", "fail", "selftests:_a:_p=fail selftests:_a:_p/sub=pass "
     "selftests:_a:_p/test_2=notrun selftests:_a:_q=pass",
     "bail-out missing-result parent-mismatch"),
    ("bail-out-upper", "error", "a=pass", "bail-out"),
    ("bail-out-lower", "error", "a=pass", "bail-out"),
    # Numbers.
    ("no-number", "fail", "first=pass second=fail third=pass", "no-number recovered"),
    ("no-number-all", "pass", "first_one=pass second_one=pass third_one=pass", "recovered"),
    ("no-number-word", "pass", "single=pass", "recovered"),
    ("no-number-no-plan", "notrun", "", "prose"),
    ("no-number-prose", "pass", "first=pass second=pass", ""),
    ("no-number-prose-crash", "error", "now_the_long_one=error", "damaged-result"),
    ("no-number-prose-twice", "error", "a=pass now_this_one=error then_that_one=error",
     "damaged-result"),
    ("duplicate-number", "error", "first=pass again=error second=pass", "duplicate-number"),
    ("duplicate-number-fail", "fail", "first=fail again=error", "duplicate-number"),
    ("number-zero", "error", "zero=error one=pass", "beyond-plan"),
    ("number-huge", "error", "test_1=notrun a=error", "beyond-plan missing-result"),
    ("two-numbers", "pass", "selftests:_a:_b=pass", ""),
    ("same-name-literal-first", "pass", "x=pass x#2=pass x#3=pass", ""),
    ("same-name-subtests", "pass", "x=pass x#2=pass x#2#2=pass", ""),
    # Consoles.
    ("colour-title-unfinished", "fail", "first=pass second=fail third=pass", ""),
    ("colour", "fail", "green=pass red=fail titled=pass", ""),
    ("stamp-width", "pass", "before=pass after=pass", ""),
    ("stamp-width-nested", "fail", "s=fail s/before=pass s/after=fail", ""),
    ("stamp-header-only", "fail", "bare=pass bare_too=fail", ""),
    ("stamp-caller", "pass", "called=pass", ""),
    ("prefix-constant", "fail", "a=pass b=fail", "prefix"),
    ("kernel-message-after-name", "pass", "first=pass second=pass", "kernel-message"),
    ("kernel-message-in-name", "pass", "first=skip second=pass", "kernel-message"),
    ("kernel-message-before-directive", "skip", "first=skip", "kernel-message"),
    ("kernel-message-in-not", "fail", "first=fail", "kernel-message"),
    ("kernel-message-glued-next", "pass", "first=pass second=pass", "kernel-message"),
    ("kernel-message-in-plan", "notrun", "first=pass "
     + " ".join(f"test_{n}=notrun" for n in range(2, 11)), "kernel-message missing-result"),
    ("kernel-message-last", "error", "a=pass b=error", "kernel-message"),
    ("kernel-message-stamped-log", "pass", "na=pass", "kernel-message"),
    ("interrupted-by-result-prose", "pass", "first=pass", ""),
    ("crlf", "pass", "a=pass b=skip", ""),
    ("invalid-utf8", "pass", "caf\\xe9=pass \\xff\\xfe=skip", ""),
    ("nul-bytes", "pass", "a\\x00b=pass c=pass", ""),
    # Results behind "# ".
    ("prefixed-nested", "fail", "selftests:_mm:_a=fail selftests:_mm:_a/x=pass "
     "selftests:_mm:_a/y=fail selftests:_mm:_b=pass selftests:_mm:_b/x=pass", ""),
    ("prefixed-nested-no-header", "pass", "selftests:_mm:_a=pass selftests:_mm:_a/x=pass "
     "selftests:_mm:_a/y=pass", ""),
    ("prefixed-three-deep", "fail", "top=fail top/mid=fail top/mid/deep=pass top/mid/deeper=fail",
     ""),
    ("prefixed-ok-only", "pass", "top=pass top/embedded=pass top/embedded_too=pass", ""),
    ("prefixed-prose", "pass", "top=pass", "prose"),
    ("prefixed-trailing-prose", "pass", "a=pass", "prose"),
    ("prefixed-trailing-not-ok", "fail", "a=pass unfinished_subtest=error "
     "unfinished_subtest/said_so=fail", "missing-result"),
    ("prefixed-stray-not-ok", "error", "top=pass", "stray-result"),
    ("prefixed-runner-cut", "pass", "selftests:_cut:_top=pass selftests:_cut:_top/a=pass", ""),
    ("prefixed-without-runner", "pass", "a=pass", ""),
    # Totals.
    ("totals-mismatch", "error", "a=pass b=pass", "totals-mismatch"),
    ("kunit-totals", "pass", "s=pass s/a=pass s/b=skip", ""),
    ("kunit-totals-wrong", "error", "s=pass s/a=pass s/b=pass", "totals-mismatch"),
    ("kunit-params", "fail", "s=fail s/p=fail s/p/low=pass s/p/high=fail s/q=pass", ""),
    ("runner-nested-totals-wrong", "error", "selftests:_f:_t=pass selftests:_f:_t/a=pass",
     "totals-mismatch"),
    # Parents.
    ("parent-ok-child-failed", "fail", "parent=fail parent/a=pass parent/b=fail",
     "parent-mismatch"),
    ("parent-skip-child-failed", "fail", "parent=fail parent/b=fail", "parent-mismatch"),
    ("parent-ok-child-missing", "fail", "parent=fail parent/a=pass parent/test_2=notrun",
     "missing-result parent-mismatch"),
    ("parent-todo-child-failed", "fail", "parent=xfail parent/b=fail", ""),
    ("parent-fails-alone", "fail", "parent=fail parent/a=pass", ""),
    ("parent-missing", "error", "first=error first/a=pass test_2=notrun", "missing-result"),
    ("parent-missing-no-plan", "error", "test_1=error test_1/a=pass", "missing-result"),
    ("nested-empty", "fail", "parent=fail parent/test_1=error", "empty-subtest parent-mismatch"),
    ("nested-zero", "skip", "parent=skip", "nothing-tried"),
    ("nested-example", "fail", "top=fail top/mid=fail top/mid/leaf=fail top/mid/leaf#2=pass "
     "top/plain=skip other=pass", ""),
    ("kunit-no-outer-header", "pass", "s=pass s/a=pass", "no-header"),
    ("subtest-empty", "fail", "s=fail s/c=fail s/c/test_1=error",
     "empty-subtest parent-mismatch"),
    ("subtest-name-differs", "pass", "t=pass t/a=pass", "subtest-name"),
    ("indent-lost", "pass", "a=pass b=pass", ""),
    ("indent-odd", "error", "a=pass test_2=error test_2/test_1=notrun test_2/b=pass",
     "missing-result out-of-order"),
    # Read wrongly until strangers tried them.
    ("number-ten-digits-beyond", "error", "a=pass b=error", "beyond-plan"),
    ("number-ten-digits-no-plan", "error", "a=pass c=pass b=error", "beyond-plan"),
    ("number-ten-digits-failed", "fail", "a=pass b=fail", "beyond-plan"),
    ("number-ten-digits-nested", "fail", "top=fail top/a=pass top/b=error",
     "beyond-plan parent-mismatch"),
    ("number-with-zeros", "pass", "a=pass b=pass", ""),
    ("number-ten-digits-glued", "error", "a=pass", "lost-result"),
    ("version-ten-digits", "error", "a=pass", "unknown-version"),
    ("glued-not-ok-beyond", "error", "a=pass", "lost-result"),
    ("glued-not-ok-after-ok", "error", "a=pass b=pass", "lost-result"),
    ("glued-not-ok-before-ok", "error", "a=pass b=pass", "lost-result"),
    ("glued-not-ok-before-header", "error", "b=pass", "lost-result"),
    ("glued-not-ok-in-comment", "error", "a=pass", "lost-result"),
    ("glued-not-ok-behind-ok", "error", "atextnot_ok_2_b=pass c=pass", "lost-result"),
    ("glued-not-ok-behind-last", "error", "a=pass btextnot_ok_1_a=pass", "lost-result"),
    ("glued-not-ok-nested", "error", "top=pass top/a=pass", "lost-result"),
    ("glued-damaged-beyond", "error", "a=pass", "lost-result"),
    ("glued-not-ok-repeated", "fail", "a=pass b=fail", ""),
    ("glued-not-ok-excused", "pass", "a=pass b=skip", ""),
    ("subtest-announced-only", "fail", "a=fail a/test_1=error b=pass b/x=pass",
     "empty-subtest parent-mismatch"),
    ("subtest-announced-twice", "fail", "b=fail b/test_1=error b/x=pass",
     "empty-subtest parent-mismatch subtest-name"),
    ("skip-under-ok", "skip", "a=skip a/x=skip a/y=skip b=skip b/z=skip", "nothing-tried"),
    ("skip-under-ok-levels", "skip", "top=skip top/low=skip top/low/x=skip top/none=skip",
     "nothing-tried"),
    ("skip-under-ok-one-tried", "pass", "a=skip a/x=skip b=pass b/y=skip b/z=pass",
     "nothing-tried"),
    ("skip-under-ok-top-plan-skip", "skip", "a=skip a/x=skip", "nothing-tried"),
    ("skip-under-ok-runner", "skip", "selftests:_net:_a.sh=skip", "nothing-tried"),
    ("kunit-skipped-parameter", "fail", "s=fail s/p=fail s/p/low=skip s/p/mid=fail "
     "s/p/high=skip s/q=pass", "kunit-skipped"),
    ("kunit-skipped-parameter-ok", "pass", "s=pass s/p=pass s/p/low=skip s/p/high=skip",
     "kunit-skipped"),
    ("kunit-skipped-parameter-all", "skip", "s=skip s/p=skip s/p/low=skip s/p/high=skip",
     "kunit-skipped nothing-tried"),
    ("kunit-skipped-parameter-lost", "error", "s=pass s/p=pass s/p/low=pass s/p/high=pass",
     "totals-mismatch"),
    ("kunit-totals-over-error", "fail", "p=fail p/low=pass p/test_2=notrun",
     "missing-result parent-mismatch"),
    ("glued-not-ok-behind-prose", "error", "a=pass", "lost-result"),
    ("glued-not-ok-behind-plan", "error", "a=pass", "bad-plan lost-result"),
    ("glued-not-ok-behind-hint", "error", "a=pass", "lost-result"),
    ("kunit-skipped-parameter-alone", "error", "s=pass s/p=skip s/p/low=pass s/q=pass",
     "totals-mismatch"),
    ("glued-not-ok-two-blanks", "error", "a=pass", "lost-result"),
    ("glued-not-ok-no-number", "error", "a=pass", "lost-result"),
    ("glued-not-ok-prose", "pass", "a=pass", ""),
    ("glued-not-ok-capitals", "error", "a=pass", "lost-result"),
    ("glued-not-ok-capitals-number", "error", "a=pass b=pass", "lost-result"),
    ("glued-not-ok-capitals-behind-ok", "error", "atextNOT_OK_2_b=pass", "lost-result"),
    ("not-ok-capitals-number", "error", "a=pass", "lost-result"),
    ("capitals-prose", "pass", "a=pass", ""),
    ("subtest-announced-tap14", "error", "a=pass a/x=pass b=error", "empty-subtest"),
    ("glued-not-ok-in-prefix", "error", "a=pass", "lost-result prefix"),
    ("planned-none", "pass", "a=pass", "no-plan"),
    ("planned-none-but-one", "error", "a=pass", "plan-not-run"),
    # Little or nothing.
    ("no-header", "pass", "a=pass", "no-header"),
    ("header-only", "notrun", "", ""),
    ("empty", "notrun", "", ""),
    ("prose-only", "notrun", "", ""),
    ("unknown-version", "error", "a=pass", "unknown-version"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "outcome", "cases", "kinds"), Q, ids=[q[0] for q in Q])
def test_quirk(name: str, outcome: str, cases: str, kinds: str) -> None:
    report = parse((CORPUS / f"{name}.ktap").read_bytes())
    read = " ".join(f"{'/'.join(c.path)}={c.outcome}".replace(" ", "_") for c in report.walk())
    assert read == cases
    assert report.outcome == outcome
    assert {d.kind for d in report.diagnostics} == {Kind(kind) for kind in kinds.split()}


def test_every_input_is_said_by_hand() -> None:
    assert {path.stem for path in CORPUS.glob("*.ktap")} == {q[0] for q in Q}


@pytest.mark.parametrize(
    ("name", "kept", "results", "ktap"),
    [
        ("short-plan", False, True, True),
        ("plan-at-end", True, True, True),
        ("plan-at-end-low", False, True, True),
        ("plan-without-results", False, False, True),
        ("parent-ok-child-missing", False, True, True),
        ("plan-bad", False, True, True),
        ("plan-zero-skip", True, True, True),
        ("plan-zero", True, False, True),
        ("header-only", True, False, True),
        ("prose-only", True, False, False),
        ("empty", True, False, False),
        ("bail-out-before-plan", True, True, True),
        ("no-plan", True, True, True),
    ],
)
def test_what_a_caller_asks(name: str, kept: bool, results: bool, ktap: bool) -> None:
    report = parse((CORPUS / f"{name}.ktap").read_bytes())
    assert (report.plan_kept, report.has_results, report.is_ktap) == (kept, results, ktap)


def _text(name: str) -> bytes:
    return (CORPUS / f"{name}.ktap").read_bytes()


def test_reasons() -> None:
    assert parse(_text("plan-zero-skip")).skip_reason == "/dev/kvm is not there"
    assert parse(_text("short-plan")).skip_reason is None
    assert parse(_text("bail-out")).bail_out == "open: No such device"
    assert parse(_text("bail-out-nested")).bail_out == "no more"
    assert parse(_text("short-plan")).bail_out is None
    assert parse(_text("short-plan")).planned
    assert not parse(_text("no-plan")).planned
    assert not parse(_text("empty")).planned


@pytest.mark.parametrize("name", ["kunit-skipped-parameter", "kunit-skipped-parameter-alone"])
def test_a_known_fault_of_kunit_is_named(name: str) -> None:
    said = "KUnit up to Linux 6.3 prints a skipped parameter as ok"
    assert any(said in remark.text for remark in parse(_text(name)).diagnostics)


def test_assertion_text_is_with_its_case() -> None:
    cases = {case.name: case for case in parse(_text("nameless-skip-harness")).walk()}
    assert "mem.c:40:bad:Expected 0 (0) == ret (-1)" in cases["mem.bad"].output
    assert cases["mem.huge.private"].explanation == "no huge pages here"
    assert cases["mem.invalid_flags"].output == ""


def test_last_words_are_with_the_case_that_ran() -> None:
    cases = {case.name: case for case in parse(_text("short-plan-running")).walk()}
    assert "about to crash" in cases["f.two"].output
    assert cases["test 3"].output == ""

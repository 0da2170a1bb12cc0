# SPDX-License-Identifier: GPL-2.0-only
"""Returns at most one KTAP token for one line of output.

This module and this table decide what a single line means.  If two readings are possible, the one
that is further from pass is used.

==========================  ===========  =========================================================
Result line                 Outcome      Why
==========================  ===========  =========================================================
``ok``                      pass
``not ok``                  fail
``ok # SKIP``               skip         also ``# skipped``: a test that did not run is no pass
``not ok # SKIP``           skip         KTAP allows both words before SKIP
``not ok # skipped``        fail         not the directive; an unknown directive changes nothing
``ok # XFAIL``              xfail        6.1 ``kselftest.h`` prints an expected failure in this way
``not ok # XFAIL``          xfail        KTAP's own form
``not ok # TODO``           xfail        a failure that TAP expects
``ok # TODO``               xpass        passed although it should fail; TAP calls it a bonus
``not ok # TIMEOUT``        timeout
``ok # TIMEOUT``            timeout      contradiction (error): no test both passes and times out
``not ok # ERROR``          error        6.1 ``kselftest.h`` prints ``# error``
``ok # ERROR``              error        contradiction (error)
any, unknown directive      by the word  KTAP requires it; the text is kept as the explanation
``ok # a # SKIP``           skip         a directive after any ``#`` weakens an ``ok``
``not ok # a # SKIP``       fail         only the first ``#`` excuses a ``not ok``
==========================  ===========  =========================================================

Directives are case-insensitive.  A ``#`` separates only with white space on both sides, or
directly before a directive, so ``issue #12`` and ``C#`` are names.

A line's depth is the column of its first word.  A leading ``# `` counts as two columns, so that the
results which ``kselftest/runner.sh`` prefixes nest like indented ones.  printk time stamps,
terminal colours, carriage returns and leading control characters are removed first.
"""

from __future__ import annotations

import re

import msgspec

from harness.ktap.limits import MAX_NAME, MAX_NUMBER, MAX_TEXT
from harness.ktap.stamps import PRINTK_STAMP
from harness.outcome import Outcome

_ANSI = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]_PX^][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROLS = bytes(range(9)) + bytes(range(11, 32)) + b"\x7f"
_LEAD = re.compile(rb"(?:[ \t]|# )*")
_VERSION = re.compile(rb"(?:KTAP|TAP) version (\d+)\s*$")
_GLUED_VERSION = re.compile(rb"(?:KTAP|TAP) version \d+\s*$")
_KNOWN_VERSIONS = ("KTAP version 1", "TAP version 12", "TAP version 13", "TAP version 14")
_PLAN = re.compile(rb"1\.\.(\d{1,9})[ \t]*(?:#(.*))?$", re.DOTALL)
_PLANLIKE = re.compile(rb"1\.\.[-\d]")
_RESULT = re.compile(rb"(not[ \t]+)?ok(?:[ \t]+(\d+)(?=[ \t]|$))?(?=[ \t]|$)(.*)$", re.DOTALL)
_GLUED = re.compile(rb"(not[ \t]+)?ok[ \t]+(\d+)(?=[ \t]|$)")
_GLUED_REFUSAL = re.compile(rb"(?<=[\w.])(?<!can)not[ \t]+ok(?=[ \t](?![ \t]*\d)|$)")
# In another letter case it is no result, with or without a number.
_LOUD_REFUSAL = re.compile(
    rb"(?:(?<=[\w.])(?<!can)not[ \t]+ok(?=[ \t]|$)|^(?:[ \t]|# )*not[ \t]+ok[ \t]+\d)",
    re.IGNORECASE,
)
_DAMAGED_NOT = re.compile(rb"(?:^|[^a-z])n?o?t[^a-z0-9]{0,3}$", re.IGNORECASE)
_WORD_OK = re.compile(rb"(?:o|\b(?:am|gr|w|t|b|d|m|l))$", re.IGNORECASE)
_BAIL = re.compile(rb"bail out!(.*)$", re.IGNORECASE | re.DOTALL)
_HINT = re.compile(r"(?:(OK|FAIL)(?:\s{2,}(\S.*)|\s(\S+))|RUN\s{2,}(\S.*))$")
_TOTALS = re.compile(r"Totals:((?:\s+[a-z]+:\d+)+)\s*$")
_KUNIT_TOTALS = re.compile(r"(\S.*):((?: (?:pass|fail|skip|total):\d+){4})$")
_SUBTEST = re.compile(r"Subtest:\s+(\S.*)$")
_DIRECTIVE = re.compile(
    r"(?:^|(?<=\s))#(?:\s*#){0,4}\s*(SKIP(?:PED|PING)?|TODO|XFAIL|TIMEOUT|ERROR)(?=$|[\s:,.;!-])",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(r"(?:^|(?<=\s))#(?=\s|$)")
_RUNNER_NUMBER = re.compile(r"\d+ (?=selftests: )")
_INTERRUPTED = re.compile(
    rb"(?:not[ \t]*|(?:(?:not[ \t]+)?ok|1\.\.\d+)(?:[ \t].*)?|K?TAP version \d*)$", re.DOTALL
)
_WORDS = (b"KTAP version ", b"TAP version ", b"not ok", b"1..", b"Bail out!")
_BOM = b"\xef\xbb\xbf"
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\ud800-\udfff\ufffe\uffff]")


class Token(msgspec.Struct, frozen=True):
    """A KTAP line.  ``column`` is its depth; ``commented``: it follows ``# ``."""

    column: int
    commented: bool


class Header(Token, frozen=True):
    """A version line."""

    version: str
    known: bool


class Plan(Token, frozen=True):
    """``1..N``; ``skip_reason`` is the text of ``1..0 # SKIP``; ``count`` None: unreadable."""

    count: int | None
    skip_reason: str | None
    text: str


class Glued(msgspec.Struct, frozen=True):
    """A result after other text.  ``start`` is its position in the line.

    ``damaged``: the text before an ``ok`` may be the rest of a ``not``.  ``strong``: the text is
    hardly prose; "took 2 seconds" and "looks ok 2 me" are weak.
    """

    start: int
    number: int
    damaged: bool
    strong: bool
    result: Result


class Result(Token, frozen=True):
    """A result line; ``dashed``: it has a ``-`` before its name.

    A ``number`` above ``MAX_NUMBER`` stands for every number that is too high to be right.
    """

    ok: bool
    number: int | None
    name: str
    directive: str
    explanation: str
    dashed: bool


class Bail(Token, frozen=True):
    """``Bail out!``"""

    reason: str


class Subtest(Token, frozen=True):
    """``# Subtest: NAME``, as KUnit and TAP 14 announce nested results."""

    name: str


class Hint(Token, frozen=True):
    """The harness header's ``#  RUN  name``, ``#  OK  name`` or ``#  FAIL  name``."""

    word: str
    name: str


class Totals(Token, frozen=True):
    """``# Totals: pass:1 fail:0 ...``, from ``kselftest.h`` or (with ``total``) from KUnit.

    KUnit has such a line for one test too; ``test`` is its name then, and empty otherwise.
    """

    counts: tuple[tuple[str, int], ...]
    test: str


class PlanNotRun(Token, frozen=True):
    """``# Planned tests != run tests``: the program itself detected that its plan was broken.

    ``unplanned``: according to the line, it planned none.
    """

    text: str
    unplanned: bool


def printable(raw: bytes, limit: int = MAX_TEXT) -> str:
    """Return *raw* as printable text of limited length, without loss of information.

    Bytes that are not UTF-8 and control characters other than tab and newline become ``\\xNN``.
    """
    text = raw[: limit * 4 + 4].decode("utf-8", "backslashreplace")
    text = _UNPRINTABLE.sub(lambda m: m.group().encode("unicode_escape").decode(), text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def clean(line: bytes) -> tuple[bytes, bool]:
    """Return a line without line end, colours, leading control characters and printk time stamp.

    The second value says whether it had a time stamp.
    """
    line = line.removeprefix(_BOM)
    if b"\x1b" in line:
        line = _ANSI.sub(b"", line)
    line = line.strip(_CONTROLS)
    stamp = PRINTK_STAMP.match(line)
    return (line[stamp.end() :], True) if stamp else (line, False)


def split_kernel_message(text: bytes) -> tuple[bytes, bytes] | None:
    """Split ``ok 1 na[   12.345678] message`` at the stamp, if the text before it matters."""
    stamp = PRINTK_STAMP.search(text)
    if stamp is None or not _may_go_on(text[: stamp.start()]):
        return None
    return text[: stamp.start()], text[stamp.start() :]


def _may_go_on(head: bytes) -> bool:
    """Return whether *head* can be the beginning of an incomplete line of KTAP."""
    rest = head[_lead(head) :]
    if rest in (b"", b"#"):
        return b"#" in head or len(head) > 1
    return bool(_INTERRUPTED.match(rest)) or any(word.startswith(rest) for word in _WORDS)


def is_lead(head: bytes) -> bool:
    """Return whether *head* has only what may precede KTAP: blanks and ``#``."""
    return head[_lead(head) :] in (b"", b"#")


def continues(head: bytes, text: bytes, started: bool = True) -> bool:
    """Return whether *text* can be the rest of *head*, which a kernel message interrupted.

    *started* says whether there was any KTAP before.
    """
    if is_lead(head):
        whole = tokenise(head + text)
        if head.endswith(b"#"):
            return text.startswith(b" ") and whole is not None
        return started and isinstance(whole, Header) and not _lead(text)
    if _DIRECTIVE.match(printable(text.lstrip())):
        return True
    if head.lstrip(b" \t#").rstrip() == b"not":
        return text.lstrip().startswith(b"ok")
    before, whole = tokenise(head), tokenise(head + text)
    if before is None or isinstance(before, Header):
        known = not isinstance(whole, Header) or whole.known
        return whole is not None and known and not (isinstance(before, Header) and before.known)
    return tokenise(text) is None and not text.startswith(b"#")


def _lead(text: bytes) -> int:
    found = _LEAD.match(text)
    return found.end() if found else 0


def glued_header(text: bytes) -> int | None:
    """Return the position in *text* of a version line after other text, or None."""
    found = _GLUED_VERSION.search(text)
    return found.start() if found and found.start() else None


def glued_bail(text: bytes) -> str | None:
    """Return the reason of a ``Bail out!`` anywhere in *text*, or None."""
    found = _BAIL.search(text) if b"ut!" in text or b"UT!" in text else None
    return printable(found.group(1).strip()) if found else None


def lost_refusal(text: bytes) -> str:
    """Return a description of a ``not ok`` in *text*, which is no result line; empty for none.

    Such a ``not ok`` has no number and is directly after other text, or it is in capital letters
    and there, or in capital letters with a number.
    """
    if b"not" not in text.lower():
        return ""
    if _GLUED_REFUSAL.search(text):
        return "'not ok' without a number after other text"
    loud = (match.group() for match in _LOUD_REFUSAL.finditer(text))
    return "'not ok' in capital letters" if any(map(_is_loud, loud)) else ""


def _is_loud(refusal: bytes) -> bool:
    return b"not" not in refusal or b"ok" not in refusal


def glued_results(text: bytes, first: int = 1) -> list[Glued]:
    """Return results at or after position *first* of *text*: output without its line end."""
    if not ((b"ok " in text or b"ok\t" in text) and len(text) > first):
        return []
    found = list(_GLUED.finditer(text, first))
    out = []
    for at, match in enumerate(found):
        end = found[at + 1].start() if at + 1 < len(found) else len(text)
        result = _result(0, text[match.start() : end], False)
        if result is not None and result.number is not None:
            damaged = match.group(1) is None and bool(
                _DAMAGED_NOT.search(text[max(0, match.start() - 16) : match.start()])
            )
            before = text[max(0, match.start() - 16) : match.start()]
            strong = result.name.startswith("selftests: ") or (
                bool(result.name)
                and before[-1:] not in (b" ", b"\t")
                and not _WORD_OK.search(before)
            )
            out.append(Glued(match.start(), result.number, damaged, strong, result))
    return out


def tokenise(text: bytes) -> Token | None:
    """Return the token of the cleaned line *text*; None for output without a meaning in KTAP."""
    end = _lead(text)
    front, rest = text[:end], text[end:]
    column = len(front.expandtabs(8))
    commented = b"#" in front
    version = _VERSION.match(rest)
    if version:
        words = printable(rest.strip())
        return Header(column, commented, words, words in _KNOWN_VERSIONS)
    plan = _PLAN.match(rest)
    if plan:
        return _plan(column, commented, plan)
    if _PLANLIKE.match(rest):
        return Plan(column, commented, None, None, printable(rest, 80))
    bail = _BAIL.match(rest)
    if bail:
        return Bail(column, commented, printable(bail.group(1).strip()))
    result = _result(column, rest, commented)
    if result is not None:
        return result
    if commented:
        return _comment(len(front[: front.rindex(b"#")].expandtabs(8)), rest)
    return None


def opens(text: bytes) -> bool:
    """Return whether the cleaned line *text* can only be the beginning of a KTAP stream."""
    match tokenise(text):
        case Header() | Subtest():
            return True
        case Plan(count=count):
            return count is not None
        case Result(number=number, commented=commented):
            return number == 1 and not commented
    return False


def judge(ok: bool, directive: str) -> tuple[Outcome, bool]:
    """Return the outcome of a result line, and whether its two halves contradict each other."""
    match directive:
        case "SKIP":
            return Outcome.SKIP, False
        case "XFAIL":
            return Outcome.XFAIL, False
        case "TODO":
            return (Outcome.XPASS if ok else Outcome.XFAIL), False
        case "TIMEOUT":
            return Outcome.TIMEOUT, ok
        case "ERROR":
            return Outcome.ERROR, ok
    return (Outcome.PASS if ok else Outcome.FAIL), False


def _number(digits: bytes) -> int:
    """Return the number *digits*, at most one more than ``MAX_NUMBER``."""
    said = digits.lstrip(b"0")
    return int(said or b"0") if len(said) <= len(str(MAX_NUMBER)) else MAX_NUMBER + 1


def _counts(text: str) -> tuple[tuple[str, int], ...]:
    """Return the names and numbers of `` pass:1 fail:0``."""
    pairs = (pair.split(":") for pair in text.split())
    return tuple((key, _number(count.encode())) for key, count in pairs)


def _plan(column: int, commented: bool, plan: re.Match[bytes]) -> Plan:
    count = int(plan.group(1))
    comment = printable((plan.group(2) or b"").strip())
    word = _DIRECTIVE.match("#" + comment)
    reason = None
    if count == 0 and word and word.group(1).upper() == "SKIP":
        reason = comment[len(word.group(1)) :].lstrip(" :-")
    return Plan(column, commented, count, reason, printable(plan.group(), 80))


def _result(column: int, rest: bytes, commented: bool) -> Result | None:
    match = _RESULT.match(rest)
    if match is None or (commented and match.group(2) is None):
        return None
    ok = match.group(1) is None
    number = None if match.group(2) is None else _number(match.group(2))
    raw = match.group(3)
    if ok and number is None and not raw.strip():
        return None
    if not ok and number is not None:
        # A directive of a result that follows on the same line must not excuse this one.
        for glued in _GLUED.finditer(raw):
            if _number(glued.group(2)) == number + 1:
                raw = raw[: glued.start()]
                break
    stamp = PRINTK_STAMP.search(raw)
    if stamp:
        raw = raw[: stamp.start()]
    body = printable(raw, 4 * len(raw) + 1).strip()  # whole: a directive may be at its end
    name, directive, explanation = _split(ok, body)
    dashed = name == "-" or name.startswith("- ")
    name = _RUNNER_NUMBER.sub("", name[1:].lstrip() if dashed else name, count=1)
    return Result(column, commented, ok, number, name, directive, explanation[:MAX_TEXT], dashed)


def _split(ok: bool, body: str) -> tuple[str, str, str]:
    first = _SEPARATOR.search(body)
    word = None
    for word in _DIRECTIVE.finditer(body):
        text = word.group(1).upper()
        excuses = text not in ("TIMEOUT", "ERROR")
        inside = first is not None and first.start() < word.start()
        if ok or not excuses or (not inside and text in ("SKIP", "TODO", "XFAIL")):
            break
        word = None
    if word is not None:
        text = word.group(1).upper()
        directive = "SKIP" if text.startswith("SKIP") else text
        return body[: word.start()].rstrip(), directive, body[word.end() :].lstrip(" :-")
    if first is not None:
        return body[: first.start()].rstrip(), "", body[first.end() :].strip()
    return body, "", ""


def _comment(column: int, rest: bytes) -> Token | None:
    text = printable(rest).strip()
    if subtest := _SUBTEST.match(text):
        return Subtest(column, False, subtest.group(1)[:MAX_NAME])
    if totals := _TOTALS.match(text):
        return Totals(column, False, _counts(totals.group(1)), "")
    if totals := _KUNIT_TOTALS.match(text):
        return Totals(column, False, _counts(totals.group(2)), totals.group(1))
    if text.startswith("Planned tests != run tests"):
        return PlanNotRun(column, False, text[:80], "(0 != " in text)
    if hint := _HINT.match(text):
        name = hint.group(2) or hint.group(3) or hint.group(4)
        return Hint(column, False, hint.group(1) or "RUN", name.removesuffix(" ...")[:MAX_NAME])
    return None

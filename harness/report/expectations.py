# SPDX-License-Identifier: GPL-2.0-only
"""Generate entries for ``expectations.toml`` from the failures of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from harness.entries import check_pattern
from harness.errors import UserError
from harness.judge.assertions import of_case, of_output
from harness.judge.seen import CONSEQUENCES
from harness.model.events import How
from harness.model.results import Case, KernelReport, Results, Test
from harness.outcome import Outcome
from harness.visible import visible

_KNOWABLE = (Outcome.FAIL, Outcome.TIMEOUT, Outcome.SPLAT, Outcome.CRASH)
# kselftest_harness.h prints FILE:LINE:TEST:TEXT.
_PLACE = re.compile(
    r"^.*?[\w./+-]+\.(?:c|h|S|cc|cpp|rs|py|sh):\d+:?\s*(?:\w+:(?=\S))?|^\w+: (?=Test )"
)
# Numbers that are likely to differ in the next run: addresses, sizes, counts.  What is smaller is
# a status, an errno or a constant of the test, and tells one failure from another.
_VARIABLE = re.compile(r"0x[0-9a-f]{4,}|\b[0-9a-f]{12,}\b|(?<![\w.])\d{3,}(?![\w.])", re.I)
_LONGEST = 160
_FRAME = re.compile(r"^(?:.*\] )?\s+(?P<name>[A-Za-z_][\w.]*)\+0x[0-9a-f]+/0x", re.M)
_SYSTEM_CALL = re.compile(r"__(?:x64|ia32|arm64|se|do)_sys_")
_NO_TEXT = re.compile("[\ud800-\udfff]")
"""What Python makes of bytes that are not UTF-8; TOML has no form for it."""


def render(results: Results) -> str:
    """Return TOML with an entry for each test that failed in the run, ready to be filled in.

    Reason, owner and the end of each are for a person to say; an entry without them is refused.
    Entries of several suites belong into several files, so each suite has a heading.
    """
    lines = [
        f"# From run {_comment(results.run)}, series {_comment(results.kernel.series_name)}.",
        "# Fill in reason and owner, and say how long each entry holds: until = 2030-01-31, or",
        "# posted = true for a series that does not change any more (docs/expectations.md).",
    ]
    suite = ""
    for test in results.tests:
        before = [
            boot.report for boot in results.at_boot if boot.report.fingerprint in test.at_boot
        ]
        entries = list(_entries(test, results.kernel.series_name, before))
        if entries and test.suite != suite:
            suite = test.suite
            lines += ["", f"# Suite {_comment(suite)}"]
        for entry in entries:
            lines += ["", *entry]
    if not suite:
        lines += ["", "# No test failed in a way that an entry could expect."]
    return "\n".join(lines) + "\n"


def _entries(test: Test, series: str, before: Sequence[KernelReport] = ()) -> Iterator[list[str]]:
    """Yield the entries for *test*: one for each failed case where these are all, else one.

    *before* is what the kernel complained of at boot; an entry is about that or about the test.
    """
    bad = [case for case in test.cases if case.outcome in _KNOWABLE]
    plain = test.ending in ("exit 0", "exit 1") and test.outcome in (Outcome.FAIL, Outcome.XFAIL)
    if test.outcome not in _KNOWABLE or not test.ending:
        return  # Of a test that did not run, nothing was seen.
    if plain and bad and test.planned:
        for case in bad:
            name = f"{test.program}/{case.name.removeprefix(f'{test.name}/')}"
            yield _entry(name, case.outcome, series, {"says": _says([case])})
        return
    complaints = [each for each in test.findings if each.severity != "note" and not each.allowed]
    if test.ending in (How.HANG, How.UNKILLABLE):
        complaints = [each for each in complaints if each.kind not in CONSEQUENCES]
    at_boot = bool(before) and not complaints
    complaints = complaints or list(before)
    said = _says(case for case in test.cases if not case.outcome.as_expected)
    if not said and test.outcome is Outcome.FAIL and test.ending.startswith(("exit", "signal")):
        said = _patterns(of_output(test.output))
    main = _main(complaints)
    keys: dict[str, object] = {
        "ends": [test.ending],
        "at": ["boot"] if at_boot else [],
        "kernel": [_named(main)] if main else [],
        "stack": [] if main else _in_system_calls(test.findings),
        "also": list(dict.fromkeys(_named(each) for each in complaints if each is not main)),
        "says": said,
    }
    exited = test.ending.startswith("exit ")
    if test.cases and not (exited and test.planned):
        cut_off = (Outcome.NOTRUN, Outcome.ERROR)
        keys["cases"] = sum(case.outcome not in cut_off for case in test.cases)
    yield _entry(test.program, test.outcome, series, keys)


def _entry(name: str, outcome: Outcome, series: str, keys: dict[str, object]) -> list[str]:
    lines = ["[[expect]]", f"test = {_text(_no_glob(name))}", f'outcome = "{outcome}"']
    for key, value in keys.items():
        if isinstance(value, list):
            texts = [_text(each) for each in value]
            if len(texts) == 1:
                lines.append(f"{key} = {texts[0]}")
            elif texts:
                lines += [f"{key} = [", *(f"    {each}," for each in texts), "]"]
        else:
            lines.append(f"{key} = {value}")
    return [*lines, f"series = [{_text(series)}]", 'reason = ""', 'owner = ""']


def _main(complaints: Sequence[KernelReport]) -> KernelReport | None:
    """Return the most useful report: the first that crashed the kernel, else the first."""
    crashes = [each for each in complaints if each.severity == "crash"]
    return next(iter([*crashes, *complaints]), None)


def _in_system_calls(findings: Sequence[KernelReport]) -> list[str]:
    """Return the functions that system calls were in when the guest was asked where it hangs.

    Where exactly it is differs from one hang to the next; the function that the call enters first
    does not.
    """
    found: dict[str, None] = {}
    for each in findings:
        if each.kind == "hang":
            frames = [match["name"] for match in _FRAME.finditer(each.report)]
            for inner, outer in pairwise(frames):
                if _SYSTEM_CALL.match(outer) and not _SYSTEM_CALL.match(inner):
                    found.setdefault(inner.split(".")[0])
    return list(found)


def _named(report: KernelReport) -> str:
    """Return a pattern for the name of *report*, which has N for whatever may differ."""
    return _escape(report.name)


def _says(cases: Iterable[Case]) -> list[str]:
    found: list[str] = []
    for case in cases:
        found += _patterns(of_case(case))
    return list(dict.fromkeys(found))


def _patterns(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(_pattern(text) for text in texts))


def _pattern(text: str) -> str:
    """Return a pattern for an assertion: without its line in the source, and without addresses."""
    rest = _PLACE.sub("", text) or text
    if not rest:
        return "^$"
    parts = _VARIABLE.split(rest[:_LONGEST])
    pattern = r"\w+".join(map(_escape, parts))
    try:
        check_pattern(pattern, "", "", whole=False)
    except UserError:
        return _escape(text)
    return pattern


def _escape(text: str) -> str:
    """Return a pattern for *text* itself, with no more backslashes than needed."""
    return _NO_TEXT.sub(".", re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", text))


def _no_glob(name: str) -> str:
    """Return a glob that matches *name* alone."""
    return _NO_TEXT.sub("?", re.sub(r"([*?[])", r"[\1]", name))


def _text(text: str) -> str:
    """Return *text* as a TOML string, one without escapes where that is possible."""
    if "'" not in text and text.isprintable():
        return f"'{text}'" if '"' in text or "\\" in text else f'"{text}"'
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'


def _comment(text: str) -> str:
    return " ".join(visible(text).split())

# SPDX-License-Identifier: GPL-2.0-only
"""Nothing that a test prints acts on a terminal, on a reader's eye or on a CI system."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from harness.cli import cli
from harness.errors import UserError
from harness.model import results as r
from harness.outcome import Outcome
from harness.report import console, junit
from harness.visible import defuse, defuse_json, visible
from tests.report import samples as s

pytestmark = pytest.mark.unit

COMMANDS = (
    "::error file=a.c,line=1::owned",
    "::set-output name=token::owned",
    "::add-mask::e",
    "::stop-commands::now",
    "  ::warning::indented",
    "\t::group::tab",
    "##[error]owned",
    "text ##[section]owned",
    "##vso[task.complete result=Succeeded;]owned",
    "text ##VSO[task.setvariable variable=x]y",
    "##teamcity[testFailed name='x']",
    "section_start:1700000000:owned[collapsed=true]",
    "text section_end:1700000000:owned",
    "travis_fold:start:owned",
    "###[command]owned",
)
ODD = (
    "\x1b[2Jcleared",
    "\x1b]0;title\x07",
    "\x9b31mred",
    "10%\r100%",
    "bell\x07",
    "back\x08\x08",
    "\u202egnp.exe",
    "a\u2066b\u2069",
    "zero\u200bwidth",
    "\ufeffmark",
    "line\u2028separator",
    "\x00nul",
    "\udc80stray",
    "\U000e0041tag",
)
_OBEYED = re.compile(
    r"^\s*::|##(?:|vso|teamcity)\[|section_(?:start|end):\d|travis_fold:",
    re.MULTILINE | re.IGNORECASE,
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def acts(shown: str) -> list[str]:
    """Return everything in *shown* that acts; colours of our own do not count."""
    plain = _COLOUR.sub("", shown)
    odd = [char for char in plain if not (char.isprintable() or char in "\n\t")]
    return [*_OBEYED.findall(plain), *odd]


def acts_in_json(shown: str) -> list[str]:
    """Return what acts, but for marks of sections: they need control characters around them."""
    return [found for found in acts(shown) if "section" not in found and "travis" not in found]


def hostile(text: str) -> r.Results:
    """Return a run in which every text that comes from outside is *text*."""
    case = r.Case(name=f"s:p/{text}", outcome=Outcome.FAIL, reason=text, text=f"{text}\n{text}")
    finding = r.KernelReport(
        kind="warning", severity="splat", title=text, fingerprint="0" * 16, report=text
    )
    tests = [
        s.program("p", Outcome.FAIL, cases=(case,), reason=text, kernel_log=f"{text}\n{text}"),
        s.program(text, Outcome.CRASH, reason=text, output=f"a.c:1: {text}\n{text}", suite=text),
        s.program("q", Outcome.SKIP, reason=text, findings=(finding,), rerun=text),
        s.program("x", Outcome.XFAIL, reason=text),
        s.program("n", Outcome.NOTRUN, reason=text),
    ]
    kernel = r.Kernel(release=text, source=text, base_commit=text, series=text)
    return s.run(*tests, kernel=kernel, notes=(text,), command=(text,))


@pytest.mark.parametrize("text", [*COMMANDS, *ODD])
def test_no_report_acts(text: str) -> None:
    results = hostile(text)
    assert acts(f"{text}\n")
    for verbose in (False, True):
        for colour in (False, True):
            stream = io.StringIO()
            terminal = console.Terminal(live=False, colour=colour, unicode=True)
            console.print_summary(
                results, stream, verbose=verbose, directory=text, terminal=terminal
            )
            assert not acts(stream.getvalue())
    assert not acts(junit.render(results).decode())
    written = r.encode(results)
    assert not acts_in_json(written.decode())
    if "\udc80" not in text:
        assert r.decode(written) == results


@pytest.mark.parametrize("text", [*COMMANDS, *ODD])
@pytest.mark.parametrize("live", [False, True])
def test_no_progress_acts(text: str, live: bool) -> None:
    stream = io.StringIO()
    progress = console.make_progress(stream, console.Terminal(live=live, colour=live, unicode=True))
    results = hostile(text)
    progress.note(text)
    with progress.step(text) as step:
        step.update(text)
        step.result(text)
    with progress.tests([text]) as tests:
        for test in results.tests:
            tests.started(text)
            tests.finished(test, text)
    shown = re.sub(r"\x1b\[(?:1A|2K|\?25[lh])|\r", "", stream.getvalue())
    assert not acts(shown)


@pytest.mark.parametrize("text", [*COMMANDS, *ODD])
def test_no_error_acts(text: str) -> None:
    stream = io.StringIO()
    error = UserError(text, where=text, why=f"{text}\n{text}", hint=text)
    console.print_error(error, stream, console.Terminal(live=False, colour=True, unicode=True))
    assert not acts(stream.getvalue())


@pytest.mark.parametrize("form", ["tree", "json", "junit"])
@pytest.mark.parametrize("text", [*COMMANDS, *ODD])
def test_no_ktap_report_acts(text: str, form: str, tmp_path: Path) -> None:
    raw = text.encode("utf-8", "surrogateescape")
    lines = [b"TAP version 13", b"1..4", raw, b"# " + raw, b"not ok 1 " + raw]
    lines += [b"ok 2 a # SKIP " + raw, b"not ok 3 b # " + raw, b"Bail out! " + raw]
    log = tmp_path / "out.log"
    log.write_bytes(b"\n".join(lines) + b"\n")
    shown = CliRunner().invoke(cli, ["ktap", str(log), "--format", form]).output
    assert "Bail" in shown or "bail" in shown
    assert not (acts_in_json(shown) if form == "json" else acts(shown))


def test_what_is_taken_away_can_still_be_read() -> None:
    assert visible("::error::x") == r"\x3a:error::x"
    assert visible("a ##vso[x]") == r"a \x23#vso[x]"
    assert visible("section_end:1:x") == r"\x73ection_end:1:x"
    assert visible("a\r\nb\tc") == "a\nb\tc"
    assert visible("\U000e0041") == r"\U000e0041"


@pytest.mark.parametrize(
    "text",
    ["std::string x::y", "a :: b", "# comment", "## heading", "##", "C# [x]", "intersection_start:",
     "größe 日本 ✓", "a: :b", "kvm::get"],
)  # fmt: skip
def test_what_is_harmless_stays(text: str) -> None:
    assert visible(text) == text


_TEXT = st.lists(
    st.sampled_from(["::", ":", "#", "##", "[", "vso[", "\n", " ", "\t", "x", "section_start:1:"])
    | st.characters(),
    max_size=12,
).map("".join)


@given(_TEXT)
def test_any_text_is_made_harmless(text: str) -> None:
    assert not acts(visible(text))
    assert visible(visible(text)) == visible(text)
    assert defuse(visible(text)) == visible(text)


@given(_TEXT)
def test_json_keeps_its_content(text: str) -> None:
    document = json.dumps({"a": [text, {"b": text}]}, ensure_ascii=False, indent=1)
    shown = defuse_json(document)
    assert json.loads(shown) == json.loads(document)
    assert not acts_in_json(shown)

# SPDX-License-Identifier: GPL-2.0-only
"""``harness ktap`` and the JUnit form."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from harness.cli import cli
from harness.errors import UserError
from harness.ktap import Report, parse
from harness.report.ktap_junit import REPORT_CASE, render

pytestmark = pytest.mark.unit

CORPUS = Path(__file__).parent / "corpus"


def _run(*args: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(cli, ["ktap", *args], input=stdin)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("no-plan", 0),
        ("only-todo", 0),
        ("crlf", 0),
        ("plan-zero-skip", 0),
        ("nameless-skip-plain", 0),
        ("glued-runner", 0),
        ("named-xfail-todo", 1),
        ("empty", 1),
        ("prose-only", 1),
        ("header-only", 1),
        ("plan-zero", 1),
        ("short-plan", 1),
        ("bail-out", 1),
        ("bail-out-plan-full", 1),
        ("parent-ok-child-failed", 1),
        ("two-collections", 1),
        ("beyond-plan-ok", 1),
        ("beyond-plan-failure", 1),
        ("timeout", 1),
        ("totals-mismatch", 1),
    ],
)
@pytest.mark.parametrize("form", ["tree", "json", "junit"])
def test_exit_status(name: str, code: int, form: str) -> None:
    result = _run(str(CORPUS / f"{name}.ktap"), "--format", form)
    assert result.exit_code == code, result.output
    assert result.output.strip()


def test_standard_input() -> None:
    result = _run("-", stdin=b"TAP version 13\n1..1\nok 1 a\n")
    assert result.exit_code == 0
    assert "1 pass" in result.output


def test_a_long_name_is_folded_and_whole() -> None:
    """As a test can print it: a log viewer must not get it in one line."""
    name = "Q" * 500
    text = _run("-", stdin=f"TAP version 13\n1..1\nok 1 {name}\n".encode()).output
    assert max(map(len, text.splitlines())) <= 240
    assert text.count("Q") == len(name)


def test_tree_is_plain_and_says_everything() -> None:
    result = _run(str(CORPUS / "nameless-skip-harness.ktap"))
    assert "\x1b" not in result.output
    for part in ("mem.huge.private", "no huge pages here", "Expected 0 (0) == ret (-1)", "1 fail"):
        assert part in result.output
    two = _run(str(CORPUS / "two-collections.ktap")).output
    assert two.count("TAP version 13") == 2
    assert "line 4: recovered" in _run(str(CORPUS / "glued-runner.ktap")).output
    assert "no results" in _run(str(CORPUS / "empty.ktap")).output
    assert "/dev/kvm is not there" in _run(str(CORPUS / "plan-zero-skip.ktap")).output


def test_a_name_is_not_markup() -> None:
    result = _run("-", stdin=b"TAP version 13\n1..1\nok 1 [bold]a[/bold] :smile:\n")
    assert "[bold]a[/bold] :smile:" in result.output


def test_json_reads_back() -> None:
    path = CORPUS / "prefixed-three-deep.ktap"
    result = _run(str(path), "--format", "json")
    assert Report.from_dict(json.loads(result.output)) == parse(path.read_bytes())


@pytest.mark.parametrize("path", ["missing.log", "."])
def test_unreadable_file_is_the_users_error(tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError) as caught:
        cli.main(["ktap", str(tmp_path / path)], standalone_mode=False)
    assert caught.value.exit_code == 2
    assert caught.value.where == str(tmp_path / path)
    assert caught.value.why
    assert caught.value.hint


def test_help_teaches() -> None:
    text = _run("--help").output
    assert "harness ktap -" in text
    assert "Exit status" in text


def _xml(data: bytes) -> dict[str, str]:
    root = ElementTree.fromstring(render(parse(data), "suite"))  # noqa: S314 - our own output
    found = {}
    for case in root.iter("testcase"):
        (kind, *more) = [child.tag for child in case if child.tag != "system-out"] or ["pass"]
        assert not more
        found[f"{case.get('classname')}:{case.get('name')}"] = kind
    return found


def test_junit_kinds() -> None:
    data = b"".join(
        (
            b"KTAP version 1\n1..7\nok 1 p\nnot ok 2 f\nok 3 s # SKIP\n",
            b"not ok 4 x # XFAIL\nok 5 t # TODO\nnot ok 6 o # TIMEOUT\n",
        )
    )
    assert _xml(data) == {
        "suite:p": "pass",
        "suite:f": "failure",
        "suite:s": "skipped",
        "suite:x": "skipped",
        "suite:t": "failure",
        "suite:o": "failure",
        "suite:test 7": "error",
    }


def test_junit_shows_parents_that_are_worse_than_their_cases() -> None:
    assert _xml((CORPUS / "parent-fails-alone.ktap").read_bytes()) == {
        "suite:parent": "failure",
        "suite.parent:a": "pass",
    }
    assert _xml((CORPUS / "parent-ok-child-failed.ktap").read_bytes()) == {
        "suite.parent:a": "pass",
        "suite.parent:b": "failure",
    }


def test_junit_of_a_report_that_is_itself_the_trouble() -> None:
    report = f"suite:{REPORT_CASE}"
    assert _xml(b"") == {report: "error"}
    assert _xml(b"1..0 # SKIP no kvm\n") == {report: "skipped"}
    assert _xml((CORPUS / "totals-mismatch.ktap").read_bytes())[report] == "error"
    assert report not in _xml((CORPUS / "no-plan.ktap").read_bytes())


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.ktap")), ids=lambda p: p.stem)
def test_junit_is_red_exactly_when_the_report_is(path: Path) -> None:
    report = parse(path.read_bytes())
    red = bool({"error", "failure"} & set(_xml(path.read_bytes()).values()))
    assert red is not report.outcome.as_expected


def test_junit_survives_every_byte() -> None:
    everything = bytes(b for b in range(256) if b != 10)
    data = (
        b"TAP version 13\n1..1\n"
        + everything
        + b"\nnot ok 1 a\x00\x1b[31m]]>&<\x01 # "
        + everything
    )
    text = render(parse(data), "s").decode()
    ElementTree.fromstring(text)  # noqa: S314 - our own output
    assert "a\\x00]]&gt;&amp;&lt;\\x01" in text

# SPDX-License-Identifier: GPL-2.0-only
"""The summary, as a reader of GitHub's flavour of Markdown shows it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from harness.judge.changes import changes
from harness.model import results as r
from harness.outcome import Outcome
from harness.report import markdown
from tests.report import samples as s

pytestmark = [pytest.mark.unit, pytest.mark.slow]
OWN = {"h2", "p", "strong", "code", "pre", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}
OWN |= {"details", "summary"}


class Page(HTMLParser):
    """The tags of a page, its text, and the text that stands in no code."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = self.bare = ""
        self._code = 0
        self.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag, which has no attributes but a fence's language."""
        assert all(name == "class" for name, _ in attrs)
        self.tags.append(tag)
        self._code += tag in ("code", "summary")

    def handle_endtag(self, tag: str) -> None:
        """Note the end of code."""
        self._code -= tag in ("code", "summary")

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data
        if not self._code:
            self.bare += data


def page(*tests: r.Test, **more: object) -> Page:
    """Return how the summary of *tests* looks."""
    return Page(markdown.render(s.run(*tests, **more)).decode())


def test_the_verdict_stands_first_then_what_failed_with_evidence() -> None:
    text = markdown.render(s.ALL, "runs/latest").decode()
    assert text.startswith("## ❌ NOT AS EXPECTED (exit 1)")
    shown = Page(text)
    assert set(shown.tags) <= OWN
    for part in (
        "kvm:fd_memory_test",
        "fd_memory_test.c:118:hole_punch:Expected 0 (0) == ret (-1)",
        "RIP: 0010:restricted_fallocate+0x31/0x80",
        "harness run kvm:state_test --seed=5a5a",
        "runs/latest/tests/state_test/kernel.log",
        "KVM was asked for, TCG was used",
    ):
        assert part in shown.text
    rows = re.findall(r"^\| (\w+) \| `(\S+)` \|", text, re.MULTILINE)
    assert rows[0] == ("crash", "mm:crash_test")
    assert len(rows) == sum(not test.outcome.as_expected for test in s.ALL.tests)


def test_a_green_run() -> None:
    text = markdown.render(s.ALL_PASS).decode()
    assert text.startswith("## ✅ AS EXPECTED (exit 0): 2 tests: 2 pass")
    assert "details" not in text


@pytest.mark.parametrize("sample", s.SAMPLES, ids=lambda sample: sample.name)
def test_every_sample(sample: s.Sample) -> None:
    shown = Page(markdown.render(sample.results).decode())
    assert set(shown.tags) <= OWN


NASTY = [
    "</summary></details></code><script>alert(1)</script>",
    "` `` ``` ~~~ | a | b | \\| \\` **bold** _x_",
    "@torvalds #123 https://evil.example [x](javascript:y) ![i](http://z)",
    "```",
    "| |",
    "\n\n# heading\n\n- item\n",
]


@pytest.mark.parametrize("text", NASTY)
def test_foreign_text_makes_no_markup(text: str) -> None:
    cases = (r.Case(name=f"a/{text}", outcome=Outcome.FAIL, reason=text, text=text),)
    test = s.program(text, Outcome.FAIL, suite=text, cases=cases, reason=text, kernel_log=text)
    plain = s.program("p", Outcome.FAIL, suite="p", cases=cases, reason="p", kernel_log="p")
    kernel = r.Kernel(release=text, source=text, base_commit=text, series=text)
    shown = page(test, kernel=kernel, notes=(text,))
    assert set(shown.tags) <= OWN
    assert shown.tags.count("td") == page(plain).tags.count("td")
    for word in ("@torvalds", "#123", "evil.example", "heading", "alert"):
        assert word not in shown.bare


@settings(deadline=None, max_examples=100)
@given(st.text(st.sampled_from("`|\\<>&*_~[]()#@!-\n\r\t \0\x1baz"), max_size=30))
def test_any_text_stays_in_its_place(text: str) -> None:
    test = s.program(text, Outcome.FAIL, suite=text, reason=text, output=text, rerun=text)
    shown = page(test, notes=(text,))
    assert set(shown.tags) <= OWN
    # A test, a suite: three cells and five.
    assert shown.tags.count("td") == 8


def test_it_stays_below_what_github_takes() -> None:
    tests = [
        s.program(
            f"t{n}", Outcome.FAIL, reason="r" * 5000, output="o" * 1_000_000, kernel_log=s.WARNING
        )
        for n in range(3000)
    ]
    assert len(markdown.render(s.run(*tests))) < 1 << 20


def test_what_is_worse_than_base_and_what_a_bisection_found_come_before_the_tests() -> None:
    bad = s.program("t", Outcome.FAIL, reason="why")
    good = s.program("t", Outcome.PASS)
    against = changes(s.run(good), s.run(bad))
    found = r.Bisected(test="kvm:t", first_bad="5", last_good="4", title="mm: ``` </code> it")
    told = page(bad, against=against, bisected=(found,))
    assert set(told.tags) <= OWN
    assert "Regression: 1 case" in told.text
    assert "First bad: patch 5, 'mm: ``` </code> it'" in told.text
    assert (
        told.text.index("Against base") < told.text.index("Bisection") < told.text.index("outcome")
    )
    assert "WORSE THAN BASE (exit 1)" in told.text
    assert "Against base" not in page(bad).text

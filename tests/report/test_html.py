# SPDX-License-Identifier: GPL-2.0-only
"""The page as a file: what is in it, how large it is, and that nothing foreign acts in it.

What a person sees of it is tested in a browser, in ``test_html_browser.py``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.model import results as r
from harness.outcome import Outcome
from harness.report import html
from tests.report import samples as s

pytestmark = [pytest.mark.unit, pytest.mark.slow]
MEGABYTE = 1_000_000


class _Tags(HTMLParser):
    """Collects the tags of a page, and what is in its scripts."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag == "script"

    def handle_data(self, data: str) -> None:
        """Note the text of a script."""
        if self._in_script:
            self.scripts.append(data)
            self._in_script = False


def data_of(page: bytes) -> Any:
    """Return the data of a page."""
    return json.loads(_Tags(page).scripts[0])


@pytest.mark.parametrize("sample", s.SAMPLES, ids=lambda sample: sample.name)
def test_every_planned_test_and_case_is_there(sample: s.Sample) -> None:
    (kernel,) = data_of(html.render({"v10": sample.results}))["kernels"]
    assert len(kernel["tests"]) == len(sample.results.tests)
    for found, test in zip(kernel["tests"], sample.results.tests, strict=True):
        outcomes = list(Outcome)
        assert outcomes[found["outcome"]] is test.outcome
        said = found["cases"]["outcomes"] if found["cases"] else ""
        assert [outcomes[ord(each) - ord("a")] for each in said] == [
            case.outcome for case in test.cases
        ]


def test_it_is_complete_in_itself_and_its_policy_lets_only_its_own_script_run() -> None:
    page = html.render({"v10": s.HOSTILE_RUN})
    parsed = _Tags(page)
    for tag, attributes in parsed.tags:
        assert tag not in ("img", "link", "iframe", "object", "base", "b")
        assert not set(attributes) & {"src", "href", "style"}
        assert not any(name.startswith("on") for name in attributes)
    (policy,) = (each["content"] for _, each in parsed.tags if "http-equiv" in each)
    data, script = parsed.scripts
    assert "<" not in data
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in (policy or "")
    assert (policy or "").startswith("default-src 'none'")


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters()))
def test_any_text_stays_in_its_place(text: str) -> None:
    case = r.Case(name=f"a/{text}", outcome=Outcome.FAIL, reason=text, text=text)
    test = s.program("a_test", Outcome.FAIL, cases=(case,), reason=text, output=text)
    plain = s.program("a_test", Outcome.FAIL, cases=(case,), reason="", output="")
    tags = [
        [tag for tag, _ in _Tags(html.render({name: s.run(each, notes=(name,))})).tags]
        for name, each in ((text, test), ("plain", plain))
    ]
    assert tags[0].count("script") == tags[1].count("script") == 2
    assert set(tags[0]) <= set(tags[1]) | {"b", "li"}


def test_texts_share_a_budget_and_say_so() -> None:
    """A thousand programs that each print a megabyte, none like the other."""
    tests = [
        s.program(
            f"t{n}", Outcome.FAIL, output=f"{n} " + "<" * MEGABYTE, kernel_log="\n" * MEGABYTE
        )
        for n in range(1000)
    ]
    page = html.render({"v10": s.run(*tests)})
    assert len(page) < 30 * MEGABYTE
    data = data_of(page)
    last = data["kernels"][0]["tests"][-1]
    assert "left out, because" in data["texts"][last["output"] - 1]


def test_what_failed_comes_first_to_the_budget() -> None:
    known = [s.program(f"t{n}", Outcome.XFAIL, output=f"{n}" + "x" * 15_000) for n in range(2000)]
    page = html.render({"v10": s.run(*known, s.program("bad", Outcome.FAIL, output="look here"))})
    assert b'"look here"' in page


def test_a_hundred_thousand_tests_fit_too() -> None:
    tests = [s.program(f"t{n}_test", Outcome.PASS) for n in range(100_000)]
    page = html.render({"v10": s.run(*tests, s.program("bad", Outcome.FAIL))})
    assert len(page) < 30 * MEGABYTE
    bad = data_of(page)["kernels"][0]["tests"][-1]
    assert bad["rerun"] == "harness run kvm:bad --seed=5a5a"


def test_several_kernels_are_told_apart_and_summed_up_in_the_headline() -> None:
    page = html.render({"base": s.ALL_PASS, "v10": s.ALL})
    assert [each["name"] for each in data_of(page)["kernels"]] == ["base", "v10"]
    assert re.search(rb"<h1[^>]*>NOT AS EXPECTED \(exit 1\)", page)
    assert b"2 kernels, 1 not as expected" in page
    assert re.search(rb"<h1[^>]*>NOT AS EXPECTED", html.render({}))


def test_log_files_are_found_from_where_the_page_is() -> None:
    for directory, path in (("", "tests/a/output.log"), ("runs/1", "runs/1/tests/a/output.log")):
        page = html.render({"v10": s.run(s.program("a", Outcome.FAIL))}, directory)
        assert data_of(page)["kernels"][0]["tests"][0]["logs"][0] == ["output log", path]

# SPDX-License-Identifier: GPL-2.0-only
"""Flame graphs: each function as wide as what it takes, and nothing of a name does harm."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from harness.report import flame

pytestmark = pytest.mark.unit

BEFORE = {("a",): 100, ("a", "b"): 300, ("a", "c"): 600, ("d",): 1000}


def boxes(svg: str) -> dict[str, tuple[float, float, float]]:
    """Return left, top and width of each box by the name in its title."""
    root = ElementTree.fromstring(svg)  # noqa: S314  our own
    found = {}
    for group in root.iter("{http://www.w3.org/2000/svg}g"):
        title = group.find("{http://www.w3.org/2000/svg}title")
        rect = group.find("{http://www.w3.org/2000/svg}rect")
        assert title is not None
        assert title.text is not None
        assert rect is not None
        left, top, width = (float(rect.get(name, "")) for name in ("x", "y", "width"))
        found[title.text.split(":")[0]] = (left, top, width)
    return found


def test_width_is_what_a_function_takes_and_stands_on_its_caller() -> None:
    drawn = boxes(flame.render(BEFORE, "t"))
    assert drawn["all"][2] == pytest.approx(1200, abs=1)
    assert drawn["a"][2] == pytest.approx(600, abs=1)
    assert drawn["c"][2] == pytest.approx(360, abs=1)
    assert drawn["all"][1] > drawn["a"][1] > drawn["b"][1] == drawn["c"][1]
    for inner, outer in (("b", "a"), ("c", "a"), ("a", "all"), ("d", "all")):
        assert drawn[outer][0] <= drawn[inner][0]
        right = drawn[outer][0] + drawn[outer][2]
        assert drawn[inner][0] + drawn[inner][2] <= right + 0.5


def test_a_difference_says_what_takes_more_and_what_less() -> None:
    after = {("a",): 100, ("a", "b"): 400, ("a", "c"): 500, ("e",): 1000}
    svg = flame.render_difference(BEFORE, after, "t")
    assert "b: 400 instructions, 20.00 %; +100 (+33.33 %)" in svg
    assert "c: 500 instructions, 25.00 %; -100 (-16.67 %)" in svg
    assert "e: 1,000 instructions, 50.00 %; +1,000 (new)" in svg
    assert "1,000 instructions before are in calls that are gone" in svg
    colours = dict(re.findall(r"<title>(\w+):.*?fill=\"rgb\((.*?)\)\"", svg))
    assert colours["a"] == "240,240,240"
    assert colours["b"].startswith("255,")
    assert colours["c"].endswith(",255")


def test_names_are_shown_and_do_nothing() -> None:
    svg = flame.render({("<script>&\x1b",): 10}, '"><b>')
    assert "<script>" not in svg
    assert "\x1b" not in svg
    ElementTree.fromstring(svg)  # noqa: S314  our own


def test_without_instructions_there_is_an_empty_graph() -> None:
    assert boxes(flame.render({}, "t")).keys() == {"all"}

# SPDX-License-Identifier: GPL-2.0-only
"""What holds for every stream, tried on many that no one thought of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.ktap import Case, parse
from harness.outcome import Outcome
from tests.ktap.promises import check

pytestmark = [pytest.mark.unit, pytest.mark.slow]

_SEEDS = [p.read_bytes() for p in sorted((Path(__file__).parent / "corpus").glob("*.ktap"))]
_LINES = sorted({line for seed in _SEEDS for line in seed.splitlines(keepends=True)})
_CUTS = st.lists(st.integers(0, 400), max_size=12)


@given(st.binary(max_size=400), _CUTS)
def test_any_bytes(data: bytes, cuts: list[int]) -> None:
    check(data, cuts)


@given(st.lists(st.sampled_from(_LINES) | st.binary(max_size=12), max_size=24), _CUTS)
def test_any_mixture_of_odd_lines(lines: list[bytes], cuts: list[int]) -> None:
    check(b"".join(lines), cuts)


@dataclass(frozen=True)
class Tree:
    """A test that a well-behaved program would print."""

    name: str
    word: str
    children: tuple[Tree, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """What the reader must make of it."""
        if self.children:
            below = {child.outcome for child in self.children}
            if Outcome.FAIL in below:
                return Outcome.FAIL
            return Outcome.SKIP if below == {Outcome.SKIP} else Outcome.PASS
        return {
            "ok": Outcome.PASS,
            "not ok": Outcome.FAIL,
            "skip": Outcome.SKIP,
            "xfail": Outcome.XFAIL,
        }[self.word]

    def lines(self, number: int, indent: str, step: str) -> Iterator[str]:
        """Yield the test's output."""
        if self.children:
            yield from collection(self.children, indent + step, step)
            word = "not ok" if self.outcome is Outcome.FAIL else "ok"
            yield f"{indent}{word} {number} {self.name}"
            return
        tail = {"skip": " # SKIP not here", "xfail": " # XFAIL known"}.get(self.word, "")
        word = {"skip": "ok", "xfail": "not ok"}.get(self.word, self.word)
        yield f"{indent}# {self.name}: it took a while"
        yield f"{indent}{word} {number} {self.name}{tail}"


def collection(trees: tuple[Tree, ...], indent: str = "", step: str = "  ") -> Iterator[str]:
    """Yield the output of a program whose tests are *trees*."""
    yield f"{indent}KTAP version 1"
    yield f"{indent}1..{len(trees)}"
    for number, tree in enumerate(trees, 1):
        yield from tree.lines(number, indent, step)


_NAME = st.from_regex(r"[a-z][a-z0-9_.]{0,8}", fullmatch=True)
_LEAF = st.builds(Tree, _NAME, st.sampled_from(["ok", "ok", "not ok", "skip", "xfail"]))
_TREE = st.recursive(
    _LEAF,
    lambda inner: st.builds(
        Tree, _NAME, st.just("ok"), st.lists(inner, min_size=1, max_size=3).map(tuple)
    ),
    max_leaves=8,
)
TREES = st.lists(_TREE, min_size=1, max_size=4, unique_by=lambda t: t.name).map(tuple)
_STEP = st.sampled_from(["  ", "    ", "\t", "# "])


def _same(tree: Tree, case: Case) -> bool:
    return (
        case.name.partition("#")[0] == tree.name
        and case.outcome is tree.outcome
        and len(case.children) == len(tree.children)
        and all(map(_same, tree.children, case.children))
    )


@given(TREES, _STEP, st.sampled_from(["", "[    9.123456] ", "host: "]))
def test_a_valid_tree_comes_back(trees: tuple[Tree, ...], step: str, prefix: str) -> None:
    text = "".join(f"{prefix}{line}\n" for line in collection(trees, "", step))
    report = check(text.encode(), [])
    assert not report.broken
    assert report.plan_kept
    cases = [case for c in report.collections for case in c.cases]
    assert len(cases) == len(trees)
    assert all(map(_same, trees, cases))


@given(TREES, _STEP, st.data())
def test_no_lost_line_hides_a_failure(
    trees: tuple[Tree, ...], step: str, data: st.DataObject
) -> None:
    """One line may be lost from a stream whose levels all have plans; its failure still shows.

    More cannot be promised: without a plan a lost last line leaves no trace, and a short plan
    that is itself lost takes its news with it.
    """
    lines = list(collection(trees, "", step))
    if not any("not ok" in line and "XFAIL" not in line for line in lines):
        return
    lost = data.draw(st.integers(0, len(lines) - 1))
    text = "".join(f"{line}\n" for at, line in enumerate(lines) if at != lost)
    assert not check(text.encode(), []).outcome.as_expected


@given(TREES, st.data())
def test_a_stream_cut_short_is_never_green(trees: tuple[Tree, ...], data: st.DataObject) -> None:
    lines = list(collection(trees))
    keep = data.draw(st.integers(2, len(lines) - 1))
    report = check("".join(f"{line}\n" for line in lines[:keep]).encode(), [])
    assert not report.outcome.as_expected
    assert not report.plan_kept
    planned = {str(tree.name) for tree in trees}
    assert len([case for c in report.collections for case in c.cases]) == len(planned)


@given(TREES, st.integers(1, 9))
def test_nothing_can_be_added_after_the_plan(trees: tuple[Tree, ...], number: int) -> None:
    text = "".join(f"{line}\n" for line in collection(trees)) + f"ok {number} forged\n"
    report = parse(text.encode())
    assert not report.outcome.as_expected
    assert not report.plan_kept

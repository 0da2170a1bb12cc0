# SPDX-License-Identifier: GPL-2.0-only
"""The tree while it is built: mutable nodes and open levels, and their conversion to the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from harness.ktap.lexer import Result, Totals, judge
from harness.ktap.model import Case, Collection
from harness.outcome import Outcome, worst


@dataclass(slots=True)
class Candidate:
    """Text that may be a result; it becomes one only where a plan or a gap needs it."""

    line: int
    number: int | None
    result: Result
    strong: bool
    damaged: bool
    output: str
    host: Node | None = None
    taken: bool = False

    @property
    def severity(self) -> int:
        """Its severity if it is a result."""
        outcome = judge(self.result.ok, self.result.directive)[0]
        return max(outcome.severity, Outcome.ERROR.severity if self.damaged else 0)


@dataclass(slots=True)
class Node:
    """A case that can still change."""

    name: str
    outcome: Outcome
    number: int | None
    line: int
    directive: str = ""
    explanation: str = ""
    output: str = ""
    beyond: bool = False
    unsure: bool = False
    """Whether a skip may have been a pass, according to the program's totals of several cases."""
    groups: list[Group] = field(default_factory=list)


@dataclass(slots=True)
class Group:
    """A collection that is still built; ``pending`` are closed subtests without a parent yet."""

    column: int
    line: int
    version: str = ""
    commented: bool = False
    plan: int | None = None
    plan_kept: bool = True
    skip_reason: str | None = None
    bail_out: str | None = None
    subtest: str = ""
    announced: str = ""
    """The name of a subtest that was announced at this level, as in TAP 14."""
    running: str = ""
    running_line: int = 0
    hint: str = ""
    nodes: list[Node] = field(default_factory=list)
    numbers: set[int] = field(default_factory=set)
    highest: int = 0
    numbered: bool = False
    candidates: list[Candidate] = field(default_factory=list)
    pending: list[Group] = field(default_factory=list)
    totals: tuple[int, Totals] | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing was planned or reported here yet."""
        return (
            not self.nodes
            and self.plan is None
            and self.bail_out is None
            and not self.pending
            and not self.running
        )

    @property
    def phantom(self) -> bool:
        """Whether this may be prose after ``# ``: no version line, no plan, nothing wrong."""
        return (
            self.commented
            and not self.version
            and self.plan is None
            and self.bail_out is None
            and all(n.outcome is Outcome.PASS and not n.groups for n in self.nodes)
        )

    def missing(self, limit: int) -> list[int]:
        """Return the planned or skipped-over numbers without a result, at most *limit*."""
        last = self.highest if self.plan is None else self.plan
        found: list[int] = []
        number = 1
        while number <= last and len(found) < limit:
            if number not in self.numbers:
                found.append(number)
            number += 1
        return found

    @property
    def lacks(self) -> bool:
        """Whether a planned or skipped-over number has no result."""
        return bool(self.missing(1))

    def outcomes(self) -> list[Outcome]:
        """Return every outcome in this group, at any depth."""
        found = [Outcome.ERROR] if self.bail_out is not None else []
        for node in self.nodes:
            found.append(node.outcome)
            found += worst_below(node.groups)
        return found

    @property
    def tried(self) -> bool:
        """Whether any case in this group ran, or should have run."""
        return self.bail_out is not None or any(
            node.outcome is not Outcome.SKIP or node.unsure for node in self.nodes
        )

    def leaves(self) -> list[Node]:
        """Return the cases that have no cases below them."""
        found: list[Node] = []
        for node in self.nodes:
            below = [leaf for group in node.groups for leaf in group.leaves()]
            found += below or [node]
        return found

    def failed(self) -> Iterator[Node]:
        """Yield every case at any depth that did not end as expected."""
        for node in self.nodes:
            if not node.outcome.as_expected:
                yield node
            for group in node.groups:
                yield from group.failed()


def why_untried(groups: Iterable[Group]) -> str:
    """Return the first skip reason in *groups*, in which no case ran, or an empty string."""
    reasons = [
        reason
        for group in groups
        for reason in (group.skip_reason, *(node.explanation for node in group.nodes))
    ]
    return next((reason for reason in reasons if reason), "")


def worst_below(groups: Iterable[Group]) -> list[Outcome]:
    """Return the worst outcome in *groups* as a list of one; empty if there is no case."""
    found = [outcome for group in groups for outcome in group.outcomes()]
    return [worst(found)] if found else []


def freeze(groups: Iterable[Group], path: tuple[str, ...] = ()) -> tuple[Collection, ...]:
    """Return *groups* as the model; siblings of one name become ``name``, ``name#2``, ..."""
    used: set[str] = set()
    last: dict[str, int] = {}
    return tuple(
        Collection(
            group.version,
            group.plan,
            group.plan_kept,
            group.skip_reason,
            group.bail_out,
            group.line,
            tuple(_freeze_node(node, path, used, last) for node in group.nodes),
        )
        for group in groups
    )


def _freeze_node(node: Node, path: tuple[str, ...], used: set[str], last: dict[str, int]) -> Case:
    name = node.name
    while name in used:
        last[node.name] = last.get(node.name, 1) + 1
        name = f"{node.name}#{last[node.name]}"
    used.add(name)
    own = (*path, name)
    return Case(
        own,
        node.outcome,
        node.number,
        node.directive,
        node.explanation,
        node.output,
        node.line,
        freeze(node.groups, own),
    )

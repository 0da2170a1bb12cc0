# SPDX-License-Identifier: GPL-2.0-only
"""The end of a collection: what is missing, what was planned, which candidates count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from harness.ktap.group import Candidate, Group, Node
from harness.ktap.ledger import Ledger, Output, no_output
from harness.ktap.limits import MAX_GAP, MAX_NODES
from harness.ktap.model import Kind
from harness.outcome import Outcome, worst

_TOTAL_OF = {
    Outcome.PASS: "pass",
    Outcome.FAIL: "fail",
    Outcome.XFAIL: "xfail",
    Outcome.XPASS: "xpass",
    Outcome.SKIP: "skip",
    Outcome.ERROR: "error",
    Outcome.TIMEOUT: "error",
}


class Tree(Protocol):
    """The tree that is built while a stream is read: the builder."""

    ledger: Ledger

    def put(self, group: Group, node: Node, output: Output) -> None:
        """Add *node* to *group*."""

    def accept(
        self, group: Group, candidate: Candidate, number: int | None, *, corroborated: bool
    ) -> None:
        """Add *candidate* as result *number* of *group*."""


def one_per_number(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return, of several candidates for one number, the one that is furthest from pass."""
    best: dict[int | None, Candidate] = {}
    for candidate in candidates:
        if candidate.taken:
            continue
        other = best.get(candidate.number)
        if other is None or candidate.severity > other.severity:
            best[candidate.number] = candidate
    return sorted(best.values(), key=lambda c: (c.number or 0, c.line))


def close_group(builder: Tree, group: Group, depth: int, output: Output) -> None:
    """Decide on everything that is open in *group*, which ends here."""
    if group.plan is not None:
        _late_plan(builder, group, group.plan)
    if group.candidates:
        _candidates(builder, group)
    pending = [g for g in group.pending if not g.phantom]
    for phantom in (g for g in group.pending if g.phantom):
        text = "results after '# ' without a parent's result after them: read as prose"
        builder.ledger.note(Kind.PROSE, phantom.line, text)
    group.pending = []
    line = pending[0].line if pending else group.running_line
    if pending or (group.running and (group.plan is None or group.lacks)):
        _unfinished(builder, group, pending, line, output)
        output = no_output
    _missing(builder, group, output)
    group.nodes.sort(key=lambda n: n.number if n.number is not None else 1 << 62)
    announced = group.version or group.subtest
    if depth and announced and not group.nodes and group.plan is None:
        text = f"{group.subtest or 'a version line'}, without results"
        builder.ledger.note(Kind.EMPTY_SUBTEST, group.line, text)
        group.plan_kept = False
        builder.put(group, Node("test 1", Outcome.ERROR, None, 0), output)
    if group.totals is not None:
        line, totals = group.totals
        compare_totals(builder, line, dict(totals.counts), [n for n in group.nodes if n.line])


def kunit_test_totals(
    builder: Tree, line: int, counts: Mapping[str, int], parameters: Sequence[Node]
) -> None:
    """Apply KUnit's totals of the *parameters* of one test.

    Up to Linux 6.3 KUnit prints a skipped parameter as ``ok``, but counts it as skipped.  It does
    not print which one it was.  So each of these ``ok`` may be a skip, and is read as a skip.
    """
    seen, counted = _count(parameters), Counter(dict(counts))
    hidden = counted["skip"] - seen["skip"]
    counted.update({"pass": hidden, "skip": -hidden})
    if hidden <= 0 or counted != seen:
        return
    said = f"{counts['skip']} of {counts['total']} parameters were skipped"
    text = f"KUnit up to Linux 6.3 prints a skipped parameter as ok: {said}"
    builder.ledger.note(Kind.KUNIT_SKIPPED, line, text)
    for node in parameters:
        if node.outcome is Outcome.PASS:
            node.outcome, node.unsure = Outcome.SKIP, counts.get("pass", 0) > 0
            node.explanation = f"{text}; its output does not show which ones"


def compare_totals(
    builder: Tree, line: int, counts: Mapping[str, int], nodes: Sequence[Node]
) -> None:
    """Compare the program's own totals with the results; cases that never ran do not count."""
    seen = _count(nodes)
    sure = counts.get("pass", 0) - seen["pass"]
    if 0 < sure <= sum(node.unsure for node in nodes):
        seen["pass"] += sure
        seen["skip"] -= sure
    wrong = [f"{key}: {n}, read {seen[key]}" for key, n in counts.items() if seen[key] != n]
    hidden = counts.get("skip", 0) - seen["skip"]
    if len(wrong) == 2 and 0 < hidden == seen["pass"] - counts.get("pass", 0):
        wrong.append("KUnit up to Linux 6.3 prints a skipped parameter as ok")
    if wrong:
        builder.ledger.note(Kind.TOTALS_MISMATCH, line, "; ".join(wrong))


def _count(nodes: Iterable[Node]) -> Counter[str]:
    seen = Counter(_TOTAL_OF[n.outcome] for n in nodes if n.outcome in _TOTAL_OF)
    seen["total"] = sum(seen.values())
    return seen


def _late_plan(builder: Tree, group: Group, plan: int) -> None:
    """Record results that are outside a plan which came after them."""
    for node in group.nodes:
        if (node.number or 0) > plan and not node.beyond:
            group.plan_kept = False
            builder.ledger.note(Kind.BEYOND_PLAN, node.line, f"result {node.number} of 1..{plan}")
            node.outcome = worst((node.outcome, Outcome.ERROR))


def _candidates(builder: Tree, group: Group) -> None:
    sure = group.totals is not None
    missing = group.missing(len(group.candidates) + 1)
    for candidate in one_per_number(c for c in group.candidates if c.number in missing):
        builder.accept(group, candidate, candidate.number, corroborated=sure)
    missing = group.missing(len(group.candidates) + 1)
    loose = [c for c in group.candidates if c.number is None]
    sure = sure or (not group.numbered and len(loose) > 1)
    if loose and len(loose) == len(missing):
        for candidate, number in zip(loose, missing, strict=True):
            builder.accept(group, candidate, number, corroborated=sure)
    for candidate in group.candidates:
        if group.plan is None and not candidate.taken and candidate.number == group.highest + 1:
            if candidate.severity > Outcome.XFAIL.severity:
                continue  # the builder records each of these at the end
            kind = Kind.PROSE if candidate.result.ok else Kind.LOST_RESULT
            builder.ledger.note(kind, candidate.line, f"may be a result: {candidate.result.name}")
    left = [c for c in loose if not c.taken]
    if left and not group.numbered:
        text = f"{len(left)} 'ok' lines without a number that no plan needs"
        builder.ledger.note(Kind.PROSE, left[0].line, text)
    group.candidates = []


def _unfinished(
    builder: Tree, group: Group, pending: list[Group], line: int, output: Output
) -> None:
    """Add the case that began and has no result."""
    subtest = next((g.subtest for g in pending if g.subtest), "")
    missing = group.missing(1)
    number = missing[0] if missing else (None if group.plan is not None else group.highest + 1)
    name = group.running or subtest or (f"test {number}" if number else "unfinished subtest")
    group.plan_kept = group.plan_kept and group.plan is None
    builder.ledger.note(Kind.MISSING_RESULT, line, f"{name} started, without a result")
    node = Node(name, Outcome.ERROR, number, 0, "", "started, without a result")
    node.groups = pending
    builder.put(group, node, output)


def _missing(builder: Tree, group: Group, output: Output) -> None:
    limit = MAX_GAP if group.plan is None else MAX_NODES
    missing = group.missing(limit + 1)
    if not missing:
        return
    group.plan_kept = group.plan_kept and group.plan is None
    shown = ", ".join(str(n) for n in missing[:10]) + (", ..." if len(missing) > 10 else "")
    builder.ledger.note(Kind.MISSING_RESULT, group.line, f"no result for {shown}")
    if len(missing) > limit:
        builder.ledger.note(Kind.LIMIT, group.line, "too many missing results to list them")
    for number in missing[:limit]:
        why = "planned" if group.plan is not None else "skipped over"
        node = Node(f"test {number}", Outcome.NOTRUN, number, 0, "", f"{why}, without a result")
        builder.put(group, node, output)
        output = no_output
        if builder.ledger.full:
            return

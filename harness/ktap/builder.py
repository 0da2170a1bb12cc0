# SPDX-License-Identifier: GPL-2.0-only
"""Builds a tree of results from tokens.

The rules where KTAP is ambiguous or the stream violates it:

- A version line starts a new collection at its depth; it never replaces an earlier one.
- A number outside the plan, or given twice, makes its case an error, whatever the line reports.
- A planned number without a result, or one that later numbers skipped over, is ``notrun``.  It is
  an error instead if the harness header had announced its start, or if its subtests are there.
- A parent that is ok or skipped, over a case that did not end as expected, takes that outcome, and
  at least fail.  A parent that was expected to fail keeps its outcome, and its cases keep theirs.
- Text that may be a result (:class:`~harness.ktap.group.Candidate`) counts only for a number that
  would otherwise be missing.  A candidate ``ok`` is a pass only if a higher number follows it, if
  the program's own totals agree, or if its text is hardly prose.  Otherwise it is an error, as is
  an ``ok`` whose beginning may have been the end of ``not ok``.
- A parent that is ok over cases that were all skipped is skipped: no case ran.
- A ``not ok`` after other text that no missing number needs makes the report an error, unless it
  repeats a failure that is already known.
- A subtest without the result line of its parent gets a parent that is an error.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from harness.ktap import closing
from harness.ktap.group import Candidate, Group, Node, freeze, why_untried, worst_below
from harness.ktap.ledger import Ledger, Output, no_output, tail
from harness.ktap.lexer import (
    Bail,
    Glued,
    Header,
    Hint,
    Plan,
    PlanNotRun,
    Result,
    Subtest,
    Token,
    Totals,
    judge,
)
from harness.ktap.limits import MAX_CANDIDATES, MAX_DEPTH, MAX_NAME, MAX_NUMBER
from harness.ktap.model import Collection, Kind
from harness.outcome import Outcome, worst


class Finished(msgspec.Struct, frozen=True):
    """A case that just got its outcome, for live progress.

    ``depth`` is 0 at the top.  Names are not unique yet, and a parent comes after its cases.
    """

    name: str
    number: int | None
    outcome: Outcome
    depth: int
    line: int


class Builder:
    """Builds the tree of one stream, token by token."""

    def __init__(self, on_case: Callable[[Finished], None] | None = None) -> None:
        self._on_case = on_case
        self._levels: list[Group] = []
        self._roots: list[Group] = []
        self._refusals: list[Candidate] = []
        """Possible ``not ok`` results after other text, until they count as results."""
        self.ledger = Ledger()

    @property
    def started(self) -> bool:
        """Whether any collection is open, so that lines without a number may be results."""
        return bool(self._levels)

    def token(self, token: Token, line: int) -> None:
        """Add any token except a result."""
        if self.ledger.full:
            return
        match token:
            case Header():
                self._header(token, line)
            case Plan():
                self._plan(token, line)
            case Bail():
                self.bail(token.reason, line, token)
            case Subtest():
                self._subtest(token, line)
            case Hint():
                self._hint(token, line)
            case Totals():
                self._totals(token, line)
            case PlanNotRun():
                group = self._at(token.column)
                planned = group is None or group.plan is not None or not token.unplanned
                self.ledger.note(Kind.PLAN_NOT_RUN if planned else Kind.NO_PLAN, line, token.text)

    def result(self, token: Result, line: int, output: Output, damaged: bool = False) -> bool:
        """Add a result line; return False if it was read as prose, which is output."""
        if self.ledger.full:
            return True
        known = self._at(token.column)
        if token.number is None:
            if known is None:
                return False
            if token.ok and not token.dashed:
                strong = bool(token.name) and not any(c.isspace() for c in token.name)
                self._remember(known, Candidate(line, None, token, strong, damaged, tail(output)))
                return False
        elif token.commented and known is None and (token.number != 1 or not self._levels):
            kind = Kind.PROSE if token.ok else Kind.STRAY_RESULT
            self.ledger.note(kind, line, "a result after '# ' without an open subtest")
            return False
        group = self._level(token.column, line, token.commented)
        if group is None:
            return True
        number = token.number
        if number is not None:
            group.numbered = True
        else:
            loose = 0 if group.numbered else sum(c.number is None for c in group.candidates)
            number = group.highest + loose + 1
            self.ledger.note(Kind.NO_NUMBER, line, f"taken as number {number}: {token.name}")
        self._settle(group, number)
        self._add(group, token, number, line, output, damaged)
        return True

    def glued(self, found: Glued, line: int, output: Output, host: Node | None = None) -> None:
        """Remember a result after other text, at every level where it could be missing."""
        kept = "" if found.result.ok and not found.damaged else tail(output)
        candidate = Candidate(
            line, found.number, found.result, found.strong, found.damaged, kept, host
        )
        self._refuse(candidate)
        for group in self._levels:
            planned = group.plan is not None and found.number <= group.plan
            if found.number not in group.numbers and (planned or group.plan is None):
                self._remember(group, candidate)

    def stray(self, found: Glued, line: int) -> None:
        """Remember a result after a result line that cannot be the next one."""
        self._refuse(Candidate(line, found.number, found.result, False, found.damaged, ""))

    def last_node(self) -> Node | None:
        """Return the case that was added last at the innermost level."""
        nodes = self._levels[-1].nodes if self._levels else []
        return nodes[-1] if nodes else None

    def bail(self, reason: str, line: int, at: Bail | None = None) -> None:
        """Add a ``Bail out!``; without *at* it belongs to the innermost level."""
        if self.ledger.full:
            return
        inner = self._levels[-1].column if self._levels else 0
        group = self._level(at.column if at else inner, line, at is not None and at.commented)
        if group is not None and group.bail_out is None:
            group.bail_out = reason
        self.ledger.note(Kind.BAIL_OUT, line, reason or "no reason given")

    def close(self, output: Output) -> tuple[Collection, ...]:
        """End the stream; *output* is the text after the last result."""
        while self._levels:
            self._pop(output)
        self._unheeded()
        return freeze(self._roots)

    # Levels

    def _at(self, column: int) -> Group | None:
        """Return the open level of this column, if there is one."""
        if self._levels and column <= self._levels[0].column:
            return self._levels[0]
        return next((g for g in self._levels if g.column == column), None)

    def _level(self, column: int, line: int, commented: bool = False) -> Group | None:
        """Return the level of this column; close deeper ones, and open it if necessary."""
        if not self._levels:
            if not self.open(Group(column, line, commented=commented)):
                return None
            self.ledger.note(Kind.NO_HEADER, line, "results without a version line before them")
        root = self._levels[0]
        if column < root.column and (not root.version or root.commented):
            # What looked like the outermost level are the subtests of a level that starts here.
            while self._levels:
                self._pop()
            if not self.open(Group(column, line, pending=[self._roots.pop()])):
                return None
        while len(self._levels) > 1 and self._levels[-1].column > column:
            self._pop()
        top = self._levels[-1]
        if column <= top.column:
            return top
        return self.open(Group(column, line, commented=commented))

    def open(self, group: Group) -> Group | None:
        """Open a level, unless a limit forbids it."""
        if len(self._levels) >= MAX_DEPTH:
            self.ledger.note(
                Kind.LIMIT, group.line, f"nested deeper than {MAX_DEPTH} levels: not read"
            )
            return None
        if not self.ledger.room(group.line):
            return None
        self._levels.append(group)
        return group

    def _pop(self, output: Output = no_output) -> None:
        group = self._levels.pop()
        closing.close_group(self, group, len(self._levels), output)
        if not self._levels:
            self._roots.append(group)
        elif not group.empty or group.version or group.subtest:
            self._levels[-1].pending.append(group)

    # Tokens

    def _header(self, token: Header, line: int) -> None:
        if not token.known:
            self.ledger.note(Kind.UNKNOWN_VERSION, line, token.version)
        fresh = Group(token.column, line, version=token.version, commented=token.commented)
        if not self._levels:
            self.open(fresh)
            return
        root = self._levels[0]
        if token.column <= root.column:
            while len(self._levels) > 1:
                self._pop()
            if root.empty and not root.version:
                root.version = token.version
                return
            while self._levels:
                self._pop()
            self.open(fresh)
            return
        while len(self._levels) > 1 and self._levels[-1].column > token.column:
            self._pop()
        top = self._levels[-1]
        if top.column == token.column:
            if top.empty and not top.version:
                top.version = token.version
                return
            self._pop()
        self.open(fresh)

    def _plan(self, token: Plan, line: int) -> None:
        if token.count is None:
            group = self._at(token.column)
            if group is not None and group.plan is None:
                group.plan_kept = False
                self.ledger.note(Kind.BAD_PLAN, line, token.text)
            return
        group = self._level(token.column, line, token.commented)
        if group is None:
            return
        if group.plan is not None:
            group.plan_kept = False
            self.ledger.note(Kind.DUPLICATE_PLAN, line, f"1..{group.plan} and {token.text}")
        group.plan = max(token.count, group.plan or 0)
        group.skip_reason = token.skip_reason if group.plan == 0 else None

    def _subtest(self, token: Subtest, line: int) -> None:
        root = self._levels[0] if self._levels else None
        if root is not None and token.column <= root.column and not root.empty:
            root.announced = token.name
            return
        top = self._levels[-1] if self._levels else None
        if top is not None and top.column == token.column:
            ended = not top.empty or (top.subtest and top is not root)
            if ended:
                self._pop()
        group = self._level(token.column, line)
        if group is not None:
            group.subtest = token.name

    def _hint(self, token: Hint, line: int) -> None:
        group = self._at(token.column)
        if group is None:
            return
        if token.word == "RUN":
            group.running, group.running_line, group.hint = token.name, line, ""
        else:
            group.hint = token.name

    def _totals(self, token: Totals, line: int) -> None:
        counts = dict(token.counts)
        group = self._at(token.column)
        if group is None:
            return
        if "total" not in counts:
            group.totals = (line, token)
            return
        # KUnit prints them before the parent's result line, for the cases below the parent.
        below = [g for g in self._levels if g.column > group.column] + group.pending
        if token.test:
            closing.kunit_test_totals(self, line, counts, [n for g in below for n in g.nodes])
        elif leaves := [leaf for g in below for leaf in g.leaves()]:
            closing.compare_totals(self, line, counts, leaves)

    # Results

    def _refuse(self, candidate: Candidate) -> None:
        """Remember *candidate* if it may be ``not ok``: it counts, or the report is an error."""
        if candidate.severity <= Outcome.XFAIL.severity:
            return
        if len(self._refusals) < MAX_CANDIDATES:
            self._refusals.append(candidate)
            return
        self._refusals = [c for c in self._refusals if not c.taken]
        if len(self._refusals) == MAX_CANDIDATES:
            text = "too many lines with a possible 'not ok' after other text"
            self.ledger.note(Kind.LOST_RESULT, candidate.line, text)
        else:
            self._refusals.append(candidate)

    def _unheeded(self) -> None:
        """Record every ``not ok`` after other text that is no result and repeats none."""
        left = [c for c in self._refusals if not c.taken] if self._roots else []
        failed = {(n.number, n.name) for root in self._roots for n in root.failed()} if left else ()
        for candidate in left:
            if (candidate.number, candidate.result.name) not in failed:
                text = f"a 'not ok' after other text that is no result: {candidate.result.name}"
                self.ledger.note(Kind.LOST_RESULT, candidate.line, text)

    def _remember(self, group: Group, candidate: Candidate) -> None:
        if len(group.candidates) < MAX_CANDIDATES:
            group.candidates.append(candidate)
        elif not candidate.result.ok or candidate.damaged:
            text = "too many possible results; one of them is 'not ok'"
            self.ledger.note(Kind.LOST_RESULT, candidate.line, text)

    def _settle(self, group: Group, number: int) -> None:
        """Decide on earlier candidates, now that result *number* was read."""
        if not group.candidates or number > MAX_NUMBER:
            return
        before = [c for c in group.candidates if c.number is not None and c.number < number]
        for candidate in closing.one_per_number(before):
            if candidate.number not in group.numbers:
                self.accept(group, candidate, candidate.number, corroborated=True)
        loose = [c for c in group.candidates if c.number is None and not c.taken]
        gap = list(range(group.highest + 1, min(number, group.highest + 1 + MAX_CANDIDATES)))
        if loose and len(loose) == number - group.highest - 1:
            for candidate, missing in zip(loose, gap, strict=True):
                self.accept(group, candidate, missing, corroborated=True)
        group.candidates = [
            c
            for c in group.candidates
            if c.number is not None and c.number > number and not c.taken
        ]

    def accept(
        self, group: Group, candidate: Candidate, number: int | None, *, corroborated: bool
    ) -> None:
        """Add *candidate* as result *number* of *group*."""
        if candidate.taken or number is None or self.ledger.full:
            return
        candidate.taken = True
        result = candidate.result
        trusted = corroborated or candidate.strong
        damaged = candidate.damaged or (result.ok and not trusted)
        kind = Kind.DAMAGED_RESULT if damaged else Kind.RECOVERED
        self.ledger.note(kind, candidate.line, f"result {number} after other text: {result.name}")
        if candidate.host is not None:
            word = "ok" if result.ok else "not ok"
            candidate.host.name = candidate.host.name.split(f"{word} {number}")[0].rstrip()
        later = [g for g in group.pending if g.line >= candidate.line]
        group.pending = [g for g in group.pending if g.line < candidate.line]
        self._add(group, result, number, candidate.line, lambda: candidate.output, damaged)
        group.pending = later

    def _add(
        self, group: Group, token: Result, number: int, line: int, output: Output, damaged: bool
    ) -> None:
        outcome, contradiction = judge(token.ok, token.directive)
        demand = [outcome]
        if contradiction:
            self.ledger.note(Kind.CONTRADICTION, line, f"ok, and {token.directive}: {token.name}")
            demand.append(Outcome.ERROR)
        if damaged:
            demand.append(Outcome.ERROR)
        if number in group.numbers:
            group.plan_kept = False
            self.ledger.note(Kind.DUPLICATE_NUMBER, line, f"a second result {number}: {token.name}")
            demand.append(Outcome.ERROR)
        beyond = not number or number > (MAX_NUMBER if group.plan is None else group.plan)
        if beyond:
            group.plan_kept = False
            shown = number if number <= MAX_NUMBER else f"above {MAX_NUMBER}"
            plan = MAX_NUMBER if group.plan is None else group.plan
            self.ledger.note(Kind.BEYOND_PLAN, line, f"result {shown} of 1..{plan}: {token.name}")
            demand.append(Outcome.ERROR)
        elif number != group.highest + 1 and number not in group.numbers:
            self.ledger.note(Kind.OUT_OF_ORDER, line, f"result {number} after {group.highest}")
        name = token.name or group.hint or group.running or f"test {number}"
        if len(name) > MAX_NAME:
            self.ledger.note(Kind.NAME_CUT, line, name[:80])
            name = name[: MAX_NAME - 1] + "…"
        groups, group.pending = group.pending, []
        announced, group.announced = group.announced, ""
        if announced == name and not groups and worst(demand) is Outcome.PASS:
            self.ledger.note(Kind.EMPTY_SUBTEST, line, f"{name}, without its results")
            demand.append(Outcome.ERROR)
        demand += self._below(groups, name, worst(demand), line)
        explanation = token.explanation
        outcome = worst(demand)
        if outcome is Outcome.PASS and groups and not any(g.tried for g in groups):
            outcome = Outcome.SKIP
            explanation = explanation or why_untried(groups) or "no case of it ran"
            self.ledger.note(
                Kind.NOTHING_TRIED, line, f"ok, but all its cases were skipped: {name}"
            )
        known = number if number <= MAX_NUMBER else None
        node = Node(name, outcome, known, line, token.directive, explanation)
        node.groups, node.beyond = groups, beyond
        group.hint = group.running = ""
        self.put(group, node, output)

    def _below(self, groups: list[Group], name: str, own: Outcome, line: int) -> list[Outcome]:
        """Return the outcomes that the subtests in *groups* require of their parent *name*."""
        for group in groups:
            if group.subtest and group.subtest != name:
                self.ledger.note(
                    Kind.SUBTEST_NAME, line, f"subtest {group.subtest!r} ends as {name!r}"
                )
        below = [o for o in worst_below(groups) if not o.as_expected and o is not Outcome.XPASS]
        if below and own in (Outcome.PASS, Outcome.SKIP):
            self.ledger.note(
                Kind.PARENT_MISMATCH, line, f"{own}, over a case that is {below[0]}: {name}"
            )
            return [Outcome.FAIL, *below]
        return []

    def put(self, group: Group, node: Node, output: Output) -> None:
        """Add *node* to *group* within the limits, and call the listener."""
        if not self.ledger.room(node.line):
            return
        if node.number:
            group.numbers.add(node.number)
            group.highest = max(group.highest, node.number)
        wanted = no_output if node.outcome is Outcome.PASS else output
        node.explanation, node.output = self.ledger.keep(node.line, node.explanation, wanted)
        group.nodes.append(node)
        if self._on_case is not None:
            depth = next((i for i, g in enumerate(self._levels) if g is group), len(self._levels))
            self._on_case(Finished(node.name, node.number, node.outcome, depth, node.line))

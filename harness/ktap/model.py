# SPDX-License-Identifier: GPL-2.0-only
"""The content of a KTAP stream: a tree of plain values that can be written and read as JSON.

A :class:`Report` holds collections (one for each version line), a collection holds cases, and a
case may hold collections of its own.  :mod:`harness.ktap.lexer` decides how a line is read,
:mod:`harness.ktap.builder` how the tree is built.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from harness.outcome import Outcome, worst

SCHEMA = 1
"""Version of the JSON form; a reader refuses other versions."""


class Kind(StrEnum):
    """The subject of a diagnostic."""

    # Errors: the report as a whole cannot be trusted.
    BAD_PLAN = "bad-plan"
    BAIL_OUT = "bail-out"
    BEYOND_PLAN = "beyond-plan"
    CONTRADICTION = "contradiction"
    DAMAGED_RESULT = "damaged-result"
    DUPLICATE_NUMBER = "duplicate-number"
    DUPLICATE_PLAN = "duplicate-plan"
    EMPTY_SUBTEST = "empty-subtest"
    LIMIT = "limit"
    LOST_RESULT = "lost-result"
    PLAN_NOT_RUN = "plan-not-run"
    STRAY_RESULT = "stray-result"
    TOTALS_MISMATCH = "totals-mismatch"
    UNKNOWN_VERSION = "unknown-version"
    # Notes: without effect, or the outcome of a case already shows it.
    DIAGNOSTICS_CUT = "diagnostics-cut"
    KERNEL_MESSAGE = "kernel-message"
    LINE_CUT = "line-cut"
    MISSING_RESULT = "missing-result"
    KUNIT_SKIPPED = "kunit-skipped"
    NAME_CUT = "name-cut"
    NO_HEADER = "no-header"
    NOTHING_TRIED = "nothing-tried"
    NO_PLAN = "no-plan"
    NO_NUMBER = "no-number"
    OUT_OF_ORDER = "out-of-order"
    OUTPUT_CUT = "output-cut"
    PARENT_MISMATCH = "parent-mismatch"
    PREFIX = "prefix"
    PROSE = "prose"
    RECOVERED = "recovered"
    SUBTEST_NAME = "subtest-name"

    @property
    def is_error(self) -> bool:
        """Whether one diagnostic of this kind makes the whole report an error."""
        return self not in _NOTES


_NOTES = frozenset(
    {
        Kind.DIAGNOSTICS_CUT,
        Kind.KERNEL_MESSAGE,
        Kind.KUNIT_SKIPPED,
        Kind.LINE_CUT,
        Kind.MISSING_RESULT,
        Kind.NAME_CUT,
        Kind.NO_HEADER,
        Kind.NOTHING_TRIED,
        Kind.NO_PLAN,
        Kind.NO_NUMBER,
        Kind.OUT_OF_ORDER,
        Kind.OUTPUT_CUT,
        Kind.PARENT_MISMATCH,
        Kind.PREFIX,
        Kind.PROSE,
        Kind.RECOVERED,
        Kind.SUBTEST_NAME,
    }
)


class Diagnostic(msgspec.Struct, frozen=True):
    """One diagnostic of the reader; ``line`` counts from 1, 0 is the whole stream."""

    kind: Kind
    line: int
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable form."""
        return {"kind": self.kind.value, "line": self.line, "text": self.text}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Diagnostic:
        """Return the value that :meth:`to_dict` wrote.

        Raises KeyError or ValueError if *data* is something else.
        """
        return cls(Kind(data["kind"]), int(data["line"]), str(data["text"]))


class Case(msgspec.Struct, frozen=True):
    """One planned or reported test result.

    ``path`` runs from the outermost case to this one; no two cases of a report have the same.
    ``number`` is the KTAP number, None if a subtest ended without a result line.
    ``directive`` is upper-case, or empty.  ``output`` is what was printed before the result,
    shortened in the middle; it is kept only if the outcome is not pass.
    ``line`` counts from 1 and is 0 for a case that no line of the stream reported.
    """

    path: tuple[str, ...]
    outcome: Outcome
    number: int | None
    directive: str
    explanation: str
    output: str
    line: int
    collections: tuple[Collection, ...] = ()

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path[-1]

    @property
    def children(self) -> tuple[Case, ...]:
        """The cases directly below this one, of all its collections."""
        return tuple(case for collection in self.collections for case in collection.cases)

    def walk(self) -> Iterator[Case]:
        """Yield this case and then every case below it, in order of the stream."""
        yield self
        for collection in self.collections:
            yield from collection.walk()

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable form."""
        return {
            "path": list(self.path),
            "outcome": self.outcome.value,
            "number": self.number,
            "directive": self.directive,
            "explanation": self.explanation,
            "output": self.output,
            "line": self.line,
            "collections": [c.to_dict() for c in self.collections],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Case:
        """Return the value that :meth:`to_dict` wrote.

        Raises KeyError or ValueError if *data* is something else.
        """
        number = data["number"]
        return cls(
            tuple(str(part) for part in data["path"]),
            Outcome(data["outcome"]),
            None if number is None else int(number),
            str(data["directive"]),
            str(data["explanation"]),
            str(data["output"]),
            int(data["line"]),
            tuple(Collection.from_dict(c) for c in data["collections"]),
        )


class Collection(msgspec.Struct, frozen=True):
    """The results under one version line, or under one indentation that has none.

    ``version`` is the version line without its indentation, empty if there was none.
    ``plan`` is N of ``1..N``, or None.  ``plan_kept`` is False if the plan was broken: results
    missing, too many, given twice, or a second plan.  ``skip_reason`` is the text of a
    ``1..0 # SKIP`` plan, ``bail_out`` that of a ``Bail out!`` line; None if there was none.
    """

    version: str
    plan: int | None
    plan_kept: bool
    skip_reason: str | None
    bail_out: str | None
    line: int
    cases: tuple[Case, ...]

    @property
    def outcome(self) -> Outcome:
        """The worst outcome in this collection; ``NOTRUN`` if it is empty."""
        outcomes = [case.outcome for case in self.walk()]
        if self.bail_out is not None:
            outcomes.append(Outcome.ERROR)
        if self.skip_reason is not None:
            outcomes.append(Outcome.SKIP)
        return worst(outcomes)

    def walk(self) -> Iterator[Case]:
        """Yield every case, each before the cases below it."""
        for case in self.cases:
            yield from case.walk()

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable form."""
        return {
            "version": self.version,
            "plan": self.plan,
            "plan_kept": self.plan_kept,
            "skip_reason": self.skip_reason,
            "bail_out": self.bail_out,
            "line": self.line,
            "cases": [case.to_dict() for case in self.cases],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Collection:
        """Return the value that :meth:`to_dict` wrote.

        Raises KeyError or ValueError if *data* is something else.
        """
        plan, skip, bail = data["plan"], data["skip_reason"], data["bail_out"]
        return cls(
            str(data["version"]),
            None if plan is None else int(plan),
            bool(data["plan_kept"]),
            None if skip is None else str(skip),
            None if bail is None else str(bail),
            int(data["line"]),
            tuple(Case.from_dict(case) for case in data["cases"]),
        )


class Report(msgspec.Struct, frozen=True):
    """The content of one stream.

    ``lines`` and ``size`` (bytes) measure the stream.  ``broken`` is True if any diagnostic was
    an error, also one that no longer fitted into ``diagnostics``.
    """

    collections: tuple[Collection, ...]
    diagnostics: tuple[Diagnostic, ...]
    broken: bool
    lines: int
    size: int

    def walk(self) -> Iterator[Case]:
        """Yield every case at every depth, each before the cases below it."""
        for collection in self.collections:
            yield from collection.walk()

    def leaves(self) -> Iterator[Case]:
        """Yield the cases that have no cases below them."""
        return (case for case in self.walk() if not case.children)

    def counts(self) -> Counter[Outcome]:
        """Count the leaves by outcome."""
        return Counter(case.outcome for case in self.leaves())

    @property
    def has_results(self) -> bool:
        """Whether there is a result line, a bail-out or a skip of the whole."""
        return any(
            c.skip_reason is not None or c.bail_out is not None for c in self.all_collections()
        ) or any(case.line for case in self.walk())

    @property
    def is_ktap(self) -> bool:
        """Whether the stream has any KTAP, at least a version line or a plan.

        If it has none, the exit status alone may decide.  If a report began and has no results,
        it may not.
        """
        return bool(self.collections) or self.broken

    @property
    def planned(self) -> bool:
        """Whether every collection at the top has a plan, so that a lost result is noticed."""
        return bool(self.collections) and all(c.plan is not None for c in self.collections)

    @property
    def plan_kept(self) -> bool:
        """Whether no plan at any depth was broken; also true without any plan."""
        return all(c.plan_kept for c in self.all_collections())

    @property
    def skip_reason(self) -> str | None:
        """The reason if the stream only has ``1..0 # SKIP``, else None.

        Reasons of several collections are joined by ``; ``.
        """
        reasons = [c.skip_reason for c in self.collections if not c.cases]
        if not reasons or len(reasons) < len(self.collections) or None in reasons:
            return None
        return "; ".join(dict.fromkeys(reason for reason in reasons if reason))

    @property
    def bail_out(self) -> str | None:
        """The text of the first ``Bail out!``, or None."""
        texts = (c.bail_out for c in self.all_collections() if c.bail_out is not None)
        return next(texts, None)

    @property
    def outcome(self) -> Outcome:
        """The worst of every case, collection and diagnostic; ``NOTRUN`` if there is nothing."""
        outcomes = [c.outcome for c in self.collections]
        if self.broken:
            outcomes.append(Outcome.ERROR)
        return worst(outcomes)

    def all_collections(self) -> Iterator[Collection]:
        """Yield the collections of every depth."""
        yield from self.collections
        for case in self.walk():
            yield from case.collections

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable form; its ``outcome`` is information and not read back."""
        return {
            "schema": SCHEMA,
            "outcome": self.outcome.value,
            "broken": self.broken,
            "lines": self.lines,
            "size": self.size,
            "diagnostics": [d.to_dict() for d in self.diagnostics],
            "collections": [c.to_dict() for c in self.collections],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Report:
        """Return the value that :meth:`to_dict` wrote.

        Raises KeyError or ValueError if *data* is something else.
        """
        if data["schema"] != SCHEMA:
            raise ValueError(f"KTAP report schema {data['schema']!r}, expected {SCHEMA}")
        return cls(
            tuple(Collection.from_dict(c) for c in data["collections"]),
            tuple(Diagnostic.from_dict(d) for d in data["diagnostics"]),
            bool(data["broken"]),
            int(data["lines"]),
            int(data["size"]),
        )

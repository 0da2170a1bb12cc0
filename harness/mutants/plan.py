# SPDX-License-Identifier: GPL-2.0-only
"""The mutants of a file: the faults for its changed lines."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from harness.model.mutants import Mutant
from harness.mutants.operators import Edit, early_returns, edits
from harness.mutants.schemata import Variant
from harness.mutants.syntax import File, Function, descend, keeps_state, labels_of

if TYPE_CHECKING:
    from tree_sitter import Node

Span = tuple[int, int]
_SHOWN = 160
_MACRO = b"void f(void) { "
_KINDS = (".c", ".h")
_PLAIN = re.compile(r"[A-Za-z0-9_./+,@=~-]+")


def can_hold(path: str) -> bool:
    """Whether faults are planted in the file: it is C, and not a header that tests see, too.

    Its name has nothing that a ``#line`` cannot hold.
    """
    plain = _PLAIN.fullmatch(path) is not None
    return plain and path.endswith(_KINDS) and "uapi" not in path.split("/")[:-1]


class _Found(msgspec.Struct, frozen=True):
    edit: Edit
    function: Function | None
    alone: bool
    scopes: tuple[Span, ...]
    line: int
    last_line: int


def mutants_of(
    path: str, source: bytes, changed: Mapping[int, int], first_number: int = 1
) -> list[Mutant]:
    """Return the mutants of the file *path*, numbered from *first_number*.

    *changed* has by each changed line of *source*, from 1, the number of its patch.  Two changes
    that give the same text are one mutant.
    """
    file = File(source)
    names: dict[str, int] = {}
    texts: set[tuple[int, int, bytes]] = set()
    made: list[Mutant] = []
    for found in sorted(_all(file, changed), key=lambda each: (each.line, each.edit.start)):
        key = _minimal(source, found.edit)
        if key in texts or (not key[2] and key[0] == key[1]) or not _is_text(found.edit.text):
            continue
        texts.add(key)
        lines = [line for line in changed if found.line <= line <= found.last_line]
        before = _words(source[slice(*found.edit.shown)])
        after = _words(_after(source, found.edit))
        function = found.function.name if found.function else ""
        name = f"{path}:{function}: {before} => {after}"
        names[name] = names.get(name, 0) + 1
        made.append(
            Mutant(
                number=first_number + len(made),
                name=name + (f" #{names[name]}" if names[name] > 1 else ""),
                path=path,
                function=function,
                line=found.line,
                last_line=found.last_line,
                patch=changed[lines[0]],
                operator=found.edit.operator,
                before=before,
                after=after,
                start=found.edit.start,
                end=found.edit.end,
                text=found.edit.text.decode(),
                scopes=found.scopes,
                alone=found.alone,
            )
        )
    return made


def _all(file: File, changed: Collection[int]) -> Iterator[_Found]:
    ends: list[Span] = []
    for function in file.functions():
        ends.append((function.start, function.end))
        yield from _in_function(file, function, changed)
    for node in descend(file.root, into=_OUTSIDE):
        if any(start <= node.start_byte < end for start, end in ends):
            continue
        if not _touches(node, changed):
            continue
        if node.type == "declaration":
            yield from _outside(file, edits(file, node), changed)
        elif node.type in ("preproc_def", "preproc_function_def"):
            yield from _outside(file, _in_macro(file, node), changed)


_OUTSIDE = frozenset(
    {"translation_unit", "preproc_if", "preproc_ifdef", "preproc_else", "preproc_elif"}
)


def _in_function(file: File, function: Function, changed: Collection[int]) -> Iterator[_Found]:
    whole = (file.line_of(function.start), file.line_of(function.end - 1))
    if not any(function.first <= line <= whole[1] for line in changed):
        return
    alone = keeps_state(file, function.body)
    found = list(edits(file, function.body, function.returns))
    if whole[0] in changed:
        found += early_returns(function.body, function.returns)
    for edit in found:
        line, last = _lines(file, edit)
        if not any(line <= each <= last for each in changed):
            continue
        statement = (file.line_of(edit.statement[0]), file.line_of(edit.statement[1] - 1))
        scopes = tuple(dict.fromkeys(((line, last), statement, whole)))
        if edit.operator == "early return":
            # Whatever runs in the function runs its beginning.
            scopes = (whole,)
        yield _Found(edit, function, alone, scopes, line, last)


def _outside(file: File, found: Iterable[Edit], changed: Collection[int]) -> Iterator[_Found]:
    """Yield faults of what is in no function: all that runs in the file can meet it."""
    whole = (1, file.line_of(len(file.source)))
    for edit in found:
        line, last = _lines(file, edit)
        if any(line <= each <= last for each in changed):
            yield _Found(edit, None, True, (whole,), line, last)


def _in_macro(file: File, node: Node) -> Iterator[Edit]:
    """Yield faults of a macro's text, where that is C by itself."""
    value = node.child_by_field_name("value")
    if value is None:
        return
    text = file.text(value)
    # Of the same length, so that offsets stay.
    inner = File(_MACRO + text.replace(b"\\\n", b" \n") + b"; }")
    shift = value.start_byte - len(_MACRO)
    functions = list(inner.functions())
    if len(functions) != 1 or functions[0].body.has_error:
        return
    for edit in edits(inner, functions[0].body):
        if edit.text == b";" or edit.end + shift > value.end_byte:
            continue
        yield Edit(
            edit.start + shift,
            edit.end + shift,
            edit.text.replace(b" \n", b"\\\n"),
            edit.operator,
            (edit.shown[0] + shift, edit.shown[1] + shift),
            (value.start_byte, value.end_byte),
        )


def _touches(node: Node, changed: Collection[int]) -> bool:
    return any(node.start_point[0] < line <= node.end_point[0] + 1 for line in changed)


def _lines(file: File, edit: Edit) -> Span:
    return file.line_of(edit.start), file.line_of(max(edit.start, edit.end - 1))


def _minimal(source: bytes, edit: Edit) -> tuple[int, int, bytes]:
    """Return the change without what stays the same at its ends, to tell equal ones."""
    old, new = source[edit.start : edit.end], edit.text
    same = 0
    while same < min(len(old), len(new)) and old[same] == new[same]:
        same += 1
    old, new, start = old[same:], new[same:], edit.start + same
    same = 0
    while same < min(len(old), len(new)) and old[-1 - same] == new[-1 - same]:
        same += 1
    return start, edit.end - same, new[: len(new) - same]


def _after(source: bytes, edit: Edit) -> bytes:
    start, end = edit.shown
    return source[start : edit.start] + edit.text + source[edit.end : max(end, edit.end)]


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _words(text: bytes) -> str:
    words = " ".join(text.decode(errors="replace").replace("\\\n", " ").split())
    return words if len(words) <= _SHOWN else f"{words[: _SHOWN - 1]}…"


def applied(source: bytes, mutant: Mutant) -> bytes:
    """Return the file of *mutant* with its fault."""
    return source[: mutant.start] + mutant.text.encode() + source[mutant.end :]


def diff_of(source: bytes, mutant: Mutant) -> str:
    """Return the fault as a unified diff."""
    old, new = (
        each.decode(errors="replace").splitlines(keepends=True)
        for each in (source, applied(source, mutant))
    )
    name = mutant.path
    return "".join(difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", n=2))


def variants_of(source: bytes, mutants: Iterable[Mutant]) -> list[Variant]:
    """Return what :func:`harness.mutants.schemata.plant` needs for those *mutants* of one file.

    None of them may be one that is built alone.
    """
    file = File(source)
    functions = list(file.functions())
    labels = {each.start: labels_of(file, each.body) for each in functions}
    made = []
    for mutant in mutants:
        function = next(each for each in functions if each.start < mutant.start <= each.end)
        whole = applied(source, mutant)
        end = function.end + len(whole) - len(source)
        made.append(
            Variant(
                number=mutant.number,
                start=function.start,
                end=function.end,
                body=whole[function.start : end],
                labels=labels[function.start],
            )
        )
    return made

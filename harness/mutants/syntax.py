# SPDX-License-Identifier: GPL-2.0-only
"""The syntax tree of a kernel's C file, as tree-sitter has it.

tree-sitter knows C and not the kernel's macros.  Some of these look like no C at all: loops such as
``for_each_node(n)`` and heads such as ``SYSCALL_DEFINE1(name, int, flags)``.  So the text that is
parsed has C of the same length in their place; offsets and lines are those of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

import msgspec

from harness.errors import MachineError

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

_LOOP = re.compile(rb"^[ \t}]*(?:else[ \t]+)?(?P<name>\w*for_each\w*)[ \t]*(?=\()", re.MULTILINE)
_HEAD = re.compile(
    rb"^(?P<macro>(?:\w+_)?(?:SYSCALL_DEFINE|BPF_CALL_)\d\w*)\((?P<name>\w+)(?P<rest>[^;{}]*?)\)"
    rb"(?=\s*\{)",
    re.MULTILINE,
)
_LINKAGE = re.compile(
    rb"\b(?:__init|__exit|__always_inline|noinline\w*|notrace|noinstr|__sched|__cold|__latent_entropy"
    rb"|__must_check|__maybe_unused|asmlinkage|__visible|__read_mostly|__percpu|__user|__rcu|__iomem)\b"
)


class Function(msgspec.Struct, frozen=True):
    """A function with a body."""

    name: str
    start: int
    """Offset of the body's opening brace, in bytes."""
    end: int
    """Offset behind its closing brace."""
    first: int
    """Line at which its head begins, from 1."""
    returns: str
    """The text before its name, such as ``static int``."""
    body: Node


class File:
    """A file of C."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.loops: frozenset[int] = frozenset()
        """Offsets of loops that are macros; in the tree they are ``while`` statements."""
        # The tree refers to what it was made from.
        self._parsed = self._as_c(source)
        self._tree = _parser().parse(self._parsed)

    def _as_c(self, source: bytes) -> bytes:
        text = bytearray(source)
        loops = set()
        for found in _LOOP.finditer(source):
            start, end = found.span("name")
            close = _behind(source, found.end())
            # A call of a function with such a name ends in a semicolon, and a macro's own
            # definition is no statement.
            if close is None or source[close:].lstrip()[:1] in (b";", b",", b")", b""):
                continue
            if end - start < len(b"while"):
                continue
            text[start:end] = b"while".ljust(end - start)
            loops.add(start)
        for found in _HEAD.finditer(source):
            whole = found[0]
            head = b"int " + found["name"] + b"(void)"
            if len(head) > len(whole.split(b"\n", 1)[0]):
                continue
            blank = re.sub(rb"[^\n]", b" ", whole[len(head) :])
            text[found.start() : found.end()] = head + blank
        for found in _LINKAGE.finditer(source):
            start, end = found.span()
            text[start:end] = b" " * (end - start)
        self.loops = frozenset(loops)
        return bytes(text)

    @property
    def root(self) -> Node:
        """The whole tree."""
        return self._tree.root_node

    def text(self, node: Node) -> bytes:
        """Return what the file has where *node* is."""
        return self.source[node.start_byte : node.end_byte]

    def line_of(self, offset: int) -> int:
        """Return the line of an offset, from 1."""
        return self.source.count(b"\n", 0, offset) + 1

    def functions(self) -> Iterator[Function]:
        """Yield the functions of the file in their order, those behind ``#if`` among them."""
        for node in descend(self.root, into=_OUTER):
            if node.type != "function_definition":
                continue
            body = node.child_by_field_name("body")
            name = _name_of(node)
            if body is None or name is None or body.type != "compound_statement":
                continue
            yield Function(
                name=self._parsed[name.start_byte : name.end_byte].decode(errors="replace"),
                start=body.start_byte,
                end=body.end_byte,
                first=node.start_point[0] + 1,
                returns=self._parsed[node.start_byte : name.start_byte].decode(errors="replace"),
                body=body,
            )


_OUTER = frozenset(
    {"translation_unit", "preproc_if", "preproc_ifdef", "preproc_else", "preproc_elif", "ERROR"}
)


def descend(node: Node, into: frozenset[str] | None = None) -> Iterator[Node]:
    """Yield the nodes below *node* in the order of the text, *node* itself not among them.

    With *into* only nodes of these types are looked into.
    """
    for child in node.children:
        yield child
        if into is None or child.type in into:
            yield from descend(child, into)


def labels_of(file: File, body: Node) -> tuple[str, ...]:
    """Return the labels of ``goto`` that *body* defines, in their order."""
    found = []
    for node in descend(body):
        if node.type == "labeled_statement" and (label := node.child_by_field_name("label")):
            found.append(file.text(label).decode(errors="replace"))
    return tuple(dict.fromkeys(found))


def keeps_state(file: File, body: Node) -> bool:
    """Whether *body* has variables that live longer than a call, so that a copy has others."""
    for node in descend(body):
        if node.type != "declaration":
            continue
        words = {file.text(child) for child in node.children}
        if b"static" in words and b"const" not in words:
            return True
    return False


def _name_of(node: Node) -> Node | None:
    """Return the name of a function's definition; None where it has no declarator of one."""
    found = node.child_by_field_name("declarator")
    while found is not None and found.type != "identifier":
        inner = found.child_by_field_name("declarator")
        if inner is None:
            inner = next((each for each in found.children if each.type == "identifier"), None)
        found = inner
    return found


def _behind(source: bytes, start: int) -> int | None:
    """Return the offset behind the parenthesis that closes the one at *start*; None without."""
    depth = 0
    for found in re.compile(rb"[()]").finditer(source, start):
        depth += 1 if found[0] == b"(" else -1
        if depth == 0:
            return found.end()
    return None


@cache
def _parser() -> Parser:
    try:
        import tree_sitter
        import tree_sitter_c
    except ImportError as error:
        raise MachineError(
            "faults cannot be planted without a parser of C",
            why=str(error),
            hint="run `make setup`, or: pip install tree-sitter tree-sitter-c",
        ) from error
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_c.language()))

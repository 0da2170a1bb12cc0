# SPDX-License-Identifier: GPL-2.0-only
"""Which faults can be planted in a piece of C: small changes, as a tired developer makes them.

Each is one change of the text.  Whether the compiler takes it is found out later, and so is whether
it changes anything that can be observed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from harness.mutants.syntax import File

if TYPE_CHECKING:
    from tree_sitter import Node


class Edit(msgspec.Struct, frozen=True):
    """One change of a file."""

    start: int
    """Offset of the first byte that is replaced."""
    end: int
    """Offset behind the last one; that of *start* where something is put in."""
    text: bytes
    operator: str
    """The kind of the change, for display."""
    shown: tuple[int, int]
    """Offsets of the text around it that says most to a reader."""
    statement: tuple[int, int]
    """Offsets of the statement around it."""


_NEGATED = {b"<": b">=", b">=": b"<", b">": b"<=", b"<=": b">", b"==": b"!=", b"!=": b"=="}
_SHIFTED = {b"<": b"<=", b"<=": b"<", b">": b">=", b">=": b">"}
_SWAPPED = {
    b"+": b"-", b"-": b"+", b"*": b"/", b"/": b"*", b"%": b"/", b"<<": b">>", b">>": b"<<",
    b"&": b"|", b"|": b"&", b"^": b"|",
}  # fmt: skip
_ASSIGNED = {
    b"+=": b"-=", b"-=": b"+=", b"|=": b"&=", b"&=": b"|=", b"^=": b"|=", b"<<=": b">>=",
    b">>=": b"<<=", b"*=": b"/=", b"/=": b"*=",
}  # fmt: skip
_OTHER_CALLEE = {
    b"min": b"max", b"max": b"min", b"min_t": b"max_t", b"max_t": b"min_t",
    b"round_up": b"round_down", b"round_down": b"round_up",
    b"PAGE_ALIGN": b"PAGE_ALIGN_DOWN", b"PAGE_ALIGN_DOWN": b"PAGE_ALIGN",
    b"ALIGN": b"ALIGN_DOWN", b"ALIGN_DOWN": b"ALIGN",
}  # fmt: skip
_NUMBER = re.compile(rb"(?P<digits>0[xX][0-9a-fA-F]+|\d+)(?P<suffix>[uUlL]*)")
_CODE = re.compile(rb"-\s*(?P<code>E[A-Z0-9]{2,})")
_TALK = re.compile(
    rb"(?:pr|dev|netdev|drm|kvm|vcpu|xfs|ext4|btrfs)_(?:emerg|alert|crit|err\w*|warn\w*|notice|info\w*"
    rb"|debug\w*|dbg\w*|unimpl|cont)"
    rb"|printk\w*|_printk|trace_\w+|dump_stack|WARN\w*|VM_WARN\w*|BUG_ON|VM_BUG\w*|KVM_BUG\w*"
    rb"|KVM_MMU_WARN_ON|BUILD_BUG\w*|static_assert|lockdep_\w+|might_\w+|cond_resched\w*|assert_\w+"
    rb"|ASSERT\w*|MODULE_\w+|EXPORT_SYMBOL\w*|kasan_\w+|kmsan_\w+|KUNIT_\w+"
)
"""Calls that only print or check something."""
_LOCK = re.compile(
    rb"(?i:\w*(?:lock|unlock)(?:_\w+)?|\w*rcu_read_\w+|\w*seqcount\w*|\w*seqretry\w*|\w*preempt_\w+"
    rb"|local_irq_\w+|down_\w+|up_\w+|\w*barrier\w*|smp_\w+|synchronize_\w+|\w*_acquire|\w*_release)"
)
_REFERENCE = re.compile(
    rb"\w*(?:get|put|grab|hold|ref)(?:_\w+)?|iput|igrab|fput|fget\w*|mntget|mntput|\w*refcount\w*"
    rb"|\w*free(?:_\w+)?"
)
_UNEVALUATED = frozenset({
    "sizeof_expression", "alignof_expression", "offsetof_expression", "type_descriptor",
    "gnu_asm_expression", "attribute_specifier", "string_literal", "concatenated_string",
    "char_literal", "comment", "preproc_include", "parameter_list", "typeof_specifier",
})  # fmt: skip
_JUMPS = frozenset({"break_statement", "continue_statement", "goto_statement"})
_STATEMENTS = frozenset({
    "expression_statement", "return_statement", "if_statement", "while_statement", "do_statement",
    "for_statement", "switch_statement", "declaration", "case_statement", *_JUMPS,
})  # fmt: skip


def edits(file: File, node: Node, returns: str = "") -> Iterator[Edit]:
    """Yield the changes that can be made below *node*, in the order of the text.

    *returns* is what the function around it returns, as it is written: ``static int``.
    """
    walker = _Walker(file, returns)
    yield from walker.below(node, (node.start_byte, node.end_byte))


def early_returns(body: Node, returns: str) -> Iterator[Edit]:
    """Yield returns from the beginning of a function's *body*."""
    inner = [each for each in body.named_children if each.type != "comment"]
    if not inner or (len(inner) == 1 and inner[0].type == "return_statement"):
        return
    start = body.start_byte + 1
    for value in _values(returns):
        text = b" return" + (b" " + value if value else b"") + b";"
        shown = (body.start_byte, start)
        yield Edit(start, start, text, "early return", shown, (start, start))


def _values(returns: str) -> tuple[bytes, ...]:
    words = re.findall(r"\w+|\*", returns)
    if "*" in words:
        return (b"(void *)0",)
    if "void" in words:
        return (b"",)
    return (b"0", b"1") if "bool" in words else (b"0",)


class _Walker:
    def __init__(self, file: File, returns: str) -> None:
        self._file = file
        self._returns = returns

    def below(self, node: Node, statement: tuple[int, int]) -> Iterator[Edit]:
        for child in node.children:
            yield from self.at(child, statement)

    def at(self, node: Node, statement: tuple[int, int]) -> Iterator[Edit]:
        kind = node.type
        if kind in _UNEVALUATED or kind == "ERROR" or node.is_missing or self._talks(node):
            return
        if kind in _STATEMENTS:
            statement = self._statement(node)
        rule = _RULES.get(kind)
        if rule is not None:
            yield from rule(self, node, statement)
        # The condition of a loop that is a macro is none: these are its arguments.
        if not (kind == "while_statement" and node.start_byte in self._file.loops):
            yield from self.below(node, statement)
        elif body := node.child_by_field_name("body"):
            yield from self.at(body, statement)

    def _statement(self, node: Node) -> tuple[int, int]:
        """Return the part of a statement that is not of the statements in it."""
        for name in ("consequence", "body"):
            inner = node.child_by_field_name(name)
            if inner is not None and node.type != "do_statement":
                return node.start_byte, inner.start_byte
        if node.type == "case_statement":
            colon = next((each for each in node.children if each.type == ":"), None)
            return node.start_byte, colon.end_byte if colon else node.end_byte
        return node.start_byte, node.end_byte

    def _callee(self, node: Node) -> bytes:
        """Return the name of what is called by *node*, a call."""
        called = node.child_by_field_name("function")
        if called is None:
            return b""
        if called.type == "field_expression":
            called = called.child_by_field_name("field") or called
        return self._file.text(called)

    def _talks(self, node: Node) -> bool:
        return node.type == "call_expression" and bool(_TALK.fullmatch(self._callee(node)))

    def _edit(
        self,
        node: Node,
        text: bytes,
        operator: str,
        statement: tuple[int, int],
        shown: Node | None = None,
    ) -> Edit:
        around = shown or node
        return Edit(
            node.start_byte,
            node.end_byte,
            text,
            operator,
            (around.start_byte, around.end_byte),
            statement,
        )

    # Conditions

    def condition(self, node: Node, statement: tuple[int, int]) -> Iterator[Edit]:
        """Negate the condition of an if; let that of a loop never hold."""
        if node.start_byte in self._file.loops:
            semicolon = b";"
            yield self._edit(node, semicolon, "loop dropped", statement)
            return
        condition = node.child_by_field_name("condition")
        if condition is None:
            return
        inner = condition
        if condition.type == "parenthesized_expression":
            named = [each for each in condition.named_children if each.type != "comment"]
            if len(named) != 1:
                return
            inner = named[0]
        if inner.type in ("number_literal", "true", "false") or inner.has_error:
            return
        if node.type in ("if_statement", "conditional_expression"):
            yield self._negated(inner, statement)
        else:
            yield self._edit(inner, b"0", "condition", statement)

    def _negated(self, node: Node, statement: tuple[int, int]) -> Edit:
        operator = node.child_by_field_name("operator")
        if node.type == "binary_expression" and operator is not None:
            other = _NEGATED.get(self._file.text(operator))
            if other:
                return self._edit(operator, other, "condition", statement, node)
        argument = node.child_by_field_name("argument")
        if (
            node.type == "unary_expression"
            and operator is not None
            and argument is not None
            and self._file.text(operator) == b"!"
        ):
            return self._edit(node, self._file.text(argument), "condition", statement)
        return self._edit(node, b"!(" + self._file.text(node) + b")", "condition", statement)

    def binary(self, node: Node, statement: tuple[int, int]) -> Iterator[Edit]:
        """Drop an operand of a logical operator, shift a boundary, swap an operator."""
        operator = node.child_by_field_name("operator")
        left, right = (node.child_by_field_name(side) for side in ("left", "right"))
        if operator is None or left is None or right is None:
            return
        sign = self._file.text(operator)
        if sign in (b"&&", b"||"):
            for kept in (left, right):
                yield self._edit(node, self._file.text(kept), "condition", statement)
            return
        if sign in _SHIFTED:
            yield self._edit(operator, _SHIFTED[sign], "boundary", statement, node)
        if sign in _NEGATED:
            yield self._edit(operator, _NEGATED[sign], "condition", statement, node)
        if sign in _SWAPPED:
            yield self._edit(operator, _SWAPPED[sign], "arithmetic", statement, node)

    def unary(self, node: Node, statement: tuple[int, int]) -> Iterator[Edit]:
        """Drop a sign; replace an error code."""
        text = self._file.text(node)
        if code := _CODE.fullmatch(text):
            other = b"-EPERM" if code["code"] != b"EPERM" else b"-EINVAL"
            yield self._edit(node, other, "error code", statement)
            yield self._edit(node, b"0", "error code", statement)
            return
        operator, argument = (node.child_by_field_name(each) for each in ("operator", "argument"))
        if operator is None or argument is None or self._file.text(operator) == b"+":
            return
        yield self._edit(node, self._file.text(argument), "sign dropped", statement)

    # Values

    def number(self, node: Node, statement: tuple[int, int]) -> Iterator[Edit]:
        """Replace a number by its neighbour."""
        found = _NUMBER.fullmatch(self._file.text(node))
        if found is None:
            return
        digits = found["digits"].decode()
        octal = len(digits) > 1 and digits.isdecimal() and digits[0] == "0"
        try:
            value = int(digits, 8 if octal else 0)
        except ValueError:
            return
        other = 0 if value == 1 else value + 1
        shape = hex(other) if digits[:2].lower() == "0x" else str(other)
        shown = node.parent if node.parent is not None else node
        if shown.type not in ("binary_expression", "assignment_expression", "return_statement"):
            shown = node
        yield self._edit(node, shape.encode() + found["suffix"], "constant", statement, shown)

    def truth(self, node: Node, statement: tuple[int, int]) -> Iterator[Edit]:
        """Swap true and false."""
        other = b"false" if node.type == "true" else b"true"
        yield self._edit(node, other, "constant", statement)

    def compound(self, node: Node, statement: tuple[int, int]) -> Iterator[Edit]:
        """Swap the operator of ``+=`` and its like."""
        operator = node.child_by_field_name("operator")
        if operator is not None and (other := _ASSIGNED.get(self._file.text(operator))):
            yield self._edit(operator, other, "arithmetic", statement, node)

    def update(self, node: Node, statement: tuple[int, int]) -> Iterator[Edit]:
        """Count in the other direction."""
        operator = node.child_by_field_name("operator")
        if operator is not None:
            other = b"--" if self._file.text(operator) == b"++" else b"++"
            yield self._edit(operator, other, "arithmetic", statement, node)

    def call(self, node: Node, statement: tuple[int, int]) -> Iterator[Edit]:
        """Call the opposite of a function that has one."""
        called = node.child_by_field_name("function")
        if called is not None and (other := _OTHER_CALLEE.get(self._file.text(called))):
            yield self._edit(called, other, "arithmetic", statement, node)

    def initializer(self, node: Node, statement: tuple[int, int]) -> Iterator[Edit]:
        """Leave out a member of an initialiser."""
        following = node.next_sibling
        end = following.end_byte if following is not None and following.type == "," else None
        yield Edit(
            node.start_byte,
            end or node.end_byte,
            b"",
            "initialiser dropped",
            (node.start_byte, node.end_byte),
            (node.start_byte, node.end_byte),
        )

    # Statements

    def statement(self, node: Node, statement: tuple[int, int]) -> Iterator[Edit]:
        """Leave out a call or an assignment."""
        named = [each for each in node.named_children if each.type != "comment"]
        if len(named) != 1 or node.has_error:
            return
        inner = named[0]
        if inner.type == "call_expression":
            if self._talks(inner):
                return
            name = self._callee(inner)
            kind = "call dropped"
            if _LOCK.fullmatch(name):
                kind = "lock dropped"
            elif _REFERENCE.fullmatch(name):
                kind = "reference dropped"
        elif inner.type in ("assignment_expression", "update_expression"):
            kind = "assignment dropped"
        else:
            return
        yield self._edit(node, b";", kind, statement)

    def jump(self, node: Node, statement: tuple[int, int]) -> Iterator[Edit]:
        """Leave out a jump."""
        yield self._edit(node, b";", "jump dropped", statement)

    def returned(self, node: Node, statement: tuple[int, int]) -> Iterator[Edit]:
        """Return something else; what is a constant anyway is changed as such."""
        named = [each for each in node.named_children if each.type != "comment"]
        if len(named) != 1 or node.has_error:
            return
        value = named[0]
        text = self._file.text(value)
        if value.type in ("number_literal", "true", "false", "null") or _CODE.fullmatch(text):
            return
        for other in _values(self._returns):
            if other and other != text:
                yield self._edit(value, other, "return value", statement, node)


_Rule = Callable[[_Walker, "Node", tuple[int, int]], Iterator[Edit]]
_RULES: dict[str, _Rule] = {
    "if_statement": _Walker.condition,
    "while_statement": _Walker.condition,
    "do_statement": _Walker.condition,
    "for_statement": _Walker.condition,
    "conditional_expression": _Walker.condition,
    "binary_expression": _Walker.binary,
    "unary_expression": _Walker.unary,
    "number_literal": _Walker.number,
    "true": _Walker.truth,
    "false": _Walker.truth,
    "assignment_expression": _Walker.compound,
    "update_expression": _Walker.update,
    "call_expression": _Walker.call,
    "initializer_pair": _Walker.initializer,
    "expression_statement": _Walker.statement,
    "return_statement": _Walker.returned,
    **dict.fromkeys(_JUMPS, _Walker.jump),
}

# SPDX-License-Identifier: GPL-2.0-only
"""Instructions of a test, in total and per kernel function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from harness.model.metrics import Metric

USER_SPACE = "[user space]"
"""The frame for all code outside the kernel."""

Stack = tuple[str, ...]
"""Functions of the kernel from the outermost to the innermost."""


class Symbols(msgspec.Struct, frozen=True):
    """The functions of a kernel: their first addresses, in order, and their names."""

    addresses: tuple[int, ...]
    names: tuple[str, ...]

    def range(self, name: str) -> tuple[int, int] | None:
        """Return the first address of the function *name* and that of the next one."""
        if name not in self.names:
            return None
        at = self.names.index(name)
        after = [each for each in self.addresses[at:] if each > self.addresses[at]]
        return (self.addresses[at], after[0]) if after else None


class Counts(msgspec.Struct, frozen=True):
    """The instructions of a test, and of everything else that ran meanwhile."""

    user: int
    kernel: int
    elsewhere: int
    """In the context of other tasks: threads of the kernel, and the idle one; not of the agent."""
    stacks: tuple[tuple[tuple[str, ...], int], ...] = ()
    """Calls from the outermost inwards with instructions of the innermost; only with symbols."""
    calls: Mapping[str, int] = msgspec.field(default_factory=dict)
    """How often each function was entered; only with symbols."""
    lost: int = 0
    """Instructions that are not part of *stacks*."""


class FunctionCost(msgspec.Struct, frozen=True, array_like=True):
    """The instructions of a test in one function of the kernel."""

    name: str
    own: int
    """Those of the function itself."""
    total: int
    """Including those of its callees."""
    calls: int = 0
    """Number of calls."""


def figures(counts: Counts) -> tuple[Metric, ...]:
    """Return *counts* as metrics of a test."""
    values = {
        "instructions": counts.user + counts.kernel,
        "instructions_user": counts.user,
        "instructions_kernel": counts.kernel,
        "instructions_elsewhere": counts.elsewhere,
    }
    return tuple(
        Metric(name=name, value=value, unit="instructions", better="less", by="qemu", exact=True)
        for name, value in values.items()
    )


def by_function(
    stacks: Iterable[tuple[Stack, int]], calls: Mapping[str, int]
) -> tuple[FunctionCost, ...]:
    """Return what each function takes, those with the most instructions of their own first."""
    own: dict[str, int] = {}
    total: dict[str, int] = {}
    for stack, count in stacks:
        own[stack[-1]] = own.get(stack[-1], 0) + count
        # A function that calls itself counts once.
        for name in set(stack):
            total[name] = total.get(name, 0) + count
    ordered = sorted(total, key=lambda name: (-own.get(name, 0), name))
    return tuple(
        FunctionCost(name, own.get(name, 0), total[name], calls.get(name, 0)) for name in ordered
    )


def fold(stacks: Iterable[tuple[Stack, int]]) -> str:
    """Return *stacks* as folded lines, ``outer;inner COUNT``, as tools for flame graphs read."""
    return "".join(f"{';'.join(stack)} {count}\n" for stack, count in stacks)


def unfold(text: str) -> dict[Stack, int]:
    """Return the stacks in folded lines; ValueError where *text* is something else."""
    found: dict[Stack, int] = {}
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        key = tuple(stack.split(";"))
        found[key] = found.get(key, 0) + int(count)
    return found

# SPDX-License-Identifier: GPL-2.0-only
"""Many versions of a file's functions in one file; a variable selects the one that runs.

A *variant* is another body for one function.  The function gets all of its bodies::

    {
            if (__builtin_expect(harness_mutant == 17, 0)) {
                    … the whole body of variant 17 …
            } else if (…) {
            } else {
                    … its own body …
            }
    }

A whole body and not only the changed expression: so nothing has to be found out about types,
macros, constants or operands that must be evaluated once, and whatever can be changed within a
function can be expressed.  The compiler is told that each variant comes from a file of its own,
so its errors name the variants that do not compile.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

SELECTOR = "harness_mutant"
"""The variable of the kernel that has the number of the variant that runs; 0 is none."""
PARAMETER = f"/sys/module/{SELECTOR}/parameters/number"
"""Where it is set in a guest."""
DEFINITION = f"kernel/{SELECTOR}.c"
"""The file that is added to the kernel."""
_MAKEFILE = "kernel/Makefile"
_FILE = f"{SELECTOR}-"
_NAMED = re.compile(rf"\b{_FILE}(\d+)/")
_QUIET = (
    "declaration-after-statement", "unused", "unused-variable", "unused-but-set-variable",
    "unused-label", "unused-value", "unused-function", "unused-result", "maybe-uninitialized",
    "uninitialized", "return-type", "parentheses", "logical-not-parentheses",
    "implicit-fallthrough", "bool-compare", "bool-operation", "type-limits", "address",
    "int-in-bool-context", "sign-compare", "tautological-compare", "empty-body",
    "misleading-indentation", "array-bounds", "stringop-overflow", "stringop-overread",
    "shift-count-overflow", "shift-count-negative", "overflow", "nonnull", "div-by-zero",
    "frame-larger-than=",
)  # fmt: skip
"""Warnings that a fault may well cause; some directories of the kernel make errors of them."""


class Variant(msgspec.Struct, frozen=True):
    """Another body of one function of a file."""

    number: int
    start: int
    """Offset of the function's opening brace in the file, in bytes."""
    end: int
    """Offset behind its closing brace."""
    body: bytes
    """What stands there instead, with its braces."""
    labels: tuple[str, ...] = ()
    """The labels that *body* defines."""


def plant(path: str, source: bytes, variants: Iterable[Variant]) -> bytes:
    """Return the file *path* with *source* and all of *variants*, each for its function.

    Without a variant that is *source*.  Lines of its own keep their numbers.
    """
    by_function: dict[tuple[int, int], list[Variant]] = {}
    for variant in variants:
        by_function.setdefault((variant.start, variant.end), []).append(variant)
    if not by_function:
        return source
    parts = [preamble(path)]
    done = 0
    for (start, end), mine in sorted(by_function.items()):
        parts += [source[done:start], _bodies(path, source, start, end, mine)]
        done = end
    return b"".join([*parts, source[done:]])


def preamble(path: str) -> bytes:
    """Return what stands before the first line of a file with variants."""
    quiet = "".join(f'#pragma GCC diagnostic ignored "-W{name}"\n' for name in _QUIET)
    text = f'#pragma GCC diagnostic ignored "-Wpragmas"\n{quiet}extern unsigned int {SELECTOR};\n'
    if path.endswith(".h"):
        text = f"#if defined(__KERNEL__) && !defined(__ASSEMBLY__)\n{text}#endif\n"
    return f'{text}#line 1 "{path}"\n'.encode()


def _bodies(path: str, source: bytes, start: int, end: int, variants: Sequence[Variant]) -> bytes:
    first = source.count(b"\n", 0, start) + 1
    last = source.count(b"\n", 0, end) + 1
    parts = [b"{\n"]
    for variant in variants:
        head = f"if (__builtin_expect({SELECTOR} == {variant.number}, 0)) {{\n"
        if variant.labels:
            head += f"__label__ {', '.join(variant.labels)};\n"
        head += f'#line {first} "{file_of(variant.number, path)}"\n'
        parts += [head.encode(), variant.body[1:-1], b"\n} else "]
    parts += [f'{{\n#line {first} "{path}"\n'.encode(), source[start + 1 : end - 1]]
    parts += [f'\n}}\n#line {last} "{path}"\n}}'.encode()]
    return b"".join(parts)


def file_of(number: int, path: str) -> str:
    """Return the name of the file that the compiler takes a variant for."""
    return f"{_FILE}{number}/{path}"


def numbers_in(text: str) -> frozenset[int]:
    """Return the numbers of the variants that a message of the compiler names."""
    return frozenset(int(found) for found in _NAMED.findall(text))


def with_selector(makefile: bytes) -> dict[str, bytes]:
    """Return the files that give a kernel the variable, by name.

    *makefile* is the kernel's own ``kernel/Makefile``.
    """
    code = f"""\
// SPDX-License-Identifier: GPL-2.0-only
/* Which of the faults that were planted in this kernel happens. */
#include <linux/cache.h>
#include <linux/export.h>
#include <linux/moduleparam.h>

extern unsigned int {SELECTOR};
unsigned int {SELECTOR} __read_mostly;
EXPORT_SYMBOL({SELECTOR});
module_param_named(number, {SELECTOR}, uint, 0644);
"""
    line = f"\nobj-y += {SELECTOR}.o\n".encode()
    return {DEFINITION: code.encode(), _MAKEFILE: makefile.rstrip(b"\n") + b"\n" + line}


MAKEFILE = _MAKEFILE
"""The makefile that names :data:`DEFINITION`."""

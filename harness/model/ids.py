# SPDX-License-Identifier: GPL-2.0-only
"""What kernels, tests and cases are called: one way to write a name, one way to read it.

    memfd:memfd_test             a program of a suite, where a run has one kernel
    3@memfd:memfd_test           the same on the kernel called ``3``, where it has several
    memfd:memfd_test/seal/write  a case of it

In the name of a suite ``:`` is written as ``%3A``, an ``@`` that looks as if a kernel stood before
it as ``%40``, and a ``%`` before such digits as ``%25``: so every name can be taken apart in one
way only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from harness.errors import UserError

KernelName = str
"""The name of a kernel in a run; empty for the only one."""

ONLY: KernelName = ""
"""The name of the kernel of a run that has one."""

BASE: KernelName = "base"
"""The name of the kernel without a patch; the others are called by the number of their last one."""

HostName = str
"""The name of a machine that runs tests, as the project file has it; empty for this one."""

HERE: HostName = ""
"""This machine."""

_KERNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}")
_ESCAPE = re.compile("%(?=25|3A|40)|:")
_ESCAPED = re.compile("%(25|3A|40)")


def check_kernel_name(name: KernelName) -> KernelName:
    """Return *name*; UserError where a kernel cannot be called that."""
    if name != ONLY and not _KERNEL.fullmatch(name):
        raise UserError(
            "this is not a valid name of a kernel",
            where=repr(name),
            why="it has letters, digits and . + _ -, at most 64, and begins with one of the first",
        )
    return name


class TestId(NamedTuple):
    """A program of a suite on a kernel."""

    kernel: KernelName
    suite: str
    program: str

    def __str__(self) -> str:
        suite = _ESCAPE.sub(_escape, self.suite)
        if _KERNEL.fullmatch(suite.partition("@")[0]):
            suite = suite.replace("@", "%40", 1)
        return f"{self.kernel}@{suite}:{self.program}" if self.kernel else f"{suite}:{self.program}"

    @classmethod
    def parse(cls, text: str) -> TestId:
        """Return what is written as *text*; UserError where that is no name of a test."""
        head, colon, program = text.partition(":")
        kernel, at, suite = head.partition("@")
        if not at or not _KERNEL.fullmatch(kernel):
            kernel, suite = ONLY, head
        if not colon or not suite or not program:
            raise UserError(
                "this is not the name of a test",
                where=text,
                why="it is SUITE:PROGRAM, as reports have it",
            )
        return cls(kernel, _ESCAPED.sub(lambda found: chr(int(found[1], 16)), suite), program)

    def case(self, path: Iterable[str]) -> str:
        """Return what the case at *path* below this test is called."""
        return f"{self}/{'/'.join(path)}"


def _escape(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):02X}"


def case_of(test: str, case: str) -> str:
    """Return what *case* is called within *test*; both as reports have them."""
    return case.removeprefix(f"{test}/")

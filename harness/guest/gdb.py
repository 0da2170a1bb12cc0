# SPDX-License-Identifier: GPL-2.0-only
"""gdb as a reader of recordings: what it is told to do, and what it says."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from harness.errors import UserError

_WANTED = re.compile(r"\s*(?P<what>write|call)\s+(?P<of>\S.*?)\s*$")
_NOISE = re.compile(
    r"\S+:\d+: Error in sourced command file:"
    # Of lines that it would show: the sources need not be there.
    r"|\d+\t\S+: No such file or directory\."
)
_ENTRY = re.compile(r" entry_(SYSCALL|SYSENTER|INT80)\w* \(")
_SECTION = re.compile(r"^@(\w+)\n", re.MULTILINE)
_NO_TYPES = re.compile("unknown type|no debug info|No symbol table")
_CAST = (
    "the kernel has types where it is built with the fragment 'replay'; without them, cast: "
    "write *(unsigned long *)&NAME"
)
_NO_MORE = "No more reverse-execution history"


class Until(msgspec.Struct, frozen=True):
    """How far back to go."""

    what: str
    """``write``: to the last one of a value; ``call``: to the last one of a function."""
    of: str
    """The value as an expression, or the function."""

    @classmethod
    def parse(cls, text: str) -> Until:
        """Read ``write EXPR`` or ``call FUNCTION``; raises UserError for anything else."""
        found = _WANTED.match(text)
        if found is None or "\n" in text:
            raise UserError(
                "it is not said how far back to go",
                where=f"--until {text!r}",
                hint="--until 'write EXPR' goes to the last write of a value, "
                "--until 'call FUNCTION' to the last call of a function",
            )
        return cls(found["what"], found["of"])

    @property
    def title(self) -> str:
        """What is looked for, in words."""
        return f"the last {self.what} of {self.of}"

    @property
    def commands(self) -> tuple[str, ...]:
        """Commands of gdb that go there, from anywhere."""
        if self.what == "call":
            # At its first instruction; without the star gdb stops behind the prologue.
            star = "*" if self.of.isidentifier() else ""
            return f"break {star}{self.of}", "reverse-continue"
        # Taken once: further back the expression may mean another place.
        return f"set $at = &({self.of})", "watch -location *$at", "reverse-continue"


def script(socket: str, until: Until) -> str:
    """Return a script for gdb that goes to *until* and says what is there."""
    value = ("echo @after\\n", "print *$at") if until.what == "write" else ()
    before = ("echo @before\\n", "print *$at") if until.what == "write" else ()
    # A breakpoint would stop the step.
    step = ("delete", "stepi") if until.what == "write" else ()
    lines = (
        "set pagination off",
        "set confirm off",
        "set width 0",
        "set breakpoint pending off",
        "echo @connect\\n",
        f"target remote {socket}",
        "echo @search\\n",
        *until.commands,
        *before,
        "echo @place\\n",
        "frame",
        "monitor icount",
        "echo @code\\n",
        "x/i $pc",
        "echo @stack\\n",
        "backtrace 20",
        *step,
        *value,
        "echo @end\\n",
    )
    return "\n".join(lines) + "\n"


class Found(msgspec.Struct, frozen=True):
    """Where gdb has come to."""

    count: int
    """Instructions from the start of the recording."""
    code: str
    stack: tuple[str, ...]
    before: str = ""
    after: str = ""


def read(output: str, errors: str, until: Until, count: int) -> Found:
    """Return what gdb has said, which ran a :func:`script`, and the *count* that it was told.

    Raises UserError where it does not know the expression, or nothing in the recording is it.
    """
    parts = _SECTION.split(output)
    sections = dict(zip(parts[1::2], parts[2::2], strict=False))
    if _NO_MORE in output:
        raise UserError(
            f"the recording has no {until.what} of {until.of}",
            where=f"--until '{until.what} {until.of}'",
            why="gdb went back to its beginning",
        )
    if "end" not in sections:
        said = [line for line in errors.splitlines() if line and not _NOISE.fullmatch(line)]
        raise UserError(
            f"gdb does not find {until.title}",
            where=f"--until '{until.what} {until.of}'",
            why="\n".join(said[-3:]),
            hint=_CAST if _NO_TYPES.search(errors) else "",
        )
    return Found(
        count=count,
        code=_code(sections["code"]),
        stack=tuple(_frames(sections["stack"])),
        before=_value(sections.get("before", "")),
        after=_value(sections.get("after", "")),
    )


def _code(text: str) -> str:
    return " ".join(text.removeprefix("=>").split())


def _value(text: str) -> str:
    return text.strip().partition(" = ")[2]


def _frames(text: str) -> Sequence[str]:
    """Return the frames up to where the kernel was entered: programs have no symbols here."""
    frames: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#") or (frames and line.endswith(" in ?? ()")):
            continue
        frames.append(line)
        if _ENTRY.search(line):
            break
    return frames

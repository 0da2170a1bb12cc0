# SPDX-License-Identifier: GPL-2.0-only
"""A directory in kselftest layout and its Makefile: what it lists, and making it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from harness.errors import UserError
from harness.kbuild import toolchain
from harness.proc.process import run
from harness.proc.sandbox import Sandbox
from harness.suites.find import SELFTESTS

_LIST = "harness-list"
_VARIABLES = (
    "TEST_GEN_PROGS",
    "TEST_CUSTOM_PROGS",
    "TEST_PROGS",
    "TEST_GEN_PROGS_EXTENDED",
    "TEST_PROGS_EXTENDED",
    "TEST_GEN_FILES",
    "TEST_FILES",
    "TEST_INCLUDES",
    "SUBDIRS",
)
_GENERATED = ("TEST_GEN_PROGS", "TEST_CUSTOM_PROGS")
_HELPERS = ("TEST_GEN_PROGS_EXTENDED", "TEST_GEN_FILES")

# How a compiler, an assembler, a linker or make says what is wrong; and, where none does, others.
_ERROR = re.compile(
    r"(?:\berror: |\bError: |undefined reference|\bld(?:\.\w+)?: |multiple definition of"
    r"|No rule to make target)"
)
_TROUBLE = re.compile(
    r"\b(?:error|fatal|cannot|can't|unable|unrecognized|unknown|invalid|not found|failed|missing"
    r"|no such file|permission denied|not supported)\b",
    re.IGNORECASE,
)
# What only says that something before it was wrong, or is no more than a remark or a command.
_FOLLOWS = re.compile(
    r"collect2: |compilation terminated|make(?:\[\d+\])?: (?:\*\*\* \[|\*\*\* Deleting|Target|Enter"
    r"|Leav)|.*: (?:warning|note): |.*: [Ii]n function |\s*\d* ?\| |(?:gcc|cc|clang|ld|ar) -"
)


class MakefileBroken(UserError):
    """make cannot read the Makefile of a suite, so its programs are unknown."""


class Part(msgspec.Struct, frozen=True):
    """A directory with its own Makefile: the suite's, or one below it."""

    directory: Path
    output: Path
    headers: Path
    flags: str
    prefix: str = ""
    """Its path below the suite's directory, with a slash at the end, or empty."""
    sandbox: Sandbox | None = None
    """Where make runs if the kernel tree is a stranger's."""

    def below(self, name: str) -> Part:
        """Return the part in the directory *name* of this one."""
        return msgspec.structs.replace(
            self,
            directory=self.directory / name,
            output=self.output / name,
            prefix=f"{self.prefix}{name}/",
        )

    def target(self, path: str) -> Path:
        """Return the output file of make for this *path* below the suite's directory."""
        return self.output / path.removeprefix(self.prefix)

    def argv(self, *, static: bool = True) -> list[str]:
        """Return the command line of make."""
        return [
            "make",
            "-C",
            str(self.directory),
            f"OUTPUT={self.output}",
            f"CC=gcc {'-static ' if static else ''}{self.flags}",
            f"KHDR_INCLUDES=-isystem {self.headers}",
            f"ARCH={toolchain.ARCH}",
            f"-j{toolchain.jobs()}",
        ]

    def make(
        self,
        targets: list[str],
        limit_s: float,
        log: Path,
        tell: Callable[[str], None],
        *,
        static: bool = True,
    ) -> None:
        """Build as many of *targets* as possible; delete the output of failing commands."""
        self.output.mkdir(parents=True, exist_ok=True)
        run(
            [*self._building(static=static), "-k", *targets],
            limit_s=limit_s,
            log=log,
            on_line=lambda line: tell(line.split(" ")[0]),
            sandbox=self.sandbox,
        )

    def _building(self, *, static: bool) -> list[str]:
        # gcc can fail and leave a file at -o, which make would treat as the program.
        return [*self.argv(static=static), "--eval=.DELETE_ON_ERROR:"]

    def compiled(self, lists: dict[str, list[str]]) -> list[str]:
        """Return the paths of programs to be compiled, below the suite's directory."""
        return self._paths(path for kind in _GENERATED for path in lists[kind])

    def scripts(self, lists: dict[str, list[str]]) -> list[str]:
        """Return the paths of scripts, below the suite's directory."""
        programs = set(self.compiled(lists))
        return [path for path in self._paths(lists["TEST_PROGS"]) if path not in programs]

    def programs(self, lists: dict[str, list[str]]) -> list[str]:
        """Return the paths of compiled programs and scripts."""
        return self.compiled(lists) + self.scripts(lists)

    def helpers(self, lists: dict[str, list[str]]) -> list[str]:
        """Return the paths of compiled files that are no programs."""
        return self._paths(path for kind in _HELPERS for path in lists[kind])

    def _paths(self, listed: Iterable[str]) -> list[str]:
        return list(dict.fromkeys(self.prefix + path for path in listed))

    def lists(self, suite: str) -> dict[str, list[str]]:
        """Return the Makefile's lists of what it builds."""
        # Whatever a Makefile prints without an end of line gets one from the first of these.
        infos = "$(info )" + "".join(f"$(info {_LIST} {name} $({name}))" for name in _VARIABLES)
        argv = [*self.argv(), "-s", f"--eval={_LIST}: ; @:{infos}", _LIST]
        self.output.mkdir(parents=True, exist_ok=True)
        done = run(argv, limit_s=120, sandbox=self.sandbox)
        if not done.ok:
            raise MakefileBroken(
                f"the Makefile of the suite '{suite}' does not work",
                where=str(self.directory / "Makefile"),
                why="\n".join(done.output.splitlines()[-10:]),
            )
        found: dict[str, list[str]] = {name: [] for name in _VARIABLES}
        for line in done.output.splitlines():
            marker, _, rest = line.partition(" ")
            if marker == _LIST:
                name, *values = rest.split()
                # Lists may repeat a name.
                found[name] = list(dict.fromkeys(map(self._relative, values)))
        return found

    def _relative(self, value: str) -> str:
        """Return *value* relative to this directory where it lies below it, or in its output."""
        # lib.mk puts the output directory before some, and $(CURDIR) is a way to say "here".
        for base in (self.output, self.directory):
            value = value.removeprefix(f"{base}/")
        return os.path.normpath(value)

    def why(self, program: Path, limit_s: float) -> str:
        """Build one program alone; return its first own error, empty if it builds."""
        argv = [*self._building(static=False), "-j1", str(program)]
        done = run(argv, limit_s=limit_s, sandbox=self.sandbox)
        if done.ok and program.exists():
            return ""
        stage = str(self.directory).partition(f"/{SELFTESTS}/")[0]
        return first_error(done.output.splitlines()).replace(f"{stage}/", "")


def first_error(lines: Iterable[str]) -> str:
    """Return the first line of make's output that names an error.

    The last lines only report that there was one: "ld returned 1", "Error 1".
    """
    told = [line.strip() for line in lines if line.strip() and not _FOLLOWS.match(line)]
    for kind in (_ERROR, _TROUBLE):
        if found := next((line for line in told if kind.search(line)), ""):
            return found
    return next((line for line in told if "***" in line), "make did not build it and gave no error")


def outside(path: str) -> bool:
    """Return whether a listed *path* is outside its suite's directory."""
    return path.startswith(("/", "../")) or path == ".."

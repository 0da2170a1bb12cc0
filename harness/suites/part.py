# SPDX-License-Identifier: GPL-2.0-only
"""A directory in kselftest layout and its Makefile: what it lists, and making it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError
from harness.kbuild import toolchain
from harness.process import run
from harness.suites.find import SELFTESTS

_ERROR = re.compile(r"^(?:\S+:\d+(?::\d+)?: (?:fatal )?error: .+|.*undefined reference to .+)")
_LIST = "harness-list"
_VARIABLES = (
    "TEST_GEN_PROGS",
    "TEST_CUSTOM_PROGS",
    "TEST_PROGS",
    "TEST_GEN_PROGS_EXTENDED",
    "TEST_PROGS_EXTENDED",
    "TEST_GEN_FILES",
    "TEST_FILES",
    "SUBDIRS",
)


@dataclass(frozen=True)
class Part:
    """A directory with a Makefile of its own: the suite's, or one below it."""

    directory: Path
    output: Path
    headers: Path
    flags: str
    prefix: str = ""
    """Its path below the suite's directory, with a slash at the end, or empty."""

    def argv(self, *, static: bool = True) -> list[str]:
        """Return what calls make."""
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
        """Build *targets* as far as that works."""
        self.output.mkdir(parents=True, exist_ok=True)
        run(
            [*self.argv(static=static), "-k", *targets],
            limit_s=limit_s,
            log=log,
            on_line=lambda line: tell(line.split(" ")[0]),
        )

    def compiled(self, lists: dict[str, list[str]]) -> list[str]:
        """Return the paths of programs to be compiled, below the suite's directory."""
        return [self.prefix + path for path in lists["TEST_GEN_PROGS"] + lists["TEST_CUSTOM_PROGS"]]

    def scripts(self, lists: dict[str, list[str]]) -> list[str]:
        """Return the paths of scripts, below the suite's directory."""
        return [self.prefix + path for path in lists["TEST_PROGS"]]

    def programs(self, lists: dict[str, list[str]]) -> list[str]:
        """Return both."""
        return self.compiled(lists) + self.scripts(lists)

    def lists(self, suite: str) -> dict[str, list[str]]:
        """Ask the Makefile what it builds."""
        infos = "".join(f"$(info {_LIST} {name} $({name}))" for name in _VARIABLES)
        argv = [*self.argv(), "-s", f"--eval={_LIST}: ; @:{infos}", _LIST]
        self.output.mkdir(parents=True, exist_ok=True)
        done = run(argv, limit_s=120)
        if not done.ok:
            raise UserError(
                f"the Makefile of the suite '{suite}' does not work",
                where=str(self.directory / "Makefile"),
                why="\n".join(done.output.splitlines()[-10:]),
            )
        found: dict[str, list[str]] = {name: [] for name in _VARIABLES}
        for line in done.output.splitlines():
            marker, _, rest = line.partition(" ")
            if marker == _LIST:
                name, *values = rest.split()
                # Lists may repeat a name, and lib.mk puts the output directory before some.
                found[name] = list(
                    dict.fromkeys(value.removeprefix(f"{self.output}/") for value in values)
                )
        return found

    def why(self, program: Path, limit_s: float) -> str:
        """Build one program alone, for the first error that is its own."""
        argv = [*self.argv(static=False), "-j1", str(program)]
        lines = run(argv, limit_s=limit_s).output.splitlines()
        first = next((line for line in lines if _ERROR.match(line)), "")
        if not first:
            first = next((line for line in lines if "***" in line or "rror" in line), "")
        stage = str(self.directory).partition(f"/{SELFTESTS}/")[0]
        return (first or "make did not build it and gave no error").replace(f"{stage}/", "")

# SPDX-License-Identifier: GPL-2.0-only
"""Making what a part of a suite compiles, so that what fails says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from harness.suites.files import real, why_no_program
from harness.suites.find import SuiteSource
from harness.suites.part import Part, outside


class Making(msgspec.Struct, frozen=True):
    """Making what a part compiles, so that what fails says why."""

    limit_s: float
    log: Path
    tell: Callable[[str], None]
    bounds: tuple[Path, ...] = ()
    """Real directories out of which no link of a stranger's may lead; empty means no bounds."""

    def make(
        self,
        part: Part,
        programs: list[str],
        helpers: list[str],
        whole: bool,
        source: SuiteSource,
    ) -> dict[str, str]:
        """Make *programs* and *helpers* of *part*, or all of it; return why programs cannot be run.

        What cannot be linked statically is linked with shared libraries.
        """
        if whole or not source.programs:
            part.make(["all"], self.limit_s, self.log, self.tell)
        elif programs or helpers:
            targets = [str(part.target(path)) for path in [*programs, *helpers]]
            part.make(targets, self.limit_s, self.log, self.tell)
        failed = [path for path in programs if self._failed(part, path)]
        failed += [path for path in helpers if not (outside(path) or part.target(path).is_file())]
        if failed:
            targets = [str(part.target(path)) for path in failed]
            part.make(targets, self.limit_s, self.log, self.tell, static=False)
        return {path: reason for path in programs if (reason := self._why(part, path))}

    def _failed(self, part: Part, path: str) -> bool:
        """Whether there is no program at *path*; a file that make left there is removed."""
        if outside(path) or not self._why_not(part, path):
            return False
        if part.target(path).is_file() and not self.strays(part.target(path)):
            part.target(path).unlink()
        return True

    def strays(self, path: Path) -> bool:
        """Whether *path* leads out of the directories of a stranger's suite."""
        return bool(self.bounds) and not any(
            real(path).is_relative_to(bound) for bound in self.bounds
        )

    def _why_not(self, part: Part, path: str) -> str:
        """Return why there is no program at *path*; empty if there is one."""
        if self.strays(part.target(path)):
            return f"is a link out of the suite's directory, to {real(part.target(path))}"
        return why_no_program(part.target(path), made=True)

    def _why(self, part: Part, path: str) -> str:
        if outside(path):
            return f"{path} lies outside of the suite's directory"
        if not self._why_not(part, path):
            return ""
        if error := part.why(part.target(path), self.limit_s):
            return f"does not build: {error}"
        reason = self._why_not(part, path)
        return reason and f"does not build: {path} {reason}"

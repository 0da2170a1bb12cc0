# SPDX-License-Identifier: GPL-2.0-only
"""Calling a kernel tree's makefiles, out of tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from harness.errors import UserError
from harness.kbuild import toolchain
from harness.proc.process import Completed, run
from harness.proc.sandbox import Sandbox, denied

_MOST_TRIED = 8


class Make(msgspec.Struct, frozen=True):
    """A kernel tree and its object directory."""

    source: Path
    objects: Path
    ccache: Path
    log: Path
    """Receives all output."""
    limit_s: float
    """For each call."""
    sandbox: Sandbox | None = None
    """Where the makefiles run if they are a stranger's."""
    cc: str = toolchain.GCC
    """The compiler; programs that run while the kernel is built are compiled with gcc."""
    options: tuple[str, ...] = ()
    """Additional arguments of make, such as ``W=1``."""
    tried: list[str] = msgspec.field(default_factory=list)
    """Messages of the makefiles about accesses that the sandbox denied."""

    def run(
        self, targets: Sequence[str], on_line: Callable[[str], None] | None = None
    ) -> Completed:
        """Run make for *targets* and return its result."""
        return self._run(targets, {}, on_line)

    def must(
        self, targets: Sequence[str], failure: str, env: Mapping[str, str] | None = None
    ) -> str:
        """Make *targets* and return the output; raises UserError *failure*.

        The makefiles and Kconfig files belong to the tree, so where they fail the tree is wrong.
        """
        done = self._run(targets, env or {}, None)
        if done.ok:
            return done.output
        raise UserError(
            failure,
            where=f"make {' '.join(targets)}",
            why="\n".join(done.output.splitlines()[-15:]),
            hint=f"the complete log is {self.log}",
        )

    def release(self) -> str:
        """Return the output of ``make kernelrelease``."""
        output = self.must(["-s", "--no-print-directory", "kernelrelease"], "no kernel release")
        return output.splitlines()[-1].strip()

    def _run(
        self,
        targets: Sequence[str],
        env: Mapping[str, str],
        on_line: Callable[[str], None] | None,
    ) -> Completed:
        def look(line: str) -> None:
            if len(self.tried) < _MOST_TRIED and denied(line) and line not in self.tried:
                self.tried.append(line)
            if on_line:
                on_line(line)

        return run(
            [
                *toolchain.make_arguments(self.source, self.objects, self.cc),
                *self.options,
                *targets,
            ],
            env={**toolchain.environment(self.ccache, self.source.parent), **env},
            limit_s=self.limit_s,
            log=self.log,
            on_line=look if self.sandbox else on_line,
            sandbox=self.sandbox,
        )

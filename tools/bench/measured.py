# SPDX-License-Identifier: GPL-2.0-only
"""Figures as they come, and what could not be measured: one failure does not lose the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from harness.errors import ExitCode, HarnessError
from harness.foreign import translate
from tools.bench.figures import Failure, Figure, Report, machine

Stage = tuple[str, Callable[[], Iterable[Figure]]]
"""A title, and what measures some figures; it yields each as soon as it is known."""


class Part(Protocol):
    """A part of the benchmark."""

    def check(self) -> None:
        """Raise HarnessError if something is missing that :meth:`stages` need."""
        ...

    def stages(self) -> AbstractContextManager[Iterator[Stage]]:
        """Return the stages, which can be measured within the context, in their order."""
        ...


class OneStage:
    """A part that is one stage; what it needs, the first command tells within a second."""

    title: ClassVar[str]

    def check(self) -> None:
        """Do nothing."""

    @contextmanager
    def stages(self) -> Iterator[Iterator[Stage]]:
        """Yield the one stage."""
        yield iter([(self.title, self._measure)])

    def _measure(self) -> Iterable[Figure]:
        """Measure; MachineError where something does not come to an end."""
        raise NotImplementedError


@dataclass
class Measured:
    """What has been measured so far."""

    kernel: str = ""
    program: str = ""
    accelerator: str = ""
    figures: list[Figure] = field(default_factory=list)
    failed: list[tuple[str, HarnessError]] = field(default_factory=list)
    """Titles of stages that could not be measured, each with the reason."""

    def take(self, title: str, part: Part) -> None:
        """Measure all stages of *part*; the next ones are measured where one fails.

        Raises what is a fault of the harness itself.
        """

        def whole() -> Iterable[Figure]:
            with part.stages() as stages:
                for name, measure in stages:
                    self._stage(name, measure)
            return ()

        self._stage(title, whole)

    def _stage(self, title: str, measure: Callable[[], Iterable[Figure]]) -> None:
        try:
            for figure in measure():
                self.figures.append(figure)
        except Exception as error:
            meaning = translate(error)
            if meaning is None:
                raise
            self.failed.append((title, meaning))

    @property
    def report(self) -> Report:
        """All of this as a value."""
        return Report(
            kernel=self.kernel,
            program=self.program,
            accelerator=self.accelerator,
            machine=machine(),
            figures=tuple(self.figures),
            failed=tuple(
                Failure(
                    stage=title, what=error.what, where=error.where, why=error.why, hint=error.hint
                )
                for title, error in self.failed
            ),
        )

    @property
    def status(self) -> ExitCode:
        """The exit code: that of the first failure, or whether every figure keeps its bound."""
        if self.failed:
            return self.failed[0][1].exit_code
        reached = all(figure.reached for figure in self.figures)
        return ExitCode.AS_EXPECTED if reached else ExitCode.NOT_AS_EXPECTED

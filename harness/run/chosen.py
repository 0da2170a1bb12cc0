# SPDX-License-Identifier: GPL-2.0-only
"""The kernels of a run, one after the other: those requested, and what a bisection adds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec

from harness.context import Context
from harness.errors import HarnessError
from harness.model.spec import KernelSpec
from harness.proc import signals
from harness.run.builder import Builder
from harness.run.course import Course
from harness.run.prepare import Built, Selected, build, select
from harness.run.request import Request


class Coming(msgspec.Struct, frozen=True):
    """A kernel whose turn it is."""

    selected: Selected
    built: Built | None = None
    """Itself and its suites, if they were built before they were needed."""
    seconds: float = 0.0
    """How long that took."""


class Chosen(msgspec.Struct, frozen=True):
    """Chooses kernels; *selected* are those that were requested, *out* is the run's directory."""

    request: Request
    selected: Sequence[Selected]
    context: Context
    out: Path
    builder: Builder
    course: Course | None

    async def kernels(self) -> AsyncGenerator[Coming, None]:
        """Yield the requested kernels, and then each that the course needs."""
        for each in self.selected:
            yield Coming(each)
        if self.course is None:
            return
        likely = self.course.likely()
        ahead = asyncio.ensure_future(self._ahead(likely))
        try:
            while (spec := await self.course.following()) is not None:
                if spec != likely:
                    ahead.cancel()
                await asyncio.wait({ahead})
                # Another kernel may have been needed first, and then this one all the same.
                there = ahead.result() if spec == likely and not ahead.cancelled() else None
                yield there or Coming(await self._select(spec))
        finally:
            ahead.cancel()
            await signals.to_the_end(asyncio.wait({ahead}))

    async def _ahead(self, spec: KernelSpec | None) -> Coming | None:
        """Build a kernel before it is known to be needed; None where that does not go."""
        # What is wrong with it is told if it is needed.
        with suppress(HarnessError):
            if spec is not None:
                begun = time.monotonic()
                likely = await self._select(spec)
                built = await self.builder.do(partial(build, likely, self.context, self.out))
                return Coming(likely, built, time.monotonic() - begun)
        return None

    async def _select(self, spec: KernelSpec) -> Selected:
        return await self.builder.do(partial(select, self.request, spec, self.context))

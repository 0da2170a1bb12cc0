# SPDX-License-Identifier: GPL-2.0-only
"""What a schedule has left: the tests of its kernels, in the order in which workers take them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial

import msgspec

from harness.lab.executor import Executor, TemplateId
from harness.model.ids import HostName, KernelName
from harness.model.plan import PlannedTest
from harness.model.records import GuestReady, RunStarted
from harness.report.display import TestProgress
from harness.run.attempts import Attempts, Ready
from harness.run.reruns import Reruns


class OfKernel(msgspec.Struct, frozen=True, dict=True):
    """A kernel whose tests are under way."""

    ready: Ready
    watcher: TestProgress

    @property
    def name(self) -> KernelName:
        return self.ready.name

    @property
    def head(self) -> RunStarted:
        return self.ready.head

    @cached_property
    def attempts(self) -> Attempts:
        return self.ready.attempts

    def label(self, text: str) -> str:
        return self.ready.label(text)


@dataclass
class WorkQueue:
    """What is left, for several workers, and the templates that there are."""

    reruns: Reruns
    kernels: list[OfKernel] = field(default_factory=list)
    ready: dict[TemplateId, GuestReady] = field(default_factory=dict)
    left: dict[HostName, str] = field(default_factory=dict)
    """Hosts that are given up, each with the reason."""
    _making: set[TemplateId] = field(default_factory=set)
    _running: set[tuple[KernelName, str, int]] = field(default_factory=set)
    """Attempts that have begun and not ended: what comes after may depend on them."""
    lost: Counter[tuple[KernelName, str, int]] = field(default_factory=Counter)
    """How often each attempt did not count."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _closed: bool = False

    def __post_init__(self) -> None:
        self.reruns.wake = self._changed.set

    def add(self, kernel: OfKernel) -> None:
        """Queue the tests of *kernel* behind those of the others."""
        self.kernels.append(kernel)
        self._changed.set()

    def close(self) -> None:
        """Record that there are no further kernels."""
        self._closed = True
        self._changed.set()

    @property
    def finished(self) -> bool:
        """Whether nothing is left for any host.

        What is under way may be lost with its host, and begin again.
        """
        over = all(kernel.attempts.over for kernel in self.kernels)
        return self._closed and over and not self._running and self.reruns.over

    def take(self, host: HostName, executor: Executor) -> tuple[OfKernel, PlannedTest, int] | None:
        """Return the attempt that is next for *host*, which is now under way; None for none.

        What could not begin at once, for want of a template that another worker is making, lets
        others go before it.
        """
        # One by one, because what is next may depend on what ended meanwhile.
        found = self._planned(host, executor) or self._rerun(host, executor)
        if found is not None:
            kernel, test, number = found
            self._running.add((kernel.name, test.name, number))
        return found

    def _planned(
        self, host: HostName, executor: Executor
    ) -> tuple[OfKernel, PlannedTest, int] | None:
        for kernel in self.kernels:
            found = kernel.attempts.begin(partial(self._fits, host, executor, kernel.name))
            if found is not None:
                return kernel, *found
        return None

    def _rerun(
        self, host: HostName, executor: Executor
    ) -> tuple[OfKernel, PlannedTest, int] | None:
        found = self.reruns.begin(partial(self._fits, host, executor))
        if found is None:
            return None
        tried, number = found
        return next(each for each in self.kernels if each.name == tried.name), tried.test, number

    def _fits(
        self, host: HostName, executor: Executor, kernel: KernelName, test: PlannedTest
    ) -> bool:
        template = TemplateId(kernel, test.group, host)
        return template not in self._making and executor.fits(host, kernel, test)

    async def change(self) -> None:
        """Wait until there may be something more, or nothing for any host."""
        if not self.finished:
            self._changed.clear()
            await self._changed.wait()

    def changed(self) -> None:
        """Wake up the waiting workers."""
        self._changed.set()

    def over(self, kernel: OfKernel, test: PlannedTest, number: int) -> None:
        """Record that an attempt is no longer active."""
        self._running.discard((kernel.name, test.name, number))
        self._changed.set()

    def forget(self, host: HostName) -> None:
        """Record that the templates of *host* no longer exist."""
        self.ready = {each: ready for each, ready in self.ready.items() if each.host != host}

    @contextlib.contextmanager
    def making(self, template: TemplateId) -> Iterator[None]:
        """Keep others from beginning with *template* for as long as it is being made."""
        self._making.add(template)
        try:
            yield
        finally:
            self._making.discard(template)
            self._changed.set()

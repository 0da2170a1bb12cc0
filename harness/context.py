# SPDX-License-Identifier: GPL-2.0-only
"""The common context of all work, passed as one value."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from harness.progress import Progress, Step
from harness.store import Store


class Context(msgspec.Struct, frozen=True):
    """The store and the progress display of work."""

    store: Store
    progress: Progress

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold the lock of a place; waiting is told.  See :meth:`harness.store.Store.lock`."""
        return self.store.lock(name, self.progress)

    def obtain(self, kind: str, key: str, build: Callable[[Path], None]) -> Path:
        """Return an entry, made if need be; waiting is told.  See :meth:`Store.obtain`."""
        return self.store.obtain(kind, key, build, self.progress)

    def step(self, title: str) -> AbstractContextManager[Step]:
        """Open a step of the work; see :meth:`harness.progress.Progress.step`."""
        return self.progress.step(title)

    def note(self, text: str) -> None:
        """Report one permanent line."""
        self.progress.note(text)

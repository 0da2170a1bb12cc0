# SPDX-License-Identifier: GPL-2.0-only
"""Stops work in another thread, when it waits for a program or a lock.

Only the main thread receives signals, so a build in another thread needs this.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Stopped(BaseException):
    """The work is no longer wanted; as KeyboardInterrupt, no handler of errors catches it."""


class Stop:
    """Requests that work in another thread stops."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Readable as soon as the work has to stop."""
        self.wanted = False

    def set(self) -> None:
        """Stop the work when it waits next; may be called from any thread."""
        self.wanted = True
        os.eventfd_write(self.fd, 1)

    def check(self) -> None:
        """Raise :class:`Stopped` if the work is to stop."""
        if self.wanted:
            raise Stopped

    def close(self) -> None:
        """Close the descriptor, after the work has ended."""
        os.close(self.fd)


_CURRENT: ContextVar[Stop | None] = ContextVar("stop", default=None)


def current() -> Stop | None:
    """Return the :class:`Stop` of this thread, None if there is none."""
    return _CURRENT.get()


@contextmanager
def stoppable(stop: Stop) -> Iterator[None]:
    """Let *stop* end the work in the block."""
    token = _CURRENT.set(stop)
    try:
        yield
    finally:
        _CURRENT.reset(token)

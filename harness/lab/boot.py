# SPDX-License-Identifier: GPL-2.0-only
"""Findings of guests' boots, from the first line on the console to the agent's hello.

A kernel that complains before any test is the kernel that all tests run on, so its complaint counts
against each of them; but it is told once, as the kernel's own.
"""

from __future__ import annotations

import re

from harness import klog
from harness.model.events import BootFlag, Hello
from harness.model.records import Boot

_AGENT = re.compile(rb"^.*harness-agent: .*\n?", re.MULTILINE)


def observe_boot(log: bytes, hello: Hello, path: str = "") -> Boot:
    """Return what is to be known of a boot with the console *log* that ended in *hello*.

    What the agent says there is not the kernel's.  *path* is where the log is kept.
    """
    scanner = klog.Scanner()
    scanner.feed(_AGENT.sub(b"", log))
    flags = BootFlag(hello.boot)
    return Boot(
        findings=scanner.close(),
        taint=hello.taint,
        lockdep_off=BootFlag.LOCKDEP_OFF in flags,
        once_reset=BootFlag.ONCE_RESET in flags,
        unquiet=BootFlag.UNQUIET in flags,
        log=path,
    )

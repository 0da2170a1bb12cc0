# SPDX-License-Identifier: GPL-2.0-only
"""Writing a whole tree into git as one pack, through `git fast-import`.

`git add` would write one file per kernel file (78,635 of them); the stream writes one pack, and
the ref of the commit only after the pack is finished and synced.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from types import TracebackType

from harness.errors import HarnessError, MachineError, UserError
from harness.foreign import in_output
from harness.proc.git import IDENTITY, environment, git_argv
from harness.proc.process import PIPE, kill_group, start

REGULAR = b"100644"
EXECUTABLE = b"100755"
SYMLINK = b"120000"

_FORBIDDEN = frozenset({b"", b".", b"..", b".git"})


def kernel_version(makefile: bytes) -> str | None:
    """Return "6.1.176" from a kernel's top Makefile, or None for another Makefile."""
    found: dict[bytes, str] = {
        name: value.decode("ascii", "replace")
        for name, value in re.findall(
            rb"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*=[ \t]*(\S*)", makefile, re.M
        )
    }
    if not found.get(b"VERSION") or not found.get(b"PATCHLEVEL"):
        return None
    numbers = [found.get(name) for name in (b"VERSION", b"PATCHLEVEL", b"SUBLEVEL")]
    return ".".join(n for n in numbers if n) + found.get(b"EXTRAVERSION", "")


def not_a_kernel(spec: str) -> UserError:
    """Return the error for a source without a kernel's Makefile."""
    return UserError(
        "the source is not a Linux kernel tree",
        where=spec,
        why="its top directory has no Makefile with VERSION and PATCHLEVEL",
        hint="name the directory that holds the kernel's MAINTAINERS, Kconfig and Makefile",
    )


class FastImport:
    """A new commit without parent in *repo*; nothing is visible before `commit`.

    A context manager: leaving it without `commit` ends git and leaves no ref.
    """

    def __init__(self, repo: Path, *, limit_s: float = 1800) -> None:
        self._repo = repo
        self._limit_s = limit_s
        self._entries: dict[bytes, tuple[bytes, int]] = {}
        self._mark = 0
        self._late = False

    def __enter__(self) -> FastImport:
        options = ("--quiet", "--done", "--depth=0", "--date-format=raw")
        argv = git_argv("fast-import", *options, repo=self._repo)
        self._child = start(argv, stdin=PIPE, env=environment())
        self._timer = threading.Timer(self._limit_s, self._give_up)
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        kill_group(self._child)
        if self._child.stdin and not self._child.stdin.closed:
            try:
                self._child.stdin.close()
            except BrokenPipeError:  # git has ended before reading the rest
                return

    def add(self, path: bytes, mode: bytes, data: bytes) -> None:
        """Add one file; a second one of the same *path* replaces the first."""
        self._mark += 1
        self._write(b"blob\nmark :%d\ndata %d\n" % (self._mark, len(data)))
        self._write(data)
        self._write(b"\n")
        self._entries[path] = (mode, self._mark)

    def link(self, path: bytes, target: bytes) -> bool:
        """Add *path* with the mode and content of *target*; False if that is not there."""
        entry = self._entries.get(target)
        if entry is not None:
            self._entries[path] = entry
        return entry is not None

    @property
    def paths(self) -> frozenset[bytes]:
        """The paths added so far."""
        return frozenset(self._entries)

    def commit(self, ref: str, message: str, *, strip: int = 0) -> None:
        """Write the commit and its *ref*, without *strip* leading directories of each path.

        Raises UserError for a path that a tree cannot have, MachineError if git fails.
        """
        text = message.encode() + b"\n"  # as git commit-tree ends a message
        self._write(
            b"commit %s\nauthor %s 0 +0000\ncommitter %s 0 +0000\ndata %d\n%s\n"
            % (ref.encode(), IDENTITY.encode(), IDENTITY.encode(), len(text), text)
        )
        for full, (mode, mark) in self._entries.items():
            parts = full.split(b"/")[strip:]
            if not parts or any(part.lower() in _FORBIDDEN for part in parts):
                raise UserError(
                    "the source holds a path that no work tree may have",
                    where=full.decode(errors="replace"),
                )
            self._write(b"M %s :%d %s\n" % (mode, mark, _quoted(b"/".join(parts))))
        self._write(b"done\n")
        assert self._child.stdin is not None  # noqa: S101  asked for at the start
        try:
            self._child.stdin.close()
        except BrokenPipeError:
            raise self._failed() from None
        if self._child.wait() != 0:
            raise self._failed()

    def _write(self, data: bytes) -> None:
        assert self._child.stdin is not None  # noqa: S101  asked for at the start
        try:
            self._child.stdin.write(data)
        except BrokenPipeError:
            raise self._failed() from None

    def _give_up(self) -> None:
        self._late = True
        self._child.kill()

    def _failed(self) -> HarnessError:
        if self._late:
            return MachineError(
                f"importing the source took longer than {self._limit_s:.0f} s",
                where=str(self._repo),
            )
        self._child.wait()
        assert self._child.stdout is not None  # noqa: S101  asked for at the start
        words = self._child.stdout.read().decode(errors="replace")
        return in_output(words, self._repo) or MachineError(
            "git could not import the source", where=str(self._repo), why=words[-2000:]
        )


def _quoted(path: bytes) -> bytes:
    """Return *path* in the form of fast-import: with C quotes where necessary."""
    if not path.startswith(b'"') and b"\n" not in path:
        return path
    escaped = path.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    return b'"' + escaped + b'"'

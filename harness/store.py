# SPDX-License-Identifier: GPL-2.0-only
"""The one lasting cache: finished things by content, and places where unfinished ones grow.

*Entries* (kernels, suites, snapshots) are addressed by the digest of everything that went into
them.  An entry is built in a temporary directory beside its final place and published by rename,
so it is whole or absent, and two runs that want the same one build it once.  A manifest with
sizes, times and digests is written last; an entry that no longer agrees with its manifest is
thrown away and built again.

Looking an entry up compares sizes and times, which takes no time and does not see a bit that has
flipped.  So digests are compared (:meth:`Store.check`) before another entry is made from one, and
before a failure is believed that may come from one.

*Places* (git repositories, work trees, object directories, ccache) have names, change, and are
guarded by a lock.
"""

from __future__ import annotations

import asyncio
import errno
import json
import math
import os
import pwd
import shlex
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from harness.digest import digest, digest_sparse
from harness.errors import MachineError, UserError
from harness.foreign import of_os, told
from harness.proc.environment import harmless
from harness.proc.stop import current
from harness.progress import Progress

_PARTS = ("entries", "places", "locks", "tmp")
_NAME = "kernel-selftest-harness"
_SHARED = Path("/var/tmp")  # noqa: S108  whose directory it is, is looked at
_FOR_MAKE = "for-make-"
MANIFEST = "manifest.json"
_TAG = "CACHEDIR.TAG"
_TAG_TEXT = b"""Signature: 8a477f597d28d172789f06886806bc55
# The cache of kernel-selftest-harness: it can be deleted at any time. Backups leave out
# directories with such a file (https://bford.info/cachedir/).
"""
_LOCK_NOTICE_S = 2.0
_LOCK_TICK_S = 0.5
_LOCK_LOOK_S = 0.05


Entry = tuple[str, str]
"""Kind and key of an entry."""


class Damaged(MachineError):
    """Entries were damaged; they were removed, and are built again on demand."""

    def __init__(self, found: Mapping[Entry, str], root: Path) -> None:
        super().__init__(
            "the cache was damaged",
            where=str(root / "entries"),
            why="\n".join(f"{kind} {key[:12]}: {why}" for (kind, key), why in found.items()),
            hint="the damaged entry was removed: run again to build it again; "
            "if this happens again, test the machine's memory and disk",
        )
        self.found = dict(found)
        """The entries, each with its damage."""

    @property
    def entries(self) -> frozenset[Entry]:
        """What was damaged."""
        return frozenset(self.found)


class Store:
    """The cache below *root*; safe for several processes at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        with told("the cache cannot be used", self.root):
            _check_ours(self.root)
            self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
            for name in _PARTS:
                # Even where the umask lets all users write, no other user may put kernels here.
                (self.root / name).mkdir(mode=0o755, exist_ok=True)
            _check_owner(self.root)
            if not (self.root / _TAG).exists():
                (self.root / _TAG).write_bytes(_TAG_TEXT)

    @classmethod
    def default(cls) -> Store:
        """Return the user's cache: ``HARNESS_CACHE``, or the platform's cache directory."""
        named = os.environ.get("HARNESS_CACHE")
        return cls(Path(named) if named else platformdirs.user_cache_path(_NAME))

    def for_make(self) -> Store:
        """Return a store in whose directories makefiles can work.

        That is this one, unless its name has a blank, a colon or the like, which make takes apart;
        a link with another name does not help, as the kernel's Makefile looks through it.  Then it
        is one in the user's cache directory or in /var/tmp, with a name made from this one's.
        Raises UserError if neither is usable.
        """
        if harmless(self.root):
            return self
        name = f"{_FOR_MAKE}{digest(str(self.root))[:12]}"
        where = [
            platformdirs.user_cache_path(_NAME) / name,
            _SHARED / f"{_NAME}-{os.getuid()}" / name,
        ]
        for root in filter(harmless, where):
            with suppress(OSError):
                root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                status = root.parent.lstat()
                # In /var/tmp anyone may have made it.
                if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid():
                    return Store(root)
        raise UserError(
            "no kernel can be built in this cache",
            where=str(self.root),
            why="make splits such a name, and no other directory can be used in "
            + " or ".join(str(each.parent) for each in where),
            hint="set HARNESS_CACHE to a directory whose name has only letters, digits and _+.-@",
        )

    def place(self, *names: str) -> Path:
        """Return the directory of a named place, made if absent; lock it before changing it."""
        path = self.root.joinpath("places", *names)
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def lock(self, name: str, progress: Progress) -> Iterator[None]:
        """Hold the lock *name*; after two seconds of waiting, report the wait as a step."""
        lock = FileLock(self._lock_file(name))
        try:
            lock.acquire(timeout=_LOCK_NOTICE_S)
        except Timeout:
            with progress.step(f"Waiting for another run that uses {name}"):
                _wait(lock)
        except OSError as error:
            raise of_os(error, "a place of the cache cannot be locked", lock.lock_file) from error
        try:
            yield
        finally:
            lock.release()

    @asynccontextmanager
    async def _lock_beside(self, name: str, progress: Progress) -> AsyncIterator[None]:
        """Do :meth:`lock` in an event loop, which goes on meanwhile."""
        lock = FileLock(self._lock_file(name))

        async def acquired(limit_s: float) -> bool:
            end = time.monotonic() + limit_s
            while time.monotonic() < end:
                with suppress(Timeout):
                    lock.acquire(blocking=False)
                    return True
                await asyncio.sleep(_LOCK_LOOK_S)
            return False

        try:
            if not await acquired(_LOCK_NOTICE_S):
                with progress.step(f"Waiting for another run that uses {name}"):
                    await acquired(math.inf)
        except OSError as error:
            raise of_os(error, "a place of the cache cannot be locked", lock.lock_file) from error
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def try_lock(self, name: str) -> Iterator[bool]:
        """Hold the lock *name* if it is free within two seconds; yield whether it is held."""
        lock = FileLock(self._lock_file(name))
        try:
            lock.acquire(timeout=_LOCK_NOTICE_S)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _lock_file(self, name: str) -> Path:
        return self.root / "locks" / f"{name.replace('/', '-')}.lock"

    def find(self, kind: str, key: str) -> Path | None:
        """Return the entry's directory if it exists and is complete; remove it if it is damaged."""
        path = self.path(kind, key)
        if not path.exists():
            return None
        if _is_whole(path):
            os.utime(path)
            return path
        self.discard(kind, key)
        return None

    def obtain(
        self, kind: str, key: str, build: Callable[[Path], None], progress: Progress
    ) -> Path:
        """Return the entry's directory, calling *build* with an empty directory if it is absent.

        Raises whatever *build* raises (nothing is published then), and MachineError when the disk
        is full.
        """
        with self.draft(kind, key, progress) as draft:
            if draft:
                build(draft)
        return self.path(kind, key)

    @contextmanager
    def draft(self, kind: str, key: str, progress: Progress) -> Iterator[Path | None]:
        """Give an empty directory to fill, which becomes the entry at the end of the block.

        Gives None where the entry exists.  An exception in the block publishes nothing; a full
        disk becomes a MachineError.
        """
        if self.find(kind, key):
            yield None
            return
        with self.lock(_draft_lock(kind, key), progress), self._fill(kind, key) as work:
            yield work

    @asynccontextmanager
    async def draft_beside(
        self, kind: str, key: str, progress: Progress
    ) -> AsyncIterator[Path | None]:
        """Do :meth:`draft` in an event loop, which goes on while another run has the lock."""
        if self.find(kind, key):
            yield None
            return
        async with self._lock_beside(_draft_lock(kind, key), progress):
            with self._fill(kind, key) as work:
                yield work

    @contextmanager
    def _fill(self, kind: str, key: str) -> Iterator[Path | None]:
        """Publish what the block makes; its lock is held."""
        if self.find(kind, key):
            yield None
            return
        with self.scratch(kind) as work:
            yield work
            _write_manifest(work)
            path = self.path(kind, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            work.rename(path)

    def edition(self, entry: Entry) -> tuple[int, int] | None:
        """Return a value that changes when an entry is created again; None if it does not exist."""
        try:
            status = (self.path(*entry) / MANIFEST).stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    def check_editions(self, editions: Mapping[Entry, tuple[int, int] | None]) -> None:
        """Do :meth:`check`, and raise :class:`Damaged` where an entry is not of that edition.

        Another run has then found it damaged, and has created it again meanwhile.
        """
        other = {
            each: "was created again" for each, was in editions.items() if self.edition(each) != was
        }
        if other:
            raise Damaged(other, self.root)
        self.check(editions)

    def check(self, entries: Iterable[Entry]) -> None:
        """Compare the content of *entries* with what was written; some 0.1 s for 100 MB.

        Raises :class:`Damaged` where one differs or is not there; those are removed.
        """
        wanted = list(dict.fromkeys(entries))
        with ThreadPoolExecutor() as pool:
            whys = pool.map(lambda entry: _damage(self.path(*entry)), wanted)
            found = {entry: why for entry, why in zip(wanted, whys, strict=True) if why}
        for kind, key in found:
            self.discard(kind, key)
        if found:
            raise Damaged(found, self.root)

    def discard(self, kind: str, key: str) -> None:
        """Remove an entry that turned out to be damaged; harmless if it is absent."""
        grave = Path(tempfile.mkdtemp(prefix="damaged-", dir=self.root / "tmp"))
        # Moved aside first, so that a half removed entry is never visible.
        with suppress(FileNotFoundError):
            self.path(kind, key).rename(grave / "entry")
        shutil.rmtree(grave, ignore_errors=True)

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """Give an empty directory on the cache's file system, gone afterwards unless renamed."""
        with told("the cache cannot be written"):
            work = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.root / "tmp"))
        # mkdtemp makes it private to the user; a published entry is as readable as any file.
        work.chmod(0o755)
        try:
            yield work
        except OSError as error:
            # What is written there may name nothing that a user knows; a full disk names its place.
            raise of_os(error, where=self.root if error.errno == errno.ENOSPC else "") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def content(self, kind: str, key: str, name: str) -> str:
        """Return a digest of the file *name* of an entry, as it was written.

        Files with the same hold the same bytes, whatever they were made from.  Raises
        :class:`Damaged` where the entry does not say.
        """
        try:
            written = json.loads((self.path(kind, key) / MANIFEST).read_text())[name]
            return digest(str(written["size"]), written["sparse"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.discard(kind, key)
            why = f"{MANIFEST} has no entry for {name}: {error}"
            raise Damaged({(kind, key): why}, self.root) from None

    def path(self, kind: str, key: str) -> Path:
        """Return the directory of the entry, which may not exist yet."""
        return self.root / "entries" / kind / key


def is_cache(directory: Path) -> bool:
    """Whether *directory* is a cache of the harness."""
    try:
        return (directory / _TAG).read_bytes() == _TAG_TEXT
    except OSError:
        return False


def _draft_lock(kind: str, key: str) -> str:
    return f"{kind}-{key[:16]}"


def _wait(lock: FileLock) -> None:
    """Wait for *lock* and acquire it; raises Stopped when it is no longer wanted."""
    stop = current()
    while True:
        if stop is not None:
            stop.check()
        with suppress(Timeout):
            lock.acquire(timeout=_LOCK_TICK_S)
            return


def _check_ours(root: Path) -> None:
    """Raise UserError for a directory that is not empty and no cache.

    Old files below ``tmp`` go, and entries when there are too many: what is there must be ours.
    """
    if not root.is_dir() or is_cache(root):
        return
    there = {path.name for path in root.iterdir() if not path.name.startswith(_FOR_MAKE)}
    foreign = sorted(there - {*_PARTS, _TAG, "lost+found"})
    # Caches from before there was a tag have all parts.
    if foreign and not there.issuperset(_PARTS):
        raise UserError(
            "the directory is not a cache, and not empty",
            where=str(root),
            why=f"it holds {foreign[0]}",
            hint="name one that is new or empty with HARNESS_CACHE=DIR",
        )


def _check_owner(root: Path) -> None:
    """Raise MachineError if this user cannot write files that another user made in the cache."""
    parts = [root / part for part in _PARTS]
    for path in (root, *parts, *(each for part in parts for each in part.iterdir())):
        if os.access(path, os.W_OK):
            continue
        # Another run may have removed it since it was listed.
        with suppress(FileNotFoundError):
            if os.statvfs(path).f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            owner = path.stat().st_uid
            raise MachineError(
                "the cache contains files of another user, and cannot be written",
                where=str(path),
                why=f"it belongs to {_user(owner)}, and this is {_user(os.getuid())}",
                hint=f"sudo chown -R {os.getuid()} {shlex.quote(str(root))}, "
                "or set HARNESS_CACHE to a directory of your own",
            )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _write_manifest(root: Path) -> None:
    files = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            stat = path.stat()
            files[path.relative_to(root).as_posix()] = {
                "size": stat.st_size,
                "mtime_ns": stat.st_mtime_ns,
                "sparse": digest_sparse(path),
            }
    (root / MANIFEST).write_text(json.dumps(files, indent=1) + "\n")


def _damage(root: Path) -> str:
    """Return what of an entry's files is not as it was written; empty where all of it is.

    What cannot be read, or has no digest to compare with, is damaged.
    """
    try:
        files = json.loads((root / MANIFEST).read_text())
        for name, wanted in files.items():
            path = root / name
            if path.stat().st_size != wanted["size"] or digest_sparse(path) != wanted["sparse"]:
                return f"{name} has changed since it was written"
    except FileNotFoundError as error:
        return f"{error.filename} is gone"
    except OSError as error:
        return str(error)
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is not valid"
    return ""


def _is_whole(root: Path) -> bool:
    """Compare sizes and times; if a time differs, the digest decides."""
    try:
        files = json.loads((root / MANIFEST).read_text())
        for name, wanted in files.items():
            path = root / name
            stat = path.stat()
            if stat.st_size != wanted["size"]:
                return False
            if stat.st_mtime_ns != wanted["mtime_ns"] and digest_sparse(path) != wanted["sparse"]:
                return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True

# SPDX-License-Identifier: GPL-2.0-only
"""Selects what a shell opens on: the kernel, the suites and the guest of an earlier run."""

from __future__ import annotations

import difflib
import posixpath
import secrets
import shlex
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from harness import kbuild, suites
from harness.digest import digest
from harness.errors import UserError
from harness.guest import initramfs
from harness.guest.machine import BootFiles
from harness.judge import verdict
from harness.kbuild import Kernel
from harness.lab.attempt import command_of
from harness.lab.packing import GUEST_ROOT, suite_entries, tree_entries
from harness.lab.templates import TemplateFactory
from harness.model.events import Command, Window
from harness.model.ids import KernelName
from harness.model.plan import PlannedTest
from harness.model.records import Record, RunStarted, kernel_names, of_kernel
from harness.model.spec import GuestTable
from harness.store import Store
from harness.suites import Suite, userland

_SYSTEM = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
_SHELLS = {"sealed": ("/bin/sh",), "vng": ("/bin/bash", "--norc")}
"""Shell by type of guest; the settings of the host's shell are not for the guest."""
_ROOT = "root"
_HOME = "/root"
_WEEK_S = 7 * 24 * 3600.0
_USERS = {"etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n", "etc/group": b"root:x:0:\n"}


class Rerun(msgspec.Struct, frozen=True):
    """A test of the run, to be run again in the same way."""

    test: PlannedTest
    seed: str
    """32 bytes in hex, from its worst attempt."""
    limit_s: float
    fresh: bool
    """Whether it has not run before, so that the seed is new."""

    def command(self) -> Command:
        """Return the command that runs it."""
        return command_of(self.test, self.seed, self.limit_s)


class Place(msgspec.Struct, frozen=True):
    """The kernel, suites and guest that a shell opens on."""

    run: str
    """The run's name."""
    kernel: Kernel
    suites: tuple[Suite, ...]
    guest: GuestTable
    rerun: Rerun | None

    @property
    def path(self) -> str:
        """``PATH`` in the guest: the directories with programs of the suites come first."""
        return path_of(self.suites)

    def shell(
        self, environ: Mapping[str, str], line: str = "", window: Window | None = None
    ) -> Command:
        """Return the command of a shell: on a terminal of that size, or for one *line*."""
        directory = f"/{GUEST_ROOT}/{self.rerun.test.suite}" if self.rerun else _HOME
        env = {
            "PATH": self.path,
            "HOME": _HOME,
            "TERM": environ.get("TERM", "dumb"),
            "PS1": r"guest:\w# ",
        }
        return Command(
            argv=("/bin/sh", "-c", line) if window is None else _SHELLS[self.guest.type],
            timeout_s=_WEEK_S,
            seed=secrets.token_bytes(32),
            wall_clock_ns=time.time_ns(),
            env=tuple(env.items()),
            cwd=directory,
            terminal=window,
        )

    def files(self, maker: TemplateFactory) -> BootFiles:
        """Return the files that the guest boots from; see :func:`shell_files`."""
        return shell_files(maker, self.suites, self.guest)


def path_of(packed: Iterable[Suite]) -> str:
    """Return ``PATH`` in a guest with these suites: their directories, then the system's."""
    mine = {
        posixpath.normpath(f"/{GUEST_ROOT}/{suite.name}/{posixpath.dirname(program.path)}"): ""
        for suite in packed
        for program in suite.programs
    }
    return ":".join((*mine, *_SYSTEM))


def shell_files(maker: TemplateFactory, packed: Sequence[Suite], guest: GuestTable) -> BootFiles:
    """Return the files that *guest* boots from: the suites, and a shell if it has none.

    Raises MachineError if there is no shell for it.
    """
    root: Path | None = None
    if guest.type == "sealed":
        root = maker.context.obtain("shell", digest(userland.identity()), _pack_shell)
    key = digest(
        "shell", root.name if root else "", *(f"{suite.name}={suite.key}" for suite in packed)
    )
    return maker.packed(key, shell_entries(packed, root))


def _pack_shell(out: Path) -> None:
    userland.pack_shell(out / _ROOT)
    for path, text in _USERS.items():
        (out / _ROOT / path).parent.mkdir(exist_ok=True)
        (out / _ROOT / path).write_bytes(text)


def shell_entries(packed: Iterable[Suite], shell: Path | None) -> list[initramfs.Entry]:
    """Return the suites' files, and the files of the store's entry *shell* that they lack."""
    own = shell is not None
    entries = [entry for suite in packed for entry in suite_entries(suite, userland=own)]
    entries += tree_entries(shell / _ROOT, "") if shell else []
    unique: dict[str, initramfs.Entry] = {}
    for entry in entries:
        unique.setdefault(entry.path, entry)
    return list(unique.values())


def choose(
    records: Sequence[Record],
    store: Store,
    *,
    test: str = "",
    suite_names: Sequence[str] = (),
    guest: str = "",
    kernel: KernelName | None = None,
) -> Place:
    """Return the parts in *store* of the run with these *records*.

    With *test*, a name of the run, the guest is the one of that test; otherwise it is the one that
    most tests had.  *suite_names* selects suites, *guest* is another type of guest, *kernel* is one
    of several (None is the last).  Raises UserError for a name that the run does not have, and if
    the store no longer has the parts.
    """
    names = kernel_names(records)
    name = names[-1] if kernel is None else kernel
    if name not in names:
        raise UserError(f"the run has no kernel '{name}'", why=f"it has: {', '.join(names)}")
    records = of_kernel(records, name)
    head = next(record for record in records if isinstance(record, RunStarted))
    rerun = _rerun(records, head, test) if test else None
    keys = _suites(head, suite_names, rerun)
    found_kernel = kbuild.find(store, head.kernel.build_id)
    if found_kernel is None:
        raise _gone(head, f"the kernel {head.kernel.release}, build ID {head.kernel.build_id}")
    found = []
    for name, key in keys.items():
        suite = suites.load(store, key, name)
        if suite is None:
            raise _gone(head, f"the suite '{name}'")
        found.append(suite)
    machine = rerun.test.guest if rerun else _usual(head, keys)
    if guest:
        machine = msgspec.structs.replace(machine, type=guest)
    return Place(head.run, found_kernel, tuple(found), machine, rerun)


def _gone(head: RunStarted, what: str) -> UserError:
    return UserError(
        f"{what} is no longer in the cache",
        where=f"run {head.run}",
        hint=f"build it again: {shlex.join(head.command)}" if head.command else "run again",
    )


def _usual(head: RunStarted, keys: Iterable[str]) -> GuestTable:
    names = set(keys)
    usual = Counter(test.guest for test in head.tests if test.suite in names).most_common(1)
    return usual[0][0] if usual else GuestTable()


def _suites(head: RunStarted, wanted: Sequence[str], rerun: Rerun | None) -> dict[str, str]:
    keys = {test.suite: test.suite_key for test in head.tests if test.suite_key}
    for name in wanted:
        if name not in keys:
            raise _unknown("suite", name, keys, head)
    if rerun and wanted and rerun.test.suite not in wanted:
        wanted = (*wanted, rerun.test.suite)
    return {name: key for name, key in keys.items() if name in wanted or not wanted}


def _rerun(records: Sequence[Record], head: RunStarted, wanted: str) -> Rerun:
    by_name = {test.name: test for test in head.tests}
    found = [by_name[wanted]] if wanted in by_name else []
    found = found or [test for test in head.tests if test.program == wanted]
    if len(found) != 1:
        raise _unknown("test", wanted, by_name, head, [test.name for test in found])
    test = found[0]
    if not test.runnable:
        raise UserError("this test cannot be run", where=test.name, why=test.broken or test.unfit)
    result = next(each for each in verdict.results(records).tests if each.name == test.name)
    return Rerun(
        test,
        result.seed or secrets.token_hex(32),
        result.limit_s or test.timeout_s,
        fresh=not result.seed,
    )


def _unknown(
    what: str,
    wanted: str,
    names: Iterable[str],
    head: RunStarted,
    several: Sequence[str] = (),
) -> UserError:
    there = list(names)
    short = {name.partition(":")[2]: name for name in there}
    near = list(several) or difflib.get_close_matches(wanted, there, n=3)
    near = near or [short[name] for name in difflib.get_close_matches(wanted, short, n=3) if name]
    more = f" and {len(there) - 10} more" if len(there) > 10 else ""
    return UserError(
        f"the run has several tests '{wanted}'" if several else f"the run has no {what} '{wanted}'",
        where=f"run {head.run}",
        why=f"it has: {', '.join(there[:10])}{more}" if there else f"it has no {what}s",
        hint=f"did you mean {' or '.join(near)}?" if near else "",
    )

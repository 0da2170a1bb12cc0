# SPDX-License-Identifier: GPL-2.0-only
"""What it costs that tests run elsewhere: over SSH, by Dask, on many machines.

The other machine is this one behind an sshd of its own, so that only the way to it differs.  Each
ratio is of medians from the same minutes, by turns, so that what else the machine does meets both.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from harness.context import Context
from harness.digest import copy_of, digest
from harness.errors import ExitCode, MachineError
from harness.lab import ssh
from harness.lab.archive import pack
from harness.lab.fleet import Fleet
from harness.model.spec import HostTable
from harness.proc import signals
from harness.proc.environment import network
from harness.proc.process import check, run, which
from harness.proc.ssh import Connection, Login
from harness.progress import Progress, Quiet, Step
from harness.run.prepare import prepare
from harness.run.request import Request
from harness.store import Store
from tools.bench.bench import SHORT_TESTS, short_tests
from tools.bench.figures import Figure
from tools.bench.many import ManyBench
from tools.bench.measured import Stage
from tools.bench.sshd import Sshd, check_sshd, sshd

SSH_RATIO = 1.15
FIRST_USE_S = 10.0
TRANSFER_RATIO = 0.6
DASK_RATIO = 1.2
_ENTRY_BYTES = 60_000_000
_ROUNDS = 4
_TRANSFERS = 7
_LIMIT_S = 900.0
_NAME = "far"


@dataclass
class _Copied:
    """Progress that notes what was copied."""

    shown: Progress
    titles: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        if title.startswith("Copying "):
            self.titles.append(title)
        with self.shown.step(title) as step:
            yield step

    def note(self, text: str) -> None:
        self.shown.note(text)


@dataclass(frozen=True)
class HostsBench:
    """Measures on the project of *request*."""

    request: Request
    store: Store
    progress: Progress

    def check(self) -> None:
        """Raise MachineError if Dask, sshd or scp is missing."""
        _distributed()
        check_sshd()
        which("scp")

    @contextmanager
    def stages(self) -> Iterator[Iterator[Stage]]:
        """Yield what measures over SSH, by Dask and on simulated workers."""
        with tempfile.TemporaryDirectory(prefix="harness-bench-") as name:
            home = Path(name) / "home"
            # What a login shell loads of this user's settings, such as pyenv, is not the harness's.
            with sshd(Path(name) / "far", home, more=f"SetEnv HOME={home}") as far:
                yield self._stages(far, Path(name))

    def _stages(self, far: Sshd, scratch: Path) -> Iterator[Stage]:
        words = [*self._project(far, scratch), "--suite", str(short_tests(scratch / "short"))]
        words += ["--out", str(scratch / "out")]
        yield "short tests over SSH", lambda: self._over_ssh(words)
        yield "first use of a host", lambda: self._first_use(far, scratch)
        yield "transfers", lambda: self._transfers(far, scratch)
        yield "short tests by Dask", lambda: self._by_dask(words)
        with ManyBench(self.progress).stages() as more:
            yield from more

    def _over_ssh(self, words: Sequence[str]) -> tuple[Figure, ...]:
        """Compare a suite of short tests over SSH with the same here, as a user calls both."""
        words = [*words, "--jobs", "2"]
        here, there = self._pairs("short tests", words, [*words, "--host", _NAME], rounds=_ROUNDS)
        return (ratio(f"{SHORT_TESTS} short tests over SSH", here, there, SSH_RATIO),)

    def _by_dask(self, words: Sequence[str]) -> tuple[Figure, ...]:
        """Compare two workers of a Dask cluster with two guests at a time here."""
        with _cluster(self.store) as scheduler:
            here, there = self._pairs(
                "short tests by Dask",
                [*words, "--jobs", "2"],
                [*words, "--dask", scheduler],
                rounds=_ROUNDS,
            )
        name = f"{SHORT_TESTS} short tests by two Dask workers, against --jobs 2"
        return (ratio(name, here, there, DASK_RATIO),)

    def _first_use(self, far: Sshd, scratch: Path) -> tuple[Figure, ...]:
        """Have a host that has nothing made ready, and again when it has everything."""
        context = Context(self.store, self.progress)
        prepared = prepare(self.request, context, scratch / "prepare")
        table = msgspec.structs.replace(_table(far), cache=str(scratch / "fresh"))
        seconds: list[float] = []
        copied: list[int] = []
        for _ in range(2):
            told = _Copied(self.progress)

            async def join(told: _Copied) -> None:
                each = Context(self.store, told)
                fleet = Fleet(scratch / "out", each)
                try:
                    await fleet.join(_NAME, partial(ssh.connect, _NAME, table, each))
                    await fleet.add("", prepared.factory, prepared.suites)
                finally:
                    await fleet.close()

            begun = time.monotonic()
            signals.run(join(told))
            seconds.append(time.monotonic() - begun)
            copied.append(len(told.titles))
        files = [each for each in (scratch / "fresh").rglob("*") if each.is_file()]
        size = sum(each.lstat().st_size for each in files)
        big = scratch / "as-much"
        big.write_bytes(os.urandom(size))
        transfer = _timed(lambda: _scp(far, big, scratch / "as-much-there"))
        return (
            Figure(
                name="first use of a host, beyond what scp takes for as many bytes",
                value=seconds[0] - transfer,
                unit="s",
                bound=f"<= {FIRST_USE_S:g}",
                reached=seconds[0] - transfer <= FIRST_USE_S,
                note=f"{copied[0]} copied, {size / 1e6:.0f} MB there; {seconds[0]:.1f} s in all, "
                f"scp {transfer:.1f} s",
            ),
            Figure(
                name="second use: copied",
                value=copied[1],
                unit="",
                bound="0",
                reached=not copied[1],
                note=f"{seconds[1]:.1f} s",
            ),
        )

    def _transfers(self, far: Sshd, scratch: Path) -> tuple[Figure, ...]:
        """Compare what an entry takes on its way with scp."""
        entries = Store(scratch / "entries")
        login = Login(_NAME, far.ssh, far.port, str(far.identity), "", far.fingerprint)
        keys = [digest("bench", str(number)) for number in range(_TRANSFERS)]
        for key in keys:
            entries.obtain("suite", key, _fill, Quiet())
        packed = scratch / "packed.tar"
        with packed.open("wb") as file:
            pack(entries, ("suite", keys[0]), file)
        whole: list[float] = []
        alone: list[float] = []
        scp: list[float] = []

        async def send() -> None:
            told = Context(self.store, Quiet())
            worker = await ssh.connect(_NAME, _table(far), told)
            connection = Connection.open(login)
            try:
                for key in keys:
                    scp.append(_timed(lambda: _scp(far, packed, scratch / "there")))
                    alone.append(
                        _timed(lambda: connection.put(copy_of(packed), str(scratch / "there")))
                    )
                    begun = time.monotonic()
                    await worker.take(("suite", key), partial(pack, entries, ("suite", key)))
                    whole.append(time.monotonic() - begun)
            finally:
                connection.close()
                await worker.close()

        with self.progress.step(f"{_TRANSFERS} transfers of {_ENTRY_BYTES / 1e6:.0f} MB"):
            signals.run(send())
        return (
            speed("a file of 60 MB, its speed against scp", alone, scp),
            speed("an entry of 60 MB, packed, sent, checked and unpacked", whole, scp),
        )

    def _project(self, far: Sshd, scratch: Path) -> list[str]:
        """Write a project like that of the request, with *far* as a host of it."""
        own = self.request.project_file
        made = scratch / "project"
        made.mkdir()
        for path in own.parent.iterdir():
            if path.is_dir() and not path.name.startswith(".") and path.name != "runs":
                (made / path.name).symlink_to(path)
        keys = far.table(_NAME, identity=str(far.identity), host_key=far.fingerprint)
        (made / own.name).write_text(f"{own.read_text()}\n{keys}")
        return ["--project", str(made / own.name)]

    def _pairs(
        self, title: str, first: Sequence[str], second: Sequence[str], rounds: int
    ) -> tuple[list[float], list[float]]:
        """Call ``harness run`` both ways by turns; return the seconds of each."""
        seconds: tuple[list[float], list[float]] = ([], [])
        for turn in range(rounds + 1):
            for words, samples in zip((first, second), seconds, strict=True):
                took = _timed(lambda words=words: self._run(title, words))  # type: ignore[misc]
                # The first ones build suites and make templates.
                samples += [took] if turn else []
        return seconds

    def _run(self, title: str, words: Sequence[str]) -> None:
        argv = [sys.executable, "-m", "harness", "run", *words]
        env = {**network(), "HARNESS_CACHE": str(self.store.root)}
        with self.progress.step(f"{title}: {' '.join(words[-2:])}"):
            done = run(argv, env=env, limit_s=_LIMIT_S)
        if done.status != ExitCode.AS_EXPECTED:
            check(done, "a run that is to be measured did not end as expected")


def _table(far: Sshd) -> HostTable:
    return HostTable(
        ssh=far.ssh,
        port=far.port,
        identity=str(far.identity),
        host_key=far.fingerprint,
        cache=str(far.cache),
    )


def _fill(out: Path) -> None:
    (out / "program").write_bytes(os.urandom(_ENTRY_BYTES))


def _timed(do: Callable[[], Any]) -> float:
    begun = time.monotonic()
    do()
    return time.monotonic() - begun


def _scp(far: Sshd, path: Path, there: Path) -> None:
    argv = ["scp", "-q", "-F", "none", "-P", str(far.port), "-i", str(far.identity)]
    argv += ["-o", f"UserKnownHostsFile={far.home / '.ssh' / 'known_hosts'}"]
    check(run([*argv, str(path), f"{far.ssh}:{there}"], limit_s=_LIMIT_S), "scp has failed")


def _distributed() -> Any:
    """Return Dask's module; MachineError where it is not installed."""
    try:
        import distributed
    except ImportError as error:
        raise MachineError(
            "Dask is not installed",
            where="make bench, part hosts",
            why=str(error),
            hint="scripts/setup.sh extra",
        ) from None
    return distributed


@contextmanager
def _cluster(store: Store) -> Iterator[str]:
    """Start two workers of Dask, each of which carries one guest; yield the scheduler's address."""
    make: Any = _distributed().LocalCluster
    with make(
        n_workers=2,
        threads_per_worker=1,
        resources={"guests": 1},
        dashboard_address=None,
        env={"HARNESS_CACHE": str(store.root)},
    ) as cluster:
        yield cluster.scheduler_address


def ratio(name: str, here: Sequence[float], there: Sequence[float], most: float) -> Figure:
    """Return how many times as long it takes *there*, which is to be *most*."""
    ratio = statistics.median(there) / statistics.median(here)
    return Figure(
        name=name,
        value=ratio,
        unit="times as long",
        bound=f"<= {most:g}",
        reached=ratio <= most,
        samples=tuple(there),
        note=f"{statistics.median(there):.2f} s against {statistics.median(here):.2f} s",
    )


def speed(name: str, ours: Sequence[float], scp: Sequence[float]) -> Figure:
    """Return the speed of *ours* as a share of that of scp."""
    mine, other = statistics.median(ours), statistics.median(scp)
    return Figure(
        name=name,
        value=other / mine,
        unit="of its speed",
        bound=f">= {TRANSFER_RATIO:g}",
        reached=other / mine >= TRANSFER_RATIO,
        samples=tuple(ours),
        note=f"{mine:.2f} s against {other:.2f} s",
    )

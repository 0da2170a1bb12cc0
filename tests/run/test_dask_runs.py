# SPDX-License-Identifier: GPL-2.0-only
"""``harness run --dask``: a cluster whose workers die, whose scheduler restarts, and that grows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.errors import ExitCode
from harness.model import results
from harness.model.records import AttemptLost, TestEnded
from harness.outcome import Outcome
from harness.run import journal
from harness.run.prepare import Prepared
from harness.store import Store
from tests.run.commands import LIMIT_S
from tests.run.test_hosts import Place, gone
from tools.bench.sshd import free_port

COUNT = 40
SUITE = "dawdling"
"""Tests that sleep for a second, and pass but for each seventh."""


@pytest.fixture
def place(tmp_path: Path, user_store: Store, prepared: Prepared) -> Place:
    return Place(tmp_path, user_store)


@pytest.mark.kernel
@pytest.mark.extra
def test_a_cluster_on_this_machine(place: Place) -> None:
    out = place.root / "out"
    words = ("--suite", "selftests/restrictedmem", "-k", "create_test", "--out", str(out))
    # The command that users call is a file, which processes that are spawned import.
    command = str(Path(sys.executable).with_name("harness"))
    done = subprocess.run(
        [command, "run", "--dask", "auto", *words],
        cwd=place.project,
        env=place.env,
        text=True,
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == ExitCode.AS_EXPECTED, done.stdout + done.stderr
    (test,) = results.decode((out / "results.json").read_bytes()).tests
    assert (test.outcome, test.host, test.lost) == (Outcome.PASS, "dask", 0)


class Cluster:
    """A scheduler and workers, each a process of its own, as ``dask`` starts them."""

    def __init__(self, root: Path) -> None:
        self.root, self.port = root, free_port()
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []
        self.started = 0

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def _start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", f"distributed.cli.dask_{name}", *words, "--no-dashboard"]
        env = os.environ | {
            "HARNESS_CACHE": str(self.root / f"cache{self.started}"),
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
        }
        with (self.root / f"{name}.log").open("ab") as log:
            return subprocess.Popen(argv, stdout=log, stderr=log, env=env, start_new_session=True)

    def up(self) -> None:
        """Start the scheduler."""
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", str(self.port))

    def grow(self) -> None:
        """Start one worker more."""
        self.started += 1
        (self.root / f"cache{self.started}").mkdir()
        words = ("--nthreads", "1", "--resources", "guests=1", "--no-nanny")
        self.workers.append(self._start("worker", self.address, *words))

    def shrink(self, sign: signal.Signals = signal.SIGKILL) -> None:
        """Kill the worker that has been there longest."""
        _end(self.workers.pop(0), sign)

    def down(self) -> None:
        """Kill everything."""
        while self.workers:
            self.shrink()
        if self.scheduler:
            _end(self.scheduler, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    process.send_signal(sign)
    process.wait()


@pytest.fixture
def cluster(place: Place) -> Iterator[Cluster]:
    made = Cluster(place.root)
    made.up()
    try:
        made.grow()
        made.grow()
        yield made
    finally:
        made.down()


def dawdling(place: Place) -> Path:
    """Write the suite of this name."""
    directory = place.root / SUITE
    directory.mkdir()
    names = [f"t{number:02}" for number in range(COUNT)]
    (directory / "Makefile").write_text(f"TEST_GEN_PROGS := {' '.join(names)}\ninclude ../lib.mk\n")
    for number, name in enumerate(names):
        body = f"sleep(1);\n\treturn {int(number % 7 == 6)};"
        (directory / f"{name}.c").write_text(
            f"#include <unistd.h>\nint main(void)\n{{\n\t{body}\n}}\n"
        )
    return directory


def ended(out: Path) -> int:
    try:
        return sum(isinstance(each, TestEnded) for each in journal.read(out))
    except Exception:
        return 0


def run_under(place: Place, cluster: Cluster, *faults: Callable[[], None]) -> Path:
    """Run the suite; after each so many tests one of *faults* happens.  Nothing is lost."""
    out = place.root / "out"
    words = ("--suite", str(dawdling(place)), "--out", str(out))
    run = place.start("run", "--dask", cluster.address, *words)
    end = time.monotonic() + LIMIT_S
    for number, fault in enumerate(faults, start=1):
        while ended(out) < number * COUNT // (len(faults) + 2):
            assert run.poll() is None, run.stdout and run.stdout.read()
            assert time.monotonic() < end
            time.sleep(0.1)
        fault()
    output, _ = run.communicate(timeout=LIMIT_S)
    assert b"Traceback" not in output, output
    assert run.returncode == ExitCode.NOT_AS_EXPECTED, output
    said = results.decode((out / "results.json").read_bytes())
    assert len(said.tests) == COUNT
    for number, test in enumerate(sorted(said.tests, key=lambda each: each.name)):
        assert test.outcome is (Outcome.FAIL if number % 7 == 6 else Outcome.PASS), test
    names = [each.name for each in journal.read(out) if isinstance(each, TestEnded)]
    assert len(names) == len(set(names)) == COUNT
    return out


def lost(out: Path) -> int:
    return sum(isinstance(each, AttemptLost) for each in journal.read(out))


@pytest.mark.proof
def test_workers_that_die_lose_no_test(place: Place, cluster: Cluster) -> None:
    def replace() -> None:
        cluster.shrink()
        cluster.grow()

    out = run_under(place, cluster, replace, replace)
    # At most all that was in line, twice: four for each of two guests.
    assert 0 < lost(out) <= 2 * 4 * 2
    cluster.down()
    for number in range(1, cluster.started + 1):
        gone(place.root / f"cache{number}")


@pytest.mark.proof
def test_a_scheduler_that_restarts(place: Place, cluster: Cluster) -> None:
    def restart() -> None:
        cluster.down()
        time.sleep(2)
        cluster.up()
        cluster.grow()
        cluster.grow()

    run_under(place, cluster, restart)


@pytest.mark.proof
def test_a_worker_that_comes_later_has_its_share(place: Place, cluster: Cluster) -> None:
    out = run_under(place, cluster, cluster.grow)
    assert not lost(out)
    snapshots = place.root / f"cache{cluster.started}" / "entries" / "snapshot"
    assert list(snapshots.iterdir())

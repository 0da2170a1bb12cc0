# SPDX-License-Identifier: GPL-2.0-only
"""Hosts that fail at random moments: no outcome is lost or wrong, and no process is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.errors import ExitCode
from harness.model import results
from harness.model.records import AttemptLost, TestEnded
from harness.outcome import Outcome
from harness.run import journal
from harness.run.prepare import Prepared
from harness.store import Store
from tests.run.links import Link, NoNamespaces, links
from tests.run.test_hosts import Place, gone, workers
from tools.bench.sshd import Sshd, sshd

pytestmark = [pytest.mark.kernel, pytest.mark.proof]

TESTS = 200
FAULTS = 20
LIMIT_S = 1500
DISK_MIB = 1024
RESUMES = 3


@dataclass
class Host:
    """A machine at the end of a link, whose cache has a small disk of its own."""

    link: Link
    machine: Sshd

    @property
    def cache(self) -> Path:
        return self.machine.cache

    def workers(self) -> list[int]:
        """Return the processes that run ``harness worker``."""
        found = []
        for pid in workers(self.cache):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"worker" in words:
                found.append(pid)
        return found

    def signal(self, sign: signal.Signals) -> None:
        for pid in self.workers():
            try:
                os.kill(pid, sign)
            except ProcessLookupError:
                continue


@pytest.fixture
def place(tmp_path: Path, user_store: Store, prepared: Prepared) -> Place:
    return Place(tmp_path, user_store)


@pytest.fixture
def hosts(place: Place) -> Iterator[list[Host]]:
    with ExitStack() as stack:
        try:
            made = stack.enter_context(links(2))
        except NoNamespaces as error:
            pytest.skip(f"no hosts to fail: {error}")
        found = []
        for number, link in enumerate(made):
            root = place.root / f"host{number}"
            where = {"address": link.address, "within": link.within}
            machine = stack.enter_context(sshd(root, place.home, **where))  # type: ignore[arg-type]
            machine.cache.mkdir()
            size = f"size={DISK_MIB}m"
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", size, "none", str(machine.cache)], check=True
            )
            stack.callback(subprocess.run, ["umount", "-l", str(machine.cache)], check=True)
            found.append(Host(link, machine))
        place.hosts("".join(host.machine.table(f"host{n}") for n, host in enumerate(found)))
        yield found


def suite(place: Place) -> Path:
    """Write a suite of short tests, each seventh of which fails."""
    directory = place.root / "many"
    directory.mkdir()
    names = [f"t{number:03}" for number in range(TESTS)]
    (directory / "Makefile").write_text(f"TEST_PROGS := {' '.join(names)}\ninclude ../lib.mk\n")
    for number, name in enumerate(names):
        bad = number % 7 == 6
        script = directory / name
        script.write_text(
            f'#!/bin/sh\nprintf "TAP version 13\\n1..1\\n{"not " * bad}ok 1 it\\n"\n'
            f"sleep 0.7\nexit {int(bad)}\n"
        )
        script.chmod(0o755)
    return directory


def cut(host: Host, chance: random.Random) -> None:
    # Shorter and longer than what counts as lost.
    host.link.cut()
    time.sleep(chance.choice([2, 5, 12, 20]))
    host.link.mend()


def lossy(host: Host, chance: random.Random) -> None:
    host.link.lossy()
    time.sleep(chance.uniform(2, 6))
    host.link.whole()


def slow(host: Host, chance: random.Random) -> None:
    host.link.slow()
    time.sleep(chance.uniform(2, 6))
    host.link.fast()


def kill_worker(host: Host, chance: random.Random) -> None:
    host.signal(signal.SIGKILL)


def stop_worker(host: Host, chance: random.Random) -> None:
    host.signal(signal.SIGSTOP)


def kill_sshd(host: Host, chance: random.Random) -> None:
    host.machine.cut()


def restart_sshd(host: Host, chance: random.Random) -> None:
    host.machine.stop()
    time.sleep(chance.uniform(1, 4))
    host.machine.start()


def fill_disk(host: Host, chance: random.Random) -> None:
    filler = host.cache / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 20))
        except OSError:
            pass
    time.sleep(chance.uniform(2, 6))
    filler.unlink()


Fault = Callable[[Host, random.Random], None]
KINDS: tuple[Fault, ...] = (
    cut,
    lossy,
    slow,
    kill_worker,
    stop_worker,
    kill_sshd,
    restart_sshd,
    fill_disk,
)


def ended(out: Path) -> list[str]:
    """Return the tests that have ended so far."""
    try:
        return [each.name for each in journal.read(out) if isinstance(each, TestEnded)]
    except Exception:
        return []  # there is none yet


def test_twenty_faults_at_random(place: Place, hosts: list[Host]) -> None:
    seed = 14
    chance = random.Random(seed)  # noqa: S311  not for secrets
    out = place.root / "out"
    # Each kind twice, and some more, in any order.
    planned = [*KINDS, *KINDS, *chance.sample(KINDS, FAULTS - 2 * len(KINDS))]
    chance.shuffle(planned)
    words = ["--host", "host0", "--host", "host1", "-j", "2"]
    begun = time.monotonic()
    run = place.start("run", *words, "--suite", str(suite(place)), "--out", str(out))
    log: list[str] = []
    resumes = 0
    for number, fault in enumerate(planned, start=1):
        while len(ended(out)) < number * TESTS // (FAULTS + 2):
            assert time.monotonic() - begun < LIMIT_S, log
            if run.poll() is not None:
                # Both hosts were given up: a user mends them and goes on.
                output = run.stdout.read() if run.stdout else b""
                assert run.returncode == ExitCode.MACHINE, output
                assert b"no host is left" in output
                resumes += 1
                assert resumes <= RESUMES, output
                run = place.start("run", "--resume", str(out), *words[:4])
            time.sleep(0.1)
        host = chance.choice(hosts)
        log.append(f"{len(ended(out))}: {fault.__name__} {host.link.name[-1]}")
        fault(host, chance)
    output, _ = run.communicate(timeout=LIMIT_S)
    took = time.monotonic() - begun
    records = journal.read(out)
    lost = [each for each in records if isinstance(each, AttemptLost)]
    print(f"\nseed {seed}, {took:.0f} s, {len(lost)} attempts lost, {resumes} resumed")
    print("\n".join(log))
    print(output.decode(errors="replace")[-3000:])
    assert b"Traceback" not in output
    assert run.returncode == ExitCode.NOT_AS_EXPECTED
    said = results.decode((out / "results.json").read_bytes())
    tests = sorted(said.tests, key=lambda each: each.name)
    assert len(tests) == TESTS
    wrong = [
        (test.name, test.outcome, test.reason)
        for number, test in enumerate(tests)
        if test.outcome is not (Outcome.FAIL if number % 7 == 6 else Outcome.PASS)
    ]
    assert wrong == []
    assert set(Counter(ended(out)).values()) == {1}
    assert lost, "the faults have hit nothing"
    for host in hosts:
        gone(host.cache)

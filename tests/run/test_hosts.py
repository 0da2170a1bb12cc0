# SPDX-License-Identifier: GPL-2.0-only
"""Runs on other machines, which are this one behind sshd: real SSH, SFTP and host keys."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import ExitCode
from harness.model import results
from harness.model.records import AttemptLost, TestEnded, TestStarted
from harness.outcome import Outcome
from harness.run import journal
from harness.run.prepare import Prepared
from harness.store import Store
from tests.run.commands import LIMIT_S
from tests.run.records import begun
from tests.run.test_main_job import suite
from tools.bench.sshd import Sshd, sshd

pytestmark = [pytest.mark.kernel, pytest.mark.long(90)]
REPOSITORY = Path(__file__).parents[2]
TOLD_TO_CI = "tHe-tOkEn-Of-ThE-cI"


class Place:
    """A project with hosts, and the home of its user."""

    def __init__(self, root: Path, store: Store) -> None:
        self.root, self.home, self.store = root, root / "home", store
        self.project = root / "project"
        self.project.mkdir()
        for name in ("kernel-configs", "patches", "selftests"):
            (self.project / name).symlink_to(REPOSITORY / name)
        self.hosts("")

    def hosts(self, tables: str) -> None:
        text = (REPOSITORY / "harness.toml").read_text()
        (self.project / "harness.toml").write_text(f"{text}\n{tables}")

    @property
    def env(self) -> dict[str, str]:
        return os.environ | {"HOME": str(self.home), "HARNESS_CACHE": str(self.store.root)}

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "harness", *words]

    def harness(self, *words: str, limit_s: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.argv(*words),
            cwd=self.project,
            env=self.env | {"PYTHONPATH": str(REPOSITORY)},
            text=True,
            capture_output=True,
            timeout=limit_s,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.argv(*words),
            cwd=self.project,
            env=self.env | {"PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture
def place(tmp_path: Path, user_store: Store, prepared: Prepared) -> Place:
    return Place(tmp_path, user_store)


@pytest.fixture
def big(place: Place) -> Iterator[Sshd]:
    with sshd(place.root / "big", place.home) as machine:
        place.hosts(machine.table("big"))
        yield machine


@pytest.fixture
def endless(place: Place) -> Path:
    """A suite whose tests run until their time is up, and that is soon."""
    made = suite(place.root / "endless", one="\tfor (;;) ;", two="\tfor (;;) ;")
    (made / "settings").write_text("timeout=2\n")
    return made


def workers(cache: Path) -> list[int]:
    """Return the processes that work with *cache*: workers and their guests."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = path.read_bytes()
            words = path.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(cache) in environment + words:
            found.append(int(path.parent.name))
    return found


def gone(cache: Path, limit_s: float = 15) -> None:
    """Wait until nothing works with *cache* any more."""
    end = time.monotonic() + limit_s
    while left := workers(cache):
        assert time.monotonic() < end, left
        time.sleep(0.1)


def secrets_in(place: Place, directory: Path) -> list[Path]:
    """Return the files below *directory* that hold a secret: what CI has, or a private key."""
    key = (place.home / ".ssh" / "id_ed25519").read_bytes().splitlines()[1:-1]
    wanted = (TOLD_TO_CI.encode(), *key)
    files = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if any(word in path.read_bytes() for word in wanted)]


def test_a_run_on_a_host_says_so(place: Place, big: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    out = place.root / "out"
    suite = ("--suite", "selftests/restrictedmem", "-k", "create_test")
    monkeypatch.setenv("CI_TOKEN", TOLD_TO_CI)
    done = place.harness("run", "--host", "big", *suite, "--out", str(out), "-v")
    assert done.returncode == ExitCode.AS_EXPECTED, done.stdout + done.stderr
    said = results.decode((out / "results.json").read_bytes())
    (test,) = said.tests
    assert (test.outcome, test.host, test.lost) == (Outcome.PASS, "big", 0)
    assert "Hosts  big 1" in done.stdout
    junit = ET.parse(out / "junit.xml").getroot()  # noqa: S314  our own file
    properties = {each.get("name"): each.get("value") for each in junit.iter("property")}
    assert properties["restrictedmem:create_test.host"] == "big"
    assert (out / test.logs.output).read_bytes()
    # Everything was put there, and nothing twice.
    kinds = {path.name for path in (big.root / "cache" / "entries").iterdir()}
    assert kinds == {"agent", "initramfs", "kernel", "snapshot", "suite"}
    assert not list((big.root / "cache" / "places" / "incoming").iterdir())
    gone(big.root / "cache")
    assert TOLD_TO_CI not in done.stdout + done.stderr
    assert not secrets_in(place, out)
    assert not secrets_in(place, big.root / "cache")
    again = place.harness("run", "--host", "big", *suite, "--out", str(out))
    assert again.returncode == ExitCode.AS_EXPECTED, again.stdout + again.stderr
    assert "Copying" not in again.stderr


def test_a_matrix_on_a_host_and_here(place: Place, big: Sshd) -> None:
    programs = {f"{letter}_test": "\tsleep(1);\n\treturn 0;" for letter in "abcd"}
    own, out = suite(place.root / "own", **programs), place.root / "out"
    words = ("--patches", "ends", "--fresh", "--suite", str(own), "--out", str(out))
    done = place.harness("matrix", "--host", "big", "--host", "local", "-j", "1", *words)
    assert done.returncode == ExitCode.AS_EXPECTED, done.stdout + done.stderr
    said = results.decode((out / "results.json").read_bytes())
    base, tip = said.kernels
    assert len(said.tests) == 2 * len(programs)
    for kernel in (base, tip):
        mine = [test for test in said.tests if test.kernel == kernel]
        assert {test.outcome for test in mine} == {Outcome.PASS}
        # Both have taken part, and each has the templates of both kernels.
        assert {test.host for test in mine} == {"big", ""}
    assert len(list((big.root / "cache" / "entries" / "kernel").iterdir())) == 2
    gone(big.root / "cache")


def test_what_was_lost_runs_again_and_no_process_is_left(
    place: Place, big: Sshd, endless: Path
) -> None:
    out = place.root / "out"
    run = place.start(
        *("run", "--host", "big", "--suite", str(endless), "-k", "endless:one"),
        *("--out", str(out)),
    )
    end = time.monotonic() + LIMIT_S
    while not begun(out, "endless:one"):
        assert run.poll() is None, run.stdout and run.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(0.5)
    big.cut()
    output, _ = run.communicate(timeout=LIMIT_S)
    assert run.returncode == ExitCode.NOT_AS_EXPECTED, output
    records = journal.read(out)
    assert sum(isinstance(each, TestStarted) for each in records) == 2
    assert sum(isinstance(each, AttemptLost) for each in records) == 1
    assert sum(isinstance(each, TestEnded) for each in records) == 1
    (test,) = results.decode((out / "results.json").read_bytes()).tests
    assert (test.outcome, test.host, test.lost) == (Outcome.TIMEOUT, "big", 1)
    gone(big.root / "cache")


def test_an_interrupt_leaves_no_process_and_resume_goes_on(
    place: Place, big: Sshd, endless: Path
) -> None:
    out = place.root / "out"
    run = place.start(
        *("run", "--host", "big", "--suite", str(endless), "-k", "endless:one"),
        *("--out", str(out)),
    )
    end = time.monotonic() + LIMIT_S
    while not begun(out, "endless:one"):
        assert run.poll() is None, run.stdout and run.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=LIMIT_S)
    assert run.returncode == ExitCode.INTERRUPTED, output
    gone(big.root / "cache")
    done = place.harness("run", "--resume", str(out), "--host", "local")
    assert done.returncode == ExitCode.NOT_AS_EXPECTED, done.stdout + done.stderr
    (test,) = results.decode((out / "results.json").read_bytes()).tests
    assert (test.outcome, test.host) == (Outcome.TIMEOUT, "")


def test_what_a_host_loses_that_does_not_come_back_runs_elsewhere(
    place: Place, big: Sshd, endless: Path
) -> None:
    out = place.root / "out"
    with sshd(place.root / "small", place.home) as small:
        place.hosts(big.table("big") + small.table("small"))
        run = place.start(
            *("run", "--host", "big", "--host", "small", "-j", "1", "--out", str(out)),
            *("--suite", str(endless)),
        )
        end = time.monotonic() + LIMIT_S
        while not (out / journal.FILE_NAME).exists() or not any(
            isinstance(each, TestStarted) and each.host == "big" for each in journal.read(out)
        ):
            assert run.poll() is None, run.stdout and run.stdout.read()
            assert time.monotonic() < end
            time.sleep(0.05)
        big.stop()
        output, _ = run.communicate(timeout=LIMIT_S)
    assert run.returncode == ExitCode.NOT_AS_EXPECTED, output
    # Given up, or tried again when the last test ended on the other host.
    assert b"host big was lost" in output or b"host big is given up" in output
    said = results.decode((out / "results.json").read_bytes())
    assert {test.host for test in said.tests} == {"small"}
    assert all(test.outcome is not Outcome.ERROR for test in said.tests)
    gone(big.root / "cache")


def test_the_doctor_boots_a_kernel_where_there_is_no_compiler(place: Place) -> None:
    there = place.root / "bin"
    there.mkdir()
    for name in ("sh", "env", "df", "setpriv", "qemu-system-x86_64", "python3"):
        (there / name).symlink_to(f"/usr/bin/{name}")
    # A shell that sshd starts reads what this user has at home.
    more = f"SetEnv PATH={there} HOME={place.root}"
    with sshd(place.root / "bare", place.home, more=more) as bare:
        place.hosts(bare.table("bare"))
        done = place.harness("doctor", "--host", "bare", "--json")
    assert done.stdout, done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["tcg"]["state"] == "yes", checks["tcg"]
    # The newest kernel that has KVM was booted, and in that guest another one.
    assert checks["nested-kvm"]["state"] == "yes", checks["nested-kvm"]
    assert done.returncode == ExitCode.AS_EXPECTED, done.stdout + done.stderr


def test_the_doctor_asks_a_host(place: Place, big: Sshd) -> None:
    done = place.harness("doctor", "--host", "big", "--quick", "--json")
    assert done.returncode == ExitCode.AS_EXPECTED, done.stdout + done.stderr
    said = json.loads(done.stdout)
    checks = {check["name"]: check for check in said["checks"]}
    assert checks["qemu"]["state"] == "yes"
    assert str(big.root / "cache") in checks["cache"]["detail"]

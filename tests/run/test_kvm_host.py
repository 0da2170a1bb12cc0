# SPDX-License-Identifier: GPL-2.0-only
"""Tests under KVM, on a host that has it: Debian in a guest, whose processor is emulated."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import ExitCode
from harness.guest.capabilities import HostFacts
from harness.guest.host import Access
from harness.model import results
from harness.model.events import Accelerator
from harness.model.records import GuestReady
from harness.outcome import Outcome
from harness.proc.ssh import fingerprint
from harness.run import journal
from harness.run.prepare import Prepared
from harness.store import Store
from tests.run.kvmhost import KvmHost, archive_of_apt, make_disk, make_root, running
from tests.run.test_hosts import Place
from tests.run.test_main_job import suite
from tools.bench.sshd import keygen

pytestmark = [pytest.mark.kernel, pytest.mark.proof]

SUITE = ("--suite", "selftests/restrictedmem", "-k", "create_test")
LIMIT_S = 1800
BOOT_S = 600


@pytest.fixture
def place(tmp_path: Path, user_store: Store, prepared: Prepared) -> Iterator[Place]:
    made = Place(tmp_path, user_store)
    (made.home / ".ssh").mkdir(mode=0o700, parents=True)
    keygen(made.home / ".ssh" / "id_ed25519")
    if os.getuid() != 0:
        pytest.skip("no host with KVM: debootstrap needs root")
    root, disk = tmp_path / "root", tmp_path / "disk"
    make_root(root, *archive_of_apt())
    make_disk(root, disk, made.home)
    host = KvmHost(root, disk, tmp_path)
    key = (root / "etc" / "ssh" / "ssh_host_ed25519_key.pub").read_text().split()[1]
    # What is emulated twice is slow.
    limits = f"[limits]\nboot_s = {BOOT_S}\n"
    made.hosts(host.table("kvm", fingerprint(base64.b64decode(key))) + limits)
    with running(host):
        yield made
        print(host.log()[-3000:])


def test_tests_run_under_kvm_where_the_doctor_said_so(place: Place) -> None:
    done = place.harness("doctor", "--host", "kvm", "--json", limit_s=LIMIT_S)
    print(done.stdout, done.stderr)
    assert done.stdout
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["kvm-device"]["state"] == "yes"
    assert checks["kvm"]["state"] == "yes", checks["kvm"]
    out = place.root / "out"
    done = place.harness("run", "--host", "kvm", *SUITE, "--out", str(out), limit_s=LIMIT_S)
    print(done.stdout, done.stderr)
    assert done.returncode == ExitCode.AS_EXPECTED
    (test,) = results.decode((out / "results.json").read_bytes()).tests
    assert (test.outcome, test.host) == (Outcome.PASS, "kvm")
    (ready,) = (each for each in journal.read(out) if isinstance(each, GuestReady))
    assert (ready.host, ready.machine.accelerator) == ("kvm", Accelerator.KVM)
    _goes_there_by_need(place)


def _goes_there_by_need(place: Place) -> None:
    """What requires KVM runs on the host whose doctor has said that it has it; the rest, here."""
    if HostFacts().host.kvm is Access.USABLE:
        return  # this machine has it, too
    own = suite(place.root / "own", kvm_test="return 0;", any_test="return 0;")
    out = place.root / "by-need"
    (own / "suite.toml").write_text('[program.kvm_test]\nrequires = ["kvm"]\n')
    done = place.harness("run", "--suite", str(own), "--out", str(out), limit_s=LIMIT_S)
    print(done.stdout, done.stderr)
    assert done.returncode == ExitCode.AS_EXPECTED
    tests = results.decode((out / "results.json").read_bytes()).tests
    where = {test.program: (test.outcome, test.host) for test in tests}
    assert where == {"kvm_test": (Outcome.PASS, "kvm"), "any_test": (Outcome.PASS, "")}

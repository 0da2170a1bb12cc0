# SPDX-License-Identifier: GPL-2.0-only
"""What the doctor finds out by booting, on this machine."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from harness.doctor import trial
from harness.guest.accel import Memory
from harness.guest.api import Accelerator
from harness.guest.capabilities import Survey
from harness.guest.machine import GuestConfig
from harness.progress import Quiet
from harness.run.prepare import Prepared
from harness.store import Store

pytestmark = pytest.mark.kernel


def test_what_a_boot_tells(prepared: Prepared, user_store: Store) -> None:
    survey, config = Survey(), GuestConfig()
    found = {each.name: each for each in trial.checks(user_store, survey, config, Quiet())}
    assert set(found) == {"tcg", "kvm", "nested-kvm"}
    assert found["tcg"].state == "yes", found["tcg"].detail
    assert found["nested-kvm"].state == "yes", found["nested-kvm"].detail
    assert "a guest ran in the guest" in found["nested-kvm"].detail
    # Runs go by what was found out.
    known = Memory(user_store.place("accelerator"), survey.host).recall(config)
    if known:
        assert (known.accelerator is Accelerator.KVM) == (found["kvm"].state == "yes")
        assert known.why in found["kvm"].detail or found["kvm"].state == "yes"


def test_a_guest_without_svm_says_what_it_lacks(prepared: Prepared, user_store: Store) -> None:
    files = trial.pack(prepared.foundry, user_store, Quiet())
    config = GuestConfig(cpu="qemu64,-svm")
    answer = asyncio.run(trial.boot(config, Accelerator.TCG, files))
    assert not answer.trouble
    assert not answer.nested_works
    assert "/dev/kvm in the guest" in answer.nested


def test_a_kernel_that_is_none_is_told(
    prepared: Prepared, user_store: Store, tmp_path: Path
) -> None:
    store = Store(tmp_path / "cache")
    broken = store.root / "entries" / "kernel" / "broken"
    broken.mkdir(parents=True)
    for name in ("kernel.json", "config"):
        shutil.copy(prepared.kernel.path / name, broken / name)
    (broken / "bzImage").write_bytes(b"no kernel")
    found = {each.name: each for each in trial.checks(store, Survey(), GuestConfig(), Quiet())}
    assert found["tcg"].fatal
    assert "QEMU does not start" in found["tcg"].detail
    assert found["nested-kvm"].state == "unknown"

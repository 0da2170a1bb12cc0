# SPDX-License-Identifier: GPL-2.0-only
"""What the doctor finds out by booting, on this machine."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from harness.context import Context
from harness.doctor import trial
from harness.doctor.model import Diagnosis
from harness.errors import ExitCode, MachineError
from harness.guest.accel import ProbeCache
from harness.guest.capabilities import HostFacts
from harness.guest.machine import GuestConfig
from harness.lab.smoke import pack_program
from harness.model.events import Accelerator
from harness.progress import Quiet
from harness.run.prepare import Prepared
from harness.store import Store
from tests.conftest import PROJECT_FILE
from tests.run.commands import LIMIT_S, REPLAYS

pytestmark = pytest.mark.kernel


def test_what_a_boot_tells(prepared: Prepared, user_store: Store) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "doctor", "--json", "--require", "nested-kvm"],
        cwd=PROJECT_FILE.parent,
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    found = msgspec.json.decode(done.stdout, type=Diagnosis)
    assert done.returncode == ExitCode.AS_EXPECTED, found
    assert found.ready
    assert found.check("tcg").state == "yes", found.check("tcg")
    assert "a guest ran in the guest" in found.check("nested-kvm").detail
    assert re.match(r"[1-9][\d,]+ instructions of a program", found.check("cost").detail)
    if REPLAYS:
        assert re.match(r"[1-9][\d,]+ instructions of a program", found.check("replay").detail)
    else:
        assert found.check("replay").state == "no"
        assert "does not come to where the recording was" in found.check("replay").detail
    # Runs go by what was found out.
    known = ProbeCache(user_store.place("accelerator"), HostFacts().host).recall(GuestConfig())
    if known:
        assert (known.accelerator is Accelerator.KVM) == (found.check("kvm").state == "yes")
        assert known.accelerator is Accelerator.KVM or known.why in found.check("kvm").detail
    else:
        assert found.check("kvm-device").state == "no"


def test_a_guest_without_svm_says_what_it_lacks(prepared: Prepared, user_store: Store) -> None:
    files = pack_program(prepared.factory, trial.NESTED)
    config = GuestConfig(cpu="qemu64,-svm")
    answer = asyncio.run(trial.boot(config, Accelerator.TCG, files))
    assert not answer.trouble
    assert not answer.nested_works
    assert "/dev/kvm in the guest" in answer.nested


def test_a_missing_kernel_is_reported(
    prepared: Prepared, user_store: Store, tmp_path: Path
) -> None:
    store = Store(tmp_path / "cache")
    with store.draft("kernel", "broken", Quiet()) as broken:
        assert broken is not None
        for name in ("kernel.json", "config"):
            shutil.copy(prepared.kernel.path / name, broken / name)
        (broken / "bzImage").write_bytes(b"no kernel")
    found = {
        each.name: each
        for each in trial.checks(Context(store, Quiet()), HostFacts(), GuestConfig())
    }
    assert found["tcg"].fatal
    assert "QEMU does not start" in found["tcg"].detail
    assert found["nested-kvm"].state == "unknown"
    assert found["cost"].state == "unknown"
    assert found["replay"].state == "unknown"


def test_counting_is_tried_out(prepared: Prepared, user_store: Store, tmp_path: Path) -> None:
    """With the QEMU that is there, and with one that takes no notice of plugins."""
    files = pack_program(prepared.factory, trial.NESTED)
    context = prepared.factory.context
    one, other = (trial.count(GuestConfig(), prepared.kernel, files, context) for _ in range(2))
    assert isinstance(one, int)
    assert isinstance(other, int)
    # A guest that is restored counts exactly; the kernel of one that boots has more to do.
    assert one == pytest.approx(other, rel=0.01)
    deaf = tmp_path / "qemu"
    deaf.write_text(
        "#!/bin/bash\nargs=()\nwhile [ $# -gt 0 ]; do\n"
        '  case $1 in -plugin) shift 2 ;; *) args+=("$1"); shift ;; esac\ndone\n'
        'exec qemu-system-x86_64 "${args[@]}"\n'
    )
    deaf.chmod(0o755)
    config = GuestConfig(qemu=str(deaf))
    said = trial.count(config, prepared.kernel, files, context)
    assert said == "its instructions are not known: QEMU's plugin did not count"


def test_a_qemu_that_cannot_record_is_told(
    prepared: Prepared, user_store: Store, tmp_path: Path
) -> None:
    files = pack_program(prepared.factory, trial.NESTED)
    unable = tmp_path / "qemu"
    unable.write_text(
        '#!/bin/bash\ncase "$*" in\n'
        '*rr=record*) echo "no record/replay here" >&2; exit 1 ;;\nesac\n'
        'exec qemu-system-x86_64 "$@"\n'
    )
    unable.chmod(0o755)
    config = GuestConfig(qemu=str(unable))
    with pytest.raises(MachineError, match="QEMU does not start") as told:
        trial.replayed(config, files, prepared.factory.context)
    assert "no record/replay here" in told.value.why

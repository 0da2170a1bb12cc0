# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own suites, built from the real tree and run in real guests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.model import results
from harness.model.results import Test
from harness.outcome import Outcome
from tests.conftest import PROJECT_FILE

pytestmark = pytest.mark.kernel


def run(out: Path, *options: str) -> dict[str, Test]:
    argv = [sys.executable, "-m", "harness", "run", "--out", str(out), *options]
    done = subprocess.run(
        argv, cwd=PROJECT_FILE.parent, capture_output=True, text=True, timeout=3600, check=False
    )
    file = out / "results.json"
    assert file.exists(), done.stderr
    return {test.name: test for test in results.decode(file.read_bytes()).tests}


def test_programs_by_glob_and_a_suite_of_scripts(tmp_path: Path) -> None:
    said = run(tmp_path / "out", "--suite", "kernel:kvm:x86_64/*regs*", "--suite", "kernel:futex")
    outcomes = {name: test.outcome for name, test in said.items()}
    assert {name for name in outcomes if name.startswith("kvm:")} == {
        "kvm:debug_regs",
        "kvm:set_sregs_test",
        "kvm:sync_regs_test",
    }
    assert outcomes["kvm:set_sregs_test"] is Outcome.PASS
    assert outcomes["kvm:sync_regs_test"] is Outcome.PASS
    # A script that calls programs which lie beside another script below it.  Some of them expect
    # others to have got somewhere after a fixed time, which a busy machine does not promise.
    script = said["futex:run.sh"]
    assert sum(case.outcome is Outcome.PASS for case in script.cases) > 40, script.reason
    assert outcomes["futex:futex_wait_wouldblock"] is Outcome.PASS


@pytest.mark.proof
def test_what_a_suite_asks_for_is_in_the_kernel(tmp_path: Path) -> None:
    said = run(tmp_path, "--series", "none", "--suite", "kernel:memfd", "--suite", "kernel:seccomp")
    assert said["memfd:memfd_test"].outcome is Outcome.PASS
    # FUSE_FS=m of memfd's config was built in, and the program is linked with shared libraries.
    fuse = (tmp_path / said["memfd:run_fuse_test.sh"].logs.output).read_text()
    assert "fuse: DONE" in fuse
    seccomp = [case for case in said["seccomp:seccomp_bpf"].cases if case.outcome is Outcome.PASS]
    assert len(seccomp) > 50


@pytest.mark.proof
def test_a_suite_that_cannot_have_what_it_asks_for(tmp_path: Path) -> None:
    said = run(tmp_path, "--series", "none", "--suite", "kernel:pidfd", "--suite", "kernel:size")
    assert said.pop("size:get_size").outcome is Outcome.PASS
    assert len(said) > 4
    for test in said.values():
        assert test.outcome is Outcome.ERROR
        assert "CONFIG_NET_NS: wanted y, got n" in test.reason
        assert "unmet: NET is n" in test.reason


@pytest.mark.proof
@pytest.mark.parametrize("suite", ["timers", "mm"])
def test_every_program_of_a_suite_is_told_of(suite: str, tmp_path: Path) -> None:
    said = run(tmp_path, "--series", "none", "--suite", f"kernel:{suite}")
    assert sum(test.outcome is Outcome.PASS for test in said.values()) > 4
    assert all(test.reason for test in said.values() if test.outcome is not Outcome.PASS)


@pytest.mark.proof
def test_suites_with_libraries_sanitizers_forks_and_helpers(tmp_path: Path) -> None:
    names = ("rseq", "openat2", "timens", "clone3", "lib", "pidfd")
    suites = [word for name in names for word in ("--suite", f"kernel:{name}")]
    configs = [word for name in ("guest", "mm", "net") for word in ("--config", name)]
    # These repeat their work for minutes or hours where processors are emulated.
    loops = "basic_percpu_ops_test or run_param_test.sh or rename_attack_test or pidfd_poll_test"
    said = run(tmp_path, "--series", "none", *configs, *suites, "-k", f"not ({loops})")
    assert {name.partition(":")[0] for name in said} == set(names)
    assert not [each for each in said.values() if each.reason.startswith("does not build")]
    # librseq.so lies beside the programs, which look for it in "./".
    assert said["rseq:basic_test"].outcome is Outcome.PASS
    # It is linked with a sanitizer, which does not go with -static.
    assert said["openat2:openat2_test"].outcome is Outcome.PASS
    assert len(said["openat2:openat2_test"].cases) > 80
    # They fork with output in their buffers: each case stands there once.
    for name in ("timens:timens", "clone3:clone3_set_tid"):
        assert said[name].outcome in (Outcome.PASS, Outcome.SKIP), said[name].reason
    # ../kselftest/module.sh says that a guest has no modules.
    assert all(
        test.outcome is not Outcome.ERROR for name, test in said.items() if name.startswith("lib:")
    )

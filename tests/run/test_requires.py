# SPDX-License-Identifier: GPL-2.0-only
"""What tests require, from suite.toml to the report: on the real kernel, on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import project
from harness.errors import ExitCode
from harness.guest.capabilities import HostFacts, Place, capability
from harness.guest.machine import GuestConfig
from harness.outcome import Outcome
from harness.run.prepare import Prepared
from tests.conftest import PROJECT_FILE
from tests.run.test_main_job import run, suite

pytestmark = pytest.mark.kernel

SETTINGS = """
[program.tdx_test]
requires = ["tdx"]
[program.closed_test]
guest = { confidential = "sev-snp" }
[program.perhaps_test]
guest = { confidential = "auto" }
[program.nodes_test]
requires = ["numa", "nested-kvm"]
guest = { numa_nodes = 2 }
"""


def test_what_is_missing_skips_with_the_reason(prepared: Prepared, tmp_path: Path) -> None:
    programs = ("plain_test", "tdx_test", "closed_test", "perhaps_test", "nodes_test")
    own = suite(tmp_path / "own", **dict.fromkeys(programs, "\treturn 0;"))
    (own / "suite.toml").write_text(SETTINGS)
    done = run(tmp_path / "out", "--suite", str(own))
    assert done.status == ExitCode.AS_EXPECTED, done.text
    outcomes = {test.program: test.outcome for test in done.results.tests}
    assert outcomes == {
        "plain_test": Outcome.PASS,
        "tdx_test": Outcome.SKIP,
        "closed_test": Outcome.SKIP,
        "perhaps_test": Outcome.PASS,
        "nodes_test": Outcome.PASS,
    }
    # The project's kernel knows nothing of SEV, so the test above cannot run on any machine.
    host_facts = HostFacts()
    expected = capability("tdx", Place(GuestConfig(), host_facts)).reason
    assert done.test("own:tdx_test").reason == expected
    closed = done.test("own:closed_test").reason
    assert closed in (
        capability("sev-snp", Place(GuestConfig(), host_facts)).reason,
        "the kernel was built without CONFIG_AMD_MEM_ENCRYPT, CONFIG_EFI_STUB: add the fragment "
        "'sev' to kernel.config",
    )
    assert expected in done.text
    assert any("gives an ordinary guest" in note for note in done.results.notes)


def test_kvm_that_is_demanded_is_had_or_exit_3_says_why(prepared: Prepared, tmp_path: Path) -> None:
    kernel = project.load(PROJECT_FILE).kernel
    directory = PROJECT_FILE.parent / kernel.config_dir
    (tmp_path / "harness.toml").write_text(
        f"[kernel]\nsource = {list(kernel.sources)}\nconfig = {list(kernel.config)}\n"
        f'config_dir = "{directory}"\n[guest]\naccel = "kvm"\n'
    )
    own = suite(tmp_path / "own", plain_test="\treturn 0;")
    series = [word for path in _stack() for word in ("--series", path)]
    argv = ["--project", str(tmp_path / "harness.toml"), "--suite", str(own), *series]
    done = run(tmp_path / "out", *argv)
    if done.status == ExitCode.AS_EXPECTED:
        assert done.results.machine.accelerator == "kvm"
        return
    assert done.status == ExitCode.MACHINE, done.text
    assert "KVM is requested and does not work" in done.text
    assert "KVM does not work: " in done.text or "/dev/kvm" in done.text


def _stack() -> list[str]:
    """The project's own series as paths, so that its kernel is not built again."""
    described = project.load(PROJECT_FILE)
    return [str(PROJECT_FILE.parent / path) for path in described.stacks[described.series]]


def test_a_requirement_that_does_not_exist_is_said_before_anything_is_built(tmp_path: Path) -> None:
    own = suite(tmp_path / "own", plain_test="\treturn 0;")
    (own / "suite.toml").write_text('[program.plain_test]\nrequires = ["tdz"]\n')
    done = run(tmp_path / "out", "--suite", str(own))
    assert done.status == ExitCode.USER, done.text
    assert "there is no requirement 'tdz'" in done.text
    assert "did you mean 'tdx'" in done.text
    assert "suite.toml: program.plain_test.requires" in done.text
    assert "Building" not in done.text

# SPDX-License-Identifier: GPL-2.0-only
"""Every fault of selftests/faults on another machine: the same table is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.run.prepare import Prepared
from harness.store import Store
from tests.run.test_faults import render, run_faults, table
from tests.run.test_hosts import Place, gone
from tools.bench.sshd import sshd

pytestmark = [pytest.mark.kernel, pytest.mark.proof]


@pytest.mark.parametrize("proof", [False, True])
def test_every_fault_is_told_for_what_it_is(
    prepared: Prepared, user_store: Store, tmp_path: Path, proof: bool
) -> None:
    wanted = [name for name, fault in table().items() if fault.proof is proof]
    place = Place(tmp_path, user_store)
    with sshd(tmp_path / "far", place.home) as far:
        place.hosts(far.table("far", identity=str(far.identity), host_key=far.fingerprint))
        options = ("--project", str(place.project / "harness.toml"), "--host", "far")
        said, rows = run_faults(wanted, tmp_path, *options)
        print(f"\n{render(rows)}, {said.seconds:.0f} s")
        gone(far.cache)
    assert [row.name for row in rows if row.wrong] == []
    assert sorted(test.program for test in said.tests) == sorted(wanted)
    assert {(test.host, test.lost) for test in said.tests} == {("far", 0)}

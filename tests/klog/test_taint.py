# SPDX-License-Identifier: GPL-2.0-only
"""Each taint flag needs a report of its own kind; the reports are those of real kernels."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from harness.klog import Finding, scan
from harness.klog.taint import COMPLAINTS, unaccounted

pytestmark = pytest.mark.unit
SAMPLES = Path(__file__).with_name("samples")
FLAGS = {name[0]: bit for bit, name in COMPLAINTS.items()}
ALL = sum(1 << bit for bit in COMPLAINTS)

# What the kernel had set after the reports of each sample (Documentation/admin-guide/
# tainted-kernels.rst, and the function that prints the report).
SET = {
    "x86/warnonce.log": "W",
    "x86/kasan-kasannull.log": "BD",
    "x86/kasan-nullwrite.log": "BD",
    "x86/kfenceoob.log": "B",
    "x86/kasan-schedatomic.log": "W",
    "x86/caller-soft-all.log": "L",
    "arm64/soft-lockup.log": "L",
    "x86/workqueue.log": "",
    "x86/debug-lockdep-circular.log": "",
    "x86/debug-warning-and-lockdep.log": "W",
    "arm64/hung-task.log": "",
    "arm64/rcu-stall-task.log": "",
    "arm64/kasan-twowarn.log": "W",
}


def findings(name: str) -> tuple[Finding, ...]:
    return scan((SAMPLES / name).read_bytes())


@pytest.mark.parametrize(("name", "flags"), SET.items())
def test_a_report_accounts_for_its_own_flags_only(name: str, flags: str) -> None:
    left = unaccounted(ALL, findings(name))
    assert {text[0] for text in left} == set(FLAGS) - set(flags)


def test_nothing_is_missing_where_no_flag_is_set() -> None:
    assert unaccounted(0, ()) == ()
    # Flags that are no complaint: out-of-tree module, staging driver, unsigned module.
    assert unaccounted(1 << 12 | 1 << 10 | 1 << 13, ()) == ()


def test_a_panic_alone_accounts_for_no_oops() -> None:
    log = b"[    1.000000] Kernel panic - not syncing: out of coffee\n"
    assert unaccounted(1 << 7, scan(log)) == ("D, oops",)


def test_every_sample_with_an_oops_accounts_for_one() -> None:
    expected = tomllib.loads((SAMPLES / "expected.toml").read_text())
    assert expected
    for path in sorted(SAMPLES.glob("*/*.log")):
        found = scan(path.read_bytes())
        oops = any(each.kind in ("oops", "bug") for each in found)
        assert (unaccounted(1 << 7, found) == ()) is (
            oops or any(each.kind != "panic" and each.severity == "crash" for each in found)
        )

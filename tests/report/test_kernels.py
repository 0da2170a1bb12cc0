# SPDX-License-Identifier: GPL-2.0-only
"""A run over several kernels, taken apart and put together."""

from __future__ import annotations

import msgspec
import pytest

from harness.judge.merge import merged
from harness.model import results as r
from harness.outcome import Outcome
from harness.report.kernels import by_kernel
from tests.report import samples as s

pytestmark = pytest.mark.unit


def test_what_was_merged_comes_apart_again() -> None:
    boot = r.BootReport(
        report=r.KernelReport(
            kind="warning", severity="splat", title="t", fingerprint="f" * 16, report="text"
        ),
        suites=("kvm",),
    )
    odd = s.program("odd@test", Outcome.PASS, suite="x@y")
    each = {
        "base": msgspec.structs.replace(s.ALL_PASS, at_boot=(boot,)),
        "v10": msgspec.structs.replace(s.ALL, tests=(*s.ALL.tests, odd), kernel=s.POSTED.kernel),
    }
    found = by_kernel(merged(each))
    assert list(found) == list(each)
    for name, one in each.items():
        assert found[name].tests == one.tests
        assert found[name].kernel == one.kernel
        assert found[name].at_boot == one.at_boot
        assert found[name].exit_code == one.exit_code


def test_the_only_kernel_has_the_name_of_its_series() -> None:
    assert by_kernel(s.POSTED) == {"v10": s.POSTED}
    assert by_kernel(s.ALL) == {s.KERNEL.series: s.ALL}

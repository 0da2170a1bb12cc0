# SPDX-License-Identifier: GPL-2.0-only
"""How what is missing is installed, on one distribution and another."""

from __future__ import annotations

import pytest

from harness.proc.packages import OF_PROGRAM, install

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("system", "said"),
    [
        ({"ID": "debian"}, "apt-get install libc6-dev xz-utils"),
        ({"ID": "ubuntu", "ID_LIKE": "debian"}, "apt-get install libc6-dev xz-utils"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "apt-get install libc6-dev xz-utils"),
        ({"ID": "fedora"}, "dnf install glibc-devel glibc-static xz"),
        (
            {"ID": "rocky", "ID_LIKE": "rhel centos fedora"},
            "dnf install glibc-devel glibc-static xz",
        ),
        ({"ID": "arch"}, "install what Debian has in libc6-dev, xz-utils"),
        ({}, "install what Debian has in libc6-dev, xz-utils"),
    ],
)
def test_the_command_is_that_of_the_distribution(system: dict[str, str], said: str) -> None:
    assert install("libc6-dev", "xz-utils", system=system) == said


def test_this_machine_is_one_of_them() -> None:
    assert OF_PROGRAM["ld"] in install("binutils")

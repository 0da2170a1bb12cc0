# SPDX-License-Identifier: GPL-2.0-only
"""The README's first command on other releases of Debian, from an empty root to a verdict."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import PROJECT_FILE

pytestmark = pytest.mark.proof


@pytest.mark.parametrize("release", ["trixie"])
@pytest.mark.parametrize("user", [(), ("--user",)], ids=["root", "user"])
def test_first_command_of_the_readme(release: str, user: tuple[str, ...]) -> None:
    """Fetch the source, build, boot and test; all tests end as expected there, too.

    An ordinary user without sudo can do the same where the packages are installed.
    """
    done = subprocess.run(
        [str(PROJECT_FILE.parent / "scripts/try-release.sh"), *user, release],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    sys.stdout.write(done.stdout)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "\nAS EXPECTED (exit 0)" in done.stdout

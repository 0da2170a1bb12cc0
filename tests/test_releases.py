# SPDX-License-Identifier: GPL-2.0-only
"""The README's first command on other releases of Debian, from an empty root to a verdict."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import PROJECT_FILE

pytestmark = pytest.mark.proof


def tried(*words: str) -> str:
    """Run scripts/try-release.sh with *words*, which must succeed; return what it printed."""
    done = subprocess.run(
        [str(PROJECT_FILE.parent / "scripts/try-release.sh"), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    sys.stdout.write(done.stdout)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


@pytest.mark.parametrize("release", ["trixie"])
@pytest.mark.parametrize("user", [(), ("--user",)], ids=["root", "user"])
def test_first_command_of_the_readme(release: str, user: tuple[str, ...]) -> None:
    """Fetch the source, build, boot and test; all tests end as expected there, too.

    An ordinary user without sudo can do the same where the packages are installed.
    """
    assert "\nAS EXPECTED (exit 0)" in tried(*user, release)


def test_image_of_the_containerfile() -> None:
    """An ordinary user builds it and runs it with podman; its own command ends as expected.

    Its base is made here, so a package that the Containerfile does not install is not there.
    """
    said = tried("--container", "bookworm")
    assert "\nAS EXPECTED (exit 0)" in said
    assert "Reading the lists of apt's archives" in said

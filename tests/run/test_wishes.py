# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel's own suites ask of the kernel, and cannot have."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import project
from harness.context import Context
from harness.errors import UserError
from harness.model.spec import KernelSpec
from harness.progress import Quiet
from harness.run.prepare import Prepared, prepare
from harness.run.request import Request
from harness.store import Store
from tests.cli.projects import Project, make
from tests.kerneltree import FakeLinux

pytestmark = [pytest.mark.unit, pytest.mark.slow]
MAKEFILE = "TEST_PROGS := {}\ninclude ../lib.mk\n"


def suite(fake: FakeLinux, name: str, config: str, *scripts: str) -> None:
    directory = fake.work / "tools/testing/selftests" / name
    directory.mkdir()
    (directory / "Makefile").write_text(MAKEFILE.format(" ".join(scripts)))
    (directory / "config").write_text(config)
    for script in scripts:
        (directory / script).write_text("#!/bin/sh\nexit 0\n")
        (directory / script).chmod(0o755)


@pytest.fixture
def made(tmp_path: Path) -> Project:
    made = make(tmp_path)
    suite(made.fake, "wants", "CONFIG_PLAIN=y\nCONFIG_NEEDS_ABSENT=y\n", "a.sh", "b.sh")
    suite(made.fake, "modest", "CONFIG_PLAIN=y\nCONFIG_NEEDS_ABSENT=m\n", "c.sh")
    made.fake.commit()
    return made


def prepared(made: Project, *names: str, config: tuple[str, ...] = ()) -> Prepared:
    file = made.root / "harness.toml"
    request = Request(
        project_file=file,
        project=project.load(file),
        working_dir=made.root,
        suites=names,
        kernels=(KernelSpec(config=config),),
    )
    return prepare(request, Context(Store(made.root / "cache"), Quiet()), made.root / "out")


def test_no_suite_takes_the_others_along(made: Project) -> None:
    for _ in ("built", "found in the cache"):
        tests = prepared(made, "kernel:wants", "kernel:modest", "demo").tests
        broken = {test.name: test.broken for test in tests}
        reason = (
            "the kernel did not accept options of the suite: CONFIG_NEEDS_ABSENT: wanted y, "
            "got n (tools/testing/selftests/wants/config:2); unmet: ABSENT is n"
        )
        assert broken.pop("wants:a.sh") == broken.pop("wants:b.sh") == reason
        assert broken.keys() >= {"modest:c.sh", "demo:good"}
        assert set(broken.values()) == {""}
        assert [test.name for test in tests if test.build_log] == []


def test_what_the_only_suite_asks_for_is_a_demand(made: Project) -> None:
    with pytest.raises(UserError, match="NEEDS_ABSENT"):
        prepared(made, "kernel:wants")
    with pytest.raises(UserError, match="NEEDS_ABSENT"):
        prepared(made, "kernel:wants:a.sh", "kernel:wants:b.sh")


def test_what_the_user_asks_for_is_one_however_many_suites(made: Project) -> None:
    prepared(made, "kernel:wants", "demo")
    (made.root / "kernel-configs/b.config").write_text("CONFIG_NEEDS_ABSENT=y\n")
    with pytest.raises(UserError) as caught:
        prepared(made, "kernel:wants", "demo", config=("a", "b"))
    assert "(b.config:1); unmet: ABSENT is n" in caught.value.why


def test_a_fragment_that_goes_with_a_suite_takes_no_other_along(made: Project) -> None:
    (made.root / "kernel-configs/suite-modest.config").write_text("CONFIG_NEEDS_ABSENT=y\n")
    tests = {test.name: test.broken for test in prepared(made, "kernel:modest", "demo").tests}
    assert "(suite-modest.config:1); unmet: ABSENT is n" in tests["modest:c.sh"]
    assert tests["demo:good"] == ""

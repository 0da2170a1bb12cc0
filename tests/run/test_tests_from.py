# SPDX-License-Identifier: GPL-2.0-only
"""Whose tests run on a kernel that is not the last of a series, and how far they are trusted."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import project
from harness.context import Context
from harness.errors import UserError
from harness.model.ids import BASE
from harness.model.spec import KernelSpec
from harness.progress import Quiet
from harness.run.matrix import TIP, against, specs
from harness.run.prepare import Selected, select
from harness.run.request import Request
from harness.store import Store
from tests.cli.projects import Project, make
from tests.kerneltree import FakeLinux, replace

pytestmark = pytest.mark.unit

DEMO = "tools/testing/selftests/demo/good.c"


@pytest.fixture
def made(tmp_path: Path) -> Project:
    return make(tmp_path)


def new_test(fake: FakeLinux) -> None:
    (fake.work / DEMO).write_text("int main(void) { return 1; }\n")


def thread(made: Project) -> Path:
    """Return an mbox with a series that changes a test, as it comes from a list."""
    patches = made.patches(lambda fake: fake.write(mm__new_dot_c="int x;\n"), new_test)
    mails = (path.read_text() for path in sorted(patches.glob("*.patch")))
    path = made.root / "thread.mbox"
    path.write_text("".join(mails))
    return path


def selected(made: Project, kernels: tuple[KernelSpec, ...]) -> dict[str, Selected]:
    file = made.root / "harness.toml"
    request = Request(
        project_file=file,
        project=project.load(file),
        working_dir=made.root,
        kernels=kernels,
    )
    context = Context(Store(made.root / "cache"), Quiet())
    return {spec.name: select(request, spec, context) for spec in kernels}


def test_the_base_of_a_strangers_series_builds_its_tests_in_the_sandbox(made: Project) -> None:
    whole = KernelSpec(series=(str(thread(made)),))
    found = selected(made, specs(whole, (1, 2), 2, own_tests=False))
    owners = {name: each.place.owner for name, each in found.items()}
    assert owners["2"]
    assert owners == dict.fromkeys((BASE, "1", "2"), owners["2"])
    assert {each.tests_place.owner for each in found.values()} == {owners["2"]}
    assert {each.tests_tree.commit for each in found.values()} == {found["2"].tree.commit}


def test_a_kernel_of_ones_own_with_tests_of_ones_own_needs_no_sandbox(made: Project) -> None:
    whole = KernelSpec(series=(str(thread(made)),))
    found = selected(made, specs(whole, (2,), 2, own_tests=True))
    assert found[BASE].place.owner == ""
    assert found[BASE].tests_tree.commit == found[BASE].tree.commit


def test_another_source_as_base_runs_the_tests_of_the_tip(made: Project) -> None:
    other = FakeLinux.create(made.root / "other")
    replace(other.work / "mm" / "foo.c", "\n", "\n/* other */\n")
    other.commit("mm: Another tree")
    whole = KernelSpec(series=(str(thread(made)),))
    found = selected(made, against(whole, str(other.work), 2))
    base, tip = found[BASE], found[TIP]
    assert base.source.commit != tip.source.commit
    assert base.tests_tree.commit == tip.tree.commit
    assert base.tree.commit == base.source.commit
    assert base.place.owner == tip.place.owner != ""


def test_a_kernel_is_not_held_against_itself() -> None:
    with pytest.raises(UserError, match="compared with itself"):
        against(KernelSpec(series=("none",)), BASE, 0)
    base, tip = against(KernelSpec(series=("v10",), upto=3), BASE, 3)
    assert (base.name, base.upto, base.tests_upto, tip.upto) == (BASE, 0, 3, 3)

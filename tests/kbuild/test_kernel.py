# SPDX-License-Identifier: GPL-2.0-only
"""Building kernels: once, incrementally, and with errors that name the place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import kbuild
from harness.context import Context
from harness.errors import ExitCode, UserError
from harness.kbuild import Fragments, Kernel
from harness.progress import Quiet
from harness.series import Tree
from harness.store import Damaged, Store
from tests.kerneltree import FakeLinux

pytestmark = [pytest.mark.unit, pytest.mark.slow]
Build = Callable[..., Kernel]


@pytest.fixture
def fake(tmp_path: Path) -> FakeLinux:
    return FakeLinux.create(tmp_path / "linux")


@pytest.fixture
def build(tmp_path: Path) -> Build:
    (tmp_path / "a.config").write_text("CONFIG_PLAIN=y\n")

    def call(tree: Tree, cache: str = "cache", fragments: Fragments | None = None) -> Kernel:
        fragments = fragments or kbuild.load(tmp_path, ["a"])
        store = Store(tmp_path / cache)
        return kbuild.build(
            tree,
            fragments,
            kbuild.slot(store, "fake", fragments),
            context=Context(store, Quiet()),
            log=tmp_path / "log",
            limit_s=60,
        )

    return call


def compilations(tmp_path: Path, cache: str = "cache") -> int:
    runs = list((tmp_path / cache / "places" / "build").glob("*/obj/compiler-runs"))
    return len(runs[0].read_text().splitlines()) if runs else 0


def test_a_kernel_and_what_it_says_of_itself(fake: FakeLinux, build: Build) -> None:
    kernel = build(fake.commit())
    assert kernel.image.is_file()
    assert kernel.vmlinux.is_file()
    assert (kernel.headers / "linux" / "foo.h").is_file()
    assert kernel.config.read_text() == "CONFIG_PLAIN=y\n"
    assert kernel.meta.release == "6.1.176"
    assert len(kernel.meta.build_id) == 40


def test_the_same_tree_is_not_built_again(fake: FakeLinux, build: Build, tmp_path: Path) -> None:
    first = build(fake.commit())
    # Another commit with the same files is the same kernel.
    assert build(fake.commit("same files")).path == first.path
    assert compilations(tmp_path) == 1


def test_only_what_changed_is_compiled(fake: FakeLinux, build: Build, tmp_path: Path) -> None:
    first = build(fake.commit())
    fake.write(README="changed")
    second = build(fake.commit())
    assert first.key != second.key
    assert compilations(tmp_path) == 1
    fake.write(mm__foo_dot_c="void foo(void) {}\n")
    build(fake.commit())
    assert compilations(tmp_path) == 2


def test_two_caches_make_the_same_kernel(fake: FakeLinux, build: Build) -> None:
    tree = fake.commit()
    first, second = build(tree), build(tree, "a-cache-with-a-longer-name")
    assert first.vmlinux.read_bytes() == second.vmlinux.read_bytes()
    assert first.path != second.path


def test_a_compile_error_names_the_place_and_the_log(
    fake: FakeLinux, build: Build, tmp_path: Path
) -> None:
    good = fake.commit()
    fake.write(mm__foo_dot_c="int one;\nint two = nowhere;\nint three = nowhere;\n")
    with pytest.raises(UserError) as caught:
        build(fake.commit())
    assert caught.value.where == "mm/foo.c:2:11"
    assert "nowhere" in caught.value.why
    assert str(tmp_path / "log") in caught.value.hint
    assert "nowhere" in (tmp_path / "log").read_text()
    assert caught.value.exit_code is ExitCode.USER
    assert build(good).image.is_file()


def test_a_dropped_option_says_why(fake: FakeLinux, build: Build, tmp_path: Path) -> None:
    (tmp_path / "a.config").write_text("CONFIG_PLAIN=y\nCONFIG_NEEDS_ABSENT=y\nCONFIG_NEW=5\n")
    with pytest.raises(UserError) as caught:
        build(fake.commit())
    told = str(caught.value)
    assert "CONFIG_NEEDS_ABSENT: wanted y, got n (a.config:2); unmet: ABSENT is n" in told
    assert "NEW" not in told


def test_what_one_of_several_suites_asks_for_may_be_dropped(
    fake: FakeLinux, build: Build, tmp_path: Path
) -> None:
    own = kbuild.load(tmp_path, ["a"])
    wished = kbuild.with_suite(own, "s", "CONFIG_NEEDS_ABSENT=y\nCONFIG_NEW=5\n", "s/config")
    wished = kbuild.with_suite(wished, "t", "CONFIG_NEEDS_ABSENT=m\nCONFIG_NEW=6\n", "t/config")
    tree = fake.commit()
    kernel = build(tree, fragments=wished)
    reason = "the kernel did not accept options of the suite: "
    assert kernel.denied(wished) == {
        "s": f"{reason}CONFIG_NEEDS_ABSENT: wanted y, got n (s/config:1); unmet: ABSENT is n",
        "t": f"{reason}CONFIG_NEW: wanted 6, got 5 (t/config:2); s/config:2 asks for 5",
    }
    # Another tree with the same Kconfig files, for which the configuration is there already.
    fake.write(README="changed")
    second = build(fake.commit(), fragments=wished)
    assert second.key != kernel.key
    assert second.denied(wished) == kernel.denied(wished)
    # That kernel is in the store; it is not for one who demands the option.
    with pytest.raises(UserError, match="NEEDS_ABSENT") as caught:
        build(tree, fragments=wished.binding())
    assert "(s/config:1); unmet: ABSENT is n" in caught.value.why
    (tmp_path / "b.config").write_text("CONFIG_NEEDS_ABSENT=y\nCONFIG_NEW=5\n")
    with pytest.raises(UserError, match="NEEDS_ABSENT") as caught:
        build(tree, fragments=kbuild.load(tmp_path, ["a", "b"]))
    assert "(b.config:1); unmet: ABSENT is n" in caught.value.why


def test_a_damaged_kernel_is_built_again(fake: FakeLinux, build: Build) -> None:
    tree = fake.commit()
    kernel = build(tree)
    whole = kernel.vmlinux.read_bytes()
    kernel.vmlinux.write_bytes(whole[:-1])
    assert build(tree).vmlinux.read_bytes() == whole


def test_a_lost_slot_is_made_again(fake: FakeLinux, build: Build, tmp_path: Path) -> None:
    build(fake.commit())
    shutil.rmtree(tmp_path / "cache" / "places" / "build")
    fake.write(README="changed")
    assert build(fake.commit()).image.is_file()


def test_a_configuration_that_has_lost_a_bit_is_not_built_from(
    fake: FakeLinux, build: Build, tmp_path: Path
) -> None:
    build(fake.commit())
    (config,) = (tmp_path / "cache" / "entries" / "config").glob("*/config")
    before = config.stat()
    config.write_text(config.read_text().replace("PLAIN", "PLAIM"))
    os.utime(config, ns=(before.st_atime_ns, before.st_mtime_ns))
    fake.write(README="changed")
    tree = fake.commit()
    with pytest.raises(Damaged):
        build(tree)
    assert build(tree).config.read_text() == "CONFIG_PLAIN=y\n"

# SPDX-License-Identifier: GPL-2.0-only
"""A fake kernel tree and suites that are built against it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import kbuild, suites
from harness.context import Context
from harness.progress import Quiet
from harness.store import Store
from harness.suites import Suite, SuiteSource, userland
from tests.kerneltree import FakeLinux

MAKEFILE = "TEST_GEN_PROGS := {}\ninclude ../lib.mk\n"
MAIN = "int main(void) {{ return {}; }}\n"


@dataclass(frozen=True)
class Bench:
    """A fake kernel tree with everything that suites are built with."""

    root: Path
    fake: FakeLinux

    def build(self, source: SuiteSource, lineage: str | None = None) -> Suite:
        """Build *source* with the fake tree: the user's own, or a stranger's of this lineage."""
        store = Store(self.root / "cache")
        (self.root / "a.config").write_text("CONFIG_PLAIN=y\n")
        fragments = kbuild.load(self.root, ["a"])
        tree = self.fake.commit()
        place = kbuild.slot(store, "fake", fragments, lineage)
        kernel = kbuild.build(
            tree,
            fragments,
            place,
            context=Context(store, Quiet()),
            log=self.root / "log",
            limit_s=60,
        )
        return suites.build(
            source, kernel, tree, place, context=Context(store, Quiet()), limit_s=60
        )

    def suite(self, makefile: str, **files: str) -> SuiteSource:
        directory = self.root / "mine"
        directory.mkdir(exist_ok=True)
        (directory / "Makefile").write_text(makefile)
        for name, text in files.items():
            (directory / f"{name}.c").write_text(text)
        return SuiteSource("mine", "mine", directory)


def linkage(built: Suite) -> dict[str, str]:
    """Return how each program is linked, static or dynamic, by its name."""
    return {
        each.name: "dynamic" if userland.loader(built.files / each.path) else "static"
        for each in built.programs
    }


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, FakeLinux.create(tmp_path / "linux"))

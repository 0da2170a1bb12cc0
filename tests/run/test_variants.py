# SPDX-License-Identifier: GPL-2.0-only
"""Which kernels ``--variants`` means, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from harness import project
from harness.cli import cli
from harness.errors import UserError
from harness.judge.variants import Size
from harness.model.spec import KernelSpec
from harness.run import variants
from harness.run.request import Request

pytestmark = pytest.mark.unit

FILE = """
series = "one"

[kernel]
source = "linux"
config = ["a"]

[stacks]
one = ["patches/one"]

[variants.first]
series = ["one"]

[variants.second]
series = ["one", "patches/two"]
config = ["b"]

[variants.third]
cc = "gcc-11"
"""
PATCH = """From: S <s@example.org>
Subject: [PATCH] {0}

{0}

---
diff --git a/{0} b/{0}
new file mode 100644
--- /dev/null
+++ b/{0}
@@ -0,0 +1,2 @@
+{0}
+more
"""


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    for name in ("patches/one/1.patch", "patches/two/1.patch", "here/mine.patch"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PATCH.format("-".join(path.parts[-2:])))
    file = tmp_path / "harness.toml"
    file.write_text(FILE)
    return Request(project_file=file, project=project.load(file), working_dir=tmp_path / "here")


def test_variants_are_those_of_the_project_or_series(request_: Request) -> None:
    plain = KernelSpec(config=("c",))
    found = variants.specs(request_, ["first", "second", "none", "one,mine.patch"], plain)
    assert [each.name for each in found] == ["first", "second", "none", "mine"]
    two = str(request_.project_dir / "patches/two")
    assert [each.series for each in found] == [
        ("one",),
        ("one", two),
        ("none",),
        ("one", "mine.patch"),
    ]
    assert [each.config for each in found] == [("c",), ("b",), ("c",), ("c",)]


def test_a_variant_may_have_a_compiler_of_its_own(request_: Request) -> None:
    found = variants.specs(request_, ["first", "third", "none"], KernelSpec(cc="clang"))
    assert [each.cc for each in found] == ["clang", "gcc-11", "clang"]


def test_sizes_are_those_of_what_only_one_has(request_: Request) -> None:
    kernels = variants.specs(request_, ["first", "second", "one,mine.patch"], KernelSpec())
    asked = msgspec.structs.replace(request_, kernels=kernels)
    one = Size(patches=1, files=1, added=2, removed=0)
    assert variants.sizes(asked) == {"first": Size(), "second": one, "mine": one}


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ([], "at least two variants"),
        (["first"], "at least two variants"),
        (["first", "first"], "two variants are called 'first'"),
        (["first", ","], "without a name"),
    ],
)
def test_variants_that_make_no_comparison_are_refused(
    request_: Request, asked: list[str], why: str
) -> None:
    with pytest.raises(UserError, match=why):
        variants.specs(request_, asked, KernelSpec())


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ([], (False, False)),
        (["wall_time"], (False, False)),
        (["instructions"], (True, False)),
        (["instructions_kernel"], (True, False)),
        (["calls:f"], (True, True)),
        (["own:f", "wall_time"], (True, True)),
    ],
)
def test_metrics_say_what_has_to_be_counted(
    metrics: list[str], expected: tuple[bool, bool]
) -> None:
    assert variants.counts(metrics) == expected


@pytest.mark.parametrize("metric", ["own:", "total:", "calls:"])
def test_a_metric_of_a_function_has_its_name(metric: str) -> None:
    with pytest.raises(UserError, match="names no function") as caught:
        variants.counts(["instructions", metric])
    assert f"{metric}FUNCTION" in caught.value.hint


@pytest.mark.parametrize(
    "words",
    [
        ["before", "after", "--metric", "m"],
        ["before", "--suite", "s"],
        ["before", "--functions"],
        ["before", "after", "more"],
        [],
    ],
)
def test_options_of_the_other_way_to_compare_are_refused(words: list[str]) -> None:
    done = CliRunner().invoke(cli, ["compare", *words])
    assert isinstance(done.exception, UserError)


def test_a_variant_in_the_project_file_has_a_name_that_tests_can_have(request_: Request) -> None:
    file = request_.project_file
    file.write_text(FILE.replace("[variants.second]", '[variants."a@b"]'))
    with pytest.raises(UserError):
        project.load(file)

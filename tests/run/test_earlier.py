# SPDX-License-Identifier: GPL-2.0-only
"""What an earlier run's coverage leaves out of the next run."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness import project
from harness.errors import UserError
from harness.model.coverage import Coverage, PatchCoverage, TestCoverage
from harness.model.spec import KernelSpec
from harness.run.earlier import LastCoverage, left_to
from harness.run.request import Request

pytestmark = pytest.mark.unit

PATCH = """From: S <s@example.org>
Subject: [PATCH] {0}

{0}

---
diff --git a/{0} b/{0}
new file mode 100644
--- /dev/null
+++ b/{0}
@@ -0,0 +1 @@
+{0}
"""


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    file = tmp_path / "harness.toml"
    file.write_text('[kernel]\nsource = "linux"\nconfig = ["a"]\n')
    (tmp_path / "series").mkdir()
    for number, name in enumerate(("one", "two"), 1):
        (tmp_path / "series" / f"{number}.patch").write_text(PATCH.format(name))
    return Request(
        project_file=file,
        project=project.load(file),
        working_dir=tmp_path,
        kernels=(KernelSpec(series=("series",)),),
        for_patch=2,
    )


def coverage(*subjects: str) -> LastCoverage:
    return LastCoverage(
        Path("/runs/x"),
        Coverage(
            patches=tuple(
                PatchCoverage(
                    number=number,
                    subject=subject,
                    changed=(),
                    instrumented=(),
                    covered=(),
                    uncovered=(),
                    tests=("s:b",) if number == 2 else ("s:a",),
                )
                for number, subject in enumerate(subjects, 1)
            ),
            tests=tuple(TestCoverage(name=name, covered=()) for name in ("s:a", "s:b", "s:c")),
            unmeasured=("s:unknown",),
        ),
    )


def test_only_what_was_watched_and_ran_none_of_it_is_left_out(request_: Request) -> None:
    assert left_to(request_, coverage("one", "two")).left_out == ("s:a", "s:c")


def test_what_was_left_out_is_left_out_again(request_: Request) -> None:
    """Where the run goes on, whatever coverage there is by then."""
    chosen = left_to(request_, coverage("one", "two"))
    again = Request.again(chosen.record("now"), ("harness",))
    assert again.left_out == chosen.left_out
    assert again.for_patch == 2


@pytest.mark.parametrize(
    ("number", "subjects", "said"),
    [
        (2, ("one", "other"), "of another series"),
        (2, ("one",), "there is no patch 2"),
        (3, ("one", "two", "three"), "there is no patch 3"),
    ],
)
def test_the_coverage_of_another_series_is_not_believed(
    request_: Request, number: int, subjects: tuple[str, ...], said: str
) -> None:
    asked = msgspec.structs.replace(request_, for_patch=number)
    with pytest.raises(UserError) as caught:
        left_to(asked, coverage(*subjects))
    assert said in str(caught.value)


def test_guests_are_emulated_where_lines_are_watched(request_: Request) -> None:
    assert request_.guest_table().accel == "auto"
    assert msgspec.structs.replace(request_, coverage=True).guest_table().accel == "tcg"

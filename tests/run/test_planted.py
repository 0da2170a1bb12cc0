# SPDX-License-Identifier: GPL-2.0-only
"""A defect in the fifth of six patches, of five kinds; and a test that is unstable."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.errors import ExitCode
from harness.run.prepare import Prepared
from tests.conftest import PROJECT_FILE
from tests.run.commands import LIMIT_S
from tests.run.patches import series_of, text_of

pytestmark = [pytest.mark.kernel, pytest.mark.proof]

SUITE = Path(__file__).parent / "planted"
GUILTY = "mm: Plant it"
ADD_SEALS = "static int memfd_add_seals(struct file *file, unsigned int seals)\n{\n"
INIT = """
static int __init planted(void)
{
	panic("planted");
}
core_initcall(planted);
"""
DEFECTS = {
    "does not compile": "#error planted\n",
    "new warning": "static int planted;\n",
    "does not boot": INIT,
    "crashes under one test": "\tBUG_ON(seals == F_SEAL_GROW);\n",
    "wrong result in one case": "\tif (seals == F_SEAL_WRITE)\n\t\treturn -EBUSY;\n",
}


def harness(*argv: str, limit_s: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
    """Run the program in the project; return how it ended."""
    return subprocess.run(
        [sys.executable, "-m", "harness", *argv],
        cwd=PROJECT_FILE.parent,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )


def rows(said: str) -> Mapping[str, list[str]]:
    """Return the letters of each test in the table of a matrix."""
    table = said.partition("\ntest ")[2].partition("\n\n")[0]
    lines = (line.split() for line in table.splitlines()[1:])
    return {words[0]: words[1:] for words in lines}


def with_defect(text: str, defect: str) -> str:
    """Return the file with a defect: in the function that adds seals, or at its end."""
    if defect.startswith("\t"):
        assert ADD_SEALS in text
        head, mark, rest = text.partition(ADD_SEALS)
        # Behind the declarations.
        declarations, blank, body = rest.partition("\n\n")
        return head + mark + declarations + blank + defect + body
    return text + defect


def six(text: str, defect: str, directory: Path) -> Path:
    """Return a series of six, of which the fifth has the defect and the others say nothing new."""
    stages, now = [], text
    for number in range(1, 7):
        if number == 5:
            now = with_defect(now, defect)
        else:
            now += f"/* planted {number} */\n"
        stages.append((GUILTY if number == 5 else f"mm: Say nothing new, {number}", now))
    return series_of(text, stages, directory)


@pytest.mark.parametrize("kind", DEFECTS)
def test_a_defect_in_patch_five_is_named_there(
    prepared: Prepared, tmp_path: Path, kind: str
) -> None:
    series = six(text_of(prepared), DEFECTS[kind], tmp_path / "series")
    argv = ["matrix", "--series", str(series), "--patches", "4-6", "--suite", str(SUITE)]
    done = harness(*argv, "-k", "not flaky", "--out", str(tmp_path / "out"))
    said = done.stdout
    patch = f"patch 5, '{GUILTY}',"
    seen = {
        name: [each.removeprefix("=") for each in letters] for name, letters in rows(said).items()
    }
    seals, grow = seen["planted:seals_test"], seen["planted:grow_test"]
    good = [".", "", "", ""]
    if kind == "new warning":
        assert done.returncode == ExitCode.AS_EXPECTED, said + done.stderr
        assert f"{patch} builds with 1 new warning:" in said
        assert "planted" in said.partition("1 new warning:")[2].splitlines()[1]
        assert [each or "." for each in (*seals, *grow)] == ["."] * 8
        return
    assert done.returncode == ExitCode.NOT_AS_EXPECTED, said + done.stderr
    assert "patch 4" not in said
    assert "patch 6" not in said
    if kind == "does not compile":
        assert f"{patch} cannot be tested: the kernel does not compile" in said
        assert "#error planted" in said
        assert (seals, grow) == ([".", "", "E", "E"],) * 2
    elif kind == "does not boot":
        assert f"{patch} breaks planted:seals_test: pass, then crash" in said
        assert "the guest does not boot (panic)" in said.partition("then crash")[2].splitlines()[1]
        assert seals[:3] == grow[:3] == [".", "", "C"]
    elif kind == "crashes under one test":
        assert f"{patch} breaks planted:grow_test: pass, then crash" in said
        assert "mm/memfd.c" in said.partition("then crash")[2].splitlines()[1]
        assert "breaks planted:seals_test" not in said
        assert grow[:3] == [".", "", "C"]
        assert [each or "." for each in seals] == ["."] * 4
    else:
        assert f"{patch} breaks planted:seals_test: pass, then fail" in said
        assert "not as expected any more: write" in said
        assert f"--upto 5 --suite {SUITE} -k planted:seals_test" in said
        assert seals[:3] == [".", "", "F"]
        assert [each or "." for each in grow] == good[:1] * 4


def test_a_flaky_test_blames_no_patch(prepared: Prepared, tmp_path: Path) -> None:
    text = text_of(prepared)
    stages = [
        (f"mm: Say nothing new, {number}", text + f"/* planted {number} */\n")
        for number in range(1, 5)
    ]
    series = series_of(text, stages, tmp_path / "series")
    argv = ["matrix", "--fresh", "--series", str(series), "--suite", str(SUITE)]
    done = harness(*argv, "-k", "flaky", "--out", str(tmp_path / "out"))
    said = done.stdout
    assert len(rows(said)) == 4, said + done.stderr
    assert "breaks" not in said
    assert "mends" not in said
    assert "Not bisectable" not in said
    assert "Unstable, sometimes good and sometimes bad:" in said


def test_bisection_names_the_same_patch_with_fewer_kernels(
    prepared: Prepared, tmp_path: Path
) -> None:
    series = six(text_of(prepared), DEFECTS["wrong result in one case"], tmp_path / "series")
    argv = ["matrix", "--bisect", "--series", str(series), "--suite", str(SUITE)]
    done = harness(*argv, "-k", "not flaky", "--out", str(tmp_path / "out"))
    assert done.returncode == ExitCode.NOT_AS_EXPECTED, done.stdout + done.stderr
    assert f"First bad: patch 5, '{GUILTY}'" in done.stdout
    kernels = json.loads((tmp_path / "out" / "results.json").read_text())["kernels"]
    assert set(kernels) <= {"base", "3", "4", "5", "6"}

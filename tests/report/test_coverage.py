# SPDX-License-Identifier: GPL-2.0-only
"""Coverage as the console, lcov and results.json have it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import msgspec
import pytest

from harness.errors import UserError
from harness.model.coverage import (
    CodeLine,
    CodeMap,
    Coverage,
    PatchLines,
    SourceLines,
    as_files,
    evaluate,
)
from harness.model.results import Kernel, Machine, Results, decode, encode
from harness.report import html
from harness.report.coverage import coverage_lines, lcov
from harness.report.summary import summary

pytestmark = pytest.mark.unit

CODE = CodeMap(
    points=tuple((at, at + 1) for at in range(0, 60, 10)),
    lines=(
        *(CodeLine(path="mm/a.c", line=n, code=(n,)) for n in range(5)),
        CodeLine(path="include/b.h", line=7, code=(5,)),
    ),
    patches=(
        PatchLines(number=1, subject="mm: whole", changed=as_files({"mm/a.c": [0, 1]})),
        PatchLines(
            number=2,
            subject="mm: a part \x1b[31m",
            changed=as_files({"mm/a.c": range(2, 9), "include/b.h": [7]}),
            source=(
                SourceLines(
                    path="mm/a.c",
                    lines=((2, "\tran();"), (3, '\tnever("<b>\x1b[2J");'), (8, "/* text */")),
                ),
                SourceLines(path="Documentation/no-code", lines=((1, "words"),)),
            ),
        ),
        PatchLines(number=3, subject="docs: text", changed=as_files({"Documentation/x": [1]})),
        PatchLines(number=4, subject="mm: never", changed=as_files({"mm/a.c": [4]})),
    ),
    notes=("x.o is another one",),
)
COVERAGE = evaluate(
    CODE, {"s:a": b"\1\0\1\0\0\0", "s:b": b"\1\1\0\0\0\0"}, ["s:a", "s:b", "s:skip"]
)


def results(coverage: Coverage | None) -> Results:
    kernel = Kernel(release="6.1", source="", base_commit="")
    return Results(run="r", started="", kernel=kernel, machine=Machine(), coverage=coverage)


def text(coverage: Coverage) -> list[str]:
    return ["".join(span for span, _ in line) for line in coverage_lines(coverage)]


def test_the_console_tells_each_patch_and_what_no_test_ran() -> None:
    assert [re.sub("  +", "  ", line) for line in text(COVERAGE)] == [
        "changed lines run by tests  changed  with code  run",
        "1 mm: whole  2  2  2  100 %",
        "2 mm: a part \\x1b[31m  8  4  1  25 %",
        "  not run: include/b.h:7",
        "  not run: mm/a.c:3-4",
        "3 docs: text  1  0  0",
        "4 mm: never  1  1  0  0 %",
        "  not run: mm/a.c:4",
        "  not watched: s:skip",
        "  note: x.o is another one",
    ]


def test_many_tests_that_were_not_watched() -> None:
    names = [f"s:{n}" for n in range(9)]
    (line,) = [line for line in text(evaluate(CODE, {}, names)) if "not watched" in line]
    assert line.endswith("s:0, s:1, s:2, s:3, s:4 and 4 more")


def test_the_summary_has_coverage_only_if_it_was_measured() -> None:
    def shown(coverage: Coverage | None) -> str:
        return "\n".join("".join(span for span, _ in line) for line in summary(results(coverage)))

    assert "not run: mm/a.c:3-4" in shown(COVERAGE)
    assert "not run" not in shown(None)


def test_results_json_has_all_of_it() -> None:
    assert decode(encode(results(COVERAGE))).coverage == COVERAGE
    raw = msgspec.json.decode(encode(results(COVERAGE)))
    assert raw["coverage"]["patches"][1]["uncovered"] == [
        {"path": "include/b.h", "lines": [[7, 7]]},
        {"path": "mm/a.c", "lines": [[3, 4]]},
    ]
    assert msgspec.json.decode(encode(results(None)))["coverage"] is None


def test_lcov_has_a_record_for_each_test_and_file() -> None:
    records = lcov(results(COVERAGE)).decode().split("end_of_record\n")
    assert records[1] == ("TN:s_a\nSF:mm/a.c\nDA:0,1\nDA:1,0\nDA:2,1\nDA:3,0\nDA:4,0\nLF:5\nLH:2\n")
    assert records[2] == "TN:s_b\nSF:include/b.h\nDA:7,0\nLF:1\nLH:0\n"
    assert len(records) == 5


def test_without_a_watched_test_all_is_unrun() -> None:
    data = lcov(results(evaluate(CODE, {}, []))).decode()
    assert data.count("end_of_record") == 2
    assert ",1\n" not in data


def test_a_run_without_coverage_has_no_lcov_report() -> None:
    with pytest.raises(UserError, match="has no coverage data"):
        lcov(results(None))


def test_genhtml_takes_it(tmp_path: Path) -> None:
    code = CodeMap(
        points=((0, 1), (1, 2), (2, 3)),
        lines=tuple(CodeLine(path="mm/a.c", line=n, code=(n - 1,)) for n in (1, 2, 3)),
        patches=(PatchLines(number=1, subject="x", changed=as_files({"mm/a.c": [1, 2, 3]})),),
    )
    hits = {"kvm:x86_64/a_test": b"\1\0\0", "s:b ü": b"\1\1\0"}
    (tmp_path / "mm").mkdir()
    (tmp_path / "mm/a.c").write_text("int one;\nint two;\nint three;\n")
    (tmp_path / "lines.info").write_bytes(lcov(results(evaluate(code, hits, hits))))
    argv = ["genhtml", "--show-details", "--output-directory", "html", "lines.info"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    # lcov 2 writes one dot more.
    assert re.search(r"lines\.+: 66\.7% \(2 of 3 lines\)", done.stdout)
    assert "warn" not in (done.stdout + done.stderr).lower()
    (page,) = tmp_path.glob("html/**/a.c.gcov.html")
    assert "int three" in page.read_text()


def test_the_page_shows_each_line_with_the_tests_that_ran_it() -> None:
    page = html.render({"": results(COVERAGE)}).decode()
    assert '<span class="good" title="run by s:a">     2          ran();</span>' in page
    assert re.search(r'<span class="bad" title="run by no test">     3  .*never\(', page)
    assert '<span class="dim" title="no code">     8  /* text */</span>' in page
    assert "\x1b" not in page
    assert "<b>" not in page
    assert "no-code" not in page
    # A patch without code has nothing to show.
    assert "docs: text" not in page


def test_a_run_that_did_not_watch_shows_no_lines() -> None:
    assert "Changed lines run" not in html.render({"": results(None)}).decode()

# SPDX-License-Identifier: GPL-2.0-only
"""No line is longer than the place where it is shown, and nothing is lost for that."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import struct
import sys
import termios
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.console import Terminal, print_summary
from harness.report.fold import fold
from harness.report.series import patch_lines
from harness.report.text import COMMAND, PATH, columns
from harness.series.shown import ShownFile, ShownPatch
from tests.report import samples as s
from tests.report.test_progress import Stream

pytestmark = [pytest.mark.unit, pytest.mark.slow]
REPOSITORY = Path(__file__).parents[2]
PROGRAM = """
import sys
from harness.report.console import print_summary
from tests.report import samples as s
print_summary(getattr(s, sys.argv[1]), sys.stdout, verbose=sys.argv[2] == "-v", directory="runs/1")
"""


def text_of(line: list[tuple[str, str]]) -> str:
    return "".join(text for text, _ in line)


@given(
    st.lists(st.tuples(st.text("ab 漢é:", max_size=200), st.sampled_from(["", "bad", "dim"]))),
    st.integers(24, 120),
)
def test_text_is_folded_and_whole(line: list[tuple[str, str]], width: int) -> None:
    folded = [text_of(each) for each in fold(line, width)]
    assert all(columns(each) <= width for each in folded)
    assert "".join("".join(folded).split()) == "".join(text_of(line).split())


@given(
    st.lists(st.text("ab'\" $", max_size=40), min_size=1, max_size=20).filter(any),
    st.integers(40, 120),
)
def test_a_command_that_is_folded_is_the_same_for_a_shell(words: list[str], width: int) -> None:
    line = [("  run again: ", "dim"), (shlex.join(words), COMMAND)]
    folded = [text_of(each) for each in fold(line, width)]
    assert all(each.endswith("\\") for each in folded[:-1])
    told = "\n".join(folded)
    # As a shell does it: Python's own reader keeps the line feed.
    assert shlex.split(told.removeprefix("  run again: ").replace("\\\n", "")) == words


def test_a_path_is_never_broken() -> None:
    path = "/a/rather/long/path with blanks/" * 5
    folded = fold([("  kernel log: ", "dim"), (path, PATH)], 40)
    assert any(path in text_of(each) for each in folded)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_a_path_of_a_patch_is_whole_and_the_rest_within_the_width(width: int) -> None:
    file = ShownFile(name="a/file/in/a/deep/directory/of/a/tree.h", added=1, removed=0)
    patch = ShownPatch(
        number=1,
        total=1,
        subject="mm: " + "a word " * 20,
        author="A Person With A Long Name <person@example.org>",
        where="/home/person/with a blank/" + "patches/" * 8 + "0001-mm-it.patch",
        files=(file,),
        added=1,
        removed=0,
        trailers=(),
    )
    for line in patch_lines(patch):
        text = [text_of(each) for each in fold(line, width)]
        for path in (file.name, patch.where):
            assert path not in text_of(line) or any(path in each for each in text)
        wide = max((columns(each) for each in text if "/" not in each), default=0)
        assert wide <= width


@pytest.mark.parametrize("width", [40, 60, 80, 100])
@pytest.mark.parametrize("options", ["", "-v"])
def test_the_end_of_a_run_is_within_the_terminal(width: int, options: str) -> None:
    """On a real terminal; only a path that is longer itself may be longer."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(REPOSITORY)
        os.environ.update(TERM="xterm", NO_COLOR="1")
        while os.get_terminal_size(1).columns != width:
            pass
        argv = [sys.executable, "-c", PROGRAM, "ALL", options or "-"]
        os.execv(sys.executable, argv)  # noqa: S606  in the child of a fork
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    told = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:
            break
        if not data:
            break
        told += data
    assert os.waitpid(pid, 0)[1] == 0, told
    lines = told.decode().replace("\r\n", "\n").splitlines()
    assert len(lines) > 60
    assert "\x1b" not in told.decode()
    long = [line for line in lines if columns(line) > width]
    assert not [
        line for line in long if not re.fullmatch(r"(  (kernel log|output):)? *\S+( \\)?", line)
    ]


@pytest.mark.parametrize("sample", s.SAMPLES, ids=lambda sample: sample.name)
@pytest.mark.parametrize("verbose", [False, True])
def test_no_line_of_a_log_is_endless(sample: s.Sample, verbose: bool) -> None:
    stream = Stream()
    terminal = Terminal(live=False, colour=False, unicode=True)
    print_summary(sample.results, stream, verbose=verbose, terminal=terminal)
    assert all(columns(line) <= 240 for line in stream.getvalue().splitlines())


def test_the_end_of_a_run_names_the_page_and_says_what_is_true_last() -> None:
    stream = Stream()
    plain = Terminal(live=False, colour=False, unicode=True)
    page = "runs/1/report.html"
    print_summary(s.ALL, stream, directory="runs/1", page=page, junit="j.xml", terminal=plain)
    lines = stream.getvalue().splitlines()
    assert "page:  runs/1/report.html" in lines
    assert lines[-1].startswith("NOT AS EXPECTED (exit 1): 11 tests")

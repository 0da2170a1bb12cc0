# SPDX-License-Identifier: GPL-2.0-only
"""Progress in a log and on a terminal."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from harness.outcome import Outcome
from harness.progress import Progress
from harness.report import console, text
from harness.report.live import RichProgress
from harness.report.plain import PlainProgress
from tests.report import samples as s

pytestmark = pytest.mark.unit

PLAIN = console.Terminal(live=False, colour=False, unicode=True)
LIVE = console.Terminal(live=True, colour=True, unicode=True)


class Clock:
    """A clock that stands still until it is told to move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Stream(io.StringIO):
    """A stream that is a terminal or is none."""

    encoding = "utf-8"

    def __init__(self, *, tty: bool = True, encoding: str = "utf-8") -> None:
        super().__init__()
        self._tty = tty
        self.encoding = encoding

    def isatty(self) -> bool:
        return self._tty


def plain(stream: io.StringIO, clock: Callable[[], float]) -> PlainProgress:
    return PlainProgress(stream, PLAIN, clock=clock)


@dataclass(frozen=True)
class Screen:
    """A progress on a terminal of 80 columns and 24 lines, and what it wrote there."""

    progress: RichProgress
    clock: Clock
    stream: Stream

    @property
    def raw(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[str]:
        """What was written, without colours and cursor movement."""
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.raw)
        return plain.replace("\r", "\n").splitlines()

    def drawn(self) -> list[str]:
        """Return what is under way."""
        screen = Console(file=io.StringIO(), width=80, color_system=None)
        with screen.capture() as captured:
            screen.print(self.progress.view())
        return captured.get().splitlines()


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    for name, value in (("COLUMNS", "80"), ("LINES", "24"), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    clock, stream = Clock(), Stream()
    return Screen(RichProgress(stream, LIVE, clock=clock), clock, stream)


@pytest.mark.parametrize(
    ("tty", "environ", "encoding", "expected"),
    [
        (True, {"TERM": "xterm"}, "utf-8", (True, True, True)),
        (True, {"TERM": "xterm"}, "latin-1", (True, True, False)),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, "utf-8", (True, False, True)),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, "utf-8", (True, True, True)),
        (True, {"TERM": "dumb"}, "utf-8", (False, False, True)),
        (True, {}, "utf-8", (False, False, True)),
        (False, {"TERM": "xterm"}, "utf-8", (False, False, True)),
        (False, {"FORCE_COLOR": "1"}, "utf-8", (False, True, True)),
        (False, {"FORCE_COLOR": "0"}, "utf-8", (False, False, True)),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, "utf-8", (False, False, True)),
    ],
)
def test_what_a_terminal_can_do(
    tty: bool, environ: dict[str, str], encoding: str, expected: tuple[bool, bool, bool]
) -> None:
    found = console.Terminal.of(Stream(tty=tty, encoding=encoding), environ)
    assert (found.live, found.colour, found.unicode) == expected


def test_the_factory_picks_by_the_stream() -> None:
    assert isinstance(console.make_progress(io.StringIO()), PlainProgress)
    for colour in (False, True):
        log = console.Terminal(live=False, colour=colour, unicode=True)
        screen = console.Terminal(live=True, colour=colour, unicode=True)
        assert isinstance(console.make_progress(Stream(), log), PlainProgress)
        assert isinstance(console.make_progress(Stream(), screen), RichProgress)


def test_plain_steps() -> None:
    stream, clock = io.StringIO(), Clock()
    progress: Progress = plain(stream, clock)
    with progress.step("Kernel") as step:
        with progress.step("Waiting"):
            clock.now += 3
        step.update("CC x.o", done=1, total=2)
        clock.now += 148
        step.result("cached")
    progress.note("TCG is used \x1b[2J")
    assert stream.getvalue() == (
        "  Kernel ...\n"
        "    Waiting ...\n"
        "  ✓ Waiting  3.0s\n"
        "✓ Kernel  2m31s  (cached)\n"
        "note: TCG is used \\x1b[2J\n"
    )


@pytest.mark.parametrize(
    ("error", "word"), [(ValueError, "failed"), (KeyboardInterrupt, "interrupted")]
)
def test_a_step_that_ends_badly_says_so(error: type[BaseException], word: str) -> None:
    stream = io.StringIO()
    progress = plain(stream, Clock())
    with pytest.raises(error), progress.step("Kernel"):
        raise error
    assert stream.getvalue().splitlines()[-1] == f"✗ Kernel: {word}  0.0s"


def test_plain_colour_only_if_it_is_wanted() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream, console.Terminal(live=False, colour=True, unicode=False))
    with progress.step("Kernel"):
        pass
    assert "\x1b[32m+\x1b[0m Kernel" in stream.getvalue()


def test_sign_of_life_after_twenty_seconds_of_silence() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = plain(stream, clock)
    with progress.step("Kernel") as step:
        step.update("CC mm/memfd.o \x1b[2J", done=10, total=2000)
        clock.now += 19
        progress.tick()
        assert stream.getvalue().count("\n") == 1
        clock.now += 2
        progress.tick()
        progress.tick()
        clock.now += 100
        progress.tick()
    assert stream.getvalue().splitlines()[1:3] == [
        "  Kernel: 21s, 10/2000, CC mm/memfd.o \\x1b[2J",
        "  Kernel: 2m01s, 10/2000, CC mm/memfd.o \\x1b[2J",
    ]


def test_signs_of_life_come_by_themselves_and_stop() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream, PLAIN, interval_s=0.05)
    before = set(threading.enumerate())
    with progress.step("Waiting"):
        (thread,) = set(threading.enumerate()) - before
        wait_until(lambda: "Waiting: 0" in stream.getvalue())
    assert "Waiting: 0" in stream.getvalue()
    wait_until(lambda: not thread.is_alive())
    assert not thread.is_alive()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_plain_tests() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = plain(stream, clock)
    with progress.tests([test.name for test in s.ALL.tests]) as tests:
        for test in s.ALL.tests[:3]:
            tests.started(test.name)
            tests.finished(test, test.name)
        for test in s.ALL.tests[3:8]:
            tests.started(test.name)
        clock.now += 30
        progress.tick()
    assert stream.getvalue().splitlines() == [
        "✗ fail     kvm:fd_memory_test            0.3s"
        "  1 pass, 1 fail, 1 xfail, 1 skip  1 of 4 cases failed",
        "✗ fail     kvm:set_memory_region_test    0.3s  exit status 254",
        "✓ pass     kvm:cpuid_test                0.3s",
        "  3 of 11 tests done; running: kvm:state_test (30s), kvm:sync_regs_test (30s),"
        " mm:crash_test (30s), 2 more",
    ]


def test_a_test_that_never_started_has_a_line_too() -> None:
    stream = io.StringIO()
    with plain(stream, Clock()).tests([]) as tests:
        tests.finished(
            s.program("tdx_test", Outcome.SKIP, reason="no TDX", total_s=None), "kvm:tdx_test"
        )
    assert stream.getvalue() == "- skip     kvm:tdx_test    0.1s  no TDX\n"


STORY = (
    "slot.part_of_a_file and 2 more: known: C6: a part of a file can be bound to several slots"
    " (kernel-selftest-harness@project.example, as posted); memslot_test.c:118: Expected 0 == -1"
)
LONG = (
    s.program("known_test", Outcome.XFAIL, reason=STORY),
    s.program(
        "cases_test",
        Outcome.XFAIL,
        reason="a and 2 more: known: C12: x: y (me, until 2030-01-01); z",
        cases=(
            s.case("cases_test", "a", Outcome.XFAIL, "known: C12: x: y (me, until 2030-01-01); z"),
            s.case("cases_test", "b", Outcome.XFAIL, "known: loses a page (Cg) (me, as posted)"),
            s.case("cases_test", "c", Outcome.XFAIL, "known: loses a page (Cg) (me, as posted)"),
            s.case("cases_test", "d", Outcome.PASS),
        ),
    ),
    s.program(
        "whole_test",
        Outcome.XFAIL,
        reason="known: it oopses (C4) (me@example.org, as posted); BUG: NULL pointer in f",
        cases=(
            s.case("whole_test", "a", Outcome.XFAIL, "known of the whole program: it oopses (C4)"),
            s.case("whole_test", "b", Outcome.XFAIL, "started, without a result"),
        ),
    ),
    s.program("plain_test", Outcome.XFAIL, reason="known: it is slow (me, as posted); why"),
    s.program("own_test", Outcome.XFAIL, reason="the program says so " * 20),
    s.program("failed_test", Outcome.FAIL, reason="x.c:1: " + "Expected 0 == ret " * 20),
    s.program("wide_test", Outcome.FAIL, reason="失敗しました" * 30),
    s.program("accent_test", Outcome.FAIL, reason="e\u0301" * 200),
    s.program("n" * 248, Outcome.FAIL, reason="why"),
    s.program("名" * 80, Outcome.CRASH, reason="why"),
    s.program(
        "many_test",
        Outcome.FAIL,
        reason="why",
        cases=tuple(s.case("many_test", f"c{o}{n}", o) for o in Outcome for n in range(1000)),
    ),
)


def finished(progress: PlainProgress | RichProgress) -> None:
    with progress.tests([test.name for test in LONG]) as tests:
        for test in LONG:
            tests.finished(test, test.name)


def test_a_line_of_a_test_fits_a_log_of_120_columns() -> None:
    stream = io.StringIO()
    finished(plain(stream, Clock()))
    lines = stream.getvalue().splitlines()
    assert len(lines) == len(LONG)
    assert max(map(cell_len, lines)) <= 120
    assert cell_len(lines[6]) > 116
    assert lines[0].endswith("  known: C6")
    assert lines[1].endswith("  1 pass, 3 xfail  known: C12, Cg")
    assert lines[2].endswith("  2 xfail  known: C4")
    assert lines[3].endswith("  known: it is slow")
    assert all(line.endswith("...") for line in lines[4:8])


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_line_of_a_test_fits_the_terminal(
    width: int, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    stream = Stream()
    finished(RichProgress(stream, LIVE, clock=screen.clock))
    plain_text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    lines = [line for line in re.split(r"[\r\n]", plain_text) if re.match(r"[✓✗-] [a-z]+ ", line)]
    assert len(lines) == len(LONG)
    assert max(map(cell_len, lines)) <= width


def test_verbose_lines_have_the_whole_reason() -> None:
    stream = io.StringIO()
    finished(PlainProgress(stream, PLAIN, clock=Clock(), verbose=True))
    # Folded, as no line of a log is endless, and whole all the same.
    assert STORY in " ".join(stream.getvalue().split())
    assert "n" * 248 in "".join(stream.getvalue().split())
    assert max(map(cell_len, stream.getvalue().splitlines())) <= PLAIN.columns


def test_columns_stand_below_each_other_whatever_their_letters() -> None:
    stream = io.StringIO()
    tests = [s.program(name, Outcome.PASS) for name in ("日本語", "plain", "a\u0301\u0302b")]
    with plain(stream, Clock()).tests([test.name for test in tests]) as view:
        for test in tests:
            view.finished(test, test.name)
    lines = stream.getvalue().splitlines()
    assert len({cell_len(line) for line in lines}) == 1


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"])), st.integers(0, 60))
def test_cut_text_fits(shown: str, width: int) -> None:
    short = text.fit(shown, width)
    assert text.columns(short) <= width
    assert short == shown or short.endswith("..."[:width])
    assert text.columns(text.pad(short, width)) == width


def test_each_line_is_flushed() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(io.BufferedWriter(_Raw(raw)), encoding="utf-8")
    with PlainProgress(stream, PLAIN, clock=Clock()).step("Kernel"):
        assert raw.getvalue() == b"  Kernel ...\n"


def test_live_steps(screen: Screen) -> None:
    with screen.progress.step("Kernel [bold]x[/bold]") as step:
        step.update("CC \x1b[2J" + "x" * 200, done=500, total=2000)
        screen.clock.now += 65
        (line,) = screen.drawn()
        assert line[1:].startswith(
            " Kernel [bold]x[/bold]  1m05s  ━━━━━━────────────────── 500/2000  CC \\x1b[2Jxx"
        )
        assert len(line) == 80
        with screen.progress.step("Waiting"):
            assert len(screen.drawn()) == 2
        step.result("built")
    assert screen.drawn() == []
    assert "  ✓ Waiting  0.0s" in screen.lines
    assert screen.lines[-1] == "✓ Kernel [bold]x[/bold]  1m05s  (built)"


def test_live_steps_leave_one_line_each(screen: Screen) -> None:
    for number in range(3):
        with screen.progress.step(f"Step {number}"):
            pass
    # The region of moving lines goes away without a trace; a line feed ends a line that stays.
    assert screen.raw.count("\n") == 3


def test_live_lines_that_stay_are_whole(screen: Screen) -> None:
    with screen.progress.step("Kernel") as step:
        step.result("x" * 200)
    start = max(number for number, line in enumerate(screen.lines) if line.startswith("✓ Kernel"))
    told = screen.lines[start:]
    assert "".join("".join(told).split()) == f"✓Kernel0.0s({'x' * 200})"
    assert max(map(cell_len, told)) <= 80


def test_live_tests(screen: Screen) -> None:
    names = [test.name for test in s.ALL.tests]
    with screen.progress.tests(names) as tests:
        for name in names:
            tests.started(name)
        screen.clock.now += 5
        tests.finished(s.ALL.tests[0], s.ALL.tests[0].name)
        tests.finished(s.ALL.tests[2], s.ALL.tests[2].name)
        lines = screen.drawn()
        assert lines[0][1:] == " 2 of 11 tests  5.0s  ━━━━────────────────────  1 pass, 1 fail"
        assert lines[1] == "  kvm:set_memory_region_test  5.0s"
        assert len(lines) == 1 + 6 + 1
        assert lines[-1] == "  and 3 more"
    assert "✓ pass     kvm:cpuid_test                0.3s" in screen.lines


def test_live_in_ascii_and_without_colour(screen: Screen) -> None:
    terminal = console.Terminal(live=True, colour=False, unicode=False)
    stream = Stream(encoding="ascii")
    progress = RichProgress(stream, terminal, clock=screen.clock)
    with progress.tests(["kvm:a_test"]) as tests:
        tests.started("kvm:a_test")
        tests.finished(s.program("a_test", Outcome.PASS), "kvm:a_test")
    assert stream.getvalue().isascii()
    assert r"\u" not in stream.getvalue()  # every sign was chosen to fit, none had to be escaped
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", stream.getvalue())
    assert "+ pass     kvm:a_test" in stream.getvalue()


def test_live_leaves_the_cursor_visible_after_an_error(screen: Screen) -> None:
    with pytest.raises(KeyboardInterrupt), screen.progress.step("Kernel"):
        raise KeyboardInterrupt
    assert screen.raw.rindex("\x1b[?25h") > screen.raw.rindex("\x1b[?25l")
    assert screen.lines[-1] == "✗ Kernel: interrupted  0.0s"


def test_hostile_text_does_not_reach_the_terminal(screen: Screen) -> None:
    screen.progress.note(s.HOSTILE)
    with screen.progress.step(s.HOSTILE) as step:
        step.update(s.HOSTILE)
        step.result(s.HOSTILE)
    with screen.progress.tests([s.HOSTILE]) as tests:
        tests.started(s.HOSTILE)
        tests.finished(s.HOSTILE_RUN.tests[0], s.HOSTILE_RUN.tests[0].name)
    # All that is left are rich's own: colours, cursor up, clear line, show and hide.
    rest = re.sub(r"\x1b\[(?:[0-9;]*m|1A|2K|\?25[lh])", "", screen.raw)
    assert all(char.isprintable() or char in "\r\n\t" for char in rest)
    assert "[bold]x[/bold] [/] :smile:" in rest


def test_a_thousand_tests_a_second_are_no_trouble(screen: Screen) -> None:
    test = s.program("a_test", Outcome.PASS)
    start = time.process_time()
    with screen.progress.tests([test.name] * 1000) as tests:
        for _ in range(1000):
            tests.started(test.name)
            tests.finished(test, test.name)
    assert time.process_time() - start < 1
    with screen.progress.step("Kernel") as step:
        start = time.process_time()
        for number in range(100_000):
            step.update("CC x.o", done=number, total=100_000)
        assert time.process_time() - start < 0.5


def test_a_reader_that_goes_away_does_not_end_the_run() -> None:
    program = (
        "import sys\n"
        "from harness.report.console import make_progress\n"
        "progress = make_progress(sys.stdout)\n"
        "for n in range(2000):\n"
        "    progress.note('x' * 100)\n"
        "sys.exit(7)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Unbuffered, Python has nothing left to fail over when it ends.
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PYTHONUNBUFFERED": "",
        },
    )
    assert child.stdout is not None
    child.stdout.close()
    _, errors = child.communicate(timeout=30)
    assert (child.returncode, errors) == (7, b"")


def test_the_console_does_not_load_rich_for_a_log() -> None:
    program = (
        "import io, sys\n"
        "from harness.report import console\n"
        "console.make_progress(io.StringIO()).note('x')\n"
        "sys.exit('rich' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        timeout=30,
        check=False,
    )
    assert done.returncode == 0


class _Raw(io.RawIOBase):
    """An unbuffered file in memory."""

    def __init__(self, target: io.BytesIO) -> None:
        self._target = target

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        return self._target.write(bytes(data))  # type: ignore[call-overload]

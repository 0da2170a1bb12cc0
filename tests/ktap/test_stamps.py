# SPDX-License-Identifier: GPL-2.0-only
"""KTAP behind what logs put before every line is read as the same KTAP without."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.ktap import Kind, Report, parse
from harness.ktap.stamps import PRINTK_STAMP, generalise, leading
from tests.ktap.promises import check
from tests.ktap.test_properties import TREES, Tree, collection

pytestmark = pytest.mark.unit

_STREAMS = [
    path.read_bytes()
    for path in (Path(__file__).parent / "corpus").glob("*.ktap")
    # Its version line is glued to text: with a prefix before it, that text is part of the prefix.
    if path.stem != "glued-not-ok-in-prefix"
]
_START = datetime(2026, 11, 5, 23, 59, 58, tzinfo=UTC)
_LEVELS = ("info  ", "notice", "warn  ", "err   ", "debug ")


def at(line: int) -> datetime:
    """Return a moment that changes date, month and width of numbers in a few lines."""
    return _START + timedelta(seconds=line * 1.001037 + line**3 * 3600)


def seconds(line: int) -> float:
    """Return seconds since boot."""
    return 9.9 + line * 0.101037


# What dmesg, journalctl, syslog, CI systems, container tools and loggers put before a line.
STYLES: dict[str, Callable[[int], str]] = {
    "dmesg-T": lambda n: f"[{at(n):%a %b %e %H:%M:%S %Y}] ",
    "dmesg-iso": lambda n: f"{at(n):%Y-%m-%dT%H:%M:%S,%f}+00:00 ",
    "dmesg-x": lambda n: f"kern  :{_LEVELS[n % 5]}: [{seconds(n):12.6f}] ",
    "dmesg-x-T": lambda n: f"kern  :{_LEVELS[n % 5]}: [{at(n):%a %b %e %H:%M:%S %Y}] ",
    "dmesg-delta": lambda n: f"[{seconds(n):12.6f} <{0.101037 * (n > 1):12.6f}>] ",
    "dmesg-reltime": lambda n: (
        f"[{at(n):%b%e %H:%M}] ".replace("  ", " ") if n % 3 == 0 else "[  +0.101037] "
    ),
    "three-digits": lambda n: f"[{seconds(n):9.3f}] ",
    "nine-digits": lambda n: f"[{seconds(n):15.9f}] ",
    "caller": lambda n: f"[{seconds(n):12.6f}][{'T' if n % 2 else 'C'}{n % 130:5}] ",
    "level-and-time": lambda n: f"<{n % 8}>[{seconds(n):12.6f}] ",
    "journalctl": lambda n: f"{at(n):%b %d %H:%M:%S} testhost kernel: ",
    "journalctl-program": lambda n: (
        f"{at(n):%b %d %H:%M:%S} testhost run_kselftest.sh[{900 + n}]: "
    ),
    "journalctl-iso": lambda n: f"{at(n):%Y-%m-%dT%H:%M:%S}+0000 testhost kernel: ",
    "journalctl-precise": lambda n: f"{at(n):%b %d %H:%M:%S.%f} testhost kernel: ",
    "journalctl-full": lambda n: f"{at(n):%a %Y-%m-%d %H:%M:%S} UTC testhost kernel: ",
    "journalctl-unix": lambda n: f"{at(n).timestamp():.6f} testhost kernel: ",
    "syslog": lambda n: f"{at(n):%b %e %H:%M:%S} testhost kernel: [{seconds(n):12.6f}] ",
    "syslog-rfc5424": lambda n: f"<{n % 8}>1 {at(n):%Y-%m-%dT%H:%M:%S.%f}Z testhost kernel: ",
    "github": lambda n: f"{at(n):%Y-%m-%dT%H:%M:%S.%f}7Z ",
    "github-console": lambda n: f"{at(n):%Y-%m-%dT%H:%M:%S.%f}7Z [{seconds(n):12.6f}] ",
    "lava": lambda n: f"{at(n):%Y-%m-%dT%H:%M:%S.%f} ",
    "jenkins": lambda n: f"[{at(n):%Y-%m-%dT%H:%M:%S}.{n % 1000:03}Z] ",
    "buildkite": lambda n: f"\x1b_bk;t={at(n).timestamp():.0f}000\x07",
    "ts": lambda n: f"{at(n):%b %d %H:%M:%S} ",
    "ts-s": lambda n: f"{at(n):%H:%M:%S} ",
    "ts-unix": lambda n: f"{at(n).timestamp():.6f} ",
    "twelve-hours": lambda n: f"{at(n):%I:%M:%S %p} ",
    "day-first": lambda n: f"{at(n):%d.%m.%Y %H:%M:%S} ",
    "logger": lambda n: f"{at(n):%Y-%m-%d %H:%M:%S},{n % 1000:03} ",
    "rtos": lambda n: f"[{at(n):%H:%M:%S}.{n % 1000:03},000] ",
    "tab": lambda n: f"{at(n):%Y-%m-%dT%H:%M:%SZ}\t",
}
# These need a version line: only that proves that they are no text.
NAMED: dict[str, Callable[[int], str]] = {
    "gitlab": lambda n: f"{at(n):%Y-%m-%dT%H:%M:%S.%f}Z 00O ",
    "compose": lambda _: "kunit_1  | ",
    "compose-time": lambda n: f"kunit_1  | {at(n):%Y-%m-%dT%H:%M:%S.%f}Z | ",
    "logcat": lambda n: f"{at(n):%m-%d %H:%M:%S}.{n % 1000:03}  1234  1234 I kernel  : ",
    "syslog-structured": lambda n: f"<6>1 {at(n):%Y-%m-%dT%H:%M:%S.%f}Z testhost kernel - - - ",
    "dmesg-x-t": lambda n: f"{'kern  user  daemon'[n % 3 * 6 :][:6]}:{_LEVELS[n % 5]}: ",
    "journalctl-monotonic": lambda n: f"[{seconds(n):12.6f}] testhost kernel: ",
    "constant": lambda _: "[host] ",
}
WHOLE = {name for name, style in STYLES.items() if PRINTK_STAMP.search(style(2).encode())}
"""Styles of what the kernel itself printed: no message of its own cuts these lines."""


def wrap(data: bytes, style: Callable[[int], str]) -> bytes:
    """Return *data* as it stands in a log of that style."""
    lines = data.split(b"\n")
    last = [lines.pop()] if lines[-1] == b"" else []
    return b"\n".join([*(style(n).encode() + line for n, line in enumerate(lines)), *last])


class Answer(NamedTuple):
    """All that must not depend on a prefix."""

    whole: tuple[object, ...]
    cases: list[tuple[object, ...]]
    kinds: list[str]


def answer(report: Report) -> Answer:
    """Return what *report* says."""
    return Answer(
        (report.outcome, report.has_results, report.skip_reason, report.bail_out),
        [(c.path, c.outcome, c.number, c.directive, c.explanation, c.line) for c in report.walk()],
        sorted(d.kind for d in report.diagnostics if d.kind is not Kind.PREFIX),
    )


def differing(style: Callable[[int], str], streams: list[bytes]) -> list[bytes]:
    """Return those of *streams* that are read differently in a log of that style."""
    return [data for data in streams if answer(parse(wrap(data, style))) != answer(parse(data))]


@pytest.mark.parametrize("style", STYLES)
def test_the_same_answer_behind_stamps(style: str) -> None:
    streams = [
        data
        for data in _STREAMS
        if style not in WHOLE or not (b"\0" in data or PRINTK_STAMP.search(data))
    ]
    assert len(streams) > 150
    assert differing(STYLES[style], streams) == []


@pytest.mark.parametrize("style", NAMED)
def test_the_same_answer_behind_names(style: str) -> None:
    streams = [
        data
        for data in _STREAMS
        if b"AP version" in data.split(b"\n", 1)[0] and not PRINTK_STAMP.search(data)
    ]
    assert len(streams) > 120
    assert differing(NAMED[style], streams) == []


@given(TREES, st.sampled_from([*STYLES, *NAMED]))
def test_a_valid_tree_comes_back_behind_any_prefix(trees: tuple[Tree, ...], style: str) -> None:
    data = "".join(f"{line}\n" for line in collection(trees)).encode()
    wrapped = wrap(data, (STYLES | NAMED)[style])
    assert answer(check(wrapped, [])) == answer(parse(data))


@pytest.mark.parametrize("style", [*STYLES, *NAMED])
def test_what_came_before_the_version_line_does_not_matter(style: str) -> None:
    before = b"booting\nLinux version 6.1\n\n-- Logs begin here --\n"
    data = b"KTAP version 1\n1..2\nok 1 a\nnot ok 2 b\n"
    wrapped = before + wrap(before + data, (STYLES | NAMED)[style])
    outcomes = [case.outcome for case in parse(wrapped).walk()]
    assert outcomes == ["pass", "fail"]


def test_two_blanks_behind_a_stamp_are_no_depth() -> None:
    data = b"KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  ok 1 a\nok 1 b\n"
    wrapped = wrap(data, lambda n: f"{at(n):%H:%M:%S}  ")
    assert answer(parse(wrapped)) == answer(parse(data))


def test_a_byte_order_mark_is_no_prefix() -> None:
    data = b"KTAP version 1\n1..1\nok 1 a\n"
    for text in (data, wrap(data, STYLES["github"])):
        assert answer(parse(b"\xef\xbb\xbf" + text)) == answer(parse(data))


@pytest.mark.parametrize(
    "text",
    [
        b"2026-11-26 23:00:00 starting\n2026-11-26 23:00:05 ok 3 tries left\n",
        b"starting\n2026-11-26 23:00:05 ok 1 try left\n2026-11-26 23:00:06 1..3\n",
        b"2026-11-26 23:00:00 starting\n2026-11-26 23:00:05 scanning 1..3\n",
        b"12:30 ok 2 pm\n",
        b"Nov 26 is ok 1 day\n",
        b"[1.5] is ok\n[2.5] was not ok\n",
        b"kern  :info  : ok 1 a\n",
    ],
)
def test_ordinary_lines_with_a_time_are_no_ktap(text: bytes) -> None:
    report = parse(text)
    assert not report.is_ktap
    assert not report.diagnostics


@pytest.mark.parametrize(
    "line", ["2026-11-26 23:00:00 ok 2 tries", "[12.345] ok 2 tries", "23:00:00 1..7", "<6>ok 2 x"]
)
def test_a_stamp_inside_unstamped_ktap_proves_nothing(line: str) -> None:
    report = parse(f"TAP version 13\n1..1\n{line}\nok 1 a\n{line}\n".encode())
    assert [(case.name, case.outcome) for case in report.walk()] == [("a", "pass")]
    assert report.outcome.as_expected


def test_an_unstamped_line_in_a_stamped_log_counts_too() -> None:
    data = wrap(b"KTAP version 1\n1..2\nok 1 a\n", STYLES["dmesg-T"]) + b"not ok 2 b\n"
    assert [case.outcome for case in parse(data).walk()] == ["pass", "fail"]


_CUT = b"[  249.219262] audit: type=1701 a(1651.1:18)\n"
_VERSIONS = ("# TAP version 13", "    KTAP version 1", "  # # TAP version 14")


@pytest.mark.parametrize("messages", [1, 3])
@pytest.mark.parametrize("style", ["none", "github", "lava", "journalctl", "dmesg-T"])
@pytest.mark.parametrize("version", _VERSIONS)
def test_a_version_line_cut_anywhere_is_one(version: str, style: str, messages: int) -> None:
    indent = version[: version.index("AP") - (2 if "KTAP" in version else 1)]
    head = "TAP version 13\n1..2\nok 1 selftests: x: a\n"
    tail = f"\n{indent}1..2\n{indent}ok 1 x\n{indent}not ok 2 y\nnot ok 2 selftests: x: b\n"
    whole = answer(parse(f"{head}{version}{tail}".encode()))
    read = []
    for cut in range(len(indent) - ("#" in indent), len(version) + 1):
        message = b"\n".join([_CUT.rstrip()] * messages)
        broken = version[:cut].encode() + message + b"\n" + version[cut:].encode()
        data = head.encode() + broken + tail.encode()
        if style != "none":
            data = wrap(data, STYLES[style])
        found = answer(parse(data))
        assert found.whole == whole.whole, data
        assert [case[:5] for case in found.cases] == [case[:5] for case in whole.cases], data
        read.append(found.kinds)
    assert ["kernel-message"] in read


def test_a_quoted_kernel_message_is_no_cut_line() -> None:
    """Tests print what dmesg says; the line below it is whole."""
    data = (
        b"TAP version 13\n1..2\n# [   12.345678] usb 1-1: new device\n"
        b"ok 1 selftests: x: a\n# [   12.345678] usb 1-1: gone\n# ok\nok 2 selftests: x: b\n"
    )
    report = parse(data)
    assert [(case.path, case.outcome) for case in report.walk()] == [
        (("selftests: x: a",), "pass"),
        (("selftests: x: b",), "pass"),
    ]
    assert not report.diagnostics


@given(st.binary(max_size=220))
def test_any_prefix_is_taken_off_where_it_stood(prefix: bytes) -> None:
    learned = generalise(prefix)
    if learned is not None:
        assert learned.strip(prefix + b"ok 1 a") is not None
    assert all((prefix + b" ok").startswith(lead) for lead in leading(prefix + b" ok"))


def test_taking_off_takes_linear_time() -> None:
    learned = generalise(b"Thu Nov 26 23:00:00 UTC 2026 [  1.0] <6> kern: ")
    assert learned is not None
    start = time.process_time()
    for hostile in (b"[" + b"T" * 60_000, b"Nov " * 20_000, b"1:00:00." * 9_000, b"[1]" * 20_000):
        learned.strip(hostile)
        leading(hostile)
    assert time.process_time() - start < 0.5

# SPDX-License-Identifier: GPL-2.0-only
"""What the scanner makes of awkward consoles."""

from __future__ import annotations

import time
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.klog import Finding, Scanner, Severity, scan, worst
from harness.klog.rules import CUT_HERE
from harness.klog.scanner import MAX_FINDINGS, MAX_LINE
from tests.klog.corpus import SAMPLES, read

pytestmark = [pytest.mark.unit, pytest.mark.slow]


def stamp(lines: list[str], caller: str = "", at: float = 12.0) -> bytes:
    """Return *lines* as printk writes them with time stamps, and with *caller* if given."""
    who = f"[{caller:>6}]" if caller else ""
    return "".join(
        f"[{at + i / 1e6:12.6f}]{who} {line}\r\n" for i, line in enumerate(lines)
    ).encode()


def warning(place: str = "mm/foo.c:12", function: str = "foo_bar", cpu: int = 0) -> list[str]:
    return [
        CUT_HERE,
        f"WARNING: CPU: {cpu} PID: 4{cpu} at {place} {function}+0x1{cpu}/0x30",
        "Modules linked in:",
        f"CPU: {cpu} PID: 4{cpu} Comm: init Tainted: G        W          6.1.176 #2",
        f"RIP: 0010:{function}+0x1{cpu}/0x30",
        "Call Trace:",
        " <TASK>",
        f" {function}_caller+0x2{cpu}/0x40",
        " </TASK>",
        "---[ end trace 0000000000000000 ]---",
    ]


NULL = "BUG: kernel NULL pointer dereference, address: 0000000000000018"
OOPS = [
    NULL,
    "#PF: supervisor write access in kernel mode",
    "Oops: 0002 [#1] PREEMPT SMP",
    "RIP: 0010:victim+0x4/0x10",
    "Call Trace:",
    " caller_of_victim+0x2/0x9",
    "---[ end trace 0000000000000000 ]---",
]


def kinds(data: bytes) -> list[str]:
    return [f.kind for f in scan(data)]


def one(data: bytes) -> Finding:
    (finding,) = scan(data)
    return finding


@pytest.mark.parametrize(
    "prefix",
    ["", "[   12.345678] ", "<4>[   12.345678] ", "[   12.345678][  T123] ",
     "[   12.345678][    C1] ", "<1>", "[  T123] ", "[99999.123456] "],
)  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n"])
def test_prefixes(prefix: str, end: str) -> None:
    finding = one("".join(prefix + line + end for line in OOPS).encode())
    assert (finding.kind, finding.title) == ("oops", NULL)
    assert finding.report.count("\n") == len(OOPS) - 1
    assert finding.timestamp == (
        float(prefix.split("]")[0].lstrip("<14>[")) if "." in prefix else None
    )


@pytest.mark.parametrize("glue", ["ok 1 foo", "\x1b[0m", "50% done ", "\xff\xfe\x00", "a\rb"])
@pytest.mark.parametrize("stamped", [True, False])
def test_user_text_glued_before_a_title(glue: str, stamped: bool) -> None:
    oops = stamp(OOPS) if stamped else "\n".join(OOPS).encode()
    finding = one(b"[    0.000000] Linux\n" * stamped + glue.encode("latin-1") + oops)
    assert (finding.kind, finding.title, finding.line) == ("oops", NULL, 1 + stamped)
    assert not finding.truncated


@pytest.mark.parametrize("stamped", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        "# the next test provokes a BUG and an Oops",
        "ok 1 checks that Kernel panic - not syncing is not printed",
        "not ok 2 saw 'BUG: kernel NULL pointer dereference, address: 0000000000000018'",
        "expected no WARNING: CPU in the log",
        "Kernel panics are bad: see BUG 1234 [#1]",
        "grep -q 'kernel BUG at mm/slub.c:1!' log",
        "INFO: task list is empty",
        "default page fault: 0000 handler",
        "WARNING: this test is slow",
        "===================================================",
    ],
)
def test_text_that_only_mentions_a_fault(text: str, stamped: bool) -> None:
    boot = stamp(["Linux version 6.1.176", "Command line: console=ttyS0"]) if stamped else b""
    assert kinds(boot + f"{text}\nfoo {text}\n".encode()) == []


def test_on_a_stamped_console_a_loose_title_needs_its_stamp() -> None:
    boot = stamp(["Linux version 6.1.176"])
    assert kinds(boot + b"BUG: the test program has one\n") == []
    assert kinds(boot + stamp(["BUG: something new is wrong"])) == ["other"]
    assert kinds(boot + NULL.encode()) == ["oops"]


def test_message_of_warn_is_kept_apart_from_the_title() -> None:
    lines = warning()
    lines.insert(1, "refcount_t: underflow; use-after-free.")
    finding = one(stamp(lines))
    assert (finding.kind, finding.rule) == ("refcount", "refcount")
    assert finding.message == "refcount_t: underflow; use-after-free."
    assert finding.title.startswith("WARNING: CPU: 0 PID: 40 at mm/foo.c:12 foo_bar")
    assert (finding.location, finding.function) == ("mm/foo.c:12", "foo_bar")
    assert finding.tainted == "G W"
    assert finding.report.startswith("[   12.000000] " + CUT_HERE)


def test_newer_spelling_of_a_warning() -> None:
    lines = warning()
    lines[1] = "WARNING: mm/foo.c:12 at foo_bar+0x12/0x30, CPU#1: init/41"
    assert one(stamp(lines)).kind == "warning"


def test_back_to_back_reports_stay_apart() -> None:
    log = stamp(warning("mm/a.c:1", "a") + warning("mm/b.c:2", "b") + OOPS)
    found = scan(log)
    assert [f.location for f in found] == ["mm/a.c:1", "mm/b.c:2", "victim+0x4"]
    assert not any(f.truncated or f.interleaved for f in found)
    assert "mm/b.c" not in found[0].report
    assert "mm/a.c" not in found[1].report


def test_interleaved_cpus_without_caller_lose_no_title() -> None:
    first, second = warning("mm/a.c:1", "a", 0), warning("mm/b.c:2", "b", 1)
    log = stamp([line for pair in zip(first, second, strict=True) for line in pair])
    found = scan(log)
    assert [f.location for f in found] == ["mm/a.c:1", "mm/b.c:2"]
    assert all(f.interleaved for f in found)
    assert not any(f.truncated for f in found)
    for finding in found:
        assert "a_caller" in finding.report
        assert "b_caller" in finding.report


def test_the_first_end_marker_leaves_the_other_report_open() -> None:
    first, second = warning("mm/a.c:1", "a", 0), warning("mm/b.c:2", "b", 1)
    found = scan(stamp([*first[:3], *second[:3], *first[3:], *second[3:]]))
    assert [f.location for f in found] == ["mm/a.c:1", "mm/b.c:2"]
    assert "b_caller" not in found[0].report
    assert "b_caller" in found[1].report


def test_uncertain_frames_do_not_change_the_fingerprint() -> None:
    plain, odd = warning(), warning()
    odd.insert(7, " ? left_over_on_the_stack+0x1/0x2")
    odd.insert(8, " dump_stack_lvl+0x33/0x42")
    other = warning()
    other.insert(7, " another_way_in+0x1/0x2")
    prints = [one(stamp(lines)).fingerprint for lines in (plain, odd, other)]
    assert prints[0] == prints[1] != prints[2]


def test_interleaved_cpus_with_caller_are_told_apart() -> None:
    first = stamp(warning("mm/a.c:1", "a", 0), "T40").splitlines(keepends=True)
    second = stamp(warning("mm/b.c:2", "b", 1), "C1").splitlines(keepends=True)
    found = scan(b"".join(line for pair in zip(first, second, strict=True) for line in pair))
    assert [f.location for f in found] == ["mm/a.c:1", "mm/b.c:2"]
    assert not any(f.interleaved or f.truncated for f in found)
    assert "b_caller" not in found[0].report
    assert "a_caller" not in found[1].report


def test_a_panic_inside_a_warning_is_a_finding_of_its_own() -> None:
    lines = [*warning()[:5], "Kernel panic - not syncing: panic_on_warn set ...", "Call Trace:"]
    found = scan(stamp(lines))
    assert [(f.kind, f.severity) for f in found] == [("warning", "splat"), ("panic", "crash")]
    assert worst(found) is Severity.CRASH


def test_title_that_never_came() -> None:
    finding = one(stamp([CUT_HERE, "some message"]))
    assert (finding.kind, finding.severity, finding.truncated) == ("cut-here", "splat", True)
    found = scan(stamp([CUT_HERE, *["noise"] * 40, NULL]))
    assert [f.kind for f in found] == ["cut-here", "oops"]


def test_report_cut_off_at_the_end() -> None:
    whole = stamp(OOPS)
    assert one(whole[: len(whole) // 2]).truncated
    assert one(b"[    1.000000] " + NULL.encode()[:-3]).kind == "oops"


def test_register_lines_after_the_end_marker_belong_to_the_oops() -> None:
    after = ["RIP: 0010:victim+0x4/0x10", "Code: 00 <c7> 00", "CR2: 0000000000000018"]
    finding = one(stamp([*OOPS, *after, "usb 1-1: new device", "RIP: not ours"]))
    assert finding.report.endswith(after[-1])


def test_lines_of_the_test_do_not_end_a_report() -> None:
    head, tail = stamp(OOPS[:3]), stamp(OOPS[3:])
    finding = one(head + b"ok 3 still printing\r\n" * 5 + tail)
    assert "caller_of_victim" in finding.report
    assert "still printing" in finding.report
    assert not finding.truncated


def test_report_without_end_marker_ends_when_other_text_comes() -> None:
    lines = ["BUG: scheduling while atomic: init/29/0x00000002", "Call Trace:", " foo+0x1/0x2"]
    finding = one(stamp(lines + [f"usb 1-{i}: new device" for i in range(30)] + [" bar+0x1/0x2"]))
    assert finding.report.endswith("foo+0x1/0x2")


def test_lost_lines_are_a_note() -> None:
    found = scan(
        b"** 1234 printk messages dropped **\r\n[    5.000000] foo_fn: 12 callbacks suppressed\r\n"
    )
    assert [(f.kind, f.severity) for f in found] == [("lost-messages", "note")] * 2
    assert worst(found) is Severity.NOTE
    assert Severity.NOTE.outcome is None


def test_same_splat_many_times_is_one_finding() -> None:
    scanner = Scanner()
    for i in range(500):
        scanner.feed(stamp(warning(cpu=i % 2), at=12.0 + i))
    (finding,) = scanner.close()
    assert (finding.count, finding.line, finding.timestamp) == (500, 2, 12.000001)


def test_different_lines_of_one_function_are_not_merged() -> None:
    found = scan(stamp(warning("mm/a.c:1") + warning("mm/a.c:2")))
    assert [f.location for f in found] == ["mm/a.c:1", "mm/a.c:2"]
    assert found[0].fingerprint == found[1].fingerprint


def test_endless_different_findings_are_folded_and_keep_the_worst() -> None:
    scanner = Scanner()
    for i in range(MAX_FINDINGS + 50):
        scanner.feed(stamp(warning(f"mm/f{i}.c:1", f"f{i}")))
    scanner.feed(stamp([line.replace("victim", "late_victim") for line in OOPS]))
    found = scanner.close()
    flood = [f for f in found if f.kind == "flood"]
    assert len(found) == MAX_FINDINGS + 1
    assert [(f.count, f.severity) for f in flood] == [(51, "crash")]


def test_huge_report_keeps_head_and_tail() -> None:
    lines = warning()
    lines[6:6] = [f" filler_{i}+0x1/0x2" for i in range(3800)]
    finding = one(stamp(lines))
    assert len(finding.report) < 70_000
    assert "lines left out" in finding.report
    assert CUT_HERE in finding.report
    assert finding.report.endswith("---[ end trace 0000000000000000 ]---")


def test_title_behind_a_very_long_line() -> None:
    bare = "\n".join(OOPS).encode()
    for edge in (MAX_LINE, MAX_LINE - 1024, 2 * (MAX_LINE - 1024)):
        for fill in range(edge - 100, edge + 5):
            for log in (stamp(OOPS), bare):
                found = scan(b"\xc3" * fill + log)
                assert [(f.kind, f.title, f.count) for f in found] == [("oops", NULL, 1)], fill
    assert kinds(b"x" * 100_000 + stamp(OOPS)) == ["oops"]


def test_title_across_the_edge_of_two_pieces_counts_once() -> None:
    lines = [OOPS[0] + " " + "z" * 3000, *OOPS[1:]]
    step = MAX_LINE - 1024
    for fill in range(step - 80, step + 5):
        fill_bytes, boot = b"x" * fill, stamp(["Linux version 6.1.176"])
        for log in (boot + fill_bytes + stamp(lines), fill_bytes + "\n".join(lines).encode()):
            found = scan(log)
            assert [(f.kind, f.count) for f in found] == [("oops", 1)], fill
            assert found[0].title.startswith(NULL), fill


def test_the_inside_of_a_long_line_is_no_beginning() -> None:
    step = MAX_LINE - 1024
    log = stamp(["Linux version 6.1.176"]) + b"x" * step + NULL.encode() + b" " + b"z" * 3000
    assert kinds(log) == []


@pytest.mark.parametrize("size", [512, 5000, 9000, 100_000])
def test_title_behind_a_long_line_in_chunks(size: int) -> None:
    # The needle at the beginning keeps the line from being skipped as a whole.
    log = b"BUG in the test " + b"x" * 30_000 + stamp(OOPS) + b"y" * 30_000 + stamp(warning())
    scanner = Scanner()
    for start in range(0, len(log), size):
        scanner.feed(log[start : start + size])
    found = scanner.close()
    assert [(f.kind, f.line) for f in found] == [("oops", 1), ("warning", len(OOPS) + 2)]
    assert found == scan(log)


def test_use_after_close() -> None:
    scanner = Scanner()
    scanner.feed(stamp(OOPS))
    assert scanner.close() == scanner.close()
    with pytest.raises(ValueError, match="after close"):
        scanner.feed(b"x")


NOISE = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([read(s) for s in SAMPLES]).flatmap(
        lambda log: st.integers(0, len(log)).map(lambda n: log[n : n + 3000])
    ),
    st.sampled_from([line.encode() + b"\n" for line in [*warning(), *OOPS]]),
    st.sampled_from([b"[   12.000000] ", b"\n", b"\r\n", b"=" * 66 + b"\n", b"x" * MAX_LINE]),
)


@settings(suppress_health_check=list(HealthCheck))
@given(st.lists(NOISE, max_size=8), st.lists(st.integers(0, 40_000), max_size=6))
def test_any_bytes_in_any_chunks(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    scanner = Scanner()
    edges = [0, *sorted(min(c, len(data)) for c in cuts), len(data)]
    for start, end in pairwise(edges):
        scanner.feed(data[start:end])
    assert scanner.close() == scan(data)


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1000])
def test_chunks_of_every_sample(size: int) -> None:
    for sample in SAMPLES:
        data = read(sample)
        scanner = Scanner()
        for start in range(0, len(data), size):
            scanner.feed(data[start : start + size])
        assert scanner.close() == scan(data), sample


def noise() -> bytes:
    lines = [
        f"[{i / 100:12.6f}] virtio_blk virtio{i % 7}: [vda] {i * 512} 512-byte logical blocks\r\n"
        f"# {i} default page fault memory of the test program, ok {i} case {i * i}\r\n"
        for i in range(4000)
    ]
    return "".join(lines).encode()


def test_memory_stays_flat_and_speed_high() -> None:
    block = noise()
    scanner = Scanner()
    rounds = 200_000_000 // len(block)
    scanner.feed(block)
    start = time.process_time()
    for _ in range(rounds):
        scanner.feed(block)
    speed = rounds * len(block) / (time.process_time() - start) / 1e6
    assert scanner.close() == ()
    # About 100 MB/s of processor time where this was written, with three times as many jobs as
    # processors; the limit leaves room for a slower machine.
    assert speed > 40, f"{speed:.0f} MB/s"
    scanner = Scanner()
    scanner.feed(block + stamp(warning()))
    tracemalloc.start()
    for _ in range(20):
        scanner.feed(block)
        scanner.feed(stamp(warning()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000

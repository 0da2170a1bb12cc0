# SPDX-License-Identifier: GPL-2.0-only
"""Logs of real kernels: what is found in each, and that nothing is found where nothing is wrong."""

from __future__ import annotations

import re
import tomllib

import pytest

from harness.klog import Finding, Severity, scan
from harness.klog.lines import frame, read_line
from harness.klog.rules import KINDS, NEEDLES, RULES, End
from tests.klog.corpus import CLEAN, ROOT, SAMPLES, read

pytestmark = pytest.mark.unit

EXPECTED: dict[str, str] = tomllib.loads((ROOT / "expected.toml").read_text())
BY_ID = {rule.id: rule for rule in RULES}


def summary(found: tuple[Finding, ...]) -> str:
    """Return rule, ``!`` truncated, ``~`` interleaved and ``*count`` of each finding."""
    return " ".join(
        f.rule + "!" * f.truncated + "~" * f.interleaved + (f"*{f.count}" if f.count > 1 else "")
        for f in found
    )


def test_every_sample_has_an_expectation() -> None:
    assert set(EXPECTED) == set(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_findings(name: str) -> None:
    found = scan(read(name))
    assert summary(found) == EXPECTED[name]
    lines = read(name).split(b"\n")
    for f in found:
        rule = BY_ID[f.rule]
        assert f.kind == rule.kind
        assert f.severity.rank >= rule.severity.rank or rule.names
        assert f.title.encode() in lines[f.line - 1]
        assert f.title in f.report
        assert not f.report.rsplit("\n", 1)[-1].startswith("klog-init")


@pytest.mark.parametrize("name", CLEAN)
def test_clean_logs_give_nothing(name: str) -> None:
    assert scan(read(name)) == ()


def test_every_rule_has_a_sample() -> None:
    seen = {f.rule for name in SAMPLES for f in scan(read(name))}
    assert {rule.id for rule in RULES} == seen


def test_rules_are_consistent() -> None:
    assert len(BY_ID) == len(RULES)
    for rule in RULES:
        assert rule.absorbs <= set(BY_ID), rule.id
        assert (
            rule.source.endswith(".c")
            or rule.source.endswith(".h")
            or "(" in rule.source
            or (rule.source == "anywhere")
        ), rule.id
        assert rule.kind in KINDS
        assert not (rule.until and rule.end is not End.QUIET), rule.id
    spelt_by = {found[1] for rule in RULES if (found := re.search(r"\barch/(\w+)/", rule.source))}
    assert spelt_by == {"x86", "arm64"}
    for needle in NEEDLES:
        assert not any(other in needle for other in NEEDLES if other != needle)


def test_a_needle_is_in_every_line_a_rule_matches() -> None:
    for name in SAMPLES:
        for raw in read(name).split(b"\n"):
            text = read_line(raw).text
            for rule in RULES:
                if rule.regex.match(text):
                    assert rule.needle in text, (rule.id, text)


def perturb(log: bytes) -> bytes:
    """Return *log* as another boot might print it: other times, addresses, tasks, CPUs, offsets."""
    log = re.sub(
        rb"\[ *(\d+)\.(\d{6})\]", lambda m: b"[%5d.%s]" % (int(m[1]) + 77, m[2][::-1]), log
    )
    log = re.sub(rb"\[ +([TC])(\d+)\]", lambda m: b"[%4s%02d]" % (m[1], int(m[2]) + 7), log)
    log = re.sub(rb"\b[0-9a-f]{16}\b", lambda m: m[0][:4] + m[0][4:].translate(_SHIFT), log)
    log = re.sub(rb"(CPU: |CPU#|cpu )\d+", rb"\g<1>7", log)
    log = re.sub(rb"(PID: |init[:/]|task )\d+", rb"\g<1>4711", log)
    log = re.sub(rb"\+0x(?!0/)[0-9a-f]+/0x[0-9a-f]+", b"+0x77/0x999", log)
    log = re.sub(rb"stuck for \d+s", b"stuck for 77s", log)
    return re.sub(rb"pfn:[0-9a-f]+", b"pfn:abcde", log)


_SHIFT = bytes.maketrans(b"0123456789abcdef", b"123456789abcdef0")


@pytest.mark.parametrize("name", [s for s in SAMPLES if "composed" not in s and "flood" not in s])
def test_fingerprints_survive_another_boot(name: str) -> None:
    before, after = scan(read(name)), scan(perturb(read(name)))
    if len({f.fingerprint for f in before}) == len(before):
        assert [f.fingerprint for f in after] == [f.fingerprint for f in before]
    assert {f.fingerprint for f in after} == {f.fingerprint for f in before}


def test_fingerprints_tell_faults_apart() -> None:
    different = ["bug", "nullwrite", "warning", "refcount-inc-zero", "slubfree", "slubredzone"]
    prints = [scan(read(f"x86/{name}.log"))[0].fingerprint for name in different]
    assert len(set(prints)) == len(prints)


@pytest.mark.parametrize("name", [s for s in SAMPLES if not re.search("/(kasan|caller|debug)-", s)])
def test_other_prefixes_same_findings(name: str) -> None:
    log = read(name)
    bare = re.sub(rb"(?m)^\[ *\d+\.\d{6}\] ", b"", log)
    level = re.sub(rb"(?m)^(\[ *\d+\.\d{6}\])", rb"<4>\1", log)
    expected = [f.rule for f in scan(log)]
    assert [f.rule for f in scan(level)] == expected
    assert [f.rule for f in scan(log.replace(b"\r\n", b"\n"))] == expected
    assert [f.rule for f in scan(bare)] == expected


ARM64_DONE = "---[ end trace"
ARM64_PANIC = "Memory Limit: none"
ARM64_STACK = "el0t_64_sync+0x"


@pytest.mark.parametrize(
    ("name", "index", "first", "last"),
    [
        ("access-null", 0, "Unable to handle kernel NULL pointer", ARM64_DONE),
        ("access-userspace", 0, "access to user memory outside uaccess routines", ARM64_DONE),
        ("bad-page", 0, "BUG: Bad page state", "Disabling lock debugging due to kernel taint"),
        ("bug", 0, "cut here", "exited with preempt_count 1"),
        ("exec-data", 0, "execute from non-executable memory", ARM64_DONE),
        ("exhaust-stack", 0, "Insufficient stack space", ARM64_PANIC),
        ("external-abort", 0, "Internal error: synchronous external abort", ARM64_DONE),
        ("fortify-mem-object", 0, "detected buffer overflow", "exited with preempt_count 1"),
        ("irqoops", 1, "Kernel panic - not syncing: Oops: Fatal exception in int", ARM64_PANIC),
        ("kasan-kasandf", 0, "======", "Disabling lock debugging due to kernel taint"),
        ("kfenceuaf", 0, "======", "======"),
        ("nullwrite", 0, "Unable to handle kernel NULL pointer", ARM64_DONE),
        ("page-alloc", 0, "page allocation failure", "pages hwpoisoned"),
        ("panic", 0, "Kernel panic - not syncing", ARM64_PANIC),
        ("caller-rcu-stall-other", 0, "INFO: rcu_preempt detected stalls", "0xffff000001fc3410"),
        ("rcu-stall-task", 1, "INFO: rcu_preempt detected stalls", "ret_from_fork"),
        ("serror", 0, "SError Interrupt on CPU", ARM64_PANIC),
        ("sleeping-in-atomic", 0, "BUG: sleeping function", ARM64_STACK),
        ("slubfree", 0, "======", "FIX kmalloc-128"),
        ("soft-lockup", 0, "watchdog: BUG: soft lockup", ARM64_STACK),
        ("stack-end", 0, "BUG: sleeping function", ARM64_STACK),
        ("stack-end", 1, "Unable to handle kernel NULL", "exited with irqs disabled"),
        ("unhandled-svc", 0, "Unhandled 64-bit el1h sync exception", ARM64_PANIC),
        ("usercopy-kernel", 0, "usercopy: Kernel memory exposure", "exited with preempt_count 1"),
        ("warning", 0, "cut here", ARM64_DONE),
        ("workqueue-leak", 0, "BUG: workqueue leaked lock", "ret_from_fork"),
    ],
)
def test_the_whole_report_of_arm64_is_kept(name: str, index: int, first: str, last: str) -> None:
    report = scan(read(f"arm64/{name}.log"))[index].report.split("\n")
    assert first in report[0]
    assert last in report[-1], report[-3:]


@pytest.mark.parametrize(
    ("name", "index", "first", "last"),
    [
        ("bug", 0, "cut here", "CR2: "),
        ("warning", 0, "cut here", "---[ end trace"),
        ("nullwrite", 0, "BUG: kernel NULL", "exited with irqs disabled"),
        ("exec-data", 0, "kernel tried to execute NX", "exited with irqs disabled"),
        ("fortify-mem-object", 0, "detected buffer overflow", "CR2: "),
        ("usercopy-slab-size-to", 0, "usercopy: Kernel memory exposure", "CR2: "),
        ("ss", 0, "PANIC: double fault", "CR2: "),
        ("kasan-kasandf", 0, "======", "======"),
        ("kasan-read-after-free", 0, "======", "======"),
        ("kfenceuaf", 0, "======", "======"),
        ("slubfree", 0, "======", "FIX kmalloc-64"),
        ("badpage", 0, "BUG: Bad page state", "Disabling lock debugging due to kernel taint"),
        ("pagealloc", 0, "page allocation failure", "pages"),
        ("oom", 0, "invoked oom-killer", "Killed process"),
        ("panic", 0, "Kernel panic - not syncing", "Kernel Offset: disabled"),
        ("hung-task", 0, "INFO: task init:", "</TASK>"),
        ("caller-access-null", 0, "BUG: kernel NULL", "exited with irqs disabled"),
        ("caller-hang-both", 0, "Uhhuh. NMI received", "Kernel Offset: disabled"),
        ("caller-hang-cpu1", 2, "Uhhuh. NMI received", "Kernel Offset: disabled"),
        ("caller-blocked", 1, "Show Blocked State", "</TASK>"),
        ("caller-unkillable", 1, "Uhhuh. NMI received", "Kernel Offset: disabled"),
        ("caller-soft-all", 0, "watchdog: BUG: soft lockup", "</TASK>"),
        ("caller-soft-all", 1, "self-detected stall", "</TASK>"),
        ("caller-panic", 0, "Kernel panic", "Kernel Offset: disabled"),
    ],
)
def test_the_whole_report_is_kept(name: str, index: int, first: str, last: str) -> None:
    report = scan(read(f"x86/{name}.log"))[index].report.split("\n")
    assert first in report[0]
    assert last in report[-1], report[-3:]


def test_a_banner_that_ended_a_report_does_not_begin_the_next() -> None:
    first, race, second = scan(read("arm64/debug-rcu-stall.log"))
    assert "INFO: rcu_preempt self-detected stall" in first.report.split("\n")[0]
    assert race.report.split("\n")[-1].endswith("=====")
    assert "INFO: rcu_preempt self-detected stall" in second.report.split("\n")[0]


@pytest.mark.parametrize(
    "name",
    [
        "debug-lockdep-circular",
        "debug-unlock-balance",
        "debug-held-freed",
        "debug-rcu-usage",
        "kasan-boot-wait-context",
        "oom",
    ],
)
def test_a_report_is_not_over_before_its_last_part(name: str) -> None:
    log = read(f"x86/{name}.log")
    found = scan(log)[0]
    until = BY_ID[found.rule].until.encode()
    start = log.index(found.title.encode())
    at = log.rindex(b"\n", 0, log.index(until, start)) + 1
    prefix = log[at : log.index(b"] ", at) + 2]
    if log[at + len(prefix) :].startswith(b"["):
        prefix += log[at + len(prefix) : log.index(b"] ", at + len(prefix)) + 2]
    strangers = b"".join(prefix + b"~ nothing the scanner knows %d\n" % i for i in range(20))
    whole = scan(log[:at] + strangers + log[at:])[0]
    assert whole.report.split("\n")[-1] == found.report.split("\n")[-1]
    assert not whole.truncated
    assert scan(log[:at])[0].truncated


def test_allocation_stacks_of_kasan_come_along() -> None:
    report = scan(read("x86/kasan-kasandf.log"))[0].report
    parts = ["</TASK>", "Allocated by task", "Freed by task", "which belongs to the cache",
             "Memory state around the buggy address"]  # fmt: skip
    places = [report.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("name", "index", "stacks"),
    [
        ("hang-both", 0, ["C0 0", "C1 1"]),
        ("hang-cpu1", 0, ["C1 1", "C1 1"]),
        ("hang-cpu1", 2, ["C0 0", "C1 1"]),
        ("unkillable", 1, ["C0 0", "C1 1"]),
        ("soft-all", 0, ["C0 0"]),
        ("soft-all", 1, []),
        ("soft-all", 3, ["C0 0", "C1 1"]),
        ("hungtask-all", 0, ["T21 1", "C0 0"]),
        ("panic", 0, ["T31 1", "C0 0"]),
    ],
)
def test_stacks_of_all_cpus_belong_to_the_report_that_asked(
    name: str, index: int, stacks: list[str]
) -> None:
    report = scan(read(f"x86/caller-{name}.log"))[index].report
    found = re.findall(r"\[ *([TC]\d+)\] NMI backtrace for cpu (\d+)", report)
    assert [" ".join(pair) for pair in found] == stacks


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("hang-both", "lkdtm_HARDLOCKUP"),
        ("hang-cpu1", "lkdtm_HARDLOCKUP"),
        ("soft-all", "lkdtm_SOFTLOCKUP"),
    ],
)
def test_the_hosts_nmi_is_no_crash_and_names_who_hangs(name: str, function: str) -> None:
    hang = scan(read(f"x86/caller-{name}.log"))[-1]
    assert (hang.kind, hang.severity, hang.function) == ("hang", Severity.NOTE, function)
    assert hang.title == "Kernel panic - not syncing: NMI: Not continuing"
    assert hang.truncated is False


TWO_AT_ONCE = (
    "arm64/caller-two-oopses.log",
    "arm64/caller-two-warnings.log",
    "arm64/caller-warning-and-lockdep.log",
    "arm64/kasan-twowarn.log",
    "x86/debug-two-oopses.log",
    "x86/debug-two-warnings.log",
    "x86/debug-warning-and-lockdep.log",
    "x86/kasan-schedatomic.log",
    "x86/kasan-twowarn.log",
)
"""Two CPUs that print at the same time; only PRINTK_CALLER tells their lines apart."""
ONE_AT_A_TIME = [
    s for s in SAMPLES if re.search("/(kasan|caller|debug)-", s) and s not in TWO_AT_ONCE
]


@pytest.mark.parametrize("name", ONE_AT_A_TIME)
def test_callers_change_nothing(name: str) -> None:
    log = read(name)
    bare = re.sub(rb"(?m)^(\[ *\d+\.\d{6}\])\[ *[TC]\d+\]", rb"\1", log)
    assert bare != log
    assert [(f.rule, f.count, f.fingerprint, f.line) for f in scan(bare)] == [
        (f.rule, f.count, f.fingerprint, f.line) for f in scan(log)
    ]


@pytest.mark.parametrize("name", TWO_AT_ONCE)
def test_reports_printed_at_the_same_time_are_told_apart(name: str) -> None:
    for finding in scan(read(name)):
        callers = set(re.findall(r"(?m)^\[ *\d+\.\d{6}\]\[ *([TC]\d+)\]", finding.report))
        assert len(callers) == 1, finding.report
        assert not finding.truncated


@pytest.mark.parametrize(
    ("name", "index", "functions"),
    [
        ("hung-task", 0, "__schedule schedule lkdtm_HUNG_TASK"),
        ("rcu-stall-task", 1, "__delay_cycles __delay __const_udelay"),
        ("exhaust-stack", 0, "recursive_loop"),
        ("serror", 0, "do_pendserror provoke_write"),
        ("unhandled-svc", 0, "do_svc full_proxy_write"),
        ("kasan-kasandf", 0, "do_kasandf provoke_write"),
        ("held-freed", 0, "debug_check_no_locks_freed do_heldfreed"),
        ("bug", 0, "direct_entry full_proxy_write"),
    ],
)
def test_the_stack_says_what_happened_and_not_how_arm64_reports(
    name: str, index: int, functions: str
) -> None:
    report = scan(read(f"arm64/{name}.log"))[index].report
    names = [frame(read_line(line.encode()).text) for line in report.split("\n")]
    shown = [found for found in names if found]
    assert shown[: len(functions.split())] == functions.split()


@pytest.mark.parametrize("name", ["brk", "fortify-mem-object", "kasan-bug"])
def test_how_a_cpu_of_arm64_came_to_be_idle_does_not_count(name: str) -> None:
    warning = scan(read(f"arm64/{name}.log"))[1].report
    names = [frame(read_line(line.encode()).text) for line in warning.split("\n")]
    assert {found for found in names if found} == {"ct_kernel_exit", "ct_idle_enter"}


def test_the_same_fault_on_two_cpus_of_arm64_is_one() -> None:
    warning = scan(read("arm64/brk.log"))[1].report
    other = scan(read("arm64/fortify-mem-object.log"))[1]
    assert "swapper/0" in other.report
    assert "swapper/1" in warning
    assert other.fingerprint == scan(read("arm64/brk.log"))[1].fingerprint


@pytest.mark.parametrize(
    ("name", "kind", "severity", "location", "function"),
    [
        ("x86/bug.log", "bug", "crash", "drivers/misc/lkdtm/bugs.c:78", "lkdtm_BUG"),
        ("x86/warning.log", "warning", "splat", "drivers/misc/lkdtm/bugs.c:85", "lkdtm_WARNING"),
        ("x86/nullwrite.log", "oops", "crash", "do_nullwrite+0x0", "do_nullwrite"),
        ("x86/kasan-kasandf.log", "kasan", "splat", "do_kasandf+0x36", "do_kasandf"),
        ("x86/kfencecorrupt.log", "kfence", "splat", "do_kfencecorrupt+0x26", "do_kfencecorrupt"),
        ("x86/fortify-strscpy.log", "fortify", "crash", "lib/string_helpers.c:1027",
         "fortify_panic"),
        ("x86/debug-list-double-add.log", "list-corruption", "splat", "lib/list_debug.c:33",
         "__list_add_valid"),
        ("x86/corrupt-list-add.log", "list-corruption", "splat", "lib/list_debug.c:27",
         "__list_add_valid"),
        ("x86/sleepatomic.log", "atomic-sleep", "splat", "kernel/locking/mutex.c:283", ""),
        ("arm64/bug.log", "bug", "crash", "drivers/misc/lkdtm/bugs.c:78", "lkdtm_BUG"),
        ("arm64/nullwrite.log", "oops", "crash", "do_nullwrite+0xc", "do_nullwrite"),
        ("arm64/external-abort.log", "oops", "crash", "do_extabort+0x40", "do_extabort"),
        ("arm64/serror.log", "oops", "crash", "do_pendserror+0x14", "do_pendserror"),
        ("arm64/unhandled-svc.log", "oops", "crash", "do_svc+0x4", "do_svc"),
        ("arm64/exhaust-stack.log", "stack-overflow", "crash", "recursive_loop+0xc",
         "recursive_loop"),
        ("arm64/stack-end.log", "stack-overflow", "crash", "mm/memory.c:5322", ""),
        ("arm64/soft-lockup.log", "soft-lockup", "splat", "lkdtm_SOFTLOCKUP+0x10",
         "lkdtm_SOFTLOCKUP"),
        ("x86/oom.log", "oom", "note", "", ""),
    ],
)  # fmt: skip
def test_details(name: str, kind: str, severity: str, location: str, function: str) -> None:
    found = scan(read(name))[0]
    assert (found.kind, found.severity) == (kind, Severity(severity))
    assert (found.location, found.function) == (location, function)

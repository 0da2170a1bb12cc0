# SPDX-License-Identifier: GPL-2.0-only
"""Runs to report about: every outcome, and text that means harm."""

from __future__ import annotations

from dataclasses import dataclass

from harness.model import results as r
from harness.outcome import Outcome

HARNESS_ASSERTION = """\
#  RUN           fd_memory.hole_punch ...
# fd_memory_test.c:118:hole_punch:Expected 0 (0) == ret (-1)
# hole_punch: Test terminated by assertion
#          FAIL  fd_memory.hole_punch
"""
KVM_ASSERTION = """\
Testing guest mode: PA-bits:ANY
==== Test Assertion Failure ====
  lib/kvm_util.c:1203: !ret
  pid=61 tid=61 errno=22 - Invalid argument
     1\t0x0000000000402d1f: vm_userspace_mem_region_add at kvm_util.c:1203
     2\t0x0000000000401c11: main at set_memory_region_test.c:88
  KVM_SET_USER_MEMORY_REGION failed, rc: -1 errno: 22 (Invalid argument)
"""
WARNING = "".join(
    f"[    3.{n:06d}] {text}\n"
    for n, text in enumerate(
        [
            "------------[ cut here ]------------",
            "WARNING: CPU: 0 PID: 61 at mm/memfd.c:77 restricted_fallocate+0x31/0x80",
            "Modules linked in:",
            "CPU: 0 PID: 61 Comm: fd_memory_test Not tainted 6.1.0 #1",
            "RIP: 0010:restricted_fallocate+0x31/0x80",
            "Call Trace:",
            " <TASK>",
            *[f" frame_{n}+0x{n:x}/0x80" for n in range(10)],
            " </TASK>",
            "---[ end trace 0000000000000000 ]---",
        ]
    )
)
HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07 [bold]x[/bold] [/] :smile: \0 \udc80 \u202e <b>&amp;]]></b>"
    " \x9b31m\ufffe\r\n\tend"
)


def program(
    name: str,
    outcome: Outcome,
    *,
    suite: str = "kvm",
    cases: tuple[r.Case, ...] = (),
    **more: object,
) -> r.Test:
    """Return a test with everything that a report shows."""
    full = f"{suite}:{name}"
    fields: dict[str, object] = {
        "total_s": 0.251,
        "guest_s": 0.12,
        "seed": "5a" * 32,
        "logs": r.Logs(output=f"tests/{name}/output.log", kernel=f"tests/{name}/kernel.log"),
        "rerun": f"harness run {full} --seed=5a5a",
        **more,
    }
    return r.Test(
        name=full,
        suite=suite,
        program=name,
        outcome=outcome,
        cases=cases,
        **fields,  # type: ignore[arg-type]
    )


def case(program: str, name: str, outcome: Outcome, reason: str = "", text: str = "") -> r.Case:
    """Return a case of a program of the suite kvm."""
    return r.Case(name=f"kvm:{program}/{name}", outcome=outcome, reason=reason, text=text)


KERNEL = r.Kernel(
    release="6.1.176-v10",
    source="Debian linux-source-6.1 6.1.176-1",
    base_commit="a" * 40,
    series="KVM: mm: fd-based approach for supporting KVM",
    series_commit="b" * 40,
    series_digest="c" * 64,
    patches=(
        "mm: Introduce memfd_restricted",
        "KVM: Extend the memslot to support fd-based memory",
    ),
    config=("base", "kvm"),
    config_digest="d" * 64,
    toolchain="gcc 12.2.0, ld 2.40",
    build_id="e" * 40,
)
MACHINE = r.Machine(
    accelerator="tcg",
    accelerator_reason="/dev/kvm opens, but a kernel does not boot under it",
    qemu="QEMU 7.2.22",
    guest="q35, 2 processors, 512 MB",
)


def run(*tests: r.Test, **more: object) -> r.Results:
    """Return the results of a run of *tests*."""
    fields: dict[str, object] = {
        "run": "2026-07-01T03-00-00-3f2a",
        "started": "2026-07-01T03:00:00Z",
        "ended": "2026-07-01T03:02:31Z",
        "seconds": 151.2,
        "command": ("harness", "run", "--suite", "my suite"),
        "kernel": KERNEL,
        "machine": MACHINE,
        **more,
    }
    return r.Results(tests=tests, **fields)  # type: ignore[arg-type]


ALL = run(
    program(
        "fd_memory_test",
        Outcome.FAIL,
        reason="1 of 4 cases failed",
        cases=(
            case("fd_memory_test", "fd_memory.create", Outcome.PASS),
            case(
                "fd_memory_test",
                "fd_memory.hole_punch",
                Outcome.FAIL,
                "assertion failed at fd_memory_test.c:118",
                HARNESS_ASSERTION,
            ),
            case("fd_memory_test", "fd_memory.huge", Outcome.SKIP, "no huge pages"),
            case("fd_memory_test", "fd_memory.tdx", Outcome.XFAIL, "needs patch 9"),
        ),
    ),
    program(
        "set_memory_region_test",
        Outcome.FAIL,
        reason="exit status 254",
        output=KVM_ASSERTION,
    ),
    program("cpuid_test", Outcome.PASS),
    program(
        "state_test",
        Outcome.SPLAT,
        reason="kernel warning: mm/memfd.c:77 restricted_fallocate",
        cases=(case("state_test", "state", Outcome.PASS),),
        kernel_log=WARNING,
    ),
    program("sync_regs_test", Outcome.TIMEOUT, reason="no end after 45 s", total_s=46.7),
    program("crash_test", Outcome.CRASH, reason="kernel panic: Attempted to kill init", suite="mm"),
    program("known_test", Outcome.XFAIL, reason="fails until patch 9", suite="mm"),
    program("fixed_test", Outcome.XPASS, reason="passed, but a failure was expected", suite="mm"),
    program("tdx_test", Outcome.SKIP, reason="this machine has no TDX", suite="mm", total_s=None),
    program("odd_test", Outcome.ERROR, reason="report ends in the middle of a case", suite="mm"),
    program(
        "late_test", Outcome.NOTRUN, reason="the guest did not start", suite="mm", total_s=None
    ),
    notes=("KVM was asked for, TCG was used",),
)

ALL_PASS = run(
    program(
        "fd_memory_test",
        Outcome.PASS,
        cases=(
            case("fd_memory_test", "create", Outcome.PASS),
            case("fd_memory_test", "huge", Outcome.SKIP, "no huge pages"),
        ),
    ),
    program("cpuid_test", Outcome.PASS),
)
ALL_SKIP = run(
    *(program(f"tdx_{n}_test", Outcome.SKIP, reason="this machine has no TDX") for n in range(7))
)
EMPTY = run()
INTERRUPTED = run(
    program("cpuid_test", Outcome.PASS),
    *(
        program(f"late_{n}_test", Outcome.NOTRUN, reason="the run was interrupted")
        for n in range(7)
    ),
    interrupted=True,
    ended="",
    seconds=None,
)
INTERRUPTED_AT_END = run(program("cpuid_test", Outcome.PASS), interrupted=True, ended="")
HOSTILE_RUN = run(
    program(
        f"evil{HOSTILE}",
        Outcome.FAIL,
        reason=HOSTILE,
        cases=(
            r.Case(
                name=f"kvm:evil{HOSTILE}/{HOSTILE}",
                outcome=Outcome.FAIL,
                reason=HOSTILE,
                text=HOSTILE,
            ),
            r.Case(name="not even its program", outcome=Outcome.SKIP, reason=HOSTILE),
        ),
        output=HOSTILE,
        kernel_log=HOSTILE,
        rerun=HOSTILE,
        suite=f"kvm{HOSTILE}",
    ),
    program("mute", Outcome.FAIL),
    program("mute2", Outcome.ERROR, output=HOSTILE),
    program("mute3", Outcome.SKIP),
    notes=(HOSTILE,),
    kernel=r.Kernel(
        release=HOSTILE, source=HOSTILE, base_commit=HOSTILE, series=HOSTILE, patches=(HOSTILE,)
    ),
)


POSTED = run(
    *ALL.tests,
    kernel=r.Kernel(
        release=KERNEL.release,
        source=KERNEL.source,
        base_commit=KERNEL.base_commit,
        series=KERNEL.series,
        series_name="v10",
        cover_mail=r.CoverMail(
            message_id="<20260701-v10-0@example.org>",
            subject="[PATCH v10 0/9] KVM: mm: fd-based approach for supporting KVM",
            sender="Ada Example <ada@example.org>",
            to=("René, X <rene@example.org>", "kvm@example.org"),
            cc=("linux-mm@example.org", "ada@example.org", "no address at all"),
        ),
        patches=KERNEL.patches,
        patch_digests=("1" * 64, "2" * 64),
        warnings=("mm/memfd.c:77:5: warning: unused variable 'x'",),
    ),
)
"""A red run about a series that was read from its thread."""


@dataclass(frozen=True)
class Sample:
    """A run and its name."""

    name: str
    results: r.Results


SAMPLES = (
    Sample("all", ALL),
    Sample("all-pass", ALL_PASS),
    Sample("all-skip", ALL_SKIP),
    Sample("empty", EMPTY),
    Sample("interrupted", INTERRUPTED),
    Sample("interrupted-at-end", INTERRUPTED_AT_END),
    Sample("hostile", HOSTILE_RUN),
    Sample("posted", POSTED),
)


def many(cases: int, outcome: Outcome = Outcome.PASS) -> r.Results:
    """Return a run with one program of *cases* cases, one in ten failing."""
    return run(
        program(
            "big_test",
            Outcome.FAIL,
            reason="many failed",
            cases=tuple(
                case(
                    "big_test",
                    f"case_{n}",
                    Outcome.FAIL if n % 10 == 0 else outcome,
                    "failed" if n % 10 == 0 else "",
                    HARNESS_ASSERTION,
                )
                for n in range(cases)
            ),
            kernel_log=WARNING * 20,
        )
    )

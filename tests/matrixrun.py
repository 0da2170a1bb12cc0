# SPDX-License-Identifier: GPL-2.0-only
"""The journal of a matrix, as a run over a base and the kernels after its patches leaves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness import klog, ktap
from harness.model.plan import Cell, PlannedTest
from harness.model.records import (
    CellPlanned,
    Ending,
    GuestReady,
    KernelBuilt,
    KernelFailed,
    KernelPlanned,
    Record,
    Requested,
    RunEnded,
    RunPlanned,
    TestEnded,
    TestStarted,
)
from harness.model.results import CoverMail, Kernel, Logs, Machine
from harness.model.spec import KernelSpec
from harness.run import journal

TIME = "2026-07-01T03:00:00.000Z"
WARNING = (
    b"[    1.000000] ------------[ cut here ]------------\n"
    b"[    1.000000] WARNING: CPU: 0 PID: 9 at mm/restrictedmem.c:77 restrict+0x31/0x80\n"
    b"[    1.000000] ---[ end trace 0000000000000000 ]---\n"
)


@dataclass(frozen=True)
class Posted:
    """A patch of the series."""

    subject: str
    content: str = ""
    """As ``Patch.content`` has it."""


def write_matrix(
    directory: Path,
    patches: Sequence[Posted],
    rows: Mapping[str, str],
    *,
    cover: CoverMail | None = None,
    patch_by_patch: bool = True,
    base: str = "",
) -> Path:
    """Write the journal of a run into *directory*, and return that.

    *rows* has for each test (``suite:program``) a letter for each kernel: ``.`` passes, ``F`` fails
    a case, ``S`` makes the kernel complain, ``-`` is skipped, ``N`` never began, ``B``: the kernel
    does not build.  Without *patch_by_patch* the only kernel is that with all patches.  With *base*
    the last kernel is held against that one.
    """
    directory.mkdir(parents=True)
    names = ["base", *(str(number) for number in range(1, len(patches) + 1))]
    kernels = dict(zip(names, range(len(names)), strict=True))
    if not patch_by_patch:
        kernels = {"": len(patches)}
    suites = list(dict.fromkeys(name.partition(":")[0] for name in rows))
    facts = {name: _facts(patches[:count], cover) for name, count in kernels.items()}
    records: list[Record] = [
        Requested(
            schema=2,
            command=("harness", "matrix"),
            time=TIME,
            working_dir="/p",
            project_file="/p/harness.toml",
            kernels=tuple(KernelSpec(name=name) for name in kernels),
            base=base,
        ),
        RunPlanned(
            run=directory.name,
            time=TIME,
            harness="0",
            command=("harness", "matrix"),
            kernels=tuple(KernelPlanned(name=name, facts=facts[name]) for name in kernels),
            cells=tuple(Cell(kernel=name, suite=suite) for name in kernels for suite in suites),
        ),
    ]
    for at, name in enumerate(kernels):
        letters = {test: row[at] for test, row in rows.items()}
        records += _of_kernel(name, facts[name], suites, letters)
    records.append(RunEnded(time=TIME, seconds=60.0, prepare_s=20.0))
    data = b"".join(msgspec.json.encode(each) + b"\n" for each in records)
    (directory / journal.FILE_NAME).write_bytes(data)
    return directory


def _facts(patches: Sequence[Posted], cover: CoverMail | None) -> Kernel:
    return Kernel(
        release="6.1.176",
        source="Debian linux-source-6.1",
        base_commit="a" * 40,
        series="KVM: mm: Private memory",
        series_name="v10+test-vm",
        cover_mail=cover or CoverMail(),
        patches=tuple(each.subject for each in patches),
        patch_contents=tuple(each.content for each in patches),
        config=("guest", "kvm"),
        build_id="b" * 40,
    )


def _of_kernel(
    kernel: str, facts: Kernel, suites: Sequence[str], letters: Mapping[str, str]
) -> list[Record]:
    if "B" in letters.values():
        why = "mm/memfd.c:7: error: not like this"
        return [KernelFailed(kernel=kernel, reason="the kernel does not compile", why=why)]
    found: list[Record] = []
    for suite in suites:
        tests = tuple(
            PlannedTest(
                name=name,
                suite=suite,
                program=name.partition(":")[2],
                rerun=f"harness run --upto {len(facts.patches)} -k {name}",
            )
            for name in letters
            if name.startswith(f"{suite}:")
        )
        found.append(CellPlanned(kernel=kernel, suite=suite, tests=tests))
    found.append(KernelBuilt(kernel=kernel, facts=facts, seconds=1.0))
    found += [
        GuestReady(
            kernel=kernel,
            suite=suite,
            release=facts.release,
            build_id=facts.build_id,
            machine=Machine(accelerator="tcg", qemu="QEMU 7.2", guest="q35, 2 CPUs, 512 MiB"),
            seconds=1.0,
        )
        for suite in suites
    ]
    for name, letter in letters.items():
        if letter != "N":
            started = TestStarted(kernel=kernel, name=name, time=TIME, seed="5a" * 32)
            found += [started, _ended(kernel, name, letter)]
    return found


def _ended(kernel: str, name: str, letter: str) -> TestEnded:
    output = b"TAP version 13\n1..1\n"
    bad = b"# size_test.c:45:it:Expected -EINVAL (-22) == ret (0)\nnot ok 1 size.it\n"
    output += {"F": bad, "-": b"ok 1 size.it # SKIP no such call\n"}.get(letter, b"ok 1 size.it\n")
    parser = ktap.Parser()
    parser.feed(output)
    log = WARNING if letter == "S" else b""
    return TestEnded(
        kernel=kernel,
        name=name,
        ending=Ending(how="exit", status={"F": 1, "-": 4}.get(letter, 0)),
        report=parser.close(),
        findings=tuple(klog.scan(log)),
        output=output.decode(),
        guest_s=0.1,
        total_s=0.4,
        logs=Logs(output=f"logs/{name}.output.log", kernel=f"logs/{name}.kernel.log"),
    )

# SPDX-License-Identifier: GPL-2.0-only
"""What goes wrong on the host: a killed QEMU, a full disk, a damaged cache."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from shlex import quote

import pytest

from harness.digest import digest_sparse
from harness.errors import ExitCode
from harness.model import results
from harness.model.records import TestEnded
from harness.model.results import Results
from harness.outcome import Outcome
from harness.run import journal
from harness.run.prepare import Prepared
from harness.store import Store
from tests.run.commands import LIMIT_S
from tests.run.records import begun

pytestmark = [pytest.mark.kernel, pytest.mark.long(100)]
REPOSITORY = Path(__file__).parents[2]
MAKEFILE = "TEST_GEN_PROGS := {}\ninclude ../lib.mk\n"
HEAD = "#include <stdio.h>\n#include <unistd.h>\n"


def suite(directory: Path, **programs: str) -> Path:
    """Write a suite of C programs, each given by the body of main()."""
    directory.mkdir()
    (directory / "Makefile").write_text(MAKEFILE.format(" ".join(programs)))
    for name, body in programs.items():
        (directory / f"{name}.c").write_text(f"{HEAD}int main(void)\n{{\n{body}\n}}\n")
    return directory


def harness(out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "harness", "run", "--out", str(out), *options]


def said(out: Path) -> Results:
    return results.decode((out / "results.json").read_bytes())


def children(pid: int, name: str) -> Iterator[int]:
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines())
        except (OSError, ValueError):
            continue
        if lines["Name"].startswith(name) and int(lines["PPid"]) == pid:
            yield int(lines["Pid"])


def test_a_killed_qemu_is_an_error_of_its_test_alone(prepared: Prepared, tmp_path: Path) -> None:
    programs = {"a_good": "return 0;", "b_slow": "sleep(40); return 0;", "c_good": "return 0;"}
    directory = suite(tmp_path / "killed", **programs)
    out = tmp_path / "out"
    process = subprocess.Popen(
        harness(out, "--suite", str(directory), "--jobs", "1"),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + LIMIT_S
    while not (begun(out, "killed:b_slow") and (guests := list(children(process.pid, "qemu")))):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # Long enough for the guest to be restored: from then on it is the test's own QEMU that dies.
    time.sleep(3)
    assert guests == list(children(process.pid, "qemu"))
    os.kill(guests[0], signal.SIGKILL)
    text = process.communicate(timeout=LIMIT_S)[0]
    assert process.returncode == ExitCode.NOT_AS_EXPECTED, text
    tests = {test.program: test for test in said(out).tests}
    assert {name: test.outcome for name, test in tests.items()} == {
        "a_good": Outcome.PASS,
        "b_slow": Outcome.ERROR,
        "c_good": Outcome.PASS,
    }
    assert "QEMU was killed by signal 9" in tests["b_slow"].reason


@dataclass(frozen=True)
class Cache:
    """A cache of its own in *root*, which builds in the user's places, under the same locks."""

    root: Path
    user: Store

    def mounts(self, *shared: str) -> str:
        """Return a script that puts it where the user's cache is, for whom runs the script only.

        The user's entries of the kinds *shared* are in it, too.
        """
        theirs = quote(str(self.user.root))
        names = ["places", "locks", *(f"entries/{kind}" for kind in shared)]
        lines = [
            f"mkdir -p {self.root}/{name}; mount --bind {theirs}/{name} {self.root}/{name}"
            for name in names
        ]
        return "\n".join([*lines, f"mount --rbind {self.root} {theirs}"])

    def entries(self, kind: str) -> list[Path]:
        directory = self.root / "entries" / kind
        return list(directory.iterdir()) if directory.exists() else []


def in_namespace(script: str) -> tuple[int, str]:
    """Run a shell script with mounts that no one else sees."""
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-ec", script],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert "Traceback" not in done.stdout, done.stdout
    return done.returncode, done.stdout


def test_a_full_disk_under_a_run(prepared: Prepared, user_store: Store, tmp_path: Path) -> None:
    flood = 'for (int i = 0; i < 200000; i++) puts("# sixty-four bytes of a line that says nothing'
    flood += ' to anybody"); return 0;'
    directory = suite(tmp_path / "full", a_good="return 0;", b_flood=flood, c_good="return 0;")
    small, kept = tmp_path / "small", tmp_path / "kept"
    small.mkdir()
    command = harness(small / "out", "--suite", str(directory), "--jobs", "1")
    # No test is known to take longer than another: so they begin in the order of their names.
    status, text = in_namespace(f"""
        mount -t tmpfs none {quote(str(user_store.place("times")))}
        mount -t tmpfs -o size=2m none {small}
        {shlex.join(command)} && status=0 || status=$?
        cp -r {small}/out {kept}
        exit $status
    """)
    assert status == ExitCode.MACHINE, text
    assert "no space is left" in text
    assert str(small) in text
    # What ended before is kept, and nothing claims to be a whole report.
    ended = [each.name for each in journal.read(kept) if isinstance(each, TestEnded)]
    assert ended[:1] == ["full:a_good"]
    assert "full:c_good" not in ended
    if (kept / "results.json").exists():
        assert said(kept).exit_code != ExitCode.AS_EXPECTED


def test_a_full_disk_under_the_cache(prepared: Prepared, user_store: Store, tmp_path: Path) -> None:
    directory = suite(tmp_path / "full_cache", a_good="return 0;")
    cache = Cache(tmp_path / "small", user_store)
    cache.root.mkdir()
    left = tmp_path / "left"
    run = shlex.join(harness(tmp_path / "out", "--suite", str(directory)))
    # With room it goes on from what is there.
    status, text = in_namespace(f"""
        mount -t tmpfs -o size=24m none {cache.root}
        {cache.mounts("kernel", "config")}
        {run} && status=0 || status=$?
        find {cache.root}/tmp {cache.root}/entries/snapshot -mindepth 1 > {left} || true
        mount -o remount,size=2g {cache.root}
        {run} || exit 98
        exit $status
    """)
    assert status == ExitCode.MACHINE, text
    assert "no space is left" in text
    assert left.read_text() == ""
    assert said(tmp_path / "out").counts == {Outcome.PASS: 1}


def flip(file: Path, *, keep_time: bool = False) -> None:
    """Change one byte in the middle of *file*, as a failing disk or a stray writer does."""
    before = file.stat()
    with file.open("r+b") as stream:
        stream.seek(before.st_size // 2)
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 0xFF]))
    if keep_time:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def agrees(entry: Path) -> bool:
    """Whether every file of the entry is what its manifest says."""
    manifest = json.loads((entry / "manifest.json").read_text())
    return all(digest_sparse(entry / name) == each["sparse"] for name, each in manifest.items())


@pytest.fixture(scope="module")
def cache(prepared: Prepared, user_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A cache with a copy of the kernel and its configuration, to which runs add the rest."""
    cache = Cache(tmp_path_factory.mktemp("cache") / "cache", user_store)
    target = cache.root / "entries"
    shutil.copytree(prepared.kernel.path, target / "kernel" / prepared.kernel.key)
    shutil.copytree(user_store.root / "entries" / "config", target / "config")
    return cache


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return suite(tmp_path_factory.mktemp("suites") / "damaged", a_good="return 0;")


def run_with(cache: Cache, out: Path, directory: Path) -> str:
    command = shlex.join(harness(out, "--suite", str(directory)))
    status, text = in_namespace(f"{cache.mounts()}\n{command}")
    assert status == ExitCode.AS_EXPECTED, text
    assert said(out).counts == {Outcome.PASS: 1}
    return text


@pytest.mark.parametrize(
    ("files", "step"),
    [
        # It builds a whole kernel.  tests/kbuild has the same on a kernel in miniature.
        pytest.param(["kernel/bzImage"], "Building the kernel", marks=pytest.mark.proof),
        # Nobody reads the agent while there is an archive that holds it.
        (["suite/files/a_good", "agent/agent", "initramfs/initramfs.cpio"], "Building the suite"),
        (["snapshot/ram0"], "Booting"),
        (["snapshot/state"], "Booting"),
        (["snapshot/machine.json"], "Booting"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_damaged_is_made_again(
    cache: Cache, good: Path, tmp_path: Path, files: list[str], step: str
) -> None:
    run_with(cache, tmp_path / "before", good)
    damaged = []
    for file in files:
        kind, _, name = file.partition("/")
        (entry,) = cache.entries(kind)
        flip(entry / name)
        assert not agrees(entry)
        damaged.append(entry)
    assert step in run_with(cache, tmp_path / "after", good)
    assert all(agrees(entry) for entry in damaged)


def test_a_snapshot_that_rotted_in_secret_is_made_again(
    cache: Cache, good: Path, tmp_path: Path
) -> None:
    """Without a new time stamp the store believes in the file; the guest's state is read anyway."""
    run_with(cache, tmp_path / "before", good)
    (entry,) = cache.entries("snapshot")
    flip(entry / "state", keep_time=True)
    assert "is made again" in run_with(cache, tmp_path / "after", good)
    (entry,) = cache.entries("snapshot")
    assert agrees(entry)


PAGE = 4096


def rot(file: Path, offsets: Iterable[int], size: int) -> None:
    """Change *size* bytes at each of *offsets*, and leave the file's size and time as they were.

    Several become instructions that no processor has.
    """
    before = file.stat()
    with file.open("r+b") as stream:
        for offset in offsets:
            stream.seek(offset)
            data = stream.read(size)
            stream.seek(offset)
            stream.write(b"\x0f\x0b" * (size // 2) if size > 1 else bytes([data[0] ^ 0xFF]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def pages_of(program: Path, ram: Path) -> list[int]:
    """Return where *ram* has pages of *program*."""
    data = program.read_bytes()
    wanted = {data[at : at + PAGE] for at in range(0, len(data), PAGE)} - {bytes(PAGE)}
    with ram.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as memory:
        return [at for at in range(0, len(memory), PAGE) if memory[at : at + PAGE] in wanted]


@pytest.mark.parametrize(
    ("gone", "file"),
    [
        # The agent in the guest's memory: as init it takes the kernel with it as soon as it runs.
        ((), "snapshot/ram0"),
        # What is made from an entry is made only from a whole one.
        (("snapshot",), "kernel/bzImage"),
        (("snapshot",), "initramfs/initramfs.cpio"),
        (("snapshot", "initramfs"), "suite/files/a_good"),
        (("snapshot", "initramfs"), "agent/agent"),
    ],
)
def test_what_rotted_in_secret_is_no_failure_of_the_kernel(
    cache: Cache, good: Path, tmp_path: Path, gone: tuple[str, ...], file: str
) -> None:
    run_with(cache, tmp_path / "before", good)
    kind, _, name = file.partition("/")
    (entry,) = cache.entries(kind)
    for other in gone:
        shutil.rmtree(cache.root / "entries" / other)
    if kind == "snapshot":
        (agent,) = cache.entries("agent")
        pages = pages_of(agent / "agent", entry / name)
        assert len(pages) > 10
        rot(entry / name, pages, PAGE)
    else:
        rot(entry / name, [(entry / name).stat().st_size // 2], 1)
    assert not agrees(entry)
    text = run_with(cache, tmp_path / "after", good)
    assert f"the cache was damaged and has been repaired: {kind} {entry.name[:12]}" in text
    assert agrees(entry)
    assert any("has been repaired" in note for note in said(tmp_path / "after").notes)

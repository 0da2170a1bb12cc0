# SPDX-License-Identifier: GPL-2.0-only
"""The main job as a user runs it, on the real kernel, in real guests."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import project
from harness.errors import ExitCode
from harness.model import results
from harness.model.results import Results, Test
from harness.outcome import Outcome
from harness.run.prepare import Prepared
from harness.series import read
from tests.run.commands import LIMIT_S
from tests.run.records import begun, ended

pytestmark = [pytest.mark.kernel, pytest.mark.long(60)]
REPOSITORY = Path(__file__).parents[2]
MAKEFILE = "TEST_GEN_PROGS := {}\ninclude ../lib.mk\n"


@dataclass(frozen=True)
class Run:
    """A finished ``harness run``."""

    status: int
    text: str
    out: Path

    @property
    def results(self) -> Results:
        return results.decode((self.out / "results.json").read_bytes())

    @property
    def junit(self) -> ET.Element:
        return ET.parse(self.out / "junit.xml").getroot()  # noqa: S314  our own file

    def test(self, name: str) -> Test:
        return next(test for test in self.results.tests if test.name == name)


def harness(out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "harness", "run", "--out", str(out), *options]


def run(out: Path, *options: str) -> Run:
    done = subprocess.run(
        harness(out, *options),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert "Traceback" not in done.stdout, done.stdout
    return Run(done.returncode, done.stdout, out)


def suite(directory: Path, **programs: str) -> Path:
    """Write a suite of C programs, each given by the body of main()."""
    directory.mkdir()
    (directory / "Makefile").write_text(MAKEFILE.format(" ".join(programs)))
    head = "#include <fcntl.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n"
    for name, body in programs.items():
        (directory / f"{name}.c").write_text(f"{head}int main(void)\n{{\n{body}\n}}\n")
    return directory


PROVOKE = """
	int fd = open("/sys/kernel/debug/provoke-crash/DIRECT", O_WRONLY);
	if (fd < 0 || write(fd, "{0}\\n", sizeof("{0}\\n") - 1) < 0)
		return 1;
	return 0;
"""


@pytest.fixture(scope="module")
def own_run(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("own") / "out", "--suite", "restrictedmem")


def test_the_projects_own_series_ends_as_expected(own_run: Run) -> None:
    assert own_run.status == ExitCode.AS_EXPECTED, own_run.text
    assert own_run.results.case_counts[Outcome.PASS] >= 30
    assert own_run.results.kernel.release.startswith("6.1.")


def test_each_test_had_a_guest_of_its_own(own_run: Run) -> None:
    seeds = [test.seed for test in own_run.results.tests]
    assert len(set(seeds)) == len(seeds) > 1
    for test in own_run.results.tests:
        log = (own_run.out / test.logs.output).read_text()
        assert "TAP version" in log


def test_what_ran_is_what_was_built(own_run: Run, prepared: Prepared) -> None:
    assert own_run.results.kernel.build_id == prepared.kernel.meta.build_id
    assert own_run.results.kernel.series_commit == prepared.tree.commit


def test_junit_has_every_case_and_says_on_what(own_run: Run) -> None:
    cases = [case for test in own_run.results.tests for case in test.cases]
    assert len(list(own_run.junit.iter("testcase"))) == len(cases)
    assert not list(own_run.junit.iter("failure"))
    names = {each.get("name") for each in own_run.junit.iter("property")}
    assert len(names) > 8


def test_a_second_run_builds_nothing(own_run: Run, tmp_path: Path) -> None:
    again = run(tmp_path / "out", "--suite", "restrictedmem")
    assert again.status == ExitCode.AS_EXPECTED
    assert not (again.out / "logs" / "kernel-build.log").exists()
    for step in ("Building", "Booting", "Applying"):
        assert step not in again.text


def test_two_runs_at_once_do_not_meet(prepared: Prepared, tmp_path: Path) -> None:
    directory = suite(tmp_path / "twice", a_good="return 0;", b_good="return 0;")
    outs = [tmp_path / name for name in ("one", "two")]
    both = [
        subprocess.Popen(
            harness(out, "--suite", str(directory)),
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for out in outs
    ]
    for process, out in zip(both, outs, strict=True):
        text = process.communicate(timeout=LIMIT_S)[0]
        assert process.returncode == ExitCode.AS_EXPECTED, text
        said = results.decode((out / "results.json").read_bytes())
        assert said.counts == {Outcome.PASS: 2}


def test_without_the_series_everything_is_skipped_and_that_is_told(tmp_path: Path) -> None:
    bare = run(tmp_path / "out", "--series", "none", "--suite", "restrictedmem")
    assert bare.status == ExitCode.AS_EXPECTED, bare.text
    assert set(bare.results.case_counts) == {Outcome.SKIP}
    assert "NOTHING WAS TESTED" in bare.text


def test_what_one_test_does_to_the_kernel_no_other_meets(
    prepared: Prepared, tmp_path: Path
) -> None:
    directory = suite(
        tmp_path / "mixed",
        a_good="return 0;",
        b_oops=PROVOKE.format("WRITE_RO") + "",
        c_panic=PROVOKE.format("PANIC"),
        d_warn=PROVOKE.format("WARNING"),
        e_fails='printf("TAP version 13\\n1..1\\nnot ok 1 wrong\\n"); return 1;',
        f_hangs="for (;;) ;",
        g_dies="abort();",
        h_skips="return 4;",
        i_broken="return no_such_thing;",
        j_marks='return access("/tmp/mark", F_OK) == 0 || open("/tmp/mark", O_CREAT, 0600) < 0;',
        k_marks='return access("/tmp/mark", F_OK) == 0 || open("/tmp/mark", O_CREAT, 0600) < 0;',
        l_good="return 0;",
    )
    (directory / "settings").write_text("timeout=2\n")
    mixed = run(tmp_path / "out", "--suite", str(directory))
    assert mixed.status == ExitCode.NOT_AS_EXPECTED
    assert {test.program: test.outcome for test in mixed.results.tests} == {
        "a_good": Outcome.PASS,
        "b_oops": Outcome.CRASH,
        "c_panic": Outcome.CRASH,
        "d_warn": Outcome.SPLAT,
        "e_fails": Outcome.FAIL,
        "f_hangs": Outcome.TIMEOUT,
        "g_dies": Outcome.FAIL,
        "h_skips": Outcome.SKIP,
        "i_broken": Outcome.ERROR,
        "j_marks": Outcome.PASS,
        "k_marks": Outcome.PASS,
        "l_good": Outcome.PASS,
    }
    assert "no_such_thing" in mixed.test("mixed:i_broken").reason
    assert "no_such_thing" in (mixed.out / mixed.test("mixed:i_broken").logs.build).read_text()
    # With lines behind it where the slot still holds this kernel: tests/kbuild/test_lines_kernel.py
    assert "lkdtm" in mixed.test("mixed:d_warn").kernel_log
    # The command line that is offered runs that test alone.
    again = [*shlex.split(mixed.test("mixed:e_fails").rerun), "--out", str(tmp_path / "alone")]
    done = subprocess.run(again, cwd=REPOSITORY, capture_output=True, timeout=LIMIT_S, check=False)
    assert done.returncode == ExitCode.NOT_AS_EXPECTED
    alone = results.decode((tmp_path / "alone" / "results.json").read_bytes())
    assert [test.name for test in alone.tests] == ["mixed:e_fails"]


def test_a_broken_kernel_fails_exactly_the_cases_that_cover_the_break(
    prepared: Prepared, tmp_path: Path
) -> None:
    """Patch 1 loses the check that lets ftruncate() set a size once only.

    The rest of the stack is as ever, so that one object file is all that must be compiled.
    """
    series = tmp_path / "v10"
    shutil.copytree(REPOSITORY / "patches" / "v10", series)
    patch = next(series.glob("0001-*.patch"))
    check = "+\t\tif (i_size_read(hidden))\n"
    text = patch.read_text()
    assert text.count(check) == 1
    patch.write_text(text.replace(check, "+\t\tif (0 && i_size_read(hidden))\n"))

    # By its name, and as what was posted, it has the expectations of v10.
    kernel = project.load(REPOSITORY / project.FILE_NAME).kernel
    (tmp_path / "harness.toml").write_text(
        f"[kernel]\nsource = {list(kernel.sources)}\nconfig = {list(kernel.config)}\n"
        f"config_dir = '{REPOSITORY / kernel.config_dir}'\n"
        f'[stacks]\n"v10+test-vm" = ["v10", "{REPOSITORY}/patches/test-vm"]\n'
        f'[posted]\nv10 = "{read(series).content}"\n'
        f"[suites.restrictedmem]\npath = '{REPOSITORY / 'selftests/restrictedmem'}'\n"
    )
    options = ["--project", str(tmp_path / "harness.toml"), "--series", "v10+test-vm"]
    broken = run(tmp_path / "out", *options)
    assert broken.status == ExitCode.NOT_AS_EXPECTED, broken.text
    failed = {
        case.name.removeprefix("restrictedmem:")
        for test in broken.results.tests
        for case in test.cases
        if not case.outcome.as_expected
    }
    assert failed == {
        "size_test/size_once.larger_is_eperm",
        "size_test/size_once.smaller_is_eperm",
        "size_test/size_once.same_is_eperm",
        "size_test/size_once.zero_is_eperm",
        "size_test/size_once.unaligned_is_eperm_not_einval",
        "size_test/size_once.by_path_is_eperm",
        "fallocate_test/without_size.mode_0_sets_it_for_good",
    }
    failures = {
        f"{case.get('classname')}/{case.get('name')}": failure.text or ""
        for case in broken.junit.iter("testcase")
        for failure in case.iter("failure")
    }
    assert {name.removeprefix("restrictedmem:") for name in failures} == failed
    said = failures["restrictedmem:size_test/size_once.larger_is_eperm"]
    assert "size_test.c:" in said
    assert "Expected -EPERM (-1) ==" in said


def qemu_of(pid: int) -> list[int]:
    """Return the processes below *pid* that are QEMU."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines())
        except (OSError, ValueError):
            continue
        if lines["Name"].startswith("qemu") and int(lines["PPid"]) == pid:
            found.append(int(lines["Pid"]))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_its_journal_and_leaves_no_guest(
    prepared: Prepared, tmp_path: Path, number: signal.Signals
) -> None:
    directory = suite(tmp_path / "slow", a_good="return 0;", b_slow="sleep(60); return 0;")
    out = tmp_path / "out"
    process = subprocess.Popen(
        # Beside each other: which of two is the first depends on how long they took before.
        harness(out, "--suite", str(directory), "--jobs", "2"),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + LIMIT_S
    while not (ended(out, "slow:a_good") and begun(out, "slow:b_slow")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    while not (guests := qemu_of(process.pid)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, number)
    text = process.communicate(timeout=30)[0]
    assert process.returncode == ExitCode.INTERRUPTED, text
    assert not any(Path(f"/proc/{guest}").exists() for guest in guests)
    said = results.decode((out / "results.json").read_bytes())
    assert said.interrupted
    assert [test.outcome for test in said.tests] == [Outcome.PASS, Outcome.NOTRUN]

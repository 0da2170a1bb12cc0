# SPDX-License-Identifier: GPL-2.0-only
"""``harness run`` as a user meets it when something is wrong: exit code and words.

The kernel is the one in miniature, so everything up to the guest is real and takes a second.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import ExitCode
from tests.cli.projects import REPOSITORY, Project
from tests.kerneltree import HARNESS, FakeLinux, replace
from tests.series.mails import Letter, Thread, mboxrd, reply

pytestmark = [pytest.mark.unit, pytest.mark.slow]


def change_foo(fake: FakeLinux) -> None:
    path = fake.work / "mm" / "foo.c"
    path.write_text(path.read_text().replace("void foo(void)", "int bar;\nvoid foo(void)"))


def change_readme(fake: FakeLinux) -> None:
    fake.write(README="changed\n")


def change_header(fake: FakeLinux) -> None:
    fake.write(include__uapi__linux__foo_dot_h="#define FOO_LIMIT 5\n")


def break_foo(fake: FakeLinux) -> None:
    path = fake.work / "mm" / "foo.c"
    path.write_text(path.read_text() + "int broken = nowhere;\n")


# Help and usage


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["ktap", "--help"]])
def test_help_is_complete_sentences(project: Project, arguments: list[str]) -> None:
    answer = project.harness(*arguments)
    assert answer.status == 0
    assert "Usage:" in answer.text


def test_every_option_of_run_says_its_default(project: Project) -> None:
    text = " ".join(project.harness("run", "--help").text.split("Options:")[1].split())
    for option in ("--project", "--source", "--series", "--config", "--suite", "--jobs", "--out"):
        described = text.split(f"{option} ", 1)[1].split(" --", 1)[0]
        assert "[default:" in described, option


@pytest.mark.parametrize(
    "arguments", [["run", "--no-such"], ["nothing"], ["run", "--jobs", "0"], ["run", "-k", "("]]
)
def test_wrong_usage_is_2(project: Project, arguments: list[str]) -> None:
    assert project.harness(*arguments).status == ExitCode.USER


# The project file and what it names


def test_no_project_file(project: Project) -> None:
    (project.root / "harness.toml").unlink()
    answer = project.harness("run")
    assert answer.status == ExitCode.USER
    assert "no harness.toml here" in answer.text


def test_a_wrong_key_in_the_project_file(project: Project) -> None:
    project.write("[guest]", "cpu = 2")
    answer = project.harness("run")
    assert answer.status == ExitCode.USER
    assert "guest.cpu" in answer.text
    assert "did you mean 'cpus'" in answer.text


def test_a_fragment_that_does_not_exist(project: Project) -> None:
    answer = project.harness("run", "--config", "aa")
    assert answer.status == ExitCode.USER
    assert "no configuration fragment 'aa'" in answer.text
    assert "did you mean 'a'" in answer.text


def test_an_option_that_is_dropped(project: Project) -> None:
    (project.root / "kernel-configs" / "a.config").write_text("CONFIG_NEEDS_ABSENT=y\n")
    answer = project.harness("run")
    assert answer.status == ExitCode.USER
    assert "CONFIG_NEEDS_ABSENT: wanted y, got n (a.config:1); unmet: ABSENT is n" in answer.text


def test_a_suite_that_is_nowhere(project: Project) -> None:
    answer = project.harness("run", "--suite", "dmeo")
    assert answer.status == ExitCode.USER
    assert "did you mean 'demo'" in answer.text


def test_programs_of_a_suite_that_no_glob_matches(project: Project) -> None:
    answer = project.harness("run", "--suite", "kernel:demo:x86_64/gold*")
    assert answer.status == ExitCode.USER
    assert "no program 'x86_64/gold*'" in answer.text
    assert "good" in answer.text


def test_a_suite_asks_for_what_the_kernel_lacks(project: Project) -> None:
    project.fake.write(
        tools__testing__selftests__demo__config="CONFIG_PLAIN=y\nCONFIG_NEEDS_ABSENT=y\nCONFIG_MOD=m\n"
    )
    project.fake.commit()
    answer = project.harness("run", "--suite", "kernel:demo")
    assert answer.status == ExitCode.USER
    assert "CONFIG_NEEDS_ABSENT: wanted y, got n" in answer.text
    assert "tools/testing/selftests/demo/config:2" in answer.text
    assert "CONFIG_MOD" not in answer.text


def test_nothing_selected(project: Project) -> None:
    answer = project.harness("run", "-k", "absent")
    assert answer.status == ExitCode.USER
    assert "no test is selected" in answer.text
    assert "demo:good" in answer.text


# The series


def test_a_patch_that_does_not_apply(project: Project) -> None:
    series = project.patches(change_readme, change_foo)
    path = project.fake.work / "mm" / "foo.c"
    path.write_text("/* all other */\n" + "int other;\n" * 30)
    project.fake.commit("another base")
    answer = project.harness("run", "--series", str(series))
    assert answer.status == ExitCode.USER
    assert "2/2" in answer.text
    assert "mm/foo.c" in answer.text
    assert "@@" in answer.text
    # Nothing of the failed attempt stays in the way of the next.
    (series / "0002-mm-Change-number-2.patch").unlink()
    again = project.harness("run", "--series", str(series), "--upto", "1", "-k", "absent")
    assert "no test is selected" in again.text


def test_a_hole_in_the_series(project: Project) -> None:
    series = project.patches(change_readme, change_foo, change_header)
    (series / "0002-mm-Change-number-2.patch").unlink()
    answer = project.harness("run", "--series", str(series))
    assert answer.status == ExitCode.USER
    assert "2" in answer.text
    assert "missing" in answer.text


def test_two_patches_with_one_number(project: Project) -> None:
    series = project.patches(change_readme, change_foo)
    shutil.copy(series / "0002-mm-Change-number-2.patch", series / "0003-again.patch")
    answer = project.harness("run", "--series", str(series))
    assert answer.status == ExitCode.USER
    assert "0002-mm-Change-number-2.patch" in answer.text
    assert "0003-again.patch" in answer.text


def test_a_patch_that_is_not_utf8(project: Project) -> None:
    series = project.patches(change_readme)
    path = series / "0001-mm-Change-number-1.patch"
    path.write_bytes(path.read_bytes().replace(b"+changed", b"+ch\xe4nged"))
    answer = project.harness("run", "--series", str(series))
    assert answer.status == ExitCode.USER
    assert "UTF-8" in answer.text
    assert path.name in answer.text


THREAD = Thread("PATCH v3").letters()


@pytest.mark.parametrize(
    ("mails", "said"),
    [
        ([], "is empty"),
        ([reply(THREAD[1])], "a reply, not a patch"),
        ([THREAD[0], reply(THREAD[1])], "no patch among these 2 mails"),
        ([*THREAD[:2], THREAD[3]], "missing: 2/3"),
        (
            [*THREAD, *Thread(name="o", title="net: y", words="y").letters()],
            "x.mbox#1' for the first",
        ),
    ],
)
def test_a_mailbox_without_a_whole_series(project: Project, mails: list[Letter], said: str) -> None:
    (project.root / "x.mbox").write_bytes(mboxrd([mail.bytes() for mail in mails]))
    scratch = project.root / "scratch"
    scratch.mkdir()
    answer = project.harness("run", "--series", "x.mbox", "--out", "out", TMPDIR=str(scratch))
    assert answer.status == ExitCode.USER
    assert said in answer.text
    assert list(scratch.iterdir()) == []
    assert not (project.root / "cache" / "places" / "git").exists()


def test_a_thread_as_it_is(project: Project) -> None:
    """What was read and left out stands in the errors, and in the summary of a run."""
    series = project.patches(change_readme)
    (patch,) = series.iterdir()
    mail = patch.read_bytes().split(b"\n", 1)[1].replace(b"From: ", b"Message-ID: <p@x>\nFrom: ", 1)
    answer_to = Letter("Re: [PATCH] mm: x", "Fine.\n", message_id="r@x", answers="p@x")
    (project.root / "thread.mbox").write_bytes(mboxrd([answer_to.bytes(), mail]))
    answer = project.harness("run", "--series", "thread.mbox", "-k", "demo:good", "--out", "out")
    assert answer.status in (ExitCode.NOT_AS_EXPECTED, ExitCode.MACHINE)
    assert "left out: 1 reply" in (project.root / "out" / "journal.jsonl").read_text()
    change_readme(project.fake)
    project.fake.commit("it is there")
    again = project.harness("run", "--series", "thread.mbox", "-k", "demo:good", "--out", "again")
    assert again.status == ExitCode.USER
    assert "is already in the tree" in again.text


# Building


def test_a_series_that_does_not_compile(project: Project) -> None:
    series = project.patches(break_foo)
    answer = project.harness("run", "--series", str(series), "--out", "out")
    assert answer.status == ExitCode.USER
    assert "mm/foo.c:9:14" in answer.text
    assert "nowhere" in answer.text
    assert "out/logs/kernel-build.log" in answer.text
    assert "nowhere" in (project.root / "out/logs/kernel-build.log").read_text()


# The machine


def path_without(project: Project, *missing: str) -> str:
    """Return a PATH on which all programs of this machine are, but not *missing*."""
    directory = project.root / "bin"
    directory.mkdir()
    for place in os.environ["PATH"].split(":"):
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            link = directory / program.name
            if program.name not in missing and not link.is_symlink():
                link.symlink_to(program)
    return str(directory)


def test_no_qemu(project: Project) -> None:
    answer = project.harness("run", PATH=path_without(project, "qemu-system-x86_64"))
    assert answer.status == ExitCode.MACHINE
    assert "qemu-system-x86_64 is not installed" in answer.text
    assert "apt-get install qemu-system-x86" in answer.text


def test_no_disk_space(project: Project, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    script = f"mount -t tmpfs -o size=200k none {small} && exec {HARNESS} run"
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "HARNESS_CACHE": str(small)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == ExitCode.MACHINE, done.stdout
    assert "no space is left" in done.stdout
    assert "HARNESS_CACHE" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_file_that_is_no_kernel_fails_the_boot_or_qemu(project: Project) -> None:
    answer = project.harness("run", "-k", "demo:good", "--out", "out")
    assert answer.status in (ExitCode.NOT_AS_EXPECTED, ExitCode.MACHINE)
    assert "boot" in answer.text or "QEMU" in answer.text


def test_a_directory_for_the_run_that_cannot_be_made(project: Project) -> None:
    (project.root / "file").touch()
    answer = project.harness("run", "--out", "file/out")
    assert answer.status == ExitCode.USER
    assert "file/out" in answer.text


def test_two_runs_do_not_share_a_directory(project: Project) -> None:
    out = project.root / "out"
    out.mkdir()
    handle = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        answer = project.harness("run", "--out", "out")
    finally:
        os.close(handle)
    assert answer.status == ExitCode.USER
    assert "another run is using" in answer.text


def test_a_fault_of_the_harness_is_no_failed_test(project: Project) -> None:
    script = (
        "import harness.cli.testing, harness.cli\n"
        "harness.cli.testing.Job = lambda *a, **k: 1 / 0\n"
        "import sys; sys.argv = ['harness', 'run']\n"
        "harness.cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == ExitCode.MACHINE
    assert "ZeroDivisionError" in done.stderr
    assert "fault of the harness itself" in done.stderr


def test_without_a_sandbox_a_strangers_series_is_not_built(
    project: Project, tmp_path: Path
) -> None:
    def change(fake: FakeLinux) -> None:
        replace(fake.work / "mm/memory.c", "return a + 3;", "return a + 33;")

    (patch,) = project.patches(change).iterdir()
    mail = patch.rename(tmp_path / "mail.eml")
    programs = tmp_path / "bin"
    programs.mkdir()
    for program in Path("/usr/bin").iterdir():
        if program.name != "bwrap":
            (programs / program.name).symlink_to(program)
    said = project.harness("run", "--series", str(mail), PATH=str(programs))
    assert said.status == 3, said.text
    assert "the sandbox does not work on this machine" in said.text
    assert "bubblewrap is not installed" in said.text
    assert "--trust own" in said.text
    said = project.harness("run", "--series", str(mail), "--trust", "own", PATH=str(programs))
    assert "the sandbox does not work" not in said.text
    assert "Building the kernel" in said.text

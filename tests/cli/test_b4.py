# SPDX-License-Identifier: GPL-2.0-only
"""What runs have shown of a patch, as the real b4 asks for it and reads it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness import series
from harness.model.results import CoverMail
from harness.report import b4 as b4_report
from harness.run.job import read_results
from tests.cli import projects
from tests.cli.projects import Project
from tests.matrixrun import Posted, write_matrix

pytestmark = [pytest.mark.unit, pytest.mark.slow]

COVER = """\
From: Ada Example <ada@example.org>
Subject: [PATCH v2 0/3] mm: Make it faster
Message-ID: <20260701-faster-v2-0@example.org>
Date: Wed, 1 Jul 2026 03:00:00 +0000

All of it.

Ada Example (3):
  one, two, three

 mm/foo.c | 1 +
 1 file changed, 1 insertion(+)
"""


@dataclass(frozen=True)
class Thread:
    """A posted series of three patches."""

    mails: tuple[bytes, ...]
    posted: tuple[Posted, ...]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = projects.make(tmp_path)
    made.write()
    return made


@pytest.fixture
def thread(project: Project) -> Thread:
    def change(number: int) -> Any:
        return lambda fake: fake.write(mm__foo_dot_c=f"void foo(void) {{ bar({number}); }}\n")

    directory = project.patches(change(1), change(2), change(3))
    mails = []
    posted = []
    for number, path in enumerate(sorted(directory.glob("*.patch")), start=1):
        head = f"Message-ID: <20260701-faster-v2-{number}@example.org>\n"
        # The first line is git's own separator.
        mails.append(head.encode() + path.read_bytes().partition(b"\n")[2])
        patch = series.read_mail(path).patch
        assert patch is not None
        posted.append(Posted(patch.subject, patch.content))
    return Thread(tuple(mails), tuple(posted))


def runs(project: Project) -> Path:
    return project.root / "runs"


def check(project: Project, mail: bytes, *args: str) -> tuple[int, list[dict[str, str]]]:
    """Return exit code and entries."""
    done = subprocess.run(
        [sys.executable, "-m", "harness", "b4-check", *args],
        cwd=project.root,
        input=mail,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def b4(project: Project, call: str, mails: list[bytes], command: str) -> Any:
    """Return what a function of the real b4 makes of the command's answers to *mails*."""
    code = f"""
import email, email.policy, json, sys
import b4
from b4.review import checks
mails = [email.message_from_bytes(bytes.fromhex(each), policy=email.policy.SMTPUTF8)
         for each in json.loads(sys.argv[1])]
named = [(mail["Message-ID"].strip("<>"), mail) for mail in mails]
print(json.dumps(checks.{call}(named if {call!r} == "run_perpatch_checks" else named[0],
                               [sys.argv[2]], "."), default=str))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps([each.hex() for each in mails]), command],
        cwd=project.fake.work,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def command(project: Project, *words: str) -> str:
    file = str(project.root / "harness.toml")
    return shlex.join([sys.executable, "-m", "harness", "b4-check", "--project", file, *words])


ROWS = {"memfd:seal": "..FF", "memfd:other": "....", "mine:new": "---."}


def test_b4_shows_the_patch_that_breaks_a_test(project: Project, thread: Thread) -> None:
    write_matrix(runs(project) / "20260701-030000-aaaa", thread.posted, ROWS)
    table = b4(project, "run_perpatch_checks", list(thread.mails), command(project))
    short = {
        msgid.rpartition("-")[2].partition("@")[0]: {each["tool"]: each["status"] for each in found}
        for msgid, found in table.items()
    }
    assert short == {
        "1": {"harness memfd": "pass", "harness mine": "warn"},
        "2": {"harness memfd": "fail", "harness mine": "warn"},
        "3": {"harness memfd": "warn", "harness mine": "pass"},
    }
    (guilty,) = [
        each for each in table["20260701-faster-v2-2@example.org"] if "memfd" in each["tool"]
    ]
    assert guilty["summary"].startswith("breaks seal: ")
    assert "run again: harness run --upto 2 -k memfd:seal" in guilty["details"]
    assert "20260701-030000-aaaa" in guilty["details"]


def test_b4_shows_a_series_by_its_cover_letter(project: Project, thread: Thread) -> None:
    cover = CoverMail(message_id="<20260701-faster-v2-0@example.org>", subject="[PATCH v2 0/3] x")
    mail = COVER.encode()
    asked = command(project)
    # What was not tested is no pass, and it is said what would.
    (unknown,) = b4(project, "run_series_checks", [mail], asked)
    assert unknown["status"] == "warn"
    assert "harness matrix --series 20260701-faster-v2-0@example.org" in unknown["summary"]
    write_matrix(runs(project) / "1", thread.posted, ROWS, cover=cover)
    found = {each["tool"]: each for each in b4(project, "run_series_checks", [mail], asked)}
    assert found["harness memfd"]["status"] == "fail"
    assert "patch 2 breaks seal" in found["harness memfd"]["summary"]
    assert found["harness mine"]["status"] == "pass"
    # A broken patch that a later one mends is none of the end's, and is told all the same.
    write_matrix(runs(project) / "2", thread.posted, {"memfd:seal": "..F."}, cover=cover)
    (mended,) = b4(project, "run_series_checks", [mail], asked)
    assert mended["status"] == "fail"
    assert "patch 2 breaks seal; at the end: 1 pass" in mended["summary"]


@pytest.mark.parametrize(
    ("row", "status", "said"),
    [
        ("..", "pass", "1 pass"),
        ("F.", "pass", "1 pass"),
        (".F", "fail", "breaks it"),
        (".S", "fail", "breaks it"),
        ("-F", "fail", "breaks it"),
        (".B", "warn", "nothing is known of"),
        (".N", "warn", "nothing is known of it"),
        ("FF", "warn", "not as expected on base already"),
        ("FS", "warn", "not as expected on base already"),
        ("--", "warn", "nothing was tested"),
        (".-", "warn", "nothing was tested"),
    ],
)
def test_what_a_patch_does_to_a_test_is_one_of_three(
    tmp_path: Path, row: str, status: str, said: str
) -> None:
    run = write_matrix(tmp_path / "run", [Posted("mm: One", "c" * 16)], {"memfd:it": row})
    (entry,) = b4_report.of_patch(read_results(run), "c" * 16, "run")
    assert entry.status == status
    assert said in entry.summary


def test_a_run_over_the_whole_series_says_nothing_of_one_patch(
    project: Project, thread: Thread
) -> None:
    green = {"memfd:it": "."}
    write_matrix(runs(project) / "2", thread.posted, green, patch_by_patch=False)
    _, (entry,) = check(project, thread.mails[1])
    assert entry["status"] == "warn"
    assert "only together" in entry["summary"]
    # An older run that knows more counts, and of two the newer one, if no other is named.
    write_matrix(runs(project) / "1", thread.posted, {"memfd:it": "...."})
    assert check(project, thread.mails[1])[1][0]["status"] == "pass"
    write_matrix(runs(project) / "3", thread.posted, {"memfd:it": "..F."})
    assert check(project, thread.mails[1])[1][0]["status"] == "fail"
    assert check(project, thread.mails[1], "--run", "1")[1][0]["status"] == "pass"


def test_a_patch_is_known_by_what_it_changes(project: Project, thread: Thread) -> None:
    write_matrix(runs(project) / "1", thread.posted, {"memfd:it": "...."})
    reworded = thread.mails[0].replace(b"Change number 1", b"Another title")
    assert reworded != thread.mails[0]
    assert check(project, reworded)[1][0]["status"] == "pass"
    changed = thread.mails[0].replace(b"+void foo(void) { bar(1)", b"+void foo(void) { bar(9)")
    assert changed != thread.mails[0]
    (entry,) = check(project, changed)[1]
    assert (entry["status"], entry["tool"]) == ("warn", "harness")


@pytest.mark.parametrize(
    ("mail", "said"),
    [
        (b"", b"no mail on standard input"),
        (b"hello\n", b"not a patch mail"),
        (b"From: A <a@example.org>\nSubject: Re: lunch\n\nyes\n", b"not a mail of a series"),
    ],
)
def test_what_is_no_patch_is_refused_and_b4_says_so(
    project: Project, mail: bytes, said: bytes
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "b4-check"],
        cwd=project.root, input=mail, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in done.stderr
    if mail.startswith(b"From:"):
        (entry,) = b4(
            project, "run_series_checks", [b"Message-ID: <1@x>\n" + mail], command(project)
        )
        assert entry["status"] == "fail"
        assert said.decode() in entry["details"]


def test_b4_prep_shows_the_patch_of_a_branch(project: Project, thread: Thread) -> None:
    fake = project.fake
    base = fake.git("rev-parse", "HEAD")
    environ = {**os.environ, "HOME": str(project.root), "XDG_DATA_HOME": str(project.root / "d")}

    def run_b4(*args: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "b4.command", "--no-interactive", *args],
            cwd=fake.work, env=environ, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    fake.git("config", "b4.prep-perpatch-check-cmd", command(project, "--lines"))
    fake.git("config", "user.name", "Ada Example")
    fake.git("config", "user.email", "ada@example.org")
    run_b4("prep", "-n", "faster", "-f", base)
    for number in (1, 2, 3):
        fake.write(mm__foo_dot_c=f"void foo(void) {{ bar({number}); }}\n")
        fake.commit(f"mm: Change number {number}")
    write_matrix(runs(project) / "1", thread.posted, ROWS)
    told = run_b4("prep", "--check")
    lines = [line for line in told.splitlines() if "Change number" in line or "harness" in line]
    assert "ERROR: harness memfd: breaks seal" in told, told
    guilty = next(n for n, line in enumerate(lines) if "ERROR: harness memfd" in line)
    title = next(line for line in reversed(lines[:guilty]) if "Change number" in line)
    assert "Change number 2" in title

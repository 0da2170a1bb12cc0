# SPDX-License-Identifier: GPL-2.0-only
"""The reply to a series, as git send-email and b4 read it."""

from __future__ import annotations

import email
import os
import re
import shlex
import subprocess
import sys
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.model import results as r
from harness.outcome import Outcome
from harness.report import mail
from harness.report.text import columns
from tests.report import samples as s
from tests.series import mails

pytestmark = pytest.mark.unit


def parse(results: r.Results) -> EmailMessage:
    """Return the mail as Python reads it; no line of its text is too wide."""
    found = email.message_from_bytes(mail.render(results), policy=default)
    assert isinstance(found, EmailMessage)
    assert not found.defects
    for line in found.get_content().splitlines():
        assert columns(line) <= 72
        assert line == line.rstrip()
    return found


def test_it_answers_the_cover_letter_and_all_who_got_it() -> None:
    found = parse(s.POSTED)
    assert found["Subject"] == "Re: [PATCH v10 0/9] KVM: mm: fd-based approach for supporting KVM"
    assert found["In-Reply-To"] == found["References"] == "<20260701-v10-0@example.org>"
    assert [each.addr_spec for each in found["To"].addresses] == ["ada@example.org"]
    assert [(each.display_name, each.addr_spec) for each in found["Cc"].addresses] == [
        ("René, X", "rene@example.org"),
        ("", "kvm@example.org"),
        ("", "linux-mm@example.org"),
    ]


def test_verdict_then_evidence_then_how_to_reproduce() -> None:
    text = parse(s.POSTED).get_content()
    places = [
        text.index(part)
        for part in (
            "NOT AS EXPECTED (exit 1)",
            "mm:crash_test: crash",
            "fd_memory_test.c:118:hole_punch:Expected 0 (0) == ret (-1)",
            "RIP: 0010:restricted_fallocate+0x31/0x80",
            "How to reproduce all of it:",
            "harness run --suite 'my suite'",
            "base: " + "a" * 40,
        )
    ]
    assert places == sorted(places)


def test_a_series_that_was_not_posted_gives_a_mail_that_answers_none() -> None:
    found = parse(s.ALL)
    assert found["Subject"] == s.KERNEL.series
    assert not {"In-Reply-To", "To", "Cc"} & set(found)


@pytest.mark.parametrize("sample", s.SAMPLES, ids=lambda sample: sample.name)
def test_every_sample(sample: s.Sample) -> None:
    text = parse(sample.results).get_content()
    last = "AS EXPECTED" if sample.results.exit_code == 0 else ("NOT AS EXPECTED", "INTERRUPTED")
    assert text.startswith(last)


@settings(deadline=None, max_examples=100)
@given(st.text(st.characters(), max_size=200))
def test_any_text_stays_in_its_place(text: str) -> None:
    """It makes no header, and no line that is too wide."""
    cover = r.CoverMail(
        message_id=f"<{text}@x>",
        subject=text,
        sender=f"{text} <a@b.c>",
        to=(text,),
        cc=(text, "d@e.f"),
    )
    kernel = msgspec.structs.replace(s.KERNEL, cover_mail=cover, series=text, release=text)
    test = s.program(text, Outcome.FAIL, reason=text, output=text, kernel_log=text, rerun=text)
    found = parse(s.run(test, kernel=kernel, command=("harness", text), notes=(text,)))
    own = {"subject", "to", "cc", "in-reply-to", "references", "mime-version"}
    own |= {"content-type", "content-transfer-encoding"}
    assert {name.lower() for name in found} <= own
    assert {"a@b.c", "d@e.f"} <= {
        each.addr_spec for n in ("To", "Cc") for each in found[n].addresses
    }


@pytest.mark.parametrize(
    "words",
    [
        ["harness", "run", "--suite", "restrictedmem", "-k", "restrictedmem:size_test"],
        ["harness", "run", "--series", "/home/me/" + "a long directory's name/" * 9, "-k", "x y"],
        ["harness", *(f"--suite=suite-number-{n}" for n in range(20))],
        ["harness", "run", "$HOME", "`x`", "a'b", 'c"d', "*" * 200, "", "é" * 90],
    ],
)
def test_a_shell_reads_the_command_line_as_it_was(words: list[str]) -> None:
    test = s.program("a_test", Outcome.FAIL, rerun=shlex.join(words))
    text = parse(s.run(test)).get_content()
    found = re.search(r"To reproduce:\n\n(.*?)\n\n-----", text, re.DOTALL)
    assert found is not None
    script = f"show() {{ printf '%s\\n' \"$@\"; }}\nshow {found[1].lstrip()}"
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == words


def test_a_megabyte_in_one_line() -> None:
    test = s.program("a_test", Outcome.FAIL, output="x" * 1_000_000, kernel_log="y" * 1_000_000)
    assert len(parse(s.run(test)).get_content()) < 10_000


def quiet_home(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which git and b4 have no settings of this machine's user."""
    (tmp_path / "home").mkdir()
    who = {f"GIT_{role}_NAME": "H" for role in ("AUTHOR", "COMMITTER")}
    who |= {f"GIT_{role}_EMAIL": "h@example.org" for role in ("AUTHOR", "COMMITTER")}
    home = {"HOME": str(tmp_path / "home"), "GIT_CONFIG_NOSYSTEM": "1"}
    return {"PATH": os.environ["PATH"], **home, **who}


@pytest.mark.parametrize("sample", [s.POSTED, s.HOSTILE_RUN], ids=["posted", "hostile"])
def test_git_send_email_takes_it(tmp_path: Path, sample: r.Results) -> None:
    (tmp_path / "reply.eml").write_bytes(mail.render(sample))
    argv = ["git", "send-email", "--dry-run", "--confirm=never", "--from=H <h@example.org>"]
    argv += ["--to=list@example.org"] * (sample is not s.POSTED)
    done = subprocess.run(
        [*argv, "reply.eml"],
        cwd=tmp_path,
        env=quiet_home(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Dry-OK" in done.stdout
    if sample is s.POSTED:
        assert "In-Reply-To: <20260701-v10-0@example.org>" in done.stdout
        sent = set(re.findall(r"^RCPT TO:<(.+)>$", done.stdout, re.MULTILINE))
        people = {"ada", "rene", "kvm", "linux-mm"}
        assert sent == {f"{name}@example.org" for name in people}


def test_b4_finds_the_series_beside_the_reply(tmp_path: Path) -> None:
    """The reply is part of the thread, and none of the patches or of a new version."""
    thread = mails.Thread(prefix="PATCH v3").letters()
    cover = r.CoverMail(
        message_id="<s-0@example.org>", subject="[PATCH v3 0/3] mm: three changes", sender=mails.ADA
    )
    kernel = msgspec.structs.replace(s.KERNEL, cover_mail=cover)
    sent = b"From: H <h@example.org>\nDate: Tue, 14 Nov 2023 23:13:20 +0000\n"
    sent += b"Message-ID: <reply@example.org>\n" + mail.render(s.run(*s.ALL.tests, kernel=kernel))
    (tmp_path / "t.mbox").write_bytes(mails.mboxrd([*(each.bytes() for each in thread), sent]))
    env = quiet_home(tmp_path)
    subprocess.run(["git", "init", "-q", "."], cwd=tmp_path, env=env, check=True)
    b4 = Path(sys.executable).with_name("b4")
    argv = [str(b4), "--offline-mode", "--no-interactive", "am", "-m", "t.mbox", "-o", "out"]
    done = subprocess.run(
        [*argv, "s-0@example.org"],
        cwd=tmp_path,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert "Analyzing 5 messages in the thread" in text
    assert "Total patches: 3" in text

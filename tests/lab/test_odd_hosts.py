# SPDX-License-Identifier: GPL-2.0-only
"""Hosts that are set up in unusual ways: they work, or it is said why they do not."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
import paramiko
import pytest

from harness.context import Context
from harness.digest import Sink
from harness.errors import HarnessError, MachineError
from harness.lab import site, ssh
from harness.lab.remote import RemoteWorker
from harness.lab.site import Site
from harness.model.spec import HostTable
from harness.proc import ssh as proc_ssh
from harness.proc.ssh import Connection, command_line
from harness.progress import Quiet
from harness.store import Store
from tests.lab.test_ssh import bin_there as bin_there
from tests.lab.test_ssh import home as home
from tests.lab.test_ssh import opened, play, table
from tools.bench.sshd import Sshd, free_port, sshd

pytestmark = [pytest.mark.unit, pytest.mark.slow]

Machine = Callable[..., AbstractContextManager[Sshd]]
SFTP = "/usr/lib/openssh/sftp-server"
ORIGINAL = f"""\
[ "$SSH_ORIGINAL_COMMAND" != internal-sftp ] || exec {SFTP}
exec sh -c "$SSH_ORIGINAL_COMMAND"
"""


@pytest.fixture
def machine(tmp_path: Path, home: Path, bin_there: Path) -> Machine:
    """Return what starts a machine with further lines in the configuration of its sshd."""

    def start(*lines: str, **options: str) -> AbstractContextManager[Sshd]:
        more = (f"SetEnv PATH={bin_there} HOME={tmp_path}", "LogLevel VERBOSE", *lines)
        return sshd(tmp_path / "machine", home, more="\n".join(more), **options)  # type: ignore[arg-type]

    return start


def forced(tmp_path: Path, script: str) -> str:
    """Return the line that has sshd run *script* in place of what the login shell would be."""
    path = tmp_path / "forced"
    path.write_text(script)
    path.chmod(0o755)
    return f"ForceCommand {path}"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Store(tmp_path / "here"), Quiet())


def used(where: HostTable, context: Context, times: int = 1) -> None:
    """Connect to a host so often, one after the other, and have it take a file."""

    async def go() -> None:
        for _ in range(times):
            worker = await ssh.connect("big", where, context)
            try:
                assert await worker.lacking([("suite", "0" * 64)])
                await asyncio.to_thread(_put, worker)
            finally:
                await worker.close()

    asyncio.run(go())


def _put(worker: RemoteWorker) -> None:
    def write(sink: Sink) -> None:
        sink.write(b"data")

    path = f"{worker.hello.incoming}/file"
    assert worker._link.put(write, path).size == 4
    assert Path(path).read_bytes() == b"data"


def refused(where: HostTable, context: Context) -> MachineError:
    with pytest.raises(HarnessError) as caught:
        used(where, context)
    error = caught.value
    assert isinstance(error, MachineError)
    assert "hosts.big" in error.where
    assert error.hint
    return error


def probe(where: HostTable) -> Site:
    connection, seen = opened(where)
    connection.close()
    return seen


OTHER = f"""
import os, re, shlex
line = os.environ["SSH_ORIGINAL_COMMAND"]
assert not re.search(r"[\\n\\\\!%#~]", line), line
words = [{SFTP!r}] if line == "internal-sftp" else shlex.split(line)
os.execvp(words[0], words)
"""
SHELLS = {
    "sh": f"#!/bin/sh\n{ORIGINAL}\n",
    "bash": f"#!/bin/sh\n{ORIGINAL.replace('sh -c', '/bin/bash -c')}\n",
    # Knows words and quotes, and nothing else that csh, fish or rc take for something of theirs.
    "other": f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -IS -c {shlex.quote(OTHER)}\n",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_any_login_shell_will_do(
    shell: str, machine: Machine, tmp_path: Path, context: Context
) -> None:
    with machine(forced(tmp_path, SHELLS[shell])) as made:
        used(table(made), context, times=2)


def test_words_of_several_lines_arrive(machine: Machine) -> None:
    words = ["a\nb", "\n", "'\n'", "\n\n", "n=1\n", "$n", "\\n", "ü\n", "\udcff"]
    assert command_line(words).count(b"\n") == 1
    with machine() as made:
        connection, seen = opened(table(made))
        code = "import os, sys; os.write(1, b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
        done = connection.run([seen.python, "-I", "-c", code, *words])
        connection.close()
    assert done.stdout.split(b"\0") == [word.encode(errors="surrogateescape") for word in words]


def test_what_a_login_prints_is_left_out(
    machine: Machine, tmp_path: Path, context: Context
) -> None:
    greeting = "echo Welcome; echo Maintenance on Monday >&2; printf 'no end of line'"
    # It is printed into SFTP as well.
    (tmp_path / "bin" / "cat").symlink_to("/bin/cat")
    with machine(forced(tmp_path, f"#!/bin/sh\n{greeting}\n{ORIGINAL}\n")) as made:
        used(table(made), context, times=2)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 1", "exit status 1"),
        ("echo This account is currently not available.; exit 1", "currently not available"),
        ("echo Only backups here >&2; exit 0", "Only backups here"),
        ("exec head -c 1000000 /dev/zero", ""),
        ("kill -9 $$", "exit status"),
    ],
)
def test_a_host_that_runs_something_else(
    script: str, why: str, machine: Machine, tmp_path: Path, context: Context
) -> None:
    (tmp_path / "bin" / "head").symlink_to("/usr/bin/head")
    with machine(forced(tmp_path, f"#!/bin/sh\n{script}\n")) as made:
        error = refused(table(made), context)
    assert error.what == "the host cannot be examined"
    assert why in error.why


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 1", "exit status 1"),
        ("echo This account is currently not available.; exit 1", "currently not available"),
        ("kill -9 $$", "exit status"),
    ],
)
def test_a_host_that_ends_before_it_is_asked_is_heard_all_the_same(
    script: str,
    why: str,
    machine: Machine,
    tmp_path: Path,
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which of the two comes first is chance; here it is always the end."""
    feed = proc_ssh._feed

    def late(channel: paramiko.Channel, data: bytes) -> None:
        end = time.monotonic() + 20
        while not channel.closed and time.monotonic() < end:
            time.sleep(0.01)
        assert channel.closed
        feed(channel, data)

    monkeypatch.setattr(proc_ssh, "_feed", late)
    with machine(forced(tmp_path, f"#!/bin/sh\n{script}\n")) as made:
        error = refused(table(made), context)
    assert error.what == "the host cannot be examined"
    assert why in error.why


@pytest.mark.parametrize("ends", ["any time", "first"])
def test_a_host_without_sftp(
    ends: str, machine: Machine, tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(channel: paramiko.Channel) -> paramiko.SFTPClient:
        """Wait for the end of what should have been an SFTP server."""
        channel.status_event.wait(20)
        while not channel.closed:
            time.sleep(0.01)
        return client(channel)

    client = paramiko.SFTPClient
    if ends == "first":
        monkeypatch.setattr(paramiko, "SFTPClient", begin)
    script = f"#!/bin/sh\n{ORIGINAL.replace(SFTP, 'false')}\n"
    (tmp_path / "bin" / "cat").symlink_to("/bin/cat")
    with machine(forced(tmp_path, script)) as made:
        used(table(made), context, times=2)


def test_without_sftp_a_file_that_cannot_be_written_is_an_error(
    machine: Machine, tmp_path: Path
) -> None:
    script = f"#!/bin/sh\n{ORIGINAL.replace(SFTP, 'false')}\n"
    (tmp_path / "bin" / "cat").symlink_to("/bin/cat")
    with machine(forced(tmp_path, script)) as made:
        connection, _ = opened(table(made))
        with pytest.raises(OSError, match=r"Directory nonexistent|No such file"):
            connection.put(lambda sink: sink.write(b"data"), str(tmp_path / "no" / "file"))
        with pytest.raises(OSError, match="No space"):
            connection.put(lambda sink: sink.write(bytes(1 << 24)), "/dev/full")
        connection.close()


def test_a_host_for_files_only(machine: Machine, context: Context) -> None:
    with machine("ForceCommand internal-sftp") as made:
        assert refused(table(made), context).what == "the host cannot be examined"


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("exit 0", "the host has no Python 3.11 or later"),
        ("kill -SEGV $$", "the host has no Python 3.11 or later"),
        ("echo 3.12; exit 0", "the host has no Python 3.11 or later"),
        ("echo Python 3.12; exit 0", "the host cannot be examined"),
        (
            "[ $1 != -V ] || { echo Python 3.12; exit; }; kill -SEGV $$",
            "the host cannot be examined",
        ),
        ("echo Python 3.12; printf '\\nharness-probe {}\\n'", "the host cannot be examined"),
        ("exec sleep 60", "the host cannot be examined"),
    ],
)
def test_a_python_that_is_none(
    script: str,
    what: str,
    machine: Machine,
    bin_there: Path,
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(site, "_LOOK_S", 2.0)
    (bin_there / "sleep").symlink_to("/usr/bin/sleep")
    (bin_there / "python3").unlink()
    (bin_there / "python3").write_text(f"#!/bin/sh\n{script}\n")
    (bin_there / "python3").chmod(0o755)
    with machine() as made:
        error = refused(table(made), context)
    assert error.what == what


def test_files_go_through_where_one_session_is_all(machine: Machine, context: Context) -> None:
    with machine("MaxSessions 1") as made:
        used(table(made), context, times=2)


def test_a_host_that_allows_no_session(
    machine: Machine, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proc_ssh, "_SESSION_S", 0.01)
    with machine("MaxSessions 0") as made:
        assert "MaxSessions" in refused(table(made), context).why


def test_a_host_that_is_busy_with_logins(
    machine: Machine, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proc_ssh, "CONNECT_S", 2.0)
    with machine("MaxStartups 1:100:1", "LoginGraceTime 60") as made:
        # The one that has waited for its start may not be over for it.
        while True:
            with socket.create_connection((made.address, made.port)) as idle:
                if idle.recv(4) == b"SSH-":
                    error = refused(table(made), context)
                    break
        assert "no connection is made" in error.what
        assert "try: ssh " in error.hint


def test_only_the_error_itself_is_printed(home: Path) -> None:
    """The library has a log of its own, which would go to the terminal."""
    home.mkdir()
    code = (
        "import sys; from harness.errors import MachineError\n"
        "from harness.proc.ssh import Connection, Login\n"
        "try: Connection.open(Login('big', '127.0.0.1', int(sys.argv[1])))\n"
        "except MachineError as error: print(error.what)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        argv = [sys.executable, "-c", code, str(server.getsockname()[1])]
        child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        server.settimeout(60)
        server.accept()[0].close()
        out, err = child.communicate(timeout=60)
    assert (out, err) == ("no connection is made\n", "")


def test_private_files(machine: Machine, tmp_path: Path, context: Context) -> None:
    with machine(forced(tmp_path, f"#!/bin/sh\numask 077\n{ORIGINAL}\n")) as made:
        used(table(made), context, times=2)


def test_a_cache_that_is_a_link(machine: Machine, tmp_path: Path, context: Context) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    (tmp_path / "dangling").symlink_to(tmp_path / "unmounted" / "disk")
    with machine() as made:
        used(msgspec.structs.replace(table(made), cache=str(tmp_path / "link")), context, times=2)
        assert (tmp_path / "disk" / "places" / "worker").is_dir()
        where = msgspec.structs.replace(table(made), cache=str(tmp_path / "dangling"))
        error = refused(where, context)
    assert error.what == "the cache on the host cannot be used"
    assert str(tmp_path / "dangling") in error.where


def test_a_cache_from_which_nothing_can_be_executed(
    machine: Machine, bin_there: Path, context: Context
) -> None:
    play(
        bin_there,
        "class NoExec: f_bavail, f_frsize, f_flag = 1 << 30, 4096, os.ST_NOEXEC\n"
        "os.statvfs = lambda path: NoExec",
    )
    with machine() as made:
        error = refused(table(made), context)
    assert error.what == "the cache on the host cannot be used"
    assert "noexec" in error.why


@pytest.mark.parametrize("bare", [False, True])
def test_an_address_of_ipv6(bare: bool, machine: Machine, home: Path, context: Context) -> None:
    with machine(address="::1") as made:
        place = "::1" if bare else f"[::1]:{made.port}"
        where = HostTable(
            ssh=f"{made.user}@{place}", port=made.port if bare else None, cache=str(made.cache)
        )
        used(where, context)


def test_two_who_begin_at_once(machine: Machine, context: Context) -> None:
    async def go(where: HostTable) -> None:
        workers = await asyncio.gather(*(ssh.connect("big", where, context) for _ in range(3)))
        assert len({worker.hello.pid for worker in workers}) == 3
        await asyncio.gather(*(worker.close() for worker in workers))

    with machine() as made:
        asyncio.run(go(table(made)))
        (there,) = (made.cache / "places" / "worker").iterdir()
        assert (there / "start.py").is_file()


def test_a_worker_is_started_in_one_go_where_the_harness_is_there(
    machine: Machine, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = re.compile("Starting session: command")

    def run(self: Connection, *_: object, **__: object) -> None:
        raise AssertionError("a command of its own")

    with machine() as made:
        used(table(made), context)
        before = len(sessions.findall(made.log))
        monkeypatch.setattr(Connection, "run", run)
        used(table(made), context)
        assert len(sessions.findall(made.log)) == before + 1
        shutil.rmtree(made.cache / "places" / "worker")
        with pytest.raises(AssertionError):
            used(table(made), context)


def test_what_was_begun_ahead_is_used(machine: Machine, context: Context) -> None:
    async def go(where: HostTable) -> None:
        begun = ssh.begin("big", where, context)
        worker = await ssh.connect("big", where, context, begun)
        assert await worker.lacking([("suite", "0" * 64)])
        await worker.close()

    with machine() as made:
        asyncio.run(go(table(made)))
        assert len(re.findall("Accepted publickey", made.log)) == 1


@pytest.mark.parametrize("late", [False, True])
def test_what_was_begun_ahead_and_is_not_wanted_leaves_nothing(
    late: bool, machine: Machine, context: Context
) -> None:
    with machine() as made:
        used(table(made), context)
        begun = ssh.begin("big", table(made), context)
        if late:
            begun.result(60)
            assert made.sessions()
        ssh.drop(begun)
        begun.result(60)
        end = time.monotonic() + 10
        while made.sessions():
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_host_that_cannot_be_had_ahead_is_an_error_when_it_is_asked(
    machine: Machine, context: Context
) -> None:
    async def go(where: HostTable) -> None:
        begun = ssh.begin("big", where, context)
        await asyncio.sleep(0.5)
        with pytest.raises(MachineError, match="does not answer"):
            await ssh.connect("big", where, context, begun)

    with machine() as made:
        where = msgspec.structs.replace(table(made), port=free_port())
        asyncio.run(go(where))

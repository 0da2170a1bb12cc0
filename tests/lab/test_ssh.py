# SPDX-License-Identifier: GPL-2.0-only
"""Hosts that cannot be used: what is wrong, where, and what to do; against a real sshd."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from harness.context import Context
from harness.errors import HarnessError, MachineError, UserError
from harness.lab import ship, ssh
from harness.lab.site import Site, look
from harness.model.spec import HostTable
from harness.proc.ssh import Connection, Login, command_line, fingerprint
from harness.progress import Quiet
from harness.store import Store
from tools.bench.sshd import Sshd, free_port, keygen, sshd

pytestmark = [pytest.mark.unit, pytest.mark.slow]

PYTHON = "/usr/bin/python3"
PLAYED = """\
#!/bin/sh
[ "$1" != -V ] || exec {python} -V
exec {python} -I -c 'import sys, os, time
now, stat = time.time, os.statvfs
{change}
code = sys.argv[3]
sys.argv = ["-c", *sys.argv[4:]]
exec(code)' "$@"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path / "home"


@pytest.fixture
def bin_there(tmp_path: Path) -> Path:
    """Where the machine has its programs: all that is needed."""
    found = tmp_path / "bin"
    found.mkdir()
    for name in ("sh", "env", "df", "setpriv", "qemu-system-x86_64", "python3"):
        path = shutil.which(name, path="/usr/bin:/bin")
        assert path, name
        (found / name).symlink_to(path)
    return found


@pytest.fixture
def machine(tmp_path: Path, home: Path, bin_there: Path) -> Iterator[Sshd]:
    with sshd(tmp_path / "machine", home, more=f"SetEnv PATH={bin_there} HOME={tmp_path}") as made:
        yield made


def table(machine: Sshd, **more: object) -> HostTable:
    made = HostTable(ssh=machine.ssh, port=machine.port, cache=str(machine.root / "cache"))
    return msgspec.structs.replace(made, **more)


def probe(machine: Sshd, **more: object) -> Site:
    connection, site = opened(table(machine, **more))
    connection.close()
    return site


def opened(where: HostTable) -> tuple[Connection, Site]:
    login = Login("big", where.ssh, where.port, where.identity, where.jump, where.host_key)
    connection = Connection.open(login)
    try:
        return connection, look(connection, "big", where)
    except BaseException:
        connection.close()
        raise


def refused(machine: Sshd, kind: type[HarnessError], **more: object) -> HarnessError:
    with pytest.raises(kind) as caught:
        probe(machine, **more)
    error = caught.value
    assert "hosts.big" in error.where
    assert error.hint
    return error


def play(bin_there: Path, change: str) -> None:
    (bin_there / "python3").unlink()
    (bin_there / "python3").write_text(PLAYED.format(python=PYTHON, change=change))
    (bin_there / "python3").chmod(0o755)


def test_what_is_there_is_seen(machine: Sshd) -> None:
    site = probe(machine)
    assert site.cache == str(machine.root / "cache")
    assert site.version.startswith("3.")
    assert site.programs["qemu-system-x86_64"]


def test_a_name_that_is_unknown(home: Path) -> None:
    with pytest.raises(UserError, match="name of the host is not known") as caught:
        Connection.open(Login("big", "me@no-such-host.invalid"))
    assert "hosts.big" in caught.value.where


def test_a_port_on_which_nothing_listens(machine: Sshd) -> None:
    error = refused(machine, MachineError, port=free_port())
    assert error.what == "the host does not answer"


def test_a_key_that_is_not_known_is_refused_unless_told(machine: Sshd) -> None:
    (machine.home / ".ssh" / "known_hosts").write_text("")
    error = refused(machine, UserError)
    assert error.what == "the key of the host is not known"
    shown = error.why.split()[-1]
    assert shown.startswith("SHA256:")
    assert shown in error.hint
    assert probe(machine, host_key=shown)
    # What was told is no reason to accept another.
    other = fingerprint(b"another key")
    assert "not the one that is expected" in refused(machine, UserError, host_key=other).what
    assert (machine.home / ".ssh" / "known_hosts").read_text() == ""


def test_a_key_that_has_changed(machine: Sshd) -> None:
    machine.stop()
    keygen(machine.root / "host_key")
    machine.start()
    error = refused(machine, UserError)
    assert error.what == "the key of the host has changed"
    assert "ssh-keygen -R" in error.hint


def test_a_machine_that_knows_no_key_of_ours(machine: Sshd) -> None:
    (machine.root / "authorized_keys").write_text("")
    assert refused(machine, UserError).what == "the host refuses you"


def test_a_private_key_that_is_not_there(machine: Sshd) -> None:
    assert "not there" in refused_identity(machine).what


def refused_identity(machine: Sshd) -> HarnessError:
    with pytest.raises(UserError) as caught:
        probe(machine, identity="/no/such/key")
    return caught.value


def test_no_python(machine: Sshd, bin_there: Path) -> None:
    (bin_there / "python3").unlink()
    error = refused(machine, MachineError)
    assert error.what == "the host has no Python 3.11 or later"


def test_a_python_that_is_too_old(machine: Sshd, bin_there: Path) -> None:
    (bin_there / "python3").unlink()
    (bin_there / "python3").write_text("#!/bin/sh\necho Python 3.9.2\n")
    (bin_there / "python3").chmod(0o755)
    error = refused(machine, MachineError)
    assert error.what == "the host has no Python 3.11 or later"
    assert "python3: Python 3.9.2" in error.why
    # Another one beside it is found.
    (bin_there / "python3.11").symlink_to(PYTHON)
    assert probe(machine).python


@pytest.mark.parametrize(
    ("version", "good"),
    [("2.7.18", 0), ("3.1.9", 0), ("3.10.14", 0), ("3.11.0rc1", 1), ("3.14.0", 1), ("3.20.1", 1)],
)
def test_which_python_will_do(version: str, good: bool, machine: Sshd, bin_there: Path) -> None:
    (bin_there / "python3").unlink()
    (bin_there / "python3").write_text(
        f'#!/bin/sh\n[ "$1" != -V ] || {{ echo Python {version}; exit; }}\nexec {PYTHON} "$@"\n'
    )
    (bin_there / "python3").chmod(0o755)
    if good:
        assert probe(machine).python
    else:
        assert f"python3: Python {version}" in refused(machine, MachineError).why


def test_what_is_told_of_a_python_is_what_it_says_of_itself(machine: Sshd) -> None:
    connection, seen = opened(table(machine))
    code = "import sysconfig as s; print(s.get_config_var('SOABI'), s.get_platform())"
    done = connection.run([seen.python, "-I", "-c", code])
    connection.close()
    assert done.stdout.decode().split() == [seen.soabi, seen.platform]


def test_no_qemu(machine: Sshd, bin_there: Path) -> None:
    (bin_there / "qemu-system-x86_64").unlink()
    error = refused(machine, MachineError)
    assert error.what == "the host lacks qemu-system-x86_64"


def test_no_space(machine: Sshd, bin_there: Path) -> None:
    play(
        bin_there,
        "class Full: f_bavail, f_frsize, f_flag = 1, 4096, 0\nos.statvfs = lambda path: Full",
    )
    assert "no space is left" in refused(machine, MachineError).what


def test_a_cache_that_cannot_be_made(machine: Sshd) -> None:
    error = refused(machine, MachineError, cache="/dev/null/cache")
    assert error.what == "the cache on the host cannot be used"


def test_a_clock_that_is_years_off(machine: Sshd, bin_there: Path) -> None:
    play(bin_there, "time.time = lambda: now() - 3 * 365 * 86400")
    error = refused(machine, MachineError)
    assert error.what == "the clock of the host is wrong"
    assert error.why == "it is 1095 days behind"


@pytest.mark.parametrize("text", ["", "@host", "a b", "-oProxyCommand=x", "h:0", "h:x", "h\n"])
def test_what_is_no_machine(text: str, home: Path) -> None:
    with pytest.raises(UserError, match="this is not a machine"):
        Connection.open(Login("big", text))


WORDS = ["", "a b", "'", '"', "$(id)", "`id`", "\\", "*", "~", ";", "\n", "ü", "-x", "a'b\"c"]


def test_words_arrive_as_they_are(machine: Sshd) -> None:
    connection, site = opened(table(machine))
    code = "import os, sys; os.write(1, b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
    done = connection.run([site.python, "-I", "-c", code, *WORDS])
    connection.close()
    assert done.stdout.split(b"\0") == [word.encode() for word in WORDS]
    with pytest.raises(UserError, match="NUL"):
        command_line(["a\0b"])


def test_a_command_that_does_not_end_is_left(machine: Sshd, bin_there: Path) -> None:
    (bin_there / "sleep").symlink_to("/usr/bin/sleep")
    connection, _ = opened(table(machine))
    with pytest.raises(MachineError) as caught:
        connection.run(["sleep", "60"], limit_s=0.5)
    connection.close()
    assert "no end within" in caught.value.why


def test_a_jump_host_must_be_known_as_well(machine: Sshd, tmp_path: Path) -> None:
    with sshd(tmp_path / "jump", machine.home) as jump:
        where = f"{jump.ssh}:{jump.port}"
        assert probe(machine, jump=where).python
        machine.trust()
        known = machine.home / ".ssh" / "known_hosts"
        kept = [line for line in known.read_text().splitlines() if str(jump.port) not in line]
        known.write_text("\n".join(kept) + "\n")
        assert "is not known" in refused(machine, UserError, jump=where).what


def test_the_users_ssh_config_is_honoured(machine: Sshd) -> None:
    (machine.home / ".ssh" / "config").write_text(
        f"Host nick\n  HostName 127.0.0.1\n  Port {machine.port}\n  User {machine.user}\n"
        "  ForwardAgent yes\n"
    )
    connection, site = opened(HostTable(ssh="nick", cache=str(machine.root / "cache")))
    done = connection.run([site.python, "-I", "-c", "import os; print(os.environ)"])
    connection.close()
    assert b"SSH_AUTH_SOCK" not in done.stdout
    assert b"DISPLAY" not in done.stdout


@pytest.fixture
def agent(tmp_path: Path, machine: Sshd, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An agent that has the user's key; no file has it any more."""
    key, socket = machine.identity, tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE) as made:
        try:
            monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
            assert made.stdout
            made.stdout.readline()
            subprocess.run(["ssh-add", "-q", str(key)], check=True, capture_output=True)
            key.unlink()
            yield
        finally:
            made.kill()


def test_an_agent_is_asked_and_is_not_forwarded(machine: Sshd, agent: None) -> None:
    config = f"Host 127.0.0.1\n  Port {machine.port}\n  ForwardAgent yes\n  ForwardX11 yes\n"
    (machine.home / ".ssh" / "config").write_text(config)
    connection, site = opened(table(machine))
    done = connection.run([site.python, "-I", "-c", "import os; print(os.environ)"])
    connection.close()
    assert b"SSH_CONNECTION" in done.stdout
    assert b"SSH_AUTH_SOCK" not in done.stdout
    assert b"DISPLAY" not in done.stdout


def test_without_the_agent_that_key_is_refused(
    machine: Sshd, agent: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK")
    assert refused(machine, UserError).what == "you have no key for the host"


def test_a_certificate_is_used(tmp_path: Path, home: Path, bin_there: Path) -> None:
    keygen(tmp_path / "authority")
    more = f"TrustedUserCAKeys {tmp_path}/authority.pub\nSetEnv PATH={bin_there} HOME={tmp_path}"
    with sshd(tmp_path / "machine", home, more=more) as machine:
        (machine.root / "authorized_keys").write_text("")
        identity = str(machine.identity)
        assert refused(machine, UserError, identity=identity).what == "the host refuses you"
        sign = ["ssh-keygen", "-q", "-s", str(tmp_path / "authority"), "-I", "me"]
        subprocess.run([*sign, "-n", machine.user, f"{identity}.pub"], check=True)
        assert probe(machine, identity=identity).python


def test_another_python_for_which_no_library_can_be_had(
    machine: Sshd, bin_there: Path, home: Path, tmp_path: Path
) -> None:
    play(
        bin_there,
        "import importlib.machinery as machinery\n"
        'machinery.EXTENSION_SUFFIXES = [".cpython-399-x.so"]',
    )
    config = home / ".config" / "pip"
    config.mkdir(parents=True)
    (config / "pip.conf").write_text("[global]\nno-index = true\n")
    context = Context(Store(tmp_path / "here"), Quiet())
    with pytest.raises(MachineError) as caught:
        ssh.diagnose("big", table(machine), context, quick=True)
    assert caught.value.what == "the host has another Python, and no msgspec for it can be had"
    assert "cpython-399" in caught.value.where
    assert "python = " in caught.value.hint


def test_a_worker_may_take_long_to_load(
    machine: Sshd, bin_there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that has spoken once shows each second that it lives, and not before."""
    monkeypatch.setattr(ssh, "_STALL_S", 2.0)
    (bin_there / "env").unlink()
    slow = 'case "$*" in *worker) /usr/bin/sleep 4 ;; esac'
    (bin_there / "env").write_text(f'#!/bin/sh\n{slow}\nexec /usr/bin/env "$@"\n')
    (bin_there / "env").chmod(0o755)
    context = Context(Store(tmp_path / "here"), Quiet())

    async def go() -> None:
        worker = await ssh.connect("big", table(machine), context)
        await asyncio.sleep(3)
        assert worker.lost == ""
        await worker.close()

    asyncio.run(go())


def test_a_worker_needs_nothing_but_what_is_shipped(tmp_path: Path) -> None:
    soabi, platform = sysconfig.get_config_var("SOABI"), sysconfig.get_platform()
    packed, _ = ship.archive(Context(Store(tmp_path / "cache"), Quiet()), soabi, platform)
    there = tmp_path / "there"
    there.mkdir()
    shutil.unpack_archive(packed, there)
    from harness.proc.process import capture

    argv = [sys.executable, "-I", "-S", str(there / "start.py"), "worker"]
    env = {"PATH": os.environ["PATH"], "HARNESS_CACHE": str(tmp_path / "other")}
    done = capture(argv, env=env, limit_s=60)
    assert done.status == 0, done.stderr
    assert done.stdout.startswith(b"\nharness-worker 1\n")
    doctor = capture([*argv, "--doctor", "--quick"], env=env, limit_s=120)
    assert doctor.status == 0, doctor.stderr
    assert b'"name": "qemu"' in doctor.stdout


def test_a_worker_loads_nothing_that_only_builds_need() -> None:
    """Each run on a host waits for what it loads."""
    code = "import sys, harness.cli.worker, harness.lab.worker; print(*sys.modules)"
    argv = [sys.executable, "-I", "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    rooms = {name.split(".")[1] for name in done.stdout.split() if name.startswith("harness.")}
    assert not rooms & {"series", "report", "run", "shell", "doctor"}
    assert not {"paramiko", "fabric", "distributed", "rich"} & {*done.stdout.split()}

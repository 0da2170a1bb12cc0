# SPDX-License-Identifier: GPL-2.0-only
"""Debian's sshd on a free port of the loopback interface, with keys of its own."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {root}/host_key
PidFile none
AuthorizedKeysFile {root}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 100
MaxSessions 100
Subsystem sftp internal-sftp
{more}
"""


@dataclass
class Sshd:
    """A machine that is this one: its sshd, and a home whose user may log in there."""

    root: Path
    home: Path
    port: int
    more: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def user(self) -> str:
        return pwd.getpwuid(os.getuid()).pw_name

    @property
    def ssh(self) -> str:
        return f"{self.user}@127.0.0.1"

    @property
    def log(self) -> str:
        return (self.root / "sshd.log").read_text(errors="replace")

    def table(self, name: str, **more: object) -> str:
        """Return a table of a project file for this machine."""
        lines = [f"[hosts.{name}]", f'ssh = "{self.ssh}"', f"port = {self.port}"]
        lines += [f'cache = "{self.root / "cache"}"']
        lines += [f"{key} = {value!r}" for key, value in more.items()]
        return "\n".join(lines) + "\n"

    def start(self) -> None:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        (self.root / "sshd_config").write_text(
            _CONFIG.format(root=self.root, port=self.port, more=self.more)
        )
        with (self.root / "sshd.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["/usr/sbin/sshd", "-D", "-e", "-f", str(self.root / "sshd_config")],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                # As a machine has it, without what this user has set.
                env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
            )
        end = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.02)

    def sessions(self) -> list[int]:
        """Return the processes that serve connections."""
        assert self.process
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(each) for each in children.read_text().split()]

    def cut(self) -> None:
        """Kill what serves connections, as a machine that loses power does."""
        for pid in self.sessions():
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                _kill(int(child))
            _kill(pid)

    def stop(self) -> None:
        """Kill sshd, and what serves connections."""
        if self.process:
            self.cut()
            self.process.kill()
            self.process.wait()
            self.process = None

    def trust(self) -> None:
        """Put the host's key among those that the home's user knows."""
        key = (self.root / "host_key.pub").read_text().split()
        known = self.home / ".ssh" / "known_hosts"
        with known.open("a") as file:
            file.write(f"[127.0.0.1]:{self.port} {key[0]} {key[1]}\n")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def keygen(path: Path) -> None:
    """Make a pair of keys."""
    path.unlink(missing_ok=True)
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


def free_port() -> int:
    """Return a port that was free just now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def sshd(root: Path, home: Path, more: str = "") -> Iterator[Sshd]:
    """Run a machine with its files below *root*, which the user of *home* may log in to."""
    root.mkdir()
    (home / ".ssh").mkdir(mode=0o700, parents=True, exist_ok=True)
    keygen(root / "host_key")
    if not (home / ".ssh" / "id_ed25519").exists():
        keygen(home / ".ssh" / "id_ed25519")
    (root / "authorized_keys").write_text((home / ".ssh" / "id_ed25519.pub").read_text())
    machine = Sshd(root, home, free_port(), more)
    machine.trust()
    machine.start()
    try:
        yield machine
    finally:
        machine.stop()

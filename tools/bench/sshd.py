# SPDX-License-Identifier: GPL-2.0-only
"""Debian's sshd with keys of its own: on the loopback interface, or in a network namespace.

So that this machine is another one as well, for ``make bench`` and for tests.
"""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import MachineError
from harness.proc.ssh import fingerprint

LOOPBACK = "127.0.0.1"
_SSHD = Path("/usr/sbin/sshd")
_START_S = 10.0
_CONFIG = """\
ListenAddress {address}
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
"""


@dataclass
class Sshd:
    """A machine that is this one: its sshd, and a home whose user may log in there."""

    root: Path
    """Its files: keys, log, and the cache of the harness."""
    home: Path
    port: int
    more: str = ""
    """Lines of its configuration, some in place of its usual ones."""
    address: str = LOOPBACK
    within: tuple[str, ...] = ()
    """Words before its command, such as those that enter a network namespace."""
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def user(self) -> str:
        return pwd.getpwuid(os.getuid()).pw_name

    @property
    def ssh(self) -> str:
        return f"{self.user}@{self.address}"

    @property
    def cache(self) -> Path:
        """The cache of the harness there."""
        return self.root / "cache"

    @property
    def identity(self) -> Path:
        """The private key of the user who may log in."""
        return self.home / ".ssh" / "id_ed25519"

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its key."""
        return fingerprint(b64decode((self.root / "host_key.pub").read_text().split()[1]))

    @property
    def log(self) -> str:
        return (self.root / "sshd.log").read_text(errors="replace")

    def table(self, name: str, **more: object) -> str:
        """Return a table of a project file for this machine."""
        lines = [f"[hosts.{name}]", f'ssh = "{self.ssh}"', f"port = {self.port}"]
        lines += [f'cache = "{self.cache}"']
        lines += [f"{key} = {value!r}" for key, value in more.items()]
        return "\n".join(lines) + "\n"

    def start(self) -> None:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        own = {line.split()[0] for line in self.more.splitlines() if line}
        usual = _CONFIG.format(root=self.root, port=self.port, address=self.address).splitlines()
        lines = [self.more, *(line for line in usual if line.split()[0] not in own)]
        (self.root / "sshd_config").write_text("\n".join(lines) + "\n")
        with (self.root / "sshd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.within, str(_SSHD), "-D", "-e", "-f", str(self.root / "sshd_config")],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                # As a machine has it, without what this user has set.
                env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
            )
        end = time.monotonic() + _START_S
        while True:
            where = (self.address, self.port)
            with suppress(OSError), socket.create_connection(where, timeout=1.0):
                return
            if self.process.poll() is not None or time.monotonic() > end:
                raise MachineError("sshd does not start", where=str(self.root), why=self.log)
            time.sleep(0.02)

    def sessions(self) -> list[int]:
        """Return the processes that serve connections."""
        return _children(self.process.pid) if self.process else []

    def cut(self) -> None:
        """Kill what serves connections, as a machine that loses power does."""
        for pid in self.sessions():
            for child in _children(pid):
                _kill(child)
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
            file.write(f"[{self.address}]:{self.port} {key[0]} {key[1]}\n")


def _children(pid: int) -> list[int]:
    """Return the children of a process; none where it is gone."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(each) for each in text.split()]


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
        taken.bind((LOOPBACK, 0))
        port: int = taken.getsockname()[1]
        return port


def check_sshd() -> None:
    """Raise MachineError if there is no sshd."""
    if not _SSHD.exists():
        raise MachineError(
            "there is no sshd to play another machine",
            where=str(_SSHD),
            hint="scripts/setup.sh sshd",
        )


@contextmanager
def sshd(
    root: Path,
    home: Path,
    more: str = "",
    *,
    address: str = LOOPBACK,
    within: tuple[str, ...] = (),
) -> Iterator[Sshd]:
    """Run a machine with its files below *root*, which the user of *home* may log in to."""
    check_sshd()
    root.mkdir()
    (home / ".ssh").mkdir(mode=0o700, parents=True, exist_ok=True)
    keygen(root / "host_key")
    if not (home / ".ssh" / "id_ed25519").exists():
        keygen(home / ".ssh" / "id_ed25519")
    (root / "authorized_keys").write_text((home / ".ssh" / "id_ed25519.pub").read_text())
    machine = Sshd(root, home, free_port(), more, address, within)
    machine.trust()
    machine.start()
    try:
        yield machine
    finally:
        machine.stop()

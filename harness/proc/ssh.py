# SPDX-License-Identifier: GPL-2.0-only
"""Access to other machines over SSH; all of it goes through this module.

fabric reads the user's ``ssh_config`` and makes the connection.  By default it accepts every host
key and waits for an hour without an answer.  Here a key must be known, each step has a limit, and
neither the agent nor X11 is forwarded.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import os
import shlex
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from harness.digest import DigestingSink, Write
from harness.errors import HarnessError, MachineError, UserError
from harness.proc.process import Captured

if TYPE_CHECKING:
    import paramiko

CONNECT_S = 15.0
_AUTH_S = 30.0
_CHANNEL_S = 20.0
_KEEPALIVE_S = 5
_BLOCK = 1 << 18
_MOST_OUTPUT = 16 << 20
_WINDOW = 8 << 20
_SESSION_TRIES = 10
_SESSION_S = 0.2
_SHELL = """sh -c 'IFS= read -r l && eval "$l"'"""
"""The only command that a login shell is given: the same to csh, fish and all others.  The words
of the real one come as a line of the input, which sh reads to its end and not beyond."""
# It logs what fails, with a traceback; what that means is told by the errors here.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
_NO_KEY = "No authentication methods available"
"""paramiko has no class of its own for that."""


class Login(msgspec.Struct, frozen=True):
    """How a machine is reached."""

    name: str
    """What the project file calls it."""
    ssh: str
    """``user@host:port``; what it does not say, ``ssh_config`` does."""
    port: int | None = None
    identity: str = ""
    """The private key; empty is what ``ssh_config``, the agent and the usual files have."""
    jump: str = ""
    """A machine through which it is reached, written as ``ssh``."""
    host_key: str = ""
    """The fingerprint of its key, where that is not in ``known_hosts``."""

    @property
    def where(self) -> str:
        """The place in the project file."""
        return f"[hosts.{self.name}] ssh = {self.ssh}"


def command_line(argv: Sequence[str]) -> bytes:
    """Return a line of which POSIX's sh makes these words, and runs them in its place.

    Raises UserError for a word that no command line can have.
    """
    for word in argv:
        if "\0" in word:
            raise UserError("a word of a command has a NUL byte", where=repr(word))
    words = " ".join(shlex.quote(word).replace("\n", "'\"$n\"'") for word in argv)
    # The end of the substitution would lose an end of line that comes last.
    return os.fsencode(f"n=$(printf '\\012.'); n=${{n%.}}; exec {words}\n")


class _Input:
    """The standard input of a command there, as a sink."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def write(self, data: bytes | memoryview, /) -> None:
        self._channel.sendall(bytes(data))


class Connection:
    """A connection to the host *name*; made by :meth:`open`.

    Its methods block; each raises MachineError where the connection fails.
    """

    def __init__(self, name: str, made: Any, login: Login | None = None) -> None:
        self.name = name
        self._made = made
        self._login = login
        self._spare: Connection | None = None
        self._lock = threading.Lock()
        self._has_sftp = True
        transport = made.transport
        transport.set_keepalive(_KEEPALIVE_S)
        with contextlib.suppress(OSError, AttributeError):  # through a jump host it is no socket
            transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport: paramiko.Transport = transport

    @classmethod
    def open(cls, login: Login) -> Connection:
        """Connect; UserError for what the user can mend, MachineError for what the network has."""
        import fabric
        import paramiko

        user, host, port = _destination(login.ssh, login.where)
        config = fabric.Config(ssh_config=_ssh_config(), lazy=True)
        settings: dict[str, Any] = {
            "banner_timeout": CONNECT_S,
            "auth_timeout": _AUTH_S,
            "channel_timeout": _CHANNEL_S,
        }
        if login.identity:
            identity = Path(login.identity).expanduser()
            if not identity.is_file():
                raise UserError(
                    "the private key for the host is not there",
                    where=f"[hosts.{login.name}] identity = {login.identity}",
                )
            settings["key_filename"] = [str(identity)]
            # What is named is meant: an agent with many keys would use up the tries.
            settings["look_for_keys"] = False
        gateway = None
        with _told(login):
            if login.jump:
                jump_user, jump_host, jump_port = _destination(login.jump, login.where)
                gateway = fabric.Connection(
                    jump_host,
                    user=jump_user,
                    port=jump_port,
                    config=config,
                    forward_agent=False,
                    connect_timeout=CONNECT_S,
                    connect_kwargs=dict(settings),
                )
            made = fabric.Connection(
                host,
                user=user,
                port=login.port or port,
                config=config,
                gateway=gateway,
                forward_agent=False,
                connect_timeout=CONNECT_S,
                connect_kwargs=settings,
            )
            last: Any = made
            while isinstance(last, fabric.Connection):
                _check_keys(last, login, told=login.host_key if last is made else "")
                last = last.gateway
            try:
                made.open()
            except BaseException:
                with contextlib.suppress(Exception):
                    made.close()
                raise
        assert paramiko  # noqa: S101  what it raises is told above
        return cls(login.name, made, login)

    @property
    def alive(self) -> bool:
        """Whether the connection is there, as far as that is known."""
        return self._transport.is_active()

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", limit_s: float = _AUTH_S) -> Captured:
        """Run *argv* there with *stdin* as its input; return how it ended and what it wrote.

        Raises MachineError where *limit_s* seconds pass, or more than 16 MiB come.
        """
        channel = self.start(argv)
        try:
            channel.settimeout(limit_s)
            _feed(channel, stdin)
            if not channel.closed:
                channel.shutdown_write()
        except OSError as error:
            channel.close()
            raise self._trouble(f"the connection is lost: {error}", argv) from error
        return self.finish(channel, argv, limit_s=limit_s)

    def finish(
        self, channel: paramiko.Channel, argv: Sequence[str], *, limit_s: float = _AUTH_S
    ) -> Captured:
        """Return how what was started with *argv* ends, and what it has written up to then.

        Raises MachineError as :meth:`run`.
        """
        end = time.monotonic() + limit_s
        out, err = bytearray(), bytearray()
        try:
            for said, receive in ((out, channel.recv), (err, channel.recv_stderr)):
                while True:
                    channel.settimeout(max(0.01, end - time.monotonic()))
                    data = receive(_BLOCK)
                    if not data:
                        break
                    said += data
                    if len(said) > _MOST_OUTPUT:
                        raise self._trouble("it writes too much", argv)
            channel.status_event.wait(max(0.01, end - time.monotonic()))
            if not channel.exit_status_ready():
                raise self._trouble("it has closed its output and does not end", argv)
            status = channel.recv_exit_status()
        except TimeoutError:
            raise self._trouble(f"no end within {limit_s:.0f} s", argv) from None
        except (OSError, EOFError) as error:
            raise self._trouble(f"the connection is lost: {error}", argv) from error
        finally:
            channel.close()
        return Captured(tuple(argv), status, bytes(out), bytes(err))

    def start(self, argv: Sequence[str]) -> paramiko.Channel:
        """Start *argv* there, and return the channel to its standard input and output."""
        import paramiko

        line = command_line(argv)
        try:
            channel = self._session()
            channel.settimeout(_CHANNEL_S)
            channel.exec_command(_SHELL)
            _feed(channel, line)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self._trouble(str(error) or "the connection is lost", argv) from error
        return channel

    def _session(self) -> paramiko.Channel:
        """Return a new session; where this connection carries no more of them, on another one."""
        import paramiko

        try:
            return self._transport.open_session(window_size=_WINDOW, timeout=_CHANNEL_S)
        except paramiko.ChannelException:
            # MaxSessions of its sshd.
            if self._login is None:
                raise
        with self._lock:
            if self._spare is None or not self._spare.alive:
                self._spare = Connection.open(self._login)
                self._spare._login = None
        for left in reversed(range(_SESSION_TRIES)):
            with contextlib.suppress(paramiko.ChannelException):
                return self._spare._session()
            # The last one may not be over for the other side.
            time.sleep(_SESSION_S if left else 0)
        raise paramiko.SSHException("the host allows no further session (MaxSessions of its sshd)")

    def put(self, write: Write, name: str) -> DigestingSink:
        """Write the file *name* there, by SFTP if there is that; return size and digest of it.

        Raises OSError where that fails.
        """
        import paramiko

        try:
            with self._sftp() as sftp:
                if sftp is None:
                    return self._pipe(write, name)
                with sftp.open(name, "wb") as file:
                    # Many blocks are under way: what failed shows at the end.
                    file.set_pipelined(True)
                    sink = DigestingSink(file)
                    write(sink)
                if sftp.stat(name).st_size != sink.size:
                    raise OSError(f"{name} is incomplete")
                return sink
        except (paramiko.SSHException, paramiko.SFTPError, EOFError) as error:
            raise OSError(str(error) or "the connection is lost") from error

    @contextmanager
    def _sftp(self) -> Iterator[paramiko.SFTPClient | None]:
        """Yield SFTP; None where the host has none, or its login shell prints something into it."""
        import paramiko

        sftp = None
        if self._has_sftp:
            channel = self._session()
            try:
                channel.invoke_subsystem("sftp")
                sftp = paramiko.SFTPClient(channel)
            except (paramiko.SSHException, paramiko.SFTPError, EOFError, OSError) as error:
                channel.close()
                if not self.alive or isinstance(error, TimeoutError):
                    raise
                self._has_sftp = False
        if sftp is None:
            yield None
            return
        with sftp:
            channel.settimeout(_CHANNEL_S)
            yield sftp

    def _pipe(self, write: Write, name: str) -> DigestingSink:
        """Write the file *name* there by a command; raises OSError where that fails."""
        argv = ["sh", "-c", 'cat >"$1"', "sh", name]
        broken: OSError | None = None
        try:
            channel = self.start(argv)
            sink = DigestingSink(_Input(channel))
            try:
                write(sink)
            except OSError as error:
                broken = error
            with contextlib.suppress(OSError):
                channel.shutdown_write()
            done = self.finish(channel, argv)
        except MachineError as error:
            raise OSError(error.why) from error
        if broken is not None or not done.ok:
            # What cat says tells more than that it has ended.
            raise OSError(done.stderr.decode(errors="replace").strip() or str(broken))
        return sink

    def close(self) -> None:
        """End the connection; harmless when that was done."""
        if self._spare is not None:
            self._spare.close()
        # First what blocks nothing: fabric closes what is inside one after the other.
        with contextlib.suppress(Exception):
            self._transport.close()
        with contextlib.suppress(Exception):
            self._made.close()
        gateway = getattr(self._made, "gateway", None)
        if gateway is not None and hasattr(gateway, "close"):
            with contextlib.suppress(Exception):
                gateway.close()

    def _trouble(self, why: str, argv: Sequence[str]) -> MachineError:
        return MachineError(
            "a command on another machine has failed",
            where=f"host {self.name}: {' '.join(argv)[:200]}",
            why=why,
        )


def _feed(channel: paramiko.Channel, data: bytes) -> None:
    """Send *data*, if the command does not end before it has read it.

    What it has said by then, and how it ended, is left to be read.
    """
    try:
        channel.sendall(data)
    except TimeoutError:
        raise
    except OSError:
        if not (channel.closed and channel.get_transport().is_active()):
            raise


def fingerprint(key: bytes) -> str:
    """Return the fingerprint of a public key, as ``ssh-keygen -l`` shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def _destination(text: str, where: str) -> tuple[str | None, str, int | None]:
    """Return user, host and port of ``user@host:port``, None for what it does not say."""
    user, at, place = text.rpartition("@")
    host, colon, port = place, "", ""
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        colon, port = rest[:1], rest[1:]
    elif place.count(":") == 1:
        host, colon, port = place.partition(":")
    good = host and not host.startswith("-") and (not at or user)
    good = good and (not colon or (port.isdecimal() and 0 < int(port) < 65536))
    if not good or any(each.isspace() or not each.isprintable() for each in text):
        raise UserError(
            "this is not a machine", where=where, why=repr(text), hint='write "user@host" or "host"'
        )
    return user or None, host, int(port) if port else None


def _ssh_config() -> Any:
    import paramiko

    config = paramiko.SSHConfig()
    for path in (Path.home() / ".ssh" / "config", Path("/etc/ssh/ssh_config")):
        try:
            with path.open(encoding="utf-8") as file:
                config.parse(file)
        except OSError:
            continue
        except Exception as error:
            raise UserError(
                "the configuration of ssh cannot be read", where=str(path), why=str(error)
            ) from None
    return config


def _check_keys(made: Any, login: Login, *, told: str) -> None:
    """Have a connection refuse a host whose key is not known, nor the one that was *told*."""
    import paramiko

    client = made.client

    class Refuse(paramiko.MissingHostKeyPolicy):
        def missing_host_key(
            self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
        ) -> None:
            shown = fingerprint(key.asbytes())
            if told and shown == told:
                return
            hint = f'ssh once by hand and compare; or, if it is the right one, host_key = "{shown}"'
            raise UserError(
                "the key of the host is not known"
                if not told
                else "the key of the host is not the one that is expected",
                where=f"[hosts.{login.name}] {hostname}",
                why=f"it shows {key.get_name()} {shown}" + (f", expected {told}" if told else ""),
                hint=hint if not told else "ask who runs the host before you change host_key",
            )

    client.set_missing_host_key_policy(Refuse())
    found = made.ssh_config.get("userknownhostsfile", "~/.ssh/known_hosts").split()
    for each in (*found, "/etc/ssh/ssh_known_hosts"):
        path = Path(each).expanduser()
        if path.is_file():
            try:
                client.load_system_host_keys(str(path))
            except Exception as error:
                raise UserError(
                    "known keys of hosts cannot be read", where=str(path), why=str(error)
                ) from None


@contextmanager
def _told(login: Login) -> Iterator[None]:
    """Convert exceptions of a connection attempt to errors of the harness."""
    import paramiko
    from paramiko.ssh_exception import NoValidConnectionsError

    where = login.where
    try:
        yield
    except HarnessError:
        raise
    except paramiko.BadHostKeyException as error:
        raise UserError(
            "the key of the host has changed",
            where=where,
            why=f"it shows {fingerprint(error.key.asbytes())}, "
            f"known is {fingerprint(error.expected_key.asbytes())}: "
            "it was reinstalled, or another machine answers in its place",
            hint=f"ask who runs it; then forget the old key: ssh-keygen -R '{error.hostname}'",
        ) from None
    except paramiko.PasswordRequiredException as error:
        raise UserError(
            "the private key for the host has a passphrase",
            where=where,
            why=str(error),
            hint="add it to your agent: ssh-add",
        ) from None
    except paramiko.AuthenticationException as error:
        raise UserError(
            "the host refuses you",
            where=where,
            why=str(error),
            hint="try: ssh " + login.ssh + "; name the key with identity, or add it: ssh-add",
        ) from None
    except socket.gaierror as error:
        raise UserError(
            "the name of the host is not known",
            where=where,
            why=error.strerror or str(error),
            hint="check the spelling: it must be in ~/.ssh/config or in the DNS",
        ) from None
    except NoValidConnectionsError as error:
        raise MachineError(
            "the host does not answer",
            where=where,
            why=str(error),
            hint="check that the host and its sshd are running, and that the port is right",
        ) from None
    except (paramiko.SSHException, OSError, EOFError, ValueError) as error:
        if _NO_KEY in str(error):
            raise UserError(
                "you have no key for the host",
                where=where,
                why="there is none in your agent, in ~/.ssh, or as identity",
                hint=f"make one: ssh-keygen; give it to the host: ssh-copy-id {login.ssh}",
            ) from None
        what = "the host does not answer in time" if _is_timeout(error) else "no connection is made"
        raise MachineError(
            what, where=where, why=str(error) or type(error).__name__, hint=f"try: ssh {login.ssh}"
        ) from None


def _is_timeout(error: Exception) -> bool:
    return isinstance(error, TimeoutError)

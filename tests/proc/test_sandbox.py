# SPDX-License-Identifier: GPL-2.0-only
"""What a stranger's command sees and may use, and what becomes of it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.errors import MachineError, UserError
from harness.proc import process, sandbox
from harness.proc.process import capture, run
from harness.proc.sandbox import Cell, Limits, Sandbox

pytestmark = [pytest.mark.unit, pytest.mark.slow]


def sh(script: str, inside: Sandbox, limit_s: float = 60) -> process.Completed:
    return run(["sh", "-c", script], sandbox=inside, limit_s=limit_s)


def groups() -> list[Path]:
    return list(Path("/sys/fs/cgroup").rglob(f"{sandbox._CELL}{os.getpid()}-*"))


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    assert groups() == []


def test_home_and_other_files_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "canary").write_text("secret")
    done = sh(
        f"ls -A {Path.home()} /home /root /etc/shadow /etc/passwd {tmp_path};cat {tmp_path}/canary",
        Sandbox(),
    )
    assert "secret" not in done.output
    assert done.output.count("No such file or directory") == 7
    assert sandbox.denied(f"cat: {Path.home()}/canary: No such file or directory")


def test_only_what_is_writable_can_be_written(tmp_path: Path) -> None:
    seen, mine = tmp_path / "seen", tmp_path / "mine"
    seen.mkdir()
    mine.mkdir()
    (seen / "file").write_text("to be read")
    done = sh(
        f"cat {seen}/file; echo x >{seen}/new; echo x >{seen}/file; rm {seen}/file;"
        f"echo y >{mine}/new;"
        "echo x >/usr/bin/x; echo x >/x; echo x >/dev/x; mv /usr/bin/gcc /tmp; chmod 777 /usr",
        Sandbox((seen,), (mine,)),
    )
    assert "to be read" in done.output
    assert done.output.count("Read-only file system") == 8
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "mine", "new", "seen"]
    assert (mine / "new").read_text() == "y\n"


def test_there_is_no_network_and_no_other_process(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
        done = run(["/usr/bin/python3", "-c", script], sandbox=Sandbox(), limit_s=30)
        assert not done.ok
        assert "Connection refused" in done.output or "unreachable" in done.output
    done = sh(f"ls /proc; kill -0 {os.getpid()} 2>&1", Sandbox())
    assert str(os.getpid()) not in done.output.split()


def test_namespaces_rights_and_tmp_are_its_own() -> None:
    names = ("user", "pid", "net", "ipc", "uts", "mnt")
    ask = " ".join(f"/proc/self/ns/{name}" for name in names)
    done = sh(
        f"readlink {ask}; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; ls -A /tmp",
        Sandbox(),
    )
    rows = done.output.splitlines()
    assert not set(rows) & {str(Path("/proc/self/ns", name).readlink()) for name in names}
    assert [row.split()[1].strip("0") for row in rows[len(names) :]] == ["", "", "1"]
    assert "unshare failed" in sh("unshare -U true", Sandbox()).output


def test_a_fork_bomb_is_stopped_and_named() -> None:
    begun = time.monotonic()
    with pytest.raises(UserError, match="sandbox killed") as caught:
        sh("f() { f | f & }; f; sleep 1000", Sandbox(limits=Limits(processes=100)), limit_s=300)
    assert "more than 100 processes" in caught.value.why
    assert "--trust own" in caught.value.hint
    assert time.monotonic() - begun < 200


def test_memory_is_limited_together_and_named() -> None:
    hold = "perl -e 'my $x = q(a) x (80 << 20); sleep 100'"
    inside = Sandbox(limits=Limits(memory_bytes=256 << 20))
    with pytest.raises(UserError) as caught:
        sh(f"for i in 1 2 3 4; do {hold} & done; wait", inside, limit_s=90)
    assert "of memory" in caught.value.why or "did not end" in caught.value.why


def test_a_large_file_is_stopped_and_named() -> None:
    inside = Sandbox(limits=Limits(file_bytes=1 << 20))
    with pytest.raises(UserError) as caught:
        sh("head -c 3000000 /dev/zero >/tmp/x", inside)
    assert "wrote a file of more than" in caught.value.why


@pytest.mark.parametrize("call", [run, capture])
@pytest.mark.parametrize(
    "script", ["yes", "cat /dev/zero", "cat /dev/zero >&2", "yes & yes >&2; exit 0"]
)
def test_endless_output_is_stopped_and_named(
    call: Callable[..., object], script: str, tmp_path: Path
) -> None:
    """What it prints is kept by the harness, in its memory and in the build's log."""
    inside = Sandbox(limits=Limits(output_bytes=8 << 20))
    log = {"log": tmp_path / "log"} if call is run else {}
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="sandbox killed") as caught:
            call(["sh", "-c", script], sandbox=inside, limit_s=60, **log)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert "it printed more than 8 MiB" in caught.value.why
    assert not log or log["log"].stat().st_size < 9 << 20


def test_a_program_that_closes_its_input_or_reads_slowly_is_captured() -> None:
    data = b"x" * (5 << 20)
    for inside in (None, Sandbox()):
        assert capture(["true"], stdin=data, sandbox=inside).status == 0
        script = "sleep 0.3; cat"
        done = capture(["sh", "-c", script], stdin=data, sandbox=inside)
        assert (done.status, done.stdout == data) == (0, True)
        assert capture(["cat"], stdin=b"", sandbox=inside).stdout == b""


def test_a_strangers_endless_program_is_his_fault_and_not_the_machines() -> None:
    for call in (run, capture):
        with pytest.raises(UserError) as caught:
            call(["sleep", "1000"], sandbox=Sandbox(), limit_s=2)
        assert "did not end within 2 s" in caught.value.why


def test_what_a_stranger_says_of_the_disk_is_no_evidence() -> None:
    script = "echo 'No space left on device'; exit 1"
    assert sh(script, Sandbox()).status == 1
    with pytest.raises(MachineError):
        run(["sh", "-c", script])


def test_capture_keeps_its_two_outputs_and_input() -> None:
    done = capture(["sh", "-c", "cat; echo bad >&2; exit 3"], stdin=b"in", sandbox=Sandbox())
    assert (done.status, done.stdout, done.stderr) == (3, b"in", b"bad\n")


def test_nothing_outlives_the_command(tmp_path: Path) -> None:
    sh(f"setsid sh -c 'sleep 3; echo late >{tmp_path}/late' & exit 0", Sandbox((), (tmp_path,)))
    time.sleep(4)
    assert not (tmp_path / "late").exists()


def test_without_bubblewrap_the_error_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "find", lambda name: None if name == "bwrap" else name)
    with pytest.raises(MachineError) as caught:
        process.need_sandbox()
    assert "bubblewrap is not installed" in caught.value.why
    assert "--trust own" in caught.value.hint


def test_root_without_cgroups_has_no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(sandbox, "_hierarchies", dict)
    with pytest.raises(MachineError) as caught:
        Cell.open(Sandbox())
    assert "as root only a cgroup limits processes" in caught.value.why


def test_where_namespaces_are_forbidden_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    argv = Sandbox.argv

    def broken(self: Sandbox, words: list[str], cwd: Path | None) -> list[str]:
        return ["sh", "-c", "echo 'bwrap: No permissions to create new namespace' >&2; exit 1"]

    monkeypatch.setattr(Sandbox, "argv", broken)
    assert "No permissions to create new namespace" in process.why_no_sandbox()
    monkeypatch.setattr(Sandbox, "argv", argv)
    assert process.why_no_sandbox() == ""


def test_another_compiler_on_the_path_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gcc = tmp_path / "gcc"
    gcc.write_text("#!/bin/sh\necho mine\n")
    gcc.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "other").write_text("secret")
    assert run(["gcc"], sandbox=Sandbox()).output == "mine"
    assert not run(["cat", str(tmp_path / "other")], sandbox=Sandbox()).ok


def test_processes_of_another_user_than_root_are_limited_without_a_cgroup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_another = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    prefix = [] if os.getuid() else as_another
    monkeypatch.setattr(os, "getuid", lambda: 65534)
    script = "for i in $(seq 60); do sleep 5 & done; wait"
    argv = Sandbox(limits=Limits(processes=20)).argv(["sh", "-c", script], None)
    done = subprocess.run(
        [*prefix, *argv], capture_output=True, text=True, timeout=60, check=False, cwd="/"
    )
    assert "annot fork" in done.stderr or "temporarily unavailable" in done.stderr, done.stderr
    assert Cell(Sandbox(), ()).blamed(done.stderr).startswith("it started more than")


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes control groups")
def test_groups_of_the_dead_are_swept_and_new_ones_of_another_namespace_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    (mount, *_) = dict.fromkeys(sandbox._hierarchies().values())
    group = mount / f"{sandbox._CELL}{ended.pid}-1"
    group.mkdir()
    sh("true", Sandbox())
    assert group.exists()
    monkeypatch.setattr(sandbox, "_MAKING_S", 0)
    sh("true", Sandbox())
    assert not group.exists()

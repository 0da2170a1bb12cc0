# SPDX-License-Identifier: GPL-2.0-only
"""A machine with KVM, on one that has none: Debian in a guest whose processor is emulated with SVM.

It has a kernel, sshd, Python and QEMU of Debian, and an init of its own, as systemd takes a minute
there.  Needs root and debootstrap, the archive that this machine's apt uses, and 4 GiB of memory.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.bench.sshd import free_port

_PACKAGES = (
    *("openssh-server", "python3", "qemu-system-x86", "util-linux", "linux-image-amd64"),
    *("initramfs-tools", "iproute2", "kmod", "procps"),
)
_INIT = """\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /dev/pts /dev/shm /run/sshd
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
modprobe virtio_net
modprobe kvm_amd
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
hostname kvm-host
/usr/sbin/sshd -e
echo "kvm-host: up"
while :; do sleep 1000; done
"""
_SSHD = "PermitRootLogin yes\nUsePAM no\nPasswordAuthentication no\nMaxSessions 100\n"
_UP_S = 600.0
_MIB = 4096


def make_root(root: Path, archive: str, release: str) -> None:
    """Make Debian's *release* in the directory *root*."""
    argv = ["debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}"]
    subprocess.run([*argv, release, str(root), archive], check=True, capture_output=True)


def make_disk(root: Path, disk: Path, home: Path) -> None:
    """Write *root* to the file system *disk*; the user of *home* may log in to it."""
    shutil.rmtree(root / "var" / "cache" / "apt" / "archives", ignore_errors=True)
    (root / "host-init").write_text(_INIT)
    (root / "host-init").chmod(0o755)
    (root / "etc" / "ssh" / "sshd_config").write_text(_SSHD + "Subsystem sftp internal-sftp\n")
    (root / "root" / ".ssh").mkdir(mode=0o700, exist_ok=True)
    key = (home / ".ssh" / "id_ed25519.pub").read_text()
    (root / "root" / ".ssh" / "authorized_keys").write_text(key)
    argv = ["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(disk), "4G"]
    subprocess.run(argv, check=True, capture_output=True)


class KvmHost:
    """The machine, behind a port of the loopback interface."""

    def __init__(self, root: Path, disk: Path, work: Path) -> None:
        self.port = free_port()
        self.console = work / "console.log"
        (image,), (initrd,) = root.glob("boot/vmlinuz-*"), root.glob("boot/initrd.img-*")
        self.argv = [
            *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-machine", "q35"),
            # With XSAVE the kernels of guests there warn, at boot, of sizes that do not fit.
            *("-cpu", "max,-xsave", "-smp", "2", "-m", str(_MIB), "-display", "none"),
            *("-kernel", str(image), "-initrd", str(initrd), "-no-reboot", "-nodefaults"),
            *("-append", "root=/dev/vda rw init=/host-init console=ttyS0 net.ifnames=0 panic=-1"),
            *("-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"),
            *("-netdev", f"user,id=n,restrict=off,hostfwd=tcp:127.0.0.1:{self.port}-:22"),
            *("-device", "virtio-net-pci,netdev=n", "-device", "virtio-rng-pci"),
            *("-serial", f"file:{self.console}"),
        ]

    def table(self, name: str, key: str) -> str:
        """Return its table of a project file; *key* is the fingerprint of its key."""
        lines = [f"[hosts.{name}]", 'ssh = "root@127.0.0.1"', f"port = {self.port}"]
        return "\n".join([*lines, f'host_key = "{key}"', "jobs = 1"]) + "\n"

    def log(self) -> str:
        """Return what it has printed."""
        return self.console.read_text(errors="replace") if self.console.exists() else ""


@contextmanager
def running(host: KvmHost) -> Iterator[None]:
    """Start *host*, wait until its sshd answers, and kill it in the end."""
    process = subprocess.Popen(host.argv, stdin=subprocess.DEVNULL)
    try:
        end = time.monotonic() + _UP_S
        while not _answers(host.port):
            assert process.poll() is None, host.log()
            assert time.monotonic() < end, host.log()[-5000:]
            time.sleep(1)
        yield
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    """Whether an sshd sends its greeting: QEMU takes the connection before one listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as probe:
            return probe.recv(4) == b"SSH-"
    except OSError:
        return False


def archive_of_apt() -> tuple[str, str]:
    """Return the archive that this machine's apt uses, and the release of Debian that it has."""
    argv = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)"]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        found = re.fullmatch(r"(\S+) (\w+) main", line)
        if found and "security" not in found[1]:
            return found[1], found[2]
    raise AssertionError("apt has no archive of Debian")

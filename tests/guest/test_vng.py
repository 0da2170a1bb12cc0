# SPDX-License-Identifier: GPL-2.0-only
"""The vng guest: what is asked of virtme-run, and what programs meet in the guest."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from harness import project
from harness.context import Context
from harness.errors import MachineError, UserError
from harness.guest import initramfs, vng
from harness.guest.agent import build_agent
from harness.guest.machine import BootFiles, Channels, GuestConfig, MachineType
from harness.guest.qemu import GuestNotBooted
from harness.guest.vng import Virtme, VngGuest
from harness.kbuild import Kernel
from harness.kbuild.kernel import Meta
from harness.lab.templates import TemplateFactory
from harness.model.events import Accelerator, Command, How
from harness.model.spec import GuestTable, KernelSpec
from harness.progress import Quiet
from harness.run.prepare import prepare
from harness.run.request import Request
from harness.store import Store
from harness.suites import Suite
from tests.conftest import PROJECT_FILE
from tests.guest.conftest import PROBE, probe, run
from tests.guest.test_host import children_of, open_files, qemus

# What virtme-run 1.42 shows, shortened.
SHOWN = shlex.join(
    [
        *("/usr/bin/qemu", "-m", "512M"),
        *("-fsdev", "local,id=virtfs3,path=/,security_model=none,readonly=on"),
        *("-device", "virtio-9p-pci,fsdev=virtfs3,mount_tag=/dev/root"),
        *("-machine", "q35", "-cpu", "max", "-net", "none", "-smp", "2"),
        *("-serial", "chardev:console", "-chardev", "file,id=console,path=/proc/self/fd/2"),
        *("-chardev", "stdio,id=stdin,signal=on,mux=off", "-device", "virtio-serial-pci"),
        *("-device", "virtserialport,name=virtme.stdin,chardev=stdin"),
        *("-chardev", "file,id=ret,path=/tmp/virtme_ret1"),
        *("-no-reboot", "-kernel", "/k/bzImage"),
        *("-append", "quiet virtme.exec=`Og==` rootfstype=9p harness.virtme init=/v/virtme-init"),
    ]
)
GOOD = "".join(f"CONFIG_{name}=y\n" for name in vng.NEEDED)
CHANNELS = Channels(monitor=11, console=12, agent=13)
FILES = BootFiles(Path("/k/bzImage"), Path("/k/initramfs"))


@pytest.mark.unit
def test_the_channels_are_ours_and_the_rest_is_virtmes() -> None:
    virtme = vng.understand("virtme-run", "/usr/bin/qemu", f"a warning\n{SHOWN}\n")
    argv = vng.vng_argv(virtme, GuestConfig(), Accelerator.TCG, CHANNELS, FILES)
    text = " ".join(argv)
    assert "mount_tag=/dev/root" in text
    for unwanted in ("/proc/self/fd", "stdio", "virtme_ret", "virtme.stdin", "-no-reboot"):
        assert unwanted not in text
    assert [argv[at + 1] for at, word in enumerate(argv) if word == "-append"] == [
        "quiet virtme.exec=`Og==` rootfstype=9p harness.virtme init=/v/virtme-init"
    ]
    assert argv.count("-kernel") == argv.count("-initrd") == argv.count("-serial") == 1
    assert "socket,id=agent,fd=13" in argv
    # The last one counts, where QEMU takes one only.
    assert text.index("-machine q35 ") < text.index("-machine q35,usb=off")


@pytest.mark.unit
@pytest.mark.parametrize(
    "output",
    [
        "",
        "virtme-run: something else\n",
        SHOWN.replace("/dev/root", "ROOTFS"),
        SHOWN.replace("init=", "systemd="),
        SHOWN.replace("/usr/bin/qemu", "/opt/qemu"),
    ],
)
def test_a_command_line_that_is_not_understood_is_an_error(output: str) -> None:
    with pytest.raises(MachineError, match="unexpected command line") as error:
        vng.understand("virtme-run", "/usr/bin/qemu", output)
    assert "1.42" in error.value.hint


@pytest.mark.unit
def test_a_command_line_that_the_kernel_would_cut_is_refused() -> None:
    room = 2047 - len(vng.understand("virtme-run", "/usr/bin/qemu", SHOWN).append)
    vng.understand("virtme-run", "/usr/bin/qemu", SHOWN.replace("init=/", f"init=/{'v' * room}"))
    with pytest.raises(UserError, match="too long"):
        vng.understand(
            "virtme-run", "/usr/bin/qemu", SHOWN.replace("init=/", f"init=/v{'v' * room}")
        )


@pytest.mark.unit
def test_without_virtme_ng_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/bin/python")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MachineError, match="virtme-run is not installed") as error:
        vng.find_virtme()
    assert "pip install virtme-ng" in error.value.hint


@pytest.mark.unit
def test_a_kernel_without_9p_is_refused_before_it_boots() -> None:
    vng.check_kernel(GOOD, "config")
    with pytest.raises(UserError, match="cannot run in a vng guest") as error:
        vng.check_kernel(GOOD.replace("CONFIG_9P_FS=y", "# CONFIG_9P_FS is not set"), "config")
    assert error.value.why == "it lacks CONFIG_9P_FS=y"
    assert "net and virtme" in error.value.hint


@pytest.mark.unit
def test_a_microvm_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be a microvm"):
        vng.check_config(GuestConfig(machine=MachineType.MICROVM))


@pytest.mark.unit
@pytest.mark.parametrize(
    ("guest", "options", "message"),
    [
        (GuestTable(type="vng", machine="microvm"), GOOD, "cannot be a microvm"),
        (GuestTable(type="vng"), "CONFIG_TMPFS=y\n", "cannot run in a vng guest"),
    ],
)
def test_a_run_with_impossible_guests_ends_before_one_boots(
    tmp_path: Path, guest: GuestTable, options: str, message: str
) -> None:
    needed = {field.name: "" for field in msgspec.structs.fields(Meta) if field.required}
    meta = {**needed, "warnings": ()}
    kernel = Kernel("key", tmp_path, msgspec.convert(meta, Meta))
    kernel.config.write_text(options)
    suite = Suite(name="s", key="", path=tmp_path, programs=(), broken=(), timeout_s=None)
    maker = TemplateFactory(kernel, 1.0, Context(Store(tmp_path / "cache"), Quiet()))
    with pytest.raises(UserError, match=message):
        asyncio.run(maker.template(suite, guest))


needs_vng = pytest.mark.skipif(
    " " in sys.prefix, reason="virtme-ng cannot work from a directory whose name has a space"
)


@pytest.fixture
def poisoned_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory whose settings of virtme-ng break whoever reads them."""
    settings = tmp_path / "home" / ".config" / "virtme-ng" / "virtme-ng.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text("this is no JSON")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.unit
def test_the_users_settings_are_not_read(
    poisoned_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vng_program = str(Path(vng.find_virtme()).with_name("vng"))
    # virtme-run is not asked in a clone whose name has a space, and this one may have such a name.
    (tmp_path / "venv").symlink_to(sys.prefix)
    program = tmp_path / "virtme-run"
    python = f"{tmp_path}/venv/bin/python"
    program.write_text(f"#!{python}\nfrom virtme.commands.run import main\nmain()\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    kernel = tmp_path / "bzImage"
    kernel.write_bytes(b"no kernel")
    bitten = subprocess.run(
        [vng_program, "--dry-run", "--run", str(kernel)],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert "JSONDecodeError" in bitten.stderr
    virtme = vng.ask_virtme(GuestConfig(), kernel)
    assert "harness.virtme" in virtme.append.split()
    assert {path.name for path in poisoned_home.iterdir()} == {".config"}


@pytest.mark.unit
def test_a_directory_with_a_space_is_told_before_virtme_run_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vng, "find_virtme", lambda: "/home/ada/my checkout/.venv/bin/virtme-run")
    with pytest.raises(MachineError, match="whose name has a space"):
        vng.ask_virtme(GuestConfig(), tmp_path / "bzImage")
    # A run does not build a kernel for it first.
    request = Request(
        project_file=PROJECT_FILE,
        project=project.load(PROJECT_FILE),
        working_dir=tmp_path,
        guest="vng",
    )
    with pytest.raises(MachineError, match="whose name has a space"):
        request.fragments(KernelSpec())


@pytest.mark.unit
def test_virtme_run_gets_an_empty_home_and_no_input(
    poisoned_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = tmp_path / "virtme-run"
    seen = tmp_path / "seen"
    qemu = shutil.which("qemu-system-x86_64")
    assert qemu is not None
    shown = SHOWN.replace("/usr/bin/qemu", qemu)
    stub.write_text(
        f"#!/bin/sh\nls -A $HOME >{seen}; readlink /proc/$$/fd/0 >>{seen}\n"
        f"cat <<'END'\n{shown}\nEND\n"
    )
    stub.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert vng.ask_virtme(GuestConfig(), tmp_path).program == str(stub)
    assert seen.read_text() == "/dev/null\n"
    stub.write_text("#!/bin/sh\necho it is broken >&2; exit 1\n")
    with pytest.raises(MachineError, match="virtme-run ended with status 1") as error:
        vng.ask_virtme(GuestConfig(), tmp_path)
    assert error.value.why == "it is broken"


@pytest.fixture(scope="session")
def vng_files(user_store: Store, tmp_path_factory: pytest.TempPathFactory) -> BootFiles:
    """The kernel that a run with ``--guest vng`` has, and an initramfs with the probe program."""
    work = tmp_path_factory.mktemp("vng")
    request = Request(
        project_file=PROJECT_FILE,
        project=project.load(PROJECT_FILE),
        working_dir=PROJECT_FILE.parent,
        guest="vng",
    )
    prepared = prepare(request, Context(user_store, Quiet()), work)
    assert "for vng guests the kernel is also built with: net, virtme" in prepared.notes
    flags = ["-static", "-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *flags, "-o", work / "probe", PROBE], check=True, timeout=60)
    home = "selftests/probe"
    files = [initramfs.file(f"{home}/probe", work / "probe")]
    entries = initramfs.guest_entries(build_agent(work / "agent"), files)
    initramfs.write_initramfs(work / "initramfs", entries)
    return BootFiles(prepared.kernel.image, work / "initramfs")


@pytest.fixture(scope="session")
def virtme(vng_files: BootFiles) -> Virtme:
    return vng.ask_virtme(GuestConfig(), vng_files.kernel)


def mine(*argv: str, timeout_s: float = 20.0) -> Command:
    command = probe(*argv, timeout_s=timeout_s)
    at = "/selftests/probe"
    return msgspec.structs.replace(command, argv=(f"{at}/probe", *argv), cwd=at)


def shell(script: str) -> Command:
    env = (("PATH", "/usr/bin:/bin"), ("HOME", "/root"))
    return msgspec.structs.replace(
        mine(), argv=("/bin/sh", "-c", script), env=env, merge_output=True
    )


@needs_vng
@pytest.mark.kernel
def test_programs_in_a_vng_guest(vng_files: BootFiles, virtme: Virtme) -> None:
    """All in one guest, because it takes seconds to boot."""
    config = GuestConfig(heartbeat_limit_s=5.0)

    async def work() -> None:
        async with await VngGuest.boot_with(virtme, config, Accelerator.TCG, vng_files) as guest:
            assert guest.capabilities.host_root.available
            assert not guest.capabilities.snapshot.available
            boot_log = guest.boot_log.decode()
            assert "virtme-ng-init: basic initialization done" in boot_log
            assert "harness-agent" not in boot_log
            await check(guest)

    async def check(guest: VngGuest) -> None:
        for status in (0, 4, 255):
            end = (await run(guest, mine("exit", str(status)))).exit
            assert (end.status, end.timed_out, end.log_complete) == (status, False, True)
        assert (await run(guest, mine("signal", "11"))).exit.signal == 11
        outcome = await run(guest, mine("output"))
        assert (outcome.stdout, outcome.stderr) == (b"to stdout\n", b"to stderr\n")
        assert (await run(guest, shell("printf 'no newline'"))).stdout == b"no newline"
        lines = (await run(guest, mine("describe"))).stdout.split(b"\n")
        assert lines == [b"cwd=/selftests/probe", b"core=0", b"session=1", b"stdin=0", b""]
        # The host's programs run, and what is the guest's own can be written.
        facts = await run(
            guest,
            shell(
                "python3 -c 'import os; print(os.getppid())'; touch file /tmp/file $HOME/file"
                " && cat /proc/1/comm; touch /usr/file 2>&1; ls -A /root; nproc"
            ),
        )
        assert facts.stdout.decode().split("\n")[1:] == [
            "init",
            "touch: cannot touch '/usr/file': Read-only file system",
            "file",
            "2",
            "",
        ]
        assert (await run(guest, mine("port"))).stdout == b"Device or resource busy\n"
        # Nothing that the setting up has started is there any more.
        names = (await run(guest, shell("ps -o comm= --ppid 1 --pid 1"))).stdout.split()
        assert names == [b"init", b"sh"] or names == [b"init", b"ps"]
        assert (await run(guest, mine("kill-init"))).stdout == b"alive\n"
        everybody = await run(guest, shell("sleep 60 & kill -9 -1; echo all but me; exit 7"))
        assert (everybody.stdout, everybody.exit.status) == (b"all but me\n", 7)
        end = (await run(guest, mine("sleep", "60", timeout_s=0.5))).exit
        assert (end.signal, end.timed_out) == (signal.SIGTERM, True)
        assert (await run(guest, mine("fork-bomb", timeout_s=5))).exit.log_complete
        wanted = 2_000_000_000
        command = msgspec.structs.replace(mine("clock"), wall_clock_ns=wanted * 10**9)
        assert 0 <= float((await run(guest, command)).stdout) - wanted < 10
        outcome = await run(guest, mine("lkdtm", "WARNING"))
        assert outcome.exit.taint
        assert "---[ end trace" in outcome.log
        assert (await run(guest, mine("kvm"))).stdout == b"1\n"
        assert (await run(guest, mine("lkdtm", "PANIC"))).died.how is How.PANIC

    before = open_files()
    asyncio.run(work())
    assert open_files() <= before + 2


@needs_vng
@pytest.mark.kernel
def test_an_init_that_fails_is_told(vng_files: BootFiles, virtme: Virtme) -> None:
    broken = msgspec.structs.replace(virtme, append=virtme.append + " init=/usr/bin/false")

    async def work() -> None:
        async with await VngGuest.boot_with(broken, GuestConfig(), Accelerator.TCG, vng_files):
            pass

    with pytest.raises(GuestNotBooted) as error:
        asyncio.run(work())
    assert "virtme-ng's init has failed" in error.value.why


HARNESS = """
import asyncio, json, sys
from pathlib import Path
from harness.model.events import Accelerator
from harness.guest.machine import BootFiles, GuestConfig
from harness.guest.vng import Virtme, VngGuest
from tests.guest.test_vng import mine

async def work() -> None:
    virtme, files = json.loads(sys.argv[1]), BootFiles(*map(Path, sys.argv[2:]))
    known = Virtme(virtme["program"], tuple(virtme["options"]), virtme["append"])
    async with await VngGuest.boot_with(known, GuestConfig(), Accelerator.TCG, files) as guest:
        async for event in guest.run(mine("ignore-term", timeout_s=600)):
            print(type(event).__name__, flush=True)

asyncio.run(work())
"""


@needs_vng
@pytest.mark.kernel
def test_no_qemu_outlives_a_killed_harness(vng_files: BootFiles, virtme: Virtme) -> None:
    told = json.dumps(msgspec.structs.asdict(virtme))
    files = [str(vng_files.kernel), str(vng_files.initramfs)]
    command = [sys.executable, "-c", HARNESS, told, *files]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    ) as harness:
        assert harness.stdout is not None
        # Heartbeats may come before it.
        assert b"Stdout\n" in iter(harness.stdout.readline, b"")
        guests = children_of(harness.pid)
        assert len(guests) == 1
        harness.kill()
        harness.wait(10)
        limit = time.monotonic() + 5
        while guests & qemus() and time.monotonic() < limit:
            time.sleep(0.02)
        assert not guests & qemus()

# SPDX-License-Identifier: GPL-2.0-only
"""``harness doctor`` on machines of several shapes, and where next to nothing is installed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from harness.doctor import machine, setup, trial
from harness.doctor.diagnose import Doctor, missing
from harness.doctor.model import Check, Diagnosis, encode, schema
from harness.doctor.setup import installed_packages, requirements, wanted_packages
from harness.doctor.table import print_table
from harness.errors import ExitCode, UserError
from harness.guest.capabilities import REQUIREMENTS, HostFacts
from harness.guest.host import read_host
from harness.model.spec import GuestTable
from harness.progress import Quiet
from harness.report.terminal import Terminal
from harness.store import Store
from tests.guest.machines import C_BIT, EMULATORS, SHAPES
from tests.kerneltree import HARNESS

pytestmark = [pytest.mark.unit, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]
GROUPS = {"setup", "machine", "guests", "confidential"}
LOG = Terminal(live=False, colour=False, unicode=True)


def harness(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def diagnose(root: Path, shape: str, qemu: str, memory_mib: int = 512) -> Diagnosis:
    """Look at a machine of that shape, without a boot."""
    SHAPES[shape].build(root)
    emulator = msgspec.structs.replace(EMULATORS[qemu], sev=C_BIT)
    host_facts = HostFacts(root=root, host=read_host(root, lambda _: True), emulator=emulator)
    return Doctor(
        host_facts, Quiet(), GuestTable(memory_mib=memory_mib), root, quick=True
    ).diagnose()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def test_every_check_has_all_its_parts(root: Path) -> None:
    found = diagnose(root, "cloud", "none")
    names = [check.name for check in found.checks]
    assert len(set(names)) == len(names)
    for check in found.checks:
        assert check.detail, check.name
        assert check.group in GROUPS
        assert check.do or check.state == "yes" or check.name == "debian-packages", check.name


def test_what_tests_can_require_is_checked(root: Path) -> None:
    """And so the reason of a skip leads to a line that says what to do."""
    names = {check.name for check in diagnose(root, "bare", "none").checks}
    assert set(REQUIREMENTS) <= names


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("qemu", ["none", "7.2", "10.1"])
def test_machines_of_all_shapes_are_looked_at(root: Path, shape: str, qemu: str) -> None:
    found = diagnose(root, shape, qemu)
    assert found.check("qemu").state == ("no" if qemu == "none" else "yes")
    assert found.check("kvm-device").state == ("no" if shape == "bare" else "yes")
    assert found.check("qemu").fatal == (qemu == "none")
    assert found.ready is not any(check.fatal for check in found.checks)
    text = io.StringIO()
    print_table(found, text, LOG)
    for check in found.checks:
        assert check.name in text.getvalue()
    assert msgspec.json.decode(encode(found), type=Diagnosis) == found


def test_a_machine_that_does_not_tell_its_memory_has_none(root: Path) -> None:
    assert diagnose(root, "bare", "7.2").check("memory").state == "yes"
    (root / "proc/meminfo").unlink()
    host_facts = HostFacts(root=root, emulator=EMULATORS["7.2"])
    memory = Doctor(host_facts, Quiet(), GuestTable(), root, quick=True).diagnose().check("memory")
    assert memory.fatal
    assert memory.do


def test_a_guest_that_is_too_large_for_the_machine_is_said(root: Path) -> None:
    assert diagnose(root, "sev", "7.2").check("memory").state == "yes"
    memory = diagnose(root, "sev", "7.2", memory_mib=64_000).check("memory")
    assert memory.fatal
    assert "a build and a guest need 65024 MiB" in memory.detail


def test_confidential_guests_have_their_reasons(root: Path) -> None:
    found = diagnose(root, "tdx", "10.0")
    assert found.check("tdx").detail.startswith("QEMU 10.0 has no tdx-guest: that came with 10.1")
    assert "QEMU 10.1 or later" in found.check("tdx").do
    assert not found.check("tdx").required


# Packages


def test_the_projects_list_is_read() -> None:
    text = "# SPDX\nbc   # kernel build\n\nqemu-system-x86 # guests\n"
    assert wanted_packages(text) == ["bc", "qemu-system-x86"]
    assert "gcc" not in wanted_packages(text)
    assert "qemu-system-x86" in wanted_packages(setup.PACKAGES_FILE.read_text())


def test_a_harness_that_was_installed_has_no_list(root: Path) -> None:
    facts = HostFacts(root=root, emulator=EMULATORS["7.2"])
    found = next(iter(setup.checks(root, facts, root / "packages.txt")))
    assert (found.name, found.state, found.required) == ("debian-packages", "unknown", False)
    assert "only a checkout has the list" in found.detail


STATUS = """Package: bc
Status: install ok installed
Version: 1.07

Package: flex
Status: deinstall ok config-files
Version: 2.6

Package: make
Status: hold ok installed
Description: a package
 Package: not-a-package
 Status: install ok installed
"""

DPKG = "Package: dpkg\nStatus: install ok installed\n"


def test_dpkgs_own_file_is_read() -> None:
    assert installed_packages(STATUS) == {"bc", "make"}
    assert installed_packages("") == set()


def test_missing_packages_are_named(root: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("# a list\nbc | - | bc | reason\nflex | flex\nmake\n")
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "var/lib/dpkg/status").write_text(f"{STATUS}\n{DPKG}")
    host_facts = HostFacts(root=root, emulator=EMULATORS["none"])
    first, *_ = setup.checks(root, host_facts, listed)
    assert (first.name, first.state, first.required) == ("debian-packages", "no", True)
    assert first.detail == "1 of 3 are missing: flex"
    assert "apt-get install --no-install-recommends flex" in first.do
    first, *_ = setup.checks(root, host_facts, tmp_path / "gone")
    assert (first.state, first.required) == ("unknown", False)


@pytest.mark.parametrize("status", [None, "", STATUS])
def test_what_dpkg_does_not_manage_is_not_debian(root: Path, status: str | None) -> None:
    """Fedora has a package of dpkg, too."""
    if status is not None:
        (root / "var/lib/dpkg").mkdir(parents=True)
        (root / "var/lib/dpkg/status").write_text(status)
    first, *_ = setup.checks(root, HostFacts(root=root, emulator=EMULATORS["none"]))
    assert (first.state, first.required) == ("unknown", False)
    assert "neither Debian nor Ubuntu" in first.detail
    assert "make setup names what is missing" in first.do


def test_python_packages_come_from_the_metadata() -> None:
    lines = [
        "click>=8.1",
        "qemu.qmp>=0.0.3",
        "rich",
        'mypy>=1.10; extra == "dev"',
        "virtme-ng>=1.30; extra == 'dev'",
    ]
    assert requirements(lines, "") == {"click": "8.1", "qemu.qmp": "0.0.3", "rich": "0"}
    assert requirements(lines, "dev") == {"mypy": "1.10", "virtme-ng": "1.30"}


@pytest.mark.parametrize(
    ("qemu", "said"),
    [
        ("7.2", "with more QEMU 7.2 stalls under -icount, 8.1 and later do not"),
        ("8.2", "QEMU 8.2 can have more under -icount, --cost takes one"),
        ("10.0", "QEMU 10.0 can have more under -icount, --cost takes one"),
    ],
)
def test_which_qemu_counts_on_more_processors_is_said(qemu: str, said: str) -> None:
    check = trial.cost_check(12_345_678, EMULATORS[qemu])
    assert check.state == "yes"
    assert check.detail == (
        f"12,345,678 instructions of a program, in a guest of one processor; {said}"
    )
    bad = trial.cost_check("QEMU does not start: no -icount", EMULATORS[qemu])
    assert (bad.state, bad.detail) == (
        "no",
        "--cost does not work: QEMU does not start: no -icount",
    )
    assert bad.do


def test_what_a_replay_needs_is_said() -> None:
    good = trial.replay_check(1_234_567, "/usr/bin/gdb")
    assert (good.state, good.do) == ("yes", "")
    assert "1,234,567 instructions of a program, recorded and replayed" in good.detail
    without = trial.replay_check(1_234_567, None)
    assert without.state == "yes"
    assert "without gdb there is no way back" in without.detail
    assert "gdb" in without.do
    bad = trial.replay_check("QEMU does not start: invalid rr option", "/usr/bin/gdb")
    assert bad.state == "no"
    assert bad.detail == "harness replay does not work: QEMU does not start: invalid rr option"
    assert bad.do


# The command


def test_an_empty_path_is_reported_without_a_traceback(tmp_path: Path) -> None:
    done = harness("doctor", "--json", cwd=tmp_path, PATH=str(tmp_path / "nothing"))
    assert done.returncode == ExitCode.MACHINE
    assert "Traceback" not in done.stderr
    found = msgspec.json.decode(done.stdout, type=Diagnosis)
    assert not found.ready
    for name in ("qemu", "compiler", "git", "ccache", "build-tools"):
        assert found.check(name).fatal, name
        assert "apt-get install" in found.check(name).do
    for name in ("kvm", "tcg", "nested-kvm", "cost", "replay"):
        assert found.check(name).state == "unknown"
    assert "NOT READY" in harness("doctor", cwd=tmp_path, PATH="").stdout


def test_without_a_kernel_it_says_what_to_run(tmp_path: Path) -> None:
    done = harness("doctor", "--json", cwd=tmp_path)
    assert "Traceback" not in done.stderr
    found = msgspec.json.decode(done.stdout, type=Diagnosis)
    assert found.check("tcg").state == "unknown"
    if found.check("qemu").state == "yes":
        assert "no kernel in the cache" in found.check("tcg").detail
        assert "make test-kernel" in found.check("tcg").do
    assert done.returncode == (ExitCode.AS_EXPECTED if found.ready else ExitCode.MACHINE)


def test_a_cache_that_cannot_be_written_is_a_finding(tmp_path: Path) -> None:
    done = harness("doctor", "--json", cwd=tmp_path, HARNESS_CACHE="/proc/no/such/place")
    assert done.returncode == ExitCode.MACHINE
    disk = msgspec.json.decode(done.stdout, type=Diagnosis).check("disk")
    assert disk.fatal
    assert "HARNESS_CACHE" in disk.do


def test_a_full_disk_is_a_finding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("U", (), {"free": 3 << 30})())
    disk = diagnose(root, "sev", "7.2").check("disk")
    assert disk.fatal
    assert "3.0 GiB free" in disk.detail
    assert "4 GiB are needed (nothing is built yet)" in disk.detail
    built = Store.default().place("build", "x") / "obj"
    built.mkdir()
    (built / "vmlinux").touch()
    assert diagnose(root, "sev", "7.2").check("disk").state == "yes"


def test_a_mistake_in_the_project_file_is_the_users(tmp_path: Path) -> None:
    (tmp_path / "harness.toml").write_text("[guest]\ncpu = 3\n")
    done = harness("doctor", "--quick", cwd=tmp_path)
    assert done.returncode == ExitCode.USER


def test_what_is_required_on_top_decides_too(tmp_path: Path) -> None:
    done = harness("doctor", "--quick", "--require", "tdy", cwd=tmp_path)
    assert done.returncode == ExitCode.USER
    assert "there is no check 'tdy'" in done.stderr
    assert "did you mean 'tdx'" in done.stderr
    done = harness("doctor", "--quick", "--require", "kvm", cwd=tmp_path)
    assert done.returncode == ExitCode.MACHINE
    assert "--require kvm: unknown: not tried" in done.stderr


def test_what_is_missing_of_the_required_is_listed(root: Path) -> None:
    found = diagnose(root, "cloud", "7.2")
    assert [check.name for check in missing(found, ("tdx", "qemu", "sev"))] == ["tdx", "sev"]
    with pytest.raises(UserError):
        missing(found, ("nothing-of-the-kind",))


def test_help_teaches(tmp_path: Path) -> None:
    text = harness("doctor", "--help", cwd=tmp_path).stdout
    for word in ("--json", "--quick", "--require", "Exit code 0", "Examples:", "make test-kernel"):
        assert word in text


# Rendering


def test_what_tools_said_is_text_and_no_markup() -> None:
    odd = Check(
        name="qemu",
        group="setup",
        state="no",
        required=True,
        detail="[bold]gone[/bold] \x1b[2J",
        do="[/]",
    )
    found = Diagnosis(harness="1", time="t", machine="m", ready=False, checks=(odd,))
    text = io.StringIO()
    print_table(found, text, LOG)
    assert "[bold]gone[/bold]" in text.getvalue()
    assert "\x1b" not in text.getvalue()
    assert "→ [/]" in text.getvalue()
    assert "NOT READY (exit 3): missing qemu" in text.getvalue()
    plain = io.StringIO()
    print_table(found, plain, msgspec.structs.replace(LOG, unicode=False))
    assert plain.getvalue().isascii()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_is_within_the_terminal_and_ends_in_no_blanks(width: int) -> None:
    detail = "a stranger's series cannot be built: " + "because of this and that, " * 9
    advice = "sysctl kernel.unprivileged_userns_clone=1 " + "and/a/long/path" * 9
    check = Check(name="sandbox", group="machine", state="no", detail=detail, do=advice)
    found = Diagnosis(harness="1", time="t", machine="m " * 99, ready=True, checks=(check,))
    text = io.StringIO()
    print_table(found, text, msgspec.structs.replace(LOG, columns=width))
    lines = text.getvalue().splitlines()
    assert all(line == line.rstrip() for line in lines)
    assert max(map(len, lines)) <= min(width, 240)
    joined = "".join(text.getvalue().split())
    assert "".join(detail.split()) in joined
    assert "".join(f"→{advice}".split()) in joined
    # Beside the name if there is room, else below it.
    (row,) = (line for line in lines if line.startswith("no       sandbox"))
    assert ("a stranger's series" in row) == (width >= 80)


def test_the_schema_is_the_documented_one() -> None:
    fields = schema()["$defs"]["Check"]["properties"]
    page = (REPOSITORY / "docs" / "doctor.md").read_text()
    for field in (*fields, *schema()["$defs"]["Diagnosis"]["properties"]):
        assert f"`{field}`" in page, field


def test_every_check_is_documented(root: Path) -> None:
    page = (REPOSITORY / "docs" / "doctor.md").read_text()
    for check in diagnose(root, "snp", "10.1").checks:
        assert f"`{check.name}`" in page, check.name


# Kernels in the cache


def _kernel(store: Store, key: str, options: str, age: int) -> None:
    path = store.root / "entries" / "kernel" / key
    path.mkdir(parents=True)
    meta = {
        "release": key,
        "build_id": "",
        "commit": "",
        "tree": "",
        "config_digest": "",
        "toolchain": "",
        "headers_digest": "",
        "warnings": [],
    }
    (path / "kernel.json").write_text(json.dumps(meta))
    (path / "config").write_text(options)
    (path / "bzImage").touch()
    os.utime(path, (0, 1_000_000 - age))


def test_the_newest_kernels_with_kvm_go_first() -> None:
    store = Store.default()

    def releases() -> list[str]:
        return [kernel.meta.release for kernel in trial.cached_kernels(store)]

    assert releases() == []
    _kernel(store, "plain", "# CONFIG_KVM is not set\n", age=1)
    assert releases() == ["plain"]
    _kernel(store, "older", "CONFIG_KVM=y\n", age=3)
    _kernel(store, "newer", "CONFIG_KVM=y\n", age=2)
    assert releases() == ["newer", "older", "plain"]
    (store.path("kernel", "newer") / "kernel.json").write_text("{")
    (store.path("kernel", "plain") / "bzImage").unlink()
    assert releases() == ["older"]


def test_a_cache_that_can_be_written(root: Path) -> None:
    check = diagnose(root, "sev", "7.2").check("cache")
    assert (check.state, check.do) == ("yes", "")


def test_a_cache_that_another_user_has_made_in_part(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write anywhere, so the answer of access(2) is that of another user here."""
    store = Store.default()
    theirs = store.place("ccache")
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != theirs)
    check = diagnose(root, "sev", "7.2").check("cache")
    assert check.state == "no"
    assert str(theirs) in check.detail
    assert "belongs to" in check.detail
    assert check.fatal
    assert "HARNESS_CACHE" in check.do


def test_a_cache_on_a_disk_that_can_only_be_read(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    Store(cache)
    script = (
        f"mount --bind {cache} {cache} && mount -o remount,bind,ro {cache} && "
        f"exec {HARNESS} doctor --quick --json"
    )
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "HARNESS_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == ExitCode.MACHINE, done.stderr
    check = msgspec.json.decode(done.stdout, type=Diagnosis).check("cache")
    assert check.state == "no"
    assert "read-only" in check.detail


@pytest.mark.parametrize(
    ("why", "do"),
    [
        ("", ""),
        ("bubblewrap is not installed", "apt-get install bubblewrap"),
        ("bwrap: No permissions to create a new namespace", "user.max_user_namespaces"),
        ("as root only a cgroup limits processes, and: none", "another user than root"),
    ],
)
def test_whether_a_strangers_series_can_be_built(
    root: Path, monkeypatch: pytest.MonkeyPatch, why: str, do: str
) -> None:
    monkeypatch.setattr(machine, "why_no_sandbox", lambda: why)
    check = diagnose(root, "cloud", "none").check("sandbox")
    assert check.state == ("no" if why else "yes")
    assert not check.required
    assert why in check.detail
    assert do in check.do

# SPDX-License-Identifier: GPL-2.0-only
"""What a shell is opened on: found in a journal and a store, or told why not."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from harness import kbuild, ktap, suites
from harness.errors import UserError
from harness.guest import initramfs
from harness.lab.attempt import command_of
from harness.model.events import Window
from harness.model.plan import PlannedTest
from harness.model.records import Ending, Record, RunStarted, TestEnded, TestStarted
from harness.model.results import Kernel
from harness.model.spec import GuestTable
from harness.progress import Quiet
from harness.shell.choose import choose, shell_entries
from harness.store import Store

pytestmark = pytest.mark.unit
LARGE = GuestTable(memory_mib=2048)
PLAN = RunStarted(
    run="r",
    time="2026-07-01T03:00:00.000Z",
    harness="0",
    command=("harness", "run", "-k", "size and not mmap"),
    kernel=Kernel(release="6.1.0", source="s", base_commit="c", build_id="beef"),
    tests=(
        PlannedTest(name="kvm:a_test", suite="kvm", program="a_test", path="x86/a_test",
                    suite_key="k1", timeout_s=45.0),
        PlannedTest(name="kvm:b_test", suite="kvm", program="b_test", path="b_test",
                    suite_key="k1", guest=LARGE),
        PlannedTest(name="mm:b_test", suite="mm", program="b_test", path="b_test",
                    suite_key="k2"),
        PlannedTest(name="mm:broken", suite="mm", program="broken", suite_key="k2",
                    broken="x.c:1: error: no"),
        PlannedTest(name="net:script.sh", suite="net", program="script.sh", suite_key="k3",
                    unfit="needs tdx: no TDX"),
    ),
)  # fmt: skip
SEEDS = {1: "11" * 32, 2: "22" * 32}


def ended(name: str, attempt: int, status: int) -> TestEnded:
    ending = Ending(how="exit", status=status)
    report = ktap.Parser().close()
    return TestEnded(name=name, attempt=attempt, ending=ending, report=report, total_s=1.0)


RECORDS: list[Record] = [
    msgspec.structs.replace(PLAN, repeat=2),
    TestStarted(name="kvm:a_test", attempt=1, time="t", seed=SEEDS[1], limit_s=90.0),
    ended("kvm:a_test", 1, 0),
    TestStarted(name="kvm:a_test", attempt=2, time="t", seed=SEEDS[2], limit_s=90.0),
    ended("kvm:a_test", 2, 1),
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with the kernel and the suites, each with its programs."""
    store = Store(tmp_path / "cache")

    def kernel(out: Path) -> None:
        meta = kbuild.kernel.Meta(
            release="6.1.0",
            build_id="beef",
            commit="c",
            tree="t",
            config_digest="d",
            toolchain="gcc",
            headers_digest="h",
            warnings=(),
        )
        (out / "kernel.json").write_bytes(msgspec.json.encode(meta))

    def other(out: Path) -> None:
        (out / "kernel.json").write_text('{"of": "another release"}')

    store.obtain("kernel", "k0", other, Quiet())
    store.obtain("kernel", "k9", kernel, Quiet())
    for key, programs in (("k1", ["x86/a_test", "b_test"]), ("k2", ["b_test"]), ("k3", [])):

        def suite(out: Path, programs: list[str] = programs) -> None:
            for path in programs:
                (out / "files" / path).parent.mkdir(parents=True, exist_ok=True)
                (out / "files" / path).write_text("program")
            listed = [{"name": Path(path).name, "path": path} for path in programs]
            meta = {"timeout_s": None, "programs": listed, "broken": []}
            (out / "suite.json").write_bytes(msgspec.json.encode(meta))

        store.obtain("suite", key, suite, Quiet())
    return store


def test_all_of_the_run_is_there(store: Store) -> None:
    place = choose(RECORDS, store)
    assert (place.run, place.kernel.key) == ("r", "k9")
    assert [suite.name for suite in place.suites] == ["kvm", "mm", "net"]
    assert place.guest == GuestTable()  # as most tests had it
    mine, system = place.path.split(":/usr/sbin:")
    assert mine == "/selftests/kvm/x86:/selftests/kvm:/selftests/mm"
    assert system == "/usr/bin:/sbin:/bin"


def test_a_test_comes_with_its_guest_seed_and_limit(store: Store) -> None:
    place = choose(RECORDS, store, test="kvm:a_test")
    assert place.rerun
    assert place.rerun.seed == SEEDS[2]  # of the attempt that failed
    assert not place.rerun.fresh
    command = place.rerun.command()
    expected = command_of(place.rerun.test, SEEDS[2], 90.0)
    assert (command.argv, command.cwd, command.env) == (expected.argv, expected.cwd, expected.env)
    assert (command.seed.hex(), command.timeout_s) == (SEEDS[2], 90.0)
    shell = place.shell({"TERM": "xterm"}, window=Window(30, 100))
    assert shell.argv == ("/bin/sh",)
    assert shell.terminal == Window(30, 100)
    assert shell.cwd == "/selftests/kvm"
    assert dict(shell.env)["TERM"] == "xterm"
    line = place.shell({}, "ls | wc")
    assert line.argv == ("/bin/sh", "-c", "ls | wc")
    assert line.terminal is None


def test_one_that_has_not_run_gets_a_new_seed(store: Store) -> None:
    place = choose(RECORDS, store, test="kvm:b_test", guest="vng")
    assert place.rerun
    assert place.rerun.fresh
    assert place.rerun.seed != choose(RECORDS, store, test="kvm:b_test").rerun.seed  # type: ignore[union-attr]
    assert place.guest == msgspec.structs.replace(LARGE, type="vng")


def test_a_program_alone_names_its_test_where_there_is_one(store: Store) -> None:
    place = choose(RECORDS, store, test="a_test", suite_names=["mm"])
    assert place.rerun
    assert place.rerun.test.name == "kvm:a_test"
    assert [suite.name for suite in place.suites] == ["kvm", "mm"]
    assert [suite.name for suite in choose(RECORDS, store, suite_names=["mm"]).suites] == ["mm"]


@pytest.mark.parametrize(
    ("test", "suite_names", "told"),
    [
        ("b_test", (), "did you mean kvm:b_test or mm:b_test?"),
        ("kvm:a_tset", (), "did you mean kvm:a_test"),
        ("scrpt.sh", (), "did you mean net:script.sh?"),
        ("zzzz", (), "it has: kvm:a_test, kvm:b_test, mm:b_test"),
        ("mm:broken", (), "x.c:1: error: no"),
        ("net:script.sh", (), "needs tdx: no TDX"),
        ("", ("kmv",), "did you mean kvm?"),
    ],
)
def test_what_the_run_does_not_have(
    store: Store, test: str, suite_names: tuple[str, ...], told: str
) -> None:
    with pytest.raises(UserError) as caught:
        choose(RECORDS, store, test=test, suite_names=suite_names)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "key", "what"), [("kernel", "k9", "6.1.0"), ("suite", "k2", "'mm'")]
)
def test_what_has_left_the_cache_is_told_with_a_way_back(
    store: Store, kind: str, key: str, what: str
) -> None:
    shutil.rmtree(store.path(kind, key))
    with pytest.raises(UserError) as caught:
        choose(RECORDS, store)
    assert what in str(caught.value)
    assert "harness run -k 'size and not mmap'" in str(caught.value)


def test_a_kernel_that_is_damaged_is_as_good_as_gone(store: Store) -> None:
    path = store.path("kernel", "k9") / "kernel.json"
    path.write_bytes(path.read_bytes() + b" ")
    assert kbuild.find(store, "beef") is None


def test_what_the_suites_bring_is_not_replaced(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "shell" / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "sh").symlink_to("busybox")
    (root / "bin" / "busybox").write_text("the shell's")
    suite = suites.load(store, "k1", "kvm")
    assert suite
    (suite.root / "bin").mkdir(parents=True)
    (suite.root / "bin" / "busybox").write_text("the suite's")
    entries = shell_entries([suite, suite], tmp_path / "shell")
    initramfs.write_initramfs(tmp_path / "out", entries)  # refuses what is there twice
    paths = {entry.path: entry for entry in entries}
    assert paths["bin/sh"].source == b"busybox"
    assert paths["bin/busybox"].source == suite.root / "bin" / "busybox"
    assert "selftests/kvm/x86/a_test" in paths
    assert "bin/sh" not in {entry.path for entry in shell_entries([suite], None)}

# SPDX-License-Identifier: GPL-2.0-only
"""Hostile series: what their makefiles and Kconfig files try, and that the host is as before."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import kbuild
from harness.context import Context
from harness.digest import digest_tree
from harness.errors import UserError
from harness.kbuild import Kernel, Slot
from harness.progress import Quiet
from harness.store import Store
from tests.kerneltree import FakeLinux, replace

pytestmark = [pytest.mark.unit, pytest.mark.slow]


@dataclass
class Host:
    """A machine with a home, a cache that trusted runs use, and a tree."""

    root: Path
    fake: FakeLinux
    store: Store

    @property
    def home(self) -> Path:
        return self.root / "home"

    def build(
        self, lineage: str | None = "a series", *, option: str = "PLAIN", cc: str = "gcc"
    ) -> Kernel:
        """Build the tree as it is now: a stranger's, or with None the user's own."""
        configs = self.root / "configs"
        configs.mkdir(exist_ok=True)
        (configs / "a.config").write_text(f"CONFIG_{option}=y\n")
        fragments = kbuild.load(configs, ["a"])
        return kbuild.build(
            self.fake.commit(),
            fragments,
            self.slot(lineage, cc),
            context=Context(self.store, Quiet()),
            log=self.root / "log",
            limit_s=60,
        )

    def slot(self, lineage: str | None = "a series", cc: str = "gcc") -> Slot:
        configs = self.root / "configs"
        return kbuild.slot(self.store, "fake", kbuild.load(configs, ["a"]), lineage, cc=cc)

    def make(self, *commands: str) -> None:
        """Have the makefile run *commands* before it compiles; it does not care how they end."""
        rules = "".join(f"\t-@{command}\n" for command in commands)
        makefile = self.fake.work / "Makefile"
        replace(
            makefile, "\t@echo '  CC      mm/foo.o'\n", f"\t@echo '  CC      mm/foo.o'\n{rules}"
        )

    def trusted(self) -> str:
        """Return a digest of everything that trusted runs read, and of the home."""
        places = [self.home, self.store.root / "places" / "ccache", self.store.root / "entries"]
        places += [p.path for p in kbuild.kernel.slots(self.store) if not p.owner]
        return " ".join(digest_tree(place) for place in places if place.exists())


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "canary").write_text("the-secret")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return Host(tmp_path, FakeLinux.create(tmp_path / "linux"), Store(tmp_path / "cache"))


def everything_of(kernel: Kernel, host: Host) -> bytes:
    slot = host.slot()
    files = [*kernel.path.rglob("*"), *slot.objects.rglob("*"), host.root / "log"]
    return b"".join(path.read_bytes() for path in files if path.is_file())


@pytest.mark.parametrize("lineage", [None, "a series"])
def test_a_compiler_that_the_user_names_compiles(host: Host, lineage: str | None) -> None:
    compiler = host.root / "opt" / "mycc-1"
    compiler.parent.mkdir()
    (compiler.parent / "secret").touch()
    compiler.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exec echo mycc 1.0\nexec gcc "$@"\n', "utf-8"
    )
    compiler.chmod(0o755)
    host.make("$(CC) --version >$(O)/who", f"ls {compiler.parent} >$(O)/near")
    plain, other = host.build(lineage), host.build(lineage, cc=str(compiler))
    assert other.key != plain.key
    assert other.meta.toolchain.startswith("mycc 1.0; ")
    slots = host.slot(lineage), host.slot(lineage, str(compiler))
    said = [(each.objects / "who").read_text() for each in slots]
    assert said[0].startswith("gcc ")
    assert said[1] == "mycc 1.0\n"
    # Of its directory a stranger sees nothing else.
    near = (slots[1].objects / "near").read_text().split()
    assert near == (["mycc-1", "secret"] if lineage is None else ["mycc-1"])


# The five of the issue.


def test_a_makefile_that_reads_the_home(host: Host) -> None:
    canary = host.home / "canary"
    host.make(f"cat {canary} >$(O)/stolen; cat {canary}", f"ls -R {host.home}")
    kernel = host.build()
    assert b"the-secret" not in everything_of(kernel, host)
    assert any("canary: No such file or directory" in line for line in kernel.meta.tried)
    host.fake.write(README="own")
    assert b"the-secret" in everything_of(host.build(None), host)  # what the test would see


def test_kconfig_that_reads_the_home(host: Host) -> None:
    canary = host.home / "canary"
    kconfig = host.fake.work / "Kconfig"
    kconfig.write_text(
        kconfig.read_text()
        + f"config SEEN\n\tdef_bool $(shell,cp {canary} {host.root}/stolen; cat {canary}; echo y)\n"
    )
    with pytest.raises(UserError, match="did not accept") as caught:
        host.build(option="NEEDS_ABSENT")
    assert "ABSENT is n" in caught.value.why  # the Kconfig files were read all the same
    assert not (host.root / "stolen").exists()
    with pytest.raises(UserError):
        host.build(None, option="NEEDS_ABSENT")
    assert (host.root / "stolen").exists()


@pytest.fixture
def visitors() -> Iterator[tuple[int, list[object]]]:
    """Give the port of a server of this machine, and who has called."""
    came: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    came.append(server.accept())
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], came
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_makefile_that_opens_a_socket(host: Host, visitors: tuple[int, list[object]]) -> None:
    port, came = visitors
    host.make(
        f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}'", "bash -c 'exec 3<>/dev/tcp/192.0.2.1/80'"
    )
    kernel = host.build()
    assert came == []
    assert any("Network is unreachable" in line for line in kernel.meta.tried)
    host.fake.write(README="own")
    host.build(None)
    time.sleep(0.5)
    assert came


def test_a_makefile_that_writes_to_the_cache_of_trusted_runs(host: Host) -> None:
    own = host.build(None)
    before = host.trusted()
    cache = host.store.root
    slot = host.slot(None)
    host.make(
        f"for d in {cache}/places/ccache {slot.objects} {slot.source} {own.path} {cache}; do "
        "echo poison >$$d/poison; chmod 777 $$d; done",
        f"rm -rf {cache}/entries {cache}/places/ccache {slot.path} {host.home}",
        f"mkdir -p {cache}/entries/kernel/x {cache}/places/ccache/0",
    )
    host.build()
    assert host.trusted().split()[:2] == before.split()[:2]
    assert own.image.is_file()
    assert not list(cache.rglob("poison"))
    assert slot.ccache != host.slot().ccache
    assert host.slot().ccache.is_relative_to(host.slot().path)


def test_a_makefile_that_forks_without_end(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.make("bash -c 'f() { f | f & }; f; sleep 1000'")
    begun = time.monotonic()
    with pytest.raises(UserError, match="sandbox killed make") as caught:
        host.build()
    assert "processes" in caught.value.why or "did not end" in caught.value.why
    assert time.monotonic() - begun < 200
    mine = [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"f() { f" in _read(p)]
    assert mine == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_makefile_that_replaces_the_compiler_in_the_work_tree(host: Host) -> None:
    host.build()
    work = host.slot().source
    host.make(
        f"for d in {work} {work}/scripts; do printf '#!/bin/sh\\nexit 0\\n' >$$d/gcc; done",
        f"echo '$$(error poisoned)' >{work}/Makefile",
        f"git -C {work} config core.hooksPath {work}/hooks; rm -rf {work}/.git",
    )
    kernel = host.build()
    assert any("Read-only file system" in line for line in kernel.meta.tried)
    there = {path.relative_to(host.fake.work) for path in host.fake.work.rglob("*")}
    assert {path.relative_to(work) for path in work.rglob("*")} - there == set()
    host.fake.git("revert", "--no-edit", "HEAD")
    assert host.build(None).image.is_file()


# What is left for our own process.


@pytest.mark.parametrize("name", ["vmlinux", ".config", "arch/x86/boot/bzImage"])
@pytest.mark.parametrize(
    "trick", ["ln -sf {canary} $(O)/{name}", "rm -f $(O)/{name}; mkfifo $(O)/{name}"]
)
def test_links_and_fifos_in_place_of_what_is_built_are_not_followed(
    host: Host, name: str, trick: str
) -> None:
    command = trick.format(canary=host.home / "canary", name=name)
    makefile = host.fake.work / "Makefile"
    replace(makefile, "headers:\n", f"headers:\n\t@{command}\n")
    with pytest.raises(UserError, match="the build left no such file"):
        host.build()
    assert not list(host.store.root.glob("entries/kernel/*"))


@pytest.mark.parametrize(
    ("name", "where"), [("arch/x86/boot/bzImage", "headers:"), (".config", "headers:")]
)
def test_files_that_are_larger_than_such_a_file_can_be(host: Host, name: str, where: str) -> None:
    """Without content they take no space; whoever reads them takes all of it in memory."""
    makefile = host.fake.work / "Makefile"
    replace(makefile, f"{where}\n", f"{where}\n\t@truncate -s 7G $(O)/{name}\n")
    with pytest.raises(UserError, match="the build left no such file") as caught:
        host.build()
    assert "7168 MiB" in caught.value.why
    assert not list(host.store.root.glob("entries/kernel/*"))


def test_a_makefile_that_prints_without_end(host: Host) -> None:
    """Each line is a warning about a file, so all of them would be kept."""
    host.make(f"yes 'mm/foo.c:1: warning: {'nothing ' * 500}'")
    with pytest.raises(UserError, match="sandbox killed make") as caught:
        host.build()
    assert "it printed more than" in caught.value.why
    assert (host.root / "log").stat().st_size < 200 << 20


def test_no_header_is_a_link_out_of_the_tree(host: Host) -> None:
    makefile = host.fake.work / "Makefile"
    replace(
        makefile,
        "\t@cp -r include/uapi $(O)/usr/include\n",
        f"\t@cp -r include/uapi $(O)/usr/include; ln -s {host.home}/canary $(O)/usr/include/c.h;"
        "ln -s /dev/zero $(O)/usr/include/z.h; mkfifo $(O)/usr/include/f.h\n",
    )
    kernel = host.build()
    assert sorted(p.name for p in kernel.headers.rglob("*.h")) == ["foo.h"]


def test_our_own_writes_follow_no_link(host: Host) -> None:
    host.make(f"ln -sf {host.home}/canary $(O)/.config")
    with pytest.raises(UserError):
        host.build()
    host.fake.git("reset", "-q", "--hard", "HEAD~1")
    host.build()
    assert (host.home / "canary").read_text() == "the-secret"


def test_set_user_id_files_do_not_leave_the_slot(host: Host) -> None:
    replace(host.fake.work / "Makefile", "headers:\n", "headers:\n\t@chmod 4755 $(O)/vmlinux\n")
    kernel = host.build()
    assert not kernel.vmlinux.stat().st_mode & 0o6000
    assert not host.slot().path.stat().st_mode & 0o077


# Caches.


def test_the_same_strangers_series_builds_incrementally(host: Host) -> None:
    host.build()
    host.fake.write(README="v2")
    second = host.build()
    runs = host.slot().objects / "compiler-runs"
    assert len(runs.read_text().splitlines()) == 1
    assert second.path.is_dir()
    host.fake.write(mm__foo_dot_c="void foo(void) {}\n")
    host.build()
    assert len(runs.read_text().splitlines()) == 2


def test_no_entry_and_no_slot_is_shared_with_own_runs_or_other_strangers(host: Host) -> None:
    kernels = [host.build(each) for each in (None, "one", "two")]
    assert len({kernel.path for kernel in kernels}) == 3
    slots = [host.slot(each) for each in (None, "one", "two")]
    assert len({slot.path for slot in slots}) == len({slot.ccache for slot in slots}) == 3
    assert [bool(slot.owner) for slot in slots] == [False, True, True]
    found = {slot.path: slot for slot in kbuild.kernel.slots(host.store)}
    assert [found[slot.path] for slot in slots] == slots
    assert [kernel.path for kernel in kernels] == [host.build(n).path for n in (None, "one", "two")]
    assert len(list((host.store.root / "entries" / "config").iterdir())) == 3

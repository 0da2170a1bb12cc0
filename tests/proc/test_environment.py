# SPDX-License-Identifier: GPL-2.0-only
"""What a user has exported changes nothing that is built, and no file of his."""

from __future__ import annotations

import ast
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import kbuild, prune, series, source, suites
from harness.context import Context
from harness.digest import digest_tree
from harness.errors import UserError
from harness.kbuild import toolchain
from harness.kbuild.kconfig import unmet
from harness.lab.packing import suite_entries
from harness.proc import environment, process
from harness.proc.git import git
from harness.progress import Quiet
from harness.store import Store
from harness.suites import Suite
from tests.kerneltree import FakeLinux, format_patch, sh

pytestmark = [pytest.mark.unit, pytest.mark.slow]
PACKAGE = Path(environment.__file__).parents[1]

# The door.

_STARTERS = frozenset({"subprocess", "multiprocessing", "pty"})
_FORKS = ("exec", "spawn", "posix_spawn", "fork", "system", "popen", "create_subprocess")


def starts_of_processes(code: str) -> Iterator[str]:
    """Yield what in *code* can start a process."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in _STARTERS)
        elif isinstance(node, ast.ImportFrom):
            names = [each.name for each in node.names]
            starters = [each for each in names if not each.endswith(("Error", "Expired"))]
            yield from (each for each in names if each in _STARTERS or each.startswith(_FORKS))
            yield from (starters if node.module in _STARTERS else ())
        elif isinstance(node, ast.Attribute):
            of = node.value.id if isinstance(node.value, ast.Name) else ""
            if of in ("os", "asyncio") and node.attr.startswith(_FORKS):
                yield f"{of}.{node.attr}"
            if node.attr in ("subprocess_exec", "subprocess_shell"):
                yield node.attr


@pytest.mark.parametrize(
    "code",
    [
        "import subprocess",
        "from subprocess import run",
        "import asyncio\nasyncio.create_subprocess_exec('ls')",
        "loop.subprocess_exec(p, 'ls')",
        "import os\nos.execv('/bin/ls', ['ls'])",
        "import os\nos.posix_spawn('/bin/ls', ['ls'], {})",
        "from os import fork",
    ],
)
def test_each_way_to_start_a_process_is_seen(code: str) -> None:
    assert list(starts_of_processes(code))


def test_processes_are_started_in_one_place() -> None:
    found = {
        str(path.relative_to(PACKAGE)): sorted(set(starts_of_processes(path.read_text())))
        for path in PACKAGE.rglob("*.py")
    }
    assert {name for name, starts in found.items() if starts} == {"proc/process.py"}


def test_git_is_started_in_one_place() -> None:
    def calls(path: Path) -> bool:
        lists = (
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.List | ast.Tuple) and node.elts
        )
        firsts = (each.elts[0] for each in lists)
        return any(isinstance(first, ast.Constant) and first.value == "git" for first in firsts)

    found = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if calls(path)}
    assert found == {"proc/git.py"}


# The allow-list.


_NAMES = frozenset(
    {
        "AFLAGS_KERNEL", "AR", "ARCH", "AS", "ASFLAGS", "BASH_ENV", "BISON", "BUILDDIR",
        "C", "CC", "CCACHE_DISABLE", "CCACHE_EXTRAFILES", "CCACHE_PREFIX",
        "CCACHE_READONLY", "CCFLAGS", "CDPATH", "CHECK", "COMPILER_PATH", "CPP", "CPPFLAGS",
        "CROSS_COMPILE", "CXX", "DEBUG", "DEBUG_INFO", "DESTDIR", "ENV", "EXTRAVERSION",
        "FLEX", "GCC_COMPARE_DEBUG", "GCC_EXEC_PREFIX", "GIT_AUTHOR_NAME",
        "GIT_CEILING_DIRECTORIES", "GIT_CONFIG", "GIT_CONFIG_GLOBAL", "GIT_DIFF_OPTS",
        "GIT_EXEC_PATH", "GIT_EXTERNAL_DIFF", "GIT_INDEX_FILE", "GIT_NAMESPACE",
        "GIT_TEMPLATE_DIR", "GIT_WORK_TREE", "GREP_OPTIONS", "GZIP", "HOSTCC", "HOSTCFLAGS",
        "INSTALL_MOD_PATH", "INSTALL_PATH", "KBUILD_BUILD_TIMESTAMP", "KBUILD_EXTMOD",
        "KBUILD_EXTRA_SYMBOLS", "KBUILD_MODNAME", "KBUILD_OUTPUT", "KBUILD_VERBOSE",
        "KCFLAGS", "KCONFIG_DEFCONFIG_LIST", "KCONFIG_OVERWRITECONFIG", "KCPPFLAGS", "KDIR",
        "KHDR_INCLUDES", "LANGUAGE", "LC_MESSAGES", "LD", "LDLIBS", "LEX", "LLVM",
        "LLVM_IAS", "LOCALVERSION", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS",
        "NIX_CFLAGS_COMPILE", "NM", "O", "OBJCOPY", "OUTPUT", "PERL5LIB", "PERL5OPT",
        "PKG_CONFIG_PATH", "POSIXLY_CORRECT", "PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP",
        "QEMU_AUDIO_DRV", "QEMU_LD_PREFIX", "QUILT_PATCHES", "READELF", "SHELLOPTS",
        "SOURCE_DATE_EPOCH", "SRCARCH", "STRIP", "TARGETS", "TAR_OPTIONS", "USERCFLAGS",
        "USERLDFLAGS", "V", "W", "XZ_DEFAULTS", "XZ_OPT", "YACC", "ZSTD_CLEVEL",
        "no_such_variable",
    }
)  # fmt: skip


def exported(tmp_path: Path) -> dict[str, str]:
    """Return what a developer's shell may have, and what one would not wish for."""
    mine = tmp_path / "mine"
    (mine / "include" / "linux").mkdir(parents=True)
    (mine / "include" / "linux" / "only_here.h").write_text("#define ONLY_HERE 42\n")
    (mine / "my.config").write_text("CONFIG_MINE=y\n")
    (mine / "rules.mk").write_text("override CC = false\n")
    (mine / "home").mkdir()
    (mine / "home" / ".gitconfig").write_text("[core\nbroken\n")
    (mine / "libonly.a").write_bytes(b"!<arch>\n")
    return dict.fromkeys(_NAMES, "/nonexistent/of-the-user") | {
        "CFLAGS": "-DSKIP_THE_CHECK",
        "LDFLAGS": f"-L{mine}",
        "CPATH": str(mine / "include"),
        "C_INCLUDE_PATH": str(mine / "include"),
        "LIBRARY_PATH": str(mine),
        "KCONFIG_CONFIG": str(mine / "my.config"),
        "KCONFIG_ALLCONFIG": str(mine / "my.config"),
        "MAKEFLAGS": "in",
        "GNUMAKEFLAGS": "n",
        "MAKEFILES": str(mine / "rules.mk"),
        "HOME": str(mine / "home"),
        "XDG_CONFIG_HOME": str(mine / "home"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.bare",
        "GIT_CONFIG_VALUE_0": "true",
        "GIT_DIR": str(mine / "elsewhere.git"),
        "GIT_OBJECT_DIRECTORY": str(mine / "objects"),
        "GIT_TRACE": str(mine / "trace"),
        "LANG": "tlh_KL.UTF-8",
        "LC_ALL": "tlh_KL",
        "TZ": "Antarctica/Troll",
        "TMPDIR": str(mine / "tmp which is not there"),
        "LD_PRELOAD": "/nonexistent/of-the-user.so",
        "LD_LIBRARY_PATH": str(mine),
    }


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    variables = exported(tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


def test_a_program_gets_what_is_allowed_and_nothing_else(hostile: dict[str, str]) -> None:
    done = process.run(["env"])
    got = dict(line.split("=", 1) for line in done.output.splitlines())
    assert got == {
        "PATH": environment.search_path(),
        "HOME": "/nonexistent",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }
    both = process.capture(["env"])
    assert both.stdout.decode().split() == done.output.split()
    assert both.stderr == b""


def test_downloads_have_the_users_proxies_and_nothing_else_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    assert "https_proxy" not in environment.clean()
    assert environment.network()["https_proxy"] == "http://proxy.example:3128"
    assert "SSH_AUTH_SOCK" not in environment.network()
    assert environment.user()["SSH_AUTH_SOCK"] == "/run/agent"
    assert environment.user()["HOME"] == os.environ["HOME"]


@pytest.mark.parametrize(
    ("path", "searched"),
    [
        ("/a:bin::.:/b", "/a:/b"),
        ("", "/nonexistent"),
        ("bin", "/nonexistent"),
    ],
)
def test_programs_of_the_tree_that_is_built_are_not_on_the_path(
    monkeypatch: pytest.MonkeyPatch, path: str, searched: str
) -> None:
    monkeypatch.setenv("PATH", path)
    assert environment.search_path() == searched


@pytest.mark.parametrize(
    ("name", "passes"), [("tmp", True), ("my tmp", False), ("$HOME", False), ("gone", False)]
)
def test_temporary_files_go_where_the_user_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, passes: bool
) -> None:
    where = tmp_path / name
    if name != "gone":
        where.mkdir()
    monkeypatch.setenv("TMPDIR", str(where))
    assert environment.clean().get("TMPDIR") == (str(where) if passes else None)


# What is built.


@dataclass(frozen=True)
class Built:
    """A kernel and a suite in a cache of their own."""

    kernel: kbuild.Kernel
    suite: Suite
    files: str
    """Digest of everything that both entries hold, but for logs."""


def built(root: Path, fake: FakeLinux, patches: Path, name: str, where: str = "leak") -> Built:
    """Apply, configure, build: what ``harness run`` does before it starts a guest."""
    store = Store(root / name)
    base = source.resolve(str(fake.work), Context(store, Quiet()), relative_to=root)
    tree = series.apply((series.read(patches),), base, Context(store, Quiet()))
    fragments = kbuild.load(root, ["a"])
    place = kbuild.slot(store, "fake", fragments)
    kernel = kbuild.build(
        tree,
        fragments,
        place,
        context=Context(store, Quiet()),
        log=root / f"{name}.log",
        limit_s=60,
    )
    suite = suites.build(
        suites.find(
            where, {}, project_dir=root, working_dir=root, repo=tree.repo, commit=tree.commit
        ),
        kernel,
        tree,
        place,
        context=Context(store, Quiet()),
        limit_s=60,
    )
    return Built(kernel, suite, digest_tree(suite.files) + digest_tree(kernel.path / "include"))


@pytest.fixture
def project(tmp_path: Path) -> tuple[FakeLinux, Path]:
    """A kernel, a series for it, a fragment, and a suite that shows what leaks into it."""
    (tmp_path / "a.config").write_text("CONFIG_PLAIN=y\n")
    fake = FakeLinux.create(tmp_path / "linux")
    fake.write(mm__foo_dot_c="int bar;\nvoid foo(void) {}\n")
    fake.commit("mm: Change foo")
    (patch,) = format_patch(fake.work, tmp_path / "series", count=1)
    fake.git("reset", "-q", "--hard", "HEAD^")
    suite = tmp_path / "leak"
    suite.mkdir()
    (suite / "Makefile").write_text(
        "CFLAGS += -O2\nTEST_GEN_PROGS := plain header macro library\n"
        "include ../lib.mk\n$(OUTPUT)/library: LDFLAGS += -lonly\n"
    )
    main = "int main(void) { return 0; }\n"
    (suite / "plain.c").write_text(main)
    (suite / "library.c").write_text(main)
    (suite / "header.c").write_text(f"#include <linux/only_here.h>\n{main}")
    (suite / "macro.c").write_text(
        "#ifdef SKIP_THE_CHECK\nint main(void) { return 0; }\n#else\n"
        "int main(void) { return 1; }\n#endif\n"
    )
    return fake, patch


def test_what_is_exported_changes_nothing_that_is_built(
    tmp_path: Path, project: tuple[FakeLinux, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, patch = project
    before = built(tmp_path, fake, patch, "one")
    assert [each.name for each in before.suite.broken] == ["header", "library"]
    variables = exported(tmp_path)
    mine = digest_tree(tmp_path / "mine")
    # A place of its own, with a name of the same length, so that nothing is found in the cache.
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    after = built(tmp_path, fake, patch, "two")
    assert digest_tree(tmp_path / "mine") == mine
    assert after.kernel.key == before.kernel.key
    assert after.kernel.config.read_text() == before.kernel.config.read_text()
    assert after.kernel.vmlinux.read_bytes() == before.kernel.vmlinux.read_bytes()
    assert after.kernel.meta == before.kernel.meta
    assert after.suite.key == before.suite.key
    assert after.suite.programs == before.suite.programs
    assert after.suite.broken == before.suite.broken
    assert after.files == before.files
    for log in (tmp_path / "two.log", after.suite.build_log):
        assert "of-the-user" not in log.read_text()


ODD = [
    "my cache",
    "\udcff",
    "a:b",
    'it\'s "quoted" $HOME #1 %s',
    "n\u00e4ive \u4e2d",
    "a,b=c",
    "-dash",
]


@pytest.mark.parametrize("name", ODD)
def test_where_the_cache_and_the_suite_lie_changes_nothing_that_is_built(
    tmp_path: Path, project: tuple[FakeLinux, Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    before = built(tmp_path, *project, "one")
    (tmp_path / "suites").mkdir()
    moved = (tmp_path / "leak").rename(tmp_path / "suites" / name)
    after = built(tmp_path, *project, f"below/{name}", f"suites/{name}")
    assert after.kernel.vmlinux.read_bytes() == before.kernel.vmlinux.read_bytes()
    assert after.kernel.meta == before.kernel.meta
    assert after.files == before.files
    assert [each.name for each in after.suite.programs] == ["plain", "macro"]
    assert [each.name for each in after.suite.broken] == ["header", "library"]
    assert after.suite.name == name
    assert {path.name for path in moved.iterdir()} == {
        *("Makefile", "plain.c", "header.c", "macro.c", "library.c")
    }
    store = Store(tmp_path / "below" / name)
    assert (store.for_make() is store) == (name == "-dash")
    assert prune.prune(store, 0, young_s=0) > 0
    assert list(store.for_make().place("build").iterdir()) == []


@pytest.mark.parametrize("mask", [0o077, 0o000, 0o022])
def test_a_umask_changes_nothing_that_is_in_a_guest(
    tmp_path: Path, project: tuple[FakeLinux, Path], mask: int
) -> None:
    (tmp_path / "leak" / "run.sh").write_text("echo\n")
    (tmp_path / "leak" / "Makefile").write_text(
        "TEST_GEN_PROGS := plain\nTEST_PROGS := run.sh\ninclude ../lib.mk\n"
    )
    for file in (tmp_path / "leak").iterdir():
        file.chmod(0o666 & ~mask)
    before = os.umask(mask)
    try:
        suite = built(tmp_path, *project, "one").suite
        Store(tmp_path / "another")
    finally:
        os.umask(before)
    modes = {entry.path: entry.mode & 0o7777 for entry in suite_entries(suite, userland=True)}
    assert modes["selftests/leak/plain"] == 0o755
    assert modes["selftests/leak/run.sh"] == 0o644
    assert modes["selftests/leak/.harness/run.sh"] == 0o755
    assert set(modes.values()) <= {0o755, 0o644, 0o777}
    for made in (tmp_path / "another", tmp_path / "another" / "entries"):
        assert made.stat().st_mode & 0o022 == 0, "what others could write they could also plant"


def test_a_cache_that_was_moved_is_gone_on_with(
    tmp_path: Path, project: tuple[FakeLinux, Path]
) -> None:
    fake, patch = project
    first = built(tmp_path, fake, patch, "one")
    (tmp_path / "one").rename(tmp_path / "a-cache-that-was-moved")
    again = built(tmp_path, fake, patch, "a-cache-that-was-moved")
    assert again.kernel.key == first.kernel.key
    fake.write(README="changed\n")
    fake.commit()
    later = built(tmp_path, fake, patch, "a-cache-that-was-moved")
    assert later.kernel.key != first.kernel.key
    assert later.kernel.vmlinux.read_bytes() == again.kernel.vmlinux.read_bytes()


def test_a_cache_in_which_nothing_can_be_built_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x y"))
    monkeypatch.setattr("harness.store._SHARED", tmp_path / "v:w")
    with pytest.raises(UserError, match="no kernel can be built in this cache") as caught:
        Store(tmp_path / "my cache").for_make()
    assert "HARNESS_CACHE" in caught.value.hint


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_directory_of_another_user_is_not_built_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x y"))
    monkeypatch.setattr("harness.store._SHARED", tmp_path)
    theirs = tmp_path / f"kernel-selftest-harness-{os.getuid()}"
    if kind == "link":
        (tmp_path / "trap").mkdir()
        theirs.symlink_to(tmp_path / "trap")
    else:
        theirs.touch()
    with pytest.raises(UserError, match="no kernel can be built"):
        Store(tmp_path / "my cache").for_make()


@pytest.mark.parametrize("option", ["-DSKIP_THE_CHECK", "-L/nonexistent", "-static"])
def test_a_compiler_that_adds_options_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    plain = toolchain.identify()
    assert toolchain.identify() == plain
    wrapper = tmp_path / "gcc"
    real = shutil.which("gcc")
    wrapper.write_text(f'#!/bin/sh\nexec {real} {option} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert toolchain.identify().compiler == plain.compiler
    assert toolchain.identify().identity != plain.identity


def test_kconfig_files_are_asked_without_what_is_exported(
    tmp_path: Path, hostile: dict[str, str]
) -> None:
    ask = '$(shell,test "$CFLAGS$KCFLAGS$GIT_DIR" && echo n || echo y)'
    (tmp_path / "Kconfig").write_text(
        f'config A\n\tbool "A"\n\tdepends on {ask}\n\tdepends on B\nconfig B\n\tbool "B"\n'
    )
    (tmp_path / "config").write_text("")
    assert unmet(tmp_path, tmp_path / "config", {}, ["A"]) == {"A": "unmet: B is n"}
    assert os.environ["CFLAGS"] == hostile["CFLAGS"]


# git.


def test_git_reads_no_settings_and_runs_no_program_of_a_source(
    tmp_path: Path, hostile: dict[str, str]
) -> None:
    fake = FakeLinux.create(tmp_path / "linux")
    mark = tmp_path / "ran"
    spy = tmp_path / "spy"
    spy.write_text(f"#!/bin/sh\necho ran >>{mark}\n")
    spy.chmod(0o755)
    for hook in ("reference-transaction", "post-index-change", "post-checkout"):
        (fake.repo / "hooks").mkdir(exist_ok=True)
        shutil.copy(spy, fake.repo / "hooks" / hook)
    fake.git("config", "core.fsmonitor", str(spy))
    mark.unlink(missing_ok=True)
    index = (fake.repo / "index").read_bytes()
    fake.write(mm__foo_dot_c="void foo(void) { }\n")
    found = source.resolve(
        str(fake.work), Context(Store(tmp_path / "c"), Quiet()), relative_to=tmp_path
    )
    assert "with uncommitted changes" in found.description
    assert not mark.exists()
    assert not Path(hostile["GIT_TRACE"]).exists()
    assert (fake.repo / "index").read_bytes() == index


def test_a_repository_of_another_user_is_read(tmp_path: Path) -> None:
    fake = FakeLinux.create(tmp_path / "linux")
    strange = {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    with_user = sh("env", "GIT_TEST_ASSUME_DIFFERENT_OWNER=1", "sh", "-c",
                   "git status 2>&1 || true", cwd=fake.work)  # fmt: skip
    assert "dubious ownership" in with_user
    assert git("status", cwd=fake.work, env=strange).ok
    # The other end of a fetch is a process that git starts by itself.
    sh("git", "init", "-q", "--bare", "mine.git", cwd=tmp_path)
    fetched = git("fetch", str(fake.work), "HEAD", repo=tmp_path / "mine.git", env=strange)
    assert fetched.ok, fetched.stderr


def test_a_broken_git_setting_is_reported_where_user_settings_count(
    tmp_path: Path, hostile: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    done = git("ls-remote", "ssh://nowhere.invalid/linux.git", as_user=True)
    assert not done.ok
    assert f"{hostile['HOME']}/.gitconfig" in done.stderr

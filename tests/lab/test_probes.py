# SPDX-License-Identifier: GPL-2.0-only
"""What is kept of attempts' coverage and read again; tests/guest/test_reached.py has guests."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.context import Context
from harness.guest.reached import SOURCE, build_plugin
from harness.lab import probes
from harness.model.coverage import CodeLine, CodeMap
from harness.progress import Quiet
from harness.store import Store

pytestmark = pytest.mark.unit

CODE = CodeMap(
    points=((16, 20), (32, 33)),
    lines=(
        CodeLine(path="a.c", line=3, code=(0,)),
        CodeLine(path="a.c", line=4, code=(1,)),
    ),
)
NAMES = ["s:a", "s:a,b", "s:never"]


def hits_file(argv: tuple[str, ...]) -> Path:
    return Path(argv[1].split(",out=")[1])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / probes.COVERAGE


@pytest.fixture
def probe(directory: Path, tmp_path: Path) -> probes.LineProbe:
    return probes.start(directory, CODE, Context(Store(tmp_path / "cache"), Quiet()))


def test_attempts_of_a_test_count_together(probe: probes.LineProbe, directory: Path) -> None:
    hits_file(probe.qemu_argv("s:a", 1)).write_bytes(b"\1\0")
    hits_file(probe.qemu_argv("s:a", 12)).write_bytes(b"\0\1")
    hits_file(probe.qemu_argv("s:a,b", 1)).write_bytes(b"\1\0")
    found = probes.read(directory, NAMES, NAMES)
    assert found is not None
    assert found.tests_of("a.c", 3) == ("s:a", "s:a,b")
    assert found.tests_of("a.c", 4) == ("s:a",)
    assert found.unmeasured == ("s:never",)


def test_a_second_try_at_an_attempt_forgets_the_first(
    probe: probes.LineProbe, directory: Path
) -> None:
    hits_file(probe.qemu_argv("s:a", 1)).write_bytes(b"\1\1")
    assert hits_file(probe.qemu_argv("s:a", 1)).read_bytes() == b"\0\0"


def test_of_what_did_not_run_nothing_is_known(probe: probes.LineProbe, directory: Path) -> None:
    probe.qemu_argv("s:a", 1)
    hits_file(probe.qemu_argv("s:a,b", 1)).write_bytes(b"\1")  # cut off
    found = probes.read(directory, NAMES, ["s:a,b"])
    assert found is not None
    assert found.unmeasured == tuple(NAMES)
    assert found.tests == ()


def test_a_directory_without_coverage(directory: Path) -> None:
    assert probes.read(directory, NAMES, NAMES) is None


def test_without_code_there_is_nothing_to_watch(directory: Path, tmp_path: Path) -> None:
    probe = probes.start(directory, CodeMap(), Context(Store(tmp_path / "cache"), Quiet()))
    assert probe.qemu_argv("s:a", 1) == ()
    found = probes.read(directory, NAMES, ["s:a"])
    assert found is not None
    assert [test.name for test in found.tests] == ["s:a"]
    assert found.tests[0].covered == ()


def test_taking_a_run_up_again_keeps_what_is_known(
    probe: probes.LineProbe, directory: Path, tmp_path: Path
) -> None:
    hits_file(probe.qemu_argv("s:a", 1)).write_bytes(b"\1\0")
    again = probes.start(directory, CODE, Context(Store(tmp_path / "cache"), Quiet()))
    hits_file(again.qemu_argv("s:a,b", 1)).write_bytes(b"\0\1")
    found = probes.read(directory, NAMES, NAMES)
    assert found is not None
    assert [test.name for test in found.tests] == ["s:a", "s:a,b"]


READER = """\
#include <dlfcn.h>
int main(int argc, char **argv)
{
	void *plugin = argc > 1 ? dlopen(argv[1], RTLD_NOW) : 0;
	int *version = plugin ? dlsym(plugin, "qemu_plugin_version") : 0;
	return version ? *version : 99;
}
"""


def run_reader(source: Path, plugin: Path) -> int:
    program = source.with_suffix("")
    subprocess.run(["gcc", "-rdynamic", "-o", str(program), str(source), "-ldl"], check=True)
    return subprocess.run([str(program), str(plugin)], check=False).returncode


def test_the_plugin_is_of_the_interface_that_its_qemu_has(tmp_path: Path) -> None:
    """QEMU 9.0 and later have one function more, and refuse plugins of interface 1."""
    names = (
        "qemu_plugin_register_vcpu_tb_trans_cb",
        "qemu_plugin_tb_n_insns",
        "qemu_plugin_tb_get_insn",
        "qemu_plugin_insn_vaddr",
        "qemu_plugin_register_vcpu_insn_exec_cb",
    )
    stubs = "\n".join(f"void {name}(void) {{ }}" for name in names)
    plugin = build_plugin(SOURCE, tmp_path / "reached.so")
    for version, extra in ((1, ""), (2, "int qemu_plugin_num_vcpus(void) { return 1; }")):
        source = tmp_path / f"stub{version}.c"
        source.write_text(f"{stubs}\n{extra}\n{READER}")
        assert run_reader(source, plugin) == version

# SPDX-License-Identifier: GPL-2.0-only
"""The compiler: behind its cache it gives what it would give alone; names that are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.kbuild import toolchain
from harness.proc.process import check, run

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).parents[2]
C_FILES = [*(REPOSITORY / "harness").rglob("*.c"), *(REPOSITORY / "tests").rglob("*.c")]
SOURCES = {
    # The kernel's image holds the compressed kernel like this, under a name that never changes.
    "piggy.S": '.section ".rodata","a"\n.incbin "payload"\n',
    "config.c": 'asm(".section .rodata\\n.incbin \\"payload\\"\\n");\n',
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_file_that_an_object_includes_as_it_is_counts(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(SOURCES[name])
    environment = toolchain.environment(tmp_path / "ccache", tmp_path)
    # As in kbuild, the compiler is asked for dependencies: what ccache could be content with.
    argv = ["ccache", "gcc", "-Wp,-MMD,out.d", "-c", name, "-o", "out.o"]
    for payload in (b"one kernel", b"the other!"):
        (tmp_path / "payload").write_bytes(payload)
        # Older than what follows by more than the clock's grain, as ccache is careful about that.
        os.utime(tmp_path / name, (1, 1))
        check(run(argv, cwd=tmp_path, env=environment, limit_s=60), "the compiler failed")
        assert payload in (tmp_path / "out.o").read_bytes()


@pytest.mark.parametrize("name", ["no-such-compiler", "/nonexistent/gcc", "/etc/passwd"])
def test_a_compiler_that_there_is_not(name: str) -> None:
    with pytest.raises(UserError, match=f"there is no compiler '{name}'"):
        toolchain.check_compiler(name)


@pytest.mark.parametrize("name", ["ccache gcc", "./gcc", "bin/gcc", "gcc;reboot", "$(CC)", "-v"])
def test_what_is_no_name_of_a_compiler(name: str) -> None:
    with pytest.raises(UserError, match="one word, or by its absolute path"):
        toolchain.check_compiler(name)


def test_compilers_are_named_by_name_or_path() -> None:
    toolchain.check_compiler("gcc")
    toolchain.check_compiler("/usr/bin/gcc")


@pytest.mark.parametrize("file", sorted(C_FILES), ids=lambda file: file.name)
def test_newer_compilers_refuse_no_file(file: Path) -> None:
    """What gcc 14 takes for errors, older ones only warn of."""
    refused = ["implicit-function-declaration", "implicit-int", "int-conversion"]
    refused += ["incompatible-pointer-types", "return-type"]
    argv = ["gcc", "-fsyntax-only", *(f"-W{name}" for name in refused), str(file)]
    said = run(argv, cwd=file.parent, limit_s=60).output
    # Headers of a kernel tree are not there: that is another error.
    found = [line for line in said.splitlines() if any(f"[-W{name}]" in line for name in refused)]
    assert not found

# SPDX-License-Identifier: GPL-2.0-only
"""Suites with faults of their own, in real guests: each is told of, and all else runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import ExitCode
from harness.model import results
from harness.model.results import Test
from harness.outcome import Outcome
from tests.conftest import PROJECT_FILE
from tests.suites.test_helpers import FORKS

pytestmark = pytest.mark.kernel
OUTPUT = b"ok 1 before\nin between\nok 2 after\n\0\1\r\n\xff"
FLOOD_MIB = 48
FLOOD = f"""\
#include <string.h>
#include <unistd.h>
static char chunk[1 << 20];
int main(void)
{{
	memset(chunk, 'x', sizeof(chunk));
	for (int i = 0; i < {FLOOD_MIB}; i++)
		if (write(1, chunk, sizeof(chunk)) != sizeof(chunk))
			return 1;
	return 0;
}}
"""
MAKEFILE = """\
TEST_GEN_PROGS := forks user flood
TEST_GEN_PROGS_EXTENDED := libown.so
TEST_PROGS := helped.sh piped.sh missing.sh directory
TEST_FILES := data fifo
include ../lib.mk
$(OUTPUT)/libown.so: own.c
	$(CC) -shared -fPIC $< -o $@
$(OUTPUT)/user: user.c $(OUTPUT)/libown.so
	$(CC) $< -L$(OUTPUT) -lown -Wl,-rpath=./ -o $@
"""


def run(out: Path, *options: str) -> tuple[int, dict[str, Test]]:
    argv = [sys.executable, "-m", "harness", "run", "--out", str(out), *options]
    done = subprocess.run(
        argv, cwd=PROJECT_FILE.parent, capture_output=True, text=True, timeout=1800, check=False
    )
    file = out / "results.json"
    assert file.exists(), done.stderr
    return done.returncode, {test.name: test for test in results.decode(file.read_bytes()).tests}


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """A suite that has something wrong in every list."""
    suite = tmp_path / "faulty"
    (suite / "data").mkdir(parents=True)
    (suite / "Makefile").write_text(MAKEFILE)
    (suite / "forks.c").write_text(FORKS)
    (suite / "flood.c").write_text(FLOOD)
    (suite / "own.c").write_text("int own(void) { return 0; }\n")
    (suite / "user.c").write_text("int own(void);\nint main(void) { return own(); }\n")
    # Skips where the module is not there, as it is not; so does its last line, if it is reached.
    script(suite / "helped.sh", '"$(dirname "$0")/../kselftest/module.sh" x no_such_module')
    script(suite / "piped.sh", "./forks | cat")
    (suite / "directory").mkdir()
    os.mkfifo(suite / "fifo")
    (suite / os.fsdecode(b"data/caf\xe9")).touch()
    return suite


def test_what_is_wrong_is_told_and_all_else_runs(faulty: Path, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.mkdir()
    (large / "Makefile").write_text(
        "TEST_PROGS := a.sh b.sh\nTEST_FILES := big\ninclude ../lib.mk\n"
    )
    script(large / "a.sh", "exit 0")
    script(large / "b.sh", "exit 0")
    with (large / "big").open("wb") as file:
        file.truncate(500 << 20)
    silly = tmp_path / "silly"
    silly.mkdir()
    (silly / "Makefile").write_text("include ../lib.mk\n$(error it is not to be built)\n")
    out = tmp_path / "out"
    named = [word for each in (faulty, large, silly) for word in ("--suite", str(each))]
    code, told = run(out, *named)
    assert code == ExitCode.NOT_AS_EXPECTED
    assert {name: test.outcome.value for name, test in told.items()} == {
        "faulty:forks": "pass",
        "faulty:user": "pass",
        "faulty:flood": "pass",
        "faulty:helped.sh": "skip",
        "faulty:piped.sh": "pass",
        "faulty:missing.sh": "error",
        "faulty:directory": "error",
        "faulty:fifo": "error",
        "large:a.sh": "error",
        "large:b.sh": "error",
        "silly:Makefile": "error",
    }
    assert told["faulty:missing.sh"].reason == "missing.sh is not there"
    assert told["faulty:directory"].reason == "directory is a directory"
    assert told["faulty:fifo"].reason == "fifo is a FIFO"
    assert re.search("packs 50[0-9] MiB", told["large:a.sh"].reason)
    assert "it has 512 MiB: set memory_mib = " in told["large:a.sh"].reason
    assert "it is not to be built" in told["silly:Makefile"].reason
    for name in ("forks", "piped.sh"):
        assert (out / told[f"faulty:{name}"].logs.output).read_bytes() == OUTPUT
    written = (out / told["faulty:flood"].logs.output).read_bytes()
    assert written.startswith(b"x" * (32 << 20))


def test_a_guest_with_the_memory_that_the_reason_names_has_every_byte(tmp_path: Path) -> None:
    suite = tmp_path / "large"
    suite.mkdir()
    (suite / "Makefile").write_text("TEST_PROGS := a.sh\nTEST_FILES := big\ninclude ../lib.mk\n")
    script(
        suite / "a.sh", "set -e\ntest $(tr -d x <big | wc -c) = 0\ntest $(wc -c <big) = 209715200"
    )
    (suite / "big").write_bytes(b"x" * (200 << 20))
    _, told = run(tmp_path / "first", "--suite", str(suite))
    reason = told["large:a.sh"].reason
    needed = reason.partition("memory_mib = ")[2].split()[0]
    (suite / "suite.toml").write_text(f"[guest]\nmemory_mib = {needed}\n")
    _, told = run(tmp_path / "second", "--suite", str(suite))
    assert told["large:a.sh"].outcome is Outcome.PASS, told["large:a.sh"].reason

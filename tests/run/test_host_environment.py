# SPDX-License-Identifier: GPL-2.0-only
"""A run from a shell in which everything is exported: the same kernel, the same verdicts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.digest import digest_tree
from harness.errors import ExitCode
from harness.model import results
from harness.outcome import Outcome
from harness.proc.environment import harmless
from harness.run.prepare import Prepared
from harness.store import Store
from tests.proc.test_environment import exported
from tests.run.commands import LIMIT_S

pytestmark = pytest.mark.kernel
REPOSITORY = Path(__file__).parents[2]
PLAIN = '#include <stdio.h>\nint main(void) { puts("1..1\\nok 1 here"); return 0; }\n'
CHECKS = """\
#include <stdio.h>
int main(void)
{
#ifdef SKIP_THE_CHECK
	puts("1..1\\nok 1 check");
	return 0;
#else
	puts("1..1\\nnot ok 1 check");
	return 1;
#endif
}
"""


def test_what_is_exported_changes_no_verdict(
    prepared: Prepared, user_store: Store, tmp_path: Path
) -> None:
    # The name is one that neither make nor a shell likes.
    suite = tmp_path / "my suite: $HOME"
    suite.mkdir()
    (suite / "Makefile").write_text(
        "CFLAGS += -O2\nTEST_GEN_PROGS := plain macro header\ninclude ../lib.mk\n"
    )
    (suite / "plain.c").write_text(PLAIN)
    (suite / "macro.c").write_text(CHECKS)
    (suite / "header.c").write_text(f"#include <linux/only_here.h>\n{PLAIN}")
    variables = exported(tmp_path)
    mine = digest_tree(tmp_path / "mine")
    out = tmp_path / "out put"
    argv = [sys.executable, "-I", "-m", "harness", "run", "--out", str(out), "--suite", str(suite)]
    done = subprocess.run(
        argv,
        cwd=REPOSITORY,
        # As `make` calls it, the harness starts Python with -I.
        env={**os.environ, **variables, "HARNESS_CACHE": str(user_store.root)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == ExitCode.NOT_AS_EXPECTED, done.stdout + done.stderr
    said = results.decode((out / "results.json").read_bytes())
    assert {test.program: test.outcome for test in said.tests} == {
        "plain": Outcome.PASS,
        "macro": Outcome.FAIL,
        "header": Outcome.ERROR,
    }
    assert "only_here.h" in next(test.reason for test in said.tests if test.program == "header")
    assert said.kernel.build_id == prepared.kernel.meta.build_id
    if not harmless(user_store.root):
        # make takes such a name apart, so kernels and suites are built in the user's directory.
        shutil.rmtree(tmp_path / "mine" / "home" / ".cache")
    assert digest_tree(tmp_path / "mine") == mine

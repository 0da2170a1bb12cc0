# SPDX-License-Identifier: GPL-2.0-only
"""Coverage-guided fuzzing of the KTAP reader with atheris.

Run it by hand, for so many seconds::

    python -m tests.ktap.fuzz_ktap 600

or, as ``make test`` does, for so many inputs, the same ones each time::

    python -m tests.ktap.fuzz_ktap --inputs 5000

It starts from the corpus beside it.  atheris never returns, so a test runs it in another process;
an input that it finds belongs into the corpus.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
_HANGS_S = 100
"""A plan of a million makes the most cases a report can have, and checking these takes seconds;
on a busy machine ten times that."""


def fuzz(limit: list[str]) -> None:
    """Fuzz until *limit*, options of libFuzzer, then exit the process: 0 if no promise broke."""
    import atheris

    with atheris.instrument_imports(include=["harness.ktap"]):
        from tests.ktap.promises import check

    def one(data: bytes) -> None:
        cuts = [data[0] * 3, data[0] * 7 + 1] if data else []
        check(data[1:], cuts)

    with tempfile.TemporaryDirectory(prefix="fuzz-ktap-") as found:
        for seed in CORPUS.glob("*.ktap"):
            (Path(found) / seed.name).write_bytes(b"\x07" + seed.read_bytes())
        words = Path(found).with_suffix(".dict")
        words.write_text("".join(f'"{word}"\n' for word in _WORDS))
        options = ["-max_len=2048", f"-dict={words}", f"-timeout={_HANGS_S}"]
        options += [f"-artifact_prefix={Path.cwd()}/", *limit]
        atheris.Setup([sys.argv[0], *options, found], one)
        atheris.Fuzz()


_WORDS = (
    "ok 1 ",
    "not ok 2 ",
    " # SKIP",
    " # XFAIL",
    " # TODO",
    "KTAP version 1\\x0a",
    "TAP version 13\\x0a",
    "1..2\\x0a",
    "1..0 # SKIP",
    "Bail out!",
    "# Subtest: ",
    "# Totals: pass:1 fail:0",
    "[   12.345678] ",
    "2026-11-26T23:00:00.123456Z ",
    "Nov 26 23:00:00 host kernel: ",
    "[Thu Nov 26 23:00:00 2026] ",
    "kern  :info  : ",
    "# s: pass:1 fail:0 skip:1 total:2\\x0a",
    "# Planned tests != run tests (0 != 1)\\x0a",
    "# ",
    "  ",
    "#  RUN           a.b ...\\x0a",
    "#            OK  a.b\\x0a",
    "\\x1b[31m",
    "\\x00",
)

if __name__ == "__main__":
    words = argparse.ArgumentParser(description="Fuzz the KTAP reader.")
    words.add_argument("seconds", type=int, nargs="?", default=60, help="how long (60 s)")
    words.add_argument("--inputs", type=int, help="instead: how many inputs, always the same ones")
    asked = words.parse_args()
    if asked.inputs is None:
        fuzz([f"-max_total_time={asked.seconds}"])
    else:
        fuzz([f"-runs={asked.inputs}", "-seed=1"])

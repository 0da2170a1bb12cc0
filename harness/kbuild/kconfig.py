# SPDX-License-Identifier: GPL-2.0-only
"""Why an option was dropped: its dependencies, evaluated in the tree's own Kconfig files.

Kconfig files run programs (``$(shell)``), and kconfiglib runs them in its own process.  So that is
a process of its own, which a sandbox can hold.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from harness.errors import UserError
from harness.proc.environment import clean
from harness.proc.process import capture
from harness.proc.sandbox import Sandbox

_PROGRAM = Path(__file__).with_name("kconfig_program.py")
_LIMIT_S = 120


def unmet(
    tree: Path,
    config: Path,
    make_variables: Mapping[str, str],
    names: Sequence[str],
    sandbox: Sandbox | None = None,
) -> dict[str, str]:
    """Return by name, in one line each, why options cannot have the values that were asked for.

    It takes about 1.5 s on a whole kernel.  *make_variables* are what the kernel's Makefile exports
    to Kconfig (``ARCH``, ``CC``, …).  Raises UserError where the files cannot be read.
    """
    if sandbox:
        python = tuple(dict.fromkeys(map(Path, (sys.prefix, sys.base_prefix))))
        shown = (*sandbox.readable, *python, _PROGRAM)
        sandbox = msgspec.structs.replace(sandbox, readable=shown)
    done = capture(
        [sys.executable, "-I", str(_PROGRAM), str(tree), str(config), *names],
        env={**clean(), **make_variables, "srctree": str(tree)},
        limit_s=_LIMIT_S,
        sandbox=sandbox,
    )
    rows = done.stdout.decode(errors="replace").splitlines()
    if done.ok and rows:
        said = json.loads(rows[-1])
        return {name: " ".join(str(said[name]).split()) for name in names}
    why = done.stderr.decode(errors="replace").strip().splitlines()
    raise UserError("the Kconfig files cannot be read", where=str(tree), why="\n".join(why[-5:]))

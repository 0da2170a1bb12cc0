# SPDX-License-Identifier: GPL-2.0-only
"""A program for :mod:`harness.kbuild.kconfig`: why options have not the values asked for.

It is called with a tree, a ``.config`` and names of options, and prints one line of JSON.  It may
run in a sandbox, where nothing of this package is: it imports kconfiglib and no module of ours.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kconfiglib

_VALUES = "nmy"
_MODULES = re.compile(r"(?m)^([ \t]+)modules[ \t]*$")


class _Kconfig(kconfiglib.Kconfig):  # type: ignore[misc]  # kconfiglib has no types
    def _open(self, filename: str, mode: str) -> Any:
        # Since Linux 5.14 the attribute that marks the MODULES symbol is spelled "modules"; the
        # library knows the older "option modules".
        with super()._open(filename, mode) as file:
            return io.StringIO(_MODULES.sub(r"\1option modules", file.read()))


class Dependencies:
    """The Kconfig files of a tree, with the values of one ``.config``."""

    def __init__(self, tree: Path, config: Path) -> None:
        """Parse; raises kconfiglib.KconfigError or OSError where the files cannot be read."""
        self._kconfig = _Kconfig(str(tree / "Kconfig"), warn=False)
        self._kconfig.load_config(str(config))

    def unmet(self, name: str) -> str:
        """Say in one line why the option *name* cannot have the value that was asked for."""
        symbol = self._kconfig.syms.get(name)
        if symbol is None or not symbol.nodes:
            return "this kernel has no such option"
        parts = [
            f"{kconfiglib.expr_str(part)} is {_VALUES[kconfiglib.expr_value(part)]}"
            for part in _conjuncts(symbol.direct_dep)
            if kconfiglib.expr_value(part) == 0
        ]
        if parts:
            return "unmet: " + ", ".join(parts)
        if not any(node.prompt for node in symbol.nodes):
            selecting = kconfiglib.expr_str(symbol.rev_dep)
            return f"it has no prompt: only a select sets it (selected by: {selecting})"
        if symbol.choice is not None:
            return f"it is one of a choice, where {symbol.choice.selection.name} is taken"
        if symbol.rev_dep is not self._kconfig.n and kconfiglib.expr_value(symbol.rev_dep):
            return f"it is selected by {kconfiglib.expr_str(symbol.rev_dep)}"
        return "its prompt is not visible, or the value is not one it can have"


def _conjuncts(expression: Any) -> Iterator[Any]:
    """Split ``A && B && C`` into its parts."""
    if isinstance(expression, tuple) and expression[0] == kconfiglib.AND:
        yield from _conjuncts(expression[1])
        yield from _conjuncts(expression[2])
    else:
        yield expression


def main() -> int:
    """Print by name why the options of the command line have other values; return the status."""
    tree, config, *names = sys.argv[1:]
    try:
        dependencies = Dependencies(Path(tree), Path(config))
    except (kconfiglib.KconfigError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    # On a line of its own, whatever the programs that Kconfig files ask have printed.
    print("\n" + json.dumps({name: dependencies.unmet(name) for name in names}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

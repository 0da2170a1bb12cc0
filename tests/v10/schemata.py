# SPDX-License-Identifier: GPL-2.0-only
"""The breaks in one kernel, each chosen before its tests start.

    python -m tests.v10.schemata [NAME…]

builds v11 with all that change nothing but functions (or with those that are named), runs the tests
of each, and prints the table.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from harness import project
from harness.context import Context
from harness.lab.local import LocalExecutor
from harness.model.records import GuestReady
from harness.model.spec import KernelSpec
from harness.mutants.between import variants_between
from harness.mutants.schemata import Variant, plant
from harness.proc import signals
from harness.progress import Quiet
from harness.run.mutant_bed import Bed, Under
from harness.run.mutant_kernels import Planter
from harness.run.mutants import NAME
from harness.run.prepare import Prepared, prepare
from harness.run.request import Request
from harness.series.planted import contents
from harness.store import Store
from tests.report.samples import run as results_of
from tests.v10.breaks import STACK, Bite, Break, all_breaks, judge, table
from tests.v10.tags import REPOSITORY, SUITES

_FILE = re.compile(r"^--- a/(\S+)", re.MULTILINE)
_AT_BOOT = re.compile(rb"\brestrictedmem_init_fs_context\([^{}]*\Z")
"""The head of a function that has run when a guest is saved, and so when a break is chosen."""


def prepared_v11(context: Context, out: Path) -> Prepared:
    """Return the stack of the breaks with the suites of the series."""
    file = REPOSITORY / project.FILE_NAME
    request = Request(
        project_file=file,
        project=project.load(file),
        working_dir=REPOSITORY,
        kernels=(KernelSpec(series=(STACK,)),),
        suites=tuple(SUITES),
    )
    return prepare(request, context, out)


@dataclass(frozen=True)
class Expressed:
    """Breaks as variants of the files that they change."""

    sources: Mapping[str, bytes]
    variants: Mapping[str, Sequence[Variant]]
    numbers: Mapping[str, int]
    """By name the breaks that can be expressed, from 1."""

    def files(self) -> dict[str, bytes]:
        """Return the files with all of them."""
        return {
            path: plant(path, self.sources[path], found) for path, found in self.variants.items()
        }


def express(prepared: Prepared, faults: Sequence[Break], scratch: Path) -> Expressed:
    """Return those of *faults* that change only the bodies of functions that tests run."""
    paths = {path for fault in faults for path in _FILE.findall(fault.diff)}
    sources = contents(prepared.tree, sorted(paths))
    variants: dict[str, list[Variant]] = {}
    numbers: dict[str, int] = {}
    for fault in faults:
        number = len(numbers) + 1
        found = {
            path: variants_between(number, sources[path], new)
            for path, new in _applied(fault, sources, scratch).items()
        }
        too_late = any(
            _AT_BOOT.search(sources[path][: each.start])
            for path, mine in found.items()
            for each in mine or []
        )
        if all(each for each in found.values()) and not too_late:
            numbers[fault.name] = number
            for path, mine in found.items():
                variants.setdefault(path, []).extend(mine or [])
    return Expressed(sources, variants, numbers)


def _applied(fault: Break, sources: Mapping[str, bytes], scratch: Path) -> dict[str, bytes]:
    paths = _FILE.findall(fault.diff)
    with tempfile.TemporaryDirectory(dir=scratch) as root:
        for path in paths:
            (Path(root) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(root) / path).write_bytes(sources[path])
        subprocess.run(
            ["git", "apply", "-p1", "-"], input=fault.diff.encode(), cwd=root, check=True
        )
        return {path: (Path(root) / path).read_bytes() for path in paths}


def bites(
    prepared: Prepared, faults: Sequence[Break], context: Context, out: Path
) -> dict[str, Bite]:
    """Return by name what became of those of *faults* that can share a kernel."""
    expressed = express(prepared, faults, out)
    planter = Planter(prepared.built.selected, context, out / "kernel-build.log")
    kernel = planter.with_variants(expressed.files())
    bed = Bed(prepared, LocalExecutor(out), context, out, datetime.now(UTC).date())
    bed.open(NAME, kernel)
    by_name = {fault.name: fault for fault in faults}
    found: dict[str, Bite] = {}

    async def one(name: str, number: int) -> None:
        tests = [test for test in prepared.tests if test.name in by_name[name].programs]
        said = []
        for test in tests:
            ready = await bed.ready(Under(NAME, number), test)
            assert isinstance(ready, GuestReady), ready
            said.append((await bed.run(Under(NAME, number), test, ready))[0])
        found[name] = judge(by_name[name], results_of(*said))

    signals.run(bed.at_once([partial(one, *each) for each in expressed.numbers.items()]))
    bed.close(NAME)
    return dict(sorted(found.items()))


def main() -> None:
    """Try the breaks that are named, or all that can be expressed."""
    faults = [each for each in all_breaks() if not sys.argv[1:] or each.name in sys.argv[1:]]
    context = Context(Store.default(), Quiet())
    with tempfile.TemporaryDirectory(prefix="breaks-") as scratch:
        prepared = prepared_v11(context, Path(scratch))
        found = bites(prepared, faults, context, Path(scratch))
    print(table(list(found.values())))
    print(f"cannot share a kernel: {', '.join(f.name for f in faults if f.name not in found)}")
    sys.exit(not all(each.caught for each in found.values()))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-2.0-only
"""Kernels that are compared by cost: their names, contents and sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from unidiff.patch import PatchSet

from harness.errors import UserError
from harness.judge.variants import OF_FUNCTIONS, Comparison, Size, compare_variants
from harness.lab.cost import COST
from harness.model.cost import unfold
from harness.model.ids import KernelName
from harness.model.records import KernelFailed, Record
from harness.model.results import Results, encode
from harness.model.spec import KernelSpec
from harness.report import flame, variants
from harness.report.files import write_report
from harness.run.request import Request
from harness.series import Patch

_COUNTED = ("instructions", *(f"{kind}:" for kind in OF_FUNCTIONS))
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.+-]+")
NAMES = ("variants.json", "variants.md", "variants.html")
"""The files of a comparison in the run's directory."""


def specs(request: Request, asked: Sequence[str], plain: KernelSpec) -> tuple[KernelSpec, ...]:
    """Return the kernels that *asked* names, each with all else as *plain* has it.

    A variant is a name of ``[variants]`` in the project file, or series joined by commas as
    ``--series`` takes them.  Raises UserError where there are fewer than two, or one twice.
    """
    if len(asked) < 2:
        raise UserError(
            "a comparison needs at least two variants",
            where=f"--variants {' '.join(asked)}".strip(),
            hint="name two of [variants], stacks or series",
        )
    found = [_spec(request, each, plain) for each in asked]
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"two variants are called '{name}'",
                where=f"--variants {' '.join(asked)}",
                hint="give them names in [variants] of the project file",
            )
    return tuple(found)


def _spec(request: Request, asked: str, plain: KernelSpec) -> KernelSpec:
    table = request.project.variants.get(asked)
    if table is not None:
        return KernelSpec(
            name=asked,
            source=table.source or plain.source,
            series=tuple(_from_project(request, each) for each in table.series) or plain.series,
            config=table.config or plain.config,
            cc=table.cc or plain.cc,
        )
    parts = tuple(part for part in asked.split(",") if part)
    if not parts:
        raise UserError("a variant without a name", where="--variants")
    last = Path(parts[-1]).name.removesuffix(".patch")
    name = _NOT_IN_NAMES.sub("-", last).strip("-.+") or "variant"
    return KernelSpec(
        name=name, source=plain.source, series=parts, config=plain.config, cc=plain.cc
    )


def _from_project(request: Request, series: str) -> str:
    """Return *series* of the project file as the command line would have it."""
    if series in request.project.stacks or series == "none":
        return series
    return str(request.project_dir / series)


def counts(metrics: Sequence[str]) -> tuple[bool, bool]:
    """Return whether *metrics* need instructions to be counted, and by function.

    Raises UserError for one of a function that is not named.
    """
    for name in metrics:
        if name.removesuffix(":") in OF_FUNCTIONS and name.endswith(":"):
            raise UserError(
                f"'{name}' names no function",
                where=f"--metric {name}",
                hint=f"--metric {name}FUNCTION, as the kernel calls it",
            )
    by_function = any(name.partition(":")[0] in OF_FUNCTIONS and ":" in name for name in metrics)
    return any(name.startswith(_COUNTED) for name in metrics), by_function


def sizes(request: Request) -> dict[KernelName, Size]:
    """Return for each kernel how large the patches are that not all of them have."""
    stacks = {spec.name: request.stack(spec).patches for spec in request.kernels}
    common = set.intersection(*({each.content for each in patches} for patches in stacks.values()))
    return {
        name: _size([patch for patch in patches if patch.content not in common])
        for name, patches in stacks.items()
    }


def _size(patches: Sequence[Patch]) -> Size:
    changed = [file for patch in patches for file in PatchSet(patch.diff.decode(errors="replace"))]
    return Size(
        patches=len(patches),
        files=len({file.path for file in changed}),
        added=sum(file.added for file in changed),
        removed=sum(file.removed for file in changed),
    )


def write(
    each: Mapping[KernelName, Results],
    metrics: Sequence[str],
    request: Request,
    records: Sequence[Record],
    directory: Path,
) -> Comparison:
    """Compare the results of kernels, and write the comparison into the run's *directory*.

    Raises MachineError where that cannot be written.
    """
    failed = {
        record.kernel: f"{record.reason}: {record.why}".removesuffix(": ")
        for record in records
        if isinstance(record, KernelFailed)
    }
    found = compare_variants(each, metrics, sizes(request), failed)
    graphs = _differences(each, directory)
    texts = (
        encode(found),
        variants.markdown(found).encode(),
        variants.page(found, graphs).encode(),
    )
    for name, text in zip(NAMES, texts, strict=True):
        write_report(directory / name, text)
    return found


def _differences(each: Mapping[KernelName, Results], directory: Path) -> dict[str, str]:
    """Draw the difference of each variant to the first, by function."""
    first, *others = each.items()
    before = {test.name: test for test in first[1].tests if test.logs.folded}
    graphs = {}
    for name, results in others:
        for test in results.tests:
            if not test.logs.folded or test.name not in before:
                continue
            then, now = (
                unfold((directory / one.logs.folded).read_text())
                for one in (before[test.name], test)
            )
            title = f"{test.name}: {name} against {first[0]}"
            path = COST / f"{Path(test.logs.folded).stem}-{name}-against-{first[0]}.svg"
            drawn = flame.render_difference(then, now, title)
            write_report(directory / path, drawn.encode())
            graphs[title] = str(path)
    return graphs

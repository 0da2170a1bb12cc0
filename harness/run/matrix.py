# SPDX-License-Identifier: GPL-2.0-only
"""The kernels of a matrix: the base of a series, and the kernels after its patches."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from harness.errors import UserError
from harness.model.ids import BASE
from harness.model.spec import KernelSpec
from harness.project import NO_SERIES

TIP = "tip"
"""The name of the kernel that is compared with a base."""

_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def patches_of(wanted: str, count: int) -> tuple[int, ...]:
    """Return the patches, of *count*, that *wanted* names: ``all``, ``ends``, or ``2,5-7``.

    Raises UserError for anything else, and for patches that the series does not have.
    """
    if wanted == "all":
        return tuple(range(1, count + 1))
    if wanted == "ends":
        return (count,)
    found: set[int] = set()
    for part in wanted.split(","):
        match = _RANGE.fullmatch(part.strip())
        if not match:
            raise UserError(
                f"'{part}' is neither a patch nor a range of patches",
                where=f"--patches {wanted}",
                hint="write 'all', 'ends', or numbers and ranges such as 2,5-7",
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= count:
            raise UserError(
                f"the series has no patches '{part}'",
                where=f"--patches {wanted}",
                why=f"it has patches 1 to {count}",
            )
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def specs(
    whole: KernelSpec, patches: Sequence[int], count: int, *, own_tests: bool
) -> tuple[KernelSpec, ...]:
    """Return the base of the series of *whole*, and its kernels after each of *patches*.

    *count* is how many patches there are.  Suites of the kernel tree are those of the last patch,
    or with *own_tests* those of each kernel.
    """
    kernels = [(BASE, 0), *((str(number), number) for number in patches)]
    return tuple(
        msgspec.structs.replace(
            whole,
            name=name,
            upto=upto,
            tests_upto=None if own_tests else count,
            position=upto,
        )
        for name, upto in kernels
    )


def against(whole: KernelSpec, base: str, count: int) -> tuple[KernelSpec, KernelSpec]:
    """Return the kernel to compare *whole* with, and *whole* itself.

    *base* is a source, or :data:`BASE` for what the *count* patches of the series apply to.  Suites
    of the kernel tree are those of *whole* on both.  Raises UserError where there is no series.
    """
    tip = msgspec.structs.replace(whole, name=TIP)
    if base != BASE:
        other = KernelSpec(
            name=BASE,
            source=base,
            series=(NO_SERIES,),
            config=whole.config,
            cc=whole.cc,
            tests_of=TIP,
        )
        return other, tip
    if not count:
        raise UserError(
            "there is no series, so the kernel would be compared with itself",
            where="--base",
            hint="name another source to compare it with: --base SOURCE",
        )
    return msgspec.structs.replace(whole, name=BASE, upto=0, tests_upto=count), tip

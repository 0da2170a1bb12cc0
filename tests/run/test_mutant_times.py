# SPDX-License-Identifier: GPL-2.0-only
"""How long faults took, where trying them was cut off."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.model.records import MutantsEnded, Record
from harness.run.mutants import _Trial

pytestmark = pytest.mark.unit


def test_what_was_cut_off_has_taken_its_time_too() -> None:
    written: list[Record] = []
    nothing = cast(Any, None)
    mutation = cast(Any, SimpleNamespace(book=SimpleNamespace(write=written.append)))
    trial = _Trial(mutation, nothing, nothing, {}, nothing, nothing)
    with pytest.raises(asyncio.CancelledError), trial._timed():
        raise asyncio.CancelledError
    (ended,) = written
    assert isinstance(ended, MutantsEnded)

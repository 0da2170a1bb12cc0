# SPDX-License-Identifier: GPL-2.0-only
"""Every quirk that is known, as an input and the whole report that it must give.

A new input gets its expected report with ``python -m tests.ktap.test_corpus NAME``; read it before
you keep it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from harness.ktap import Report, parse
from tests.ktap.promises import check

pytestmark = pytest.mark.unit

CORPUS = Path(__file__).parent / "corpus"
NAMES = sorted(path.stem for path in CORPUS.glob("*.ktap"))


@pytest.mark.parametrize("name", NAMES)
def test_report(name: str) -> None:
    expected = json.loads((CORPUS / f"{name}.json").read_text())
    report = parse((CORPUS / f"{name}.ktap").read_bytes())
    assert report.to_dict() == expected
    assert Report.from_dict(expected) == report


@pytest.mark.parametrize("name", NAMES)
def test_promises_byte_by_byte(name: str) -> None:
    data = (CORPUS / f"{name}.ktap").read_bytes()
    check(data, list(range(len(data))))


def test_every_expectation_has_an_input() -> None:
    assert {path.stem for path in CORPUS.glob("*.json")} == set(NAMES)


def _write(name: str) -> None:
    report = parse((CORPUS / f"{name}.ktap").read_bytes())
    text = json.dumps(report.to_dict(), indent=1, ensure_ascii=False)
    (CORPUS / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    for each in sys.argv[1:]:
        _write(each)

# SPDX-License-Identifier: GPL-2.0-only
"""Reports, read by programs that others have written for that."""

from __future__ import annotations

import json

import pytest

from harness.report.formats import FORMATS, View
from tests.report import samples as s
from tests.report.test_sarif import CHECKED

pytestmark = pytest.mark.extra
SAMPLES = [*s.SAMPLES, s.Sample("checked", CHECKED)]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_reader_of_sarif_reads_it(sample: s.Sample) -> None:
    from sarif_pydantic import Sarif

    data = FORMATS["sarif"].render(sample.results, View())
    read = Sarif.model_validate_json(data)
    assert len(read.runs[0].results or []) == len(json.loads(data)["runs"][0]["results"])

# SPDX-License-Identifier: GPL-2.0-only
"""Metrics in a test's output: each is read as it stands, or told as a fault."""

from __future__ import annotations

import pytest

from harness.model.metrics import MAX_METRICS, RESERVED, UNITS, Metric, Reader, amount, parse

pytestmark = pytest.mark.unit


def read(*pieces: bytes) -> tuple[tuple[Metric, ...], tuple[str, ...]]:
    reader = Reader()
    for piece in pieces:
        reader.feed(piece)
    return reader.close()


@pytest.mark.parametrize(
    ("line", "metric"),
    [
        ("# metric: a 1 s", Metric(name="a", value=1, unit="s")),
        ("#metric: a 1 s", Metric(name="a", value=1, unit="s")),
        ("    # metric: a.b:c-d_e 2.50 MiB/s\r", Metric(name="a.b:c-d_e", value=2.5, unit="MiB/s")),
        ("# # metric: a -3 %", Metric(name="a", value=-3, unit="%")),
        ("#   metric:  a\t1e3  1 ", Metric(name="a", value=1000.0, unit="1")),
        ("# metric: a 1 calls better=less", Metric(name="a", value=1, unit="calls", better="less")),
        ("# metric: a 1 B better=more", Metric(name="a", value=1, unit="B", better="more")),
        (
            "# metric: a 256360654123456 instructions/page",
            Metric(name="a", value=256360654123456, unit="instructions/page"),
        ),
    ],
)
@pytest.mark.parametrize("end", ["\n", ""])
def test_a_metric_is_read(line: str, metric: Metric, end: str) -> None:
    assert read(f"TAP version 13\n{line}{end}".encode()) == ((metric,), ())


def test_a_metric_is_read_in_whatever_pieces_it_comes() -> None:
    text = b"KTAP version 1\n1..1\n# metric: a 1 s\nok 1 x\n# metric: b 2 KiB\n"
    whole = read(text)
    assert [each.name for each in whole[0]] == ["a", "b"]
    for cut in range(len(text)):
        assert read(text[:cut], text[cut:]) == whole
    assert read(*(bytes([byte]) for byte in text)) == whole


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("# metric:", "NAME VALUE UNIT"),
        ("# metric: a 1", "NAME VALUE UNIT"),
        ("# metric: 1a 1 s", "is not a name"),
        ("# metric: a\u00e9 1 s", "is not a name"),
        (f"# metric: {'a' * 65} 1 s", "is not a name"),
        ("# metric: a one s", "is not a number"),
        ("# metric: a nan s", "is not a number"),
        ("# metric: a inf s", "is not a number"),
        ("# metric: a 0x10 s", "is not a number"),
        ("# metric: a 1,000 s", "is not a number"),
        ("# metric: a 1e999 s", "too large"),
        ("# metric: a 1 sec", "'sec' is not a unit"),
        ("# metric: a 1 MB", "'MB' is not a unit"),
        ("# metric: a 1 MiB/", "'MiB/' is not a unit"),
        ("# metric: a 1 MiB/pages", "'MiB/pages' is not a unit"),
        ("# metric: a 1 s better=lower", "neither better=less nor better=more"),
        ("# metric: a 1 s better=less now", "neither better=less nor better=more"),
        ("text # metric: a 1 s", "not at the beginning of its line"),
        ("ok 1 x # metric: a 1 s", "not at the beginning of its line"),
        *((f"# metric: {name} 1 s", "measures itself") for name in sorted(RESERVED)),
    ],
)
def test_what_cannot_be_read_is_told(line: str, why: str) -> None:
    metrics, faults = read(f"{line}\n# metric: good 1 s\n".encode())
    assert [each.name for each in metrics] == ["good"]
    assert len(faults) == 1
    assert why in faults[0]
    assert line.split(":", maxsplit=1)[0].strip() in faults[0]


def test_prose_is_neither_a_metric_nor_a_fault() -> None:
    assert read(b"metric: a 1 s\nthe metric: none\n# a metric of ours: 3\n") == ((), ())


def test_the_first_of_two_with_one_name_stays() -> None:
    metrics, faults = read(b"# metric: a 1 s\n# metric: a 2 s\n")
    assert [each.value for each in metrics] == [1]
    assert len(faults) == 1
    assert "another metric 'a'" in faults[0]


def test_output_without_metrics_or_end_takes_no_room() -> None:
    reader = Reader()
    for _ in range(1000):
        reader.feed(b"x" * 4096)
    assert len(reader._pending) <= 4096
    reader.feed(b"\n# metric: a 1 s\n")
    assert len(reader.close()[0]) == 1


def test_there_is_a_limit_to_metrics_and_to_faults() -> None:
    metrics, faults = read(b"".join(b"# metric: m%d 1 s\n" % n for n in range(MAX_METRICS + 100)))
    assert len(metrics) == MAX_METRICS
    assert len(faults) == 21
    assert faults[-1] == "and 80 more metrics that cannot be read"


@pytest.mark.parametrize("unit", UNITS)
def test_units_stand_alone_and_per_second(unit: str) -> None:
    assert parse(f"a 1 {unit}").unit == unit
    assert parse(f"a 1 {unit}/s").unit == f"{unit}/s"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234567, "1,234,567"), (3.0, "3"), (0.12345, "0.1235"), (12345.67, "12,345.7")],
)
def test_amounts_for_the_eye(value: float, text: str) -> None:
    assert amount(value) == text

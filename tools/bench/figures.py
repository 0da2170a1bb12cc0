# SPDX-License-Identifier: GPL-2.0-only
"""What was measured, as figures with names, units and the bounds that they have to keep."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from harness.guest.snapshot import Snapshot
from tools.bench.rounds import Round, Timing

RESTORED_LIMIT_S = 0.25
FIRST_FRAME_LIMIT_S = 0.1
MANY_RATIO = 15.0
JOBS_RATIO = 1.6
VIRTME_RATIO = 8.0
VNG_RATIO = 1.0


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured figure and the bound it has to keep."""

    name: str
    value: float
    unit: str
    bound: str = ""
    """In words, such as ``<= 0.25``; empty for a figure without one."""
    reached: bool = True
    samples: tuple[float, ...] = ()
    """Seconds of each round."""
    note: str = ""

    def row(self, width: int) -> str:
        """Return this as a line of a table, whose names have *width* characters."""
        verdict = ("reached" if self.reached else "NOT REACHED") if self.bound else ""
        value = f"{self.value:.3f}" if self.unit == "s" else f"{self.value:.2f}"
        text = f"{self.name:<{width}}  {value:>8} {self.unit:<13}  {self.bound:>8}  {verdict}"
        return text + (f"  ({self.note})" if self.note else "")


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why some figures could not be measured."""

    stage: str
    what: str
    where: str
    why: str
    hint: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All figures with what they were measured on."""

    kernel: str
    program: str
    accelerator: str
    machine: str
    figures: tuple[Figure, ...]
    failed: tuple[Failure, ...] = ()
    """What could not be measured."""

    def table(self) -> str:
        """Return the figures as lines of text; empty if there are none."""
        head = [f"Linux {self.kernel}, {self.program}, {self.accelerator}"] if self.kernel else []
        head += [self.machine, ""]
        width = max((len(figure.name) for figure in self.figures), default=0)
        rows = [figure.row(width) for figure in self.figures]
        return "\n".join([*head, *rows]) if rows else ""


def of_rounds(rounds: Sequence[Round], saved: Snapshot) -> tuple[Figure, ...]:
    """What a test in a restored guest costs, whole and in its parts."""

    def median(seconds: Iterable[float]) -> float:
        return statistics.median(seconds)

    whole = median(each.gone_s for each in rounds)
    first = median(each.first_s - each.monitor_s for each in rounds)
    parts = {
        "QEMU starts and makes its devices": median(each.monitor_s for each in rounds),
        "the state is loaded": median(each.running_s - each.monitor_s for each in rounds),
        "the program begins to write": median(each.first_s - each.running_s for each in rounds),
        "the program ends": median(each.ended_s - each.first_s for each in rounds),
        "QEMU is killed and reaped": median(each.gone_s - each.ended_s for each in rounds),
    }
    private = median(each.private_kib for each in rounds) / 1024
    shared = median(each.shared_kib for each in rounds) / 1024
    return (
        Figure(
            name="a test in a restored guest, median",
            value=whole,
            unit="s",
            bound=f"<= {RESTORED_LIMIT_S}",
            reached=whole <= RESTORED_LIMIT_S,
            samples=tuple(each.gone_s for each in rounds),
            note=f"worst of {len(rounds)}: {max(each.gone_s for each in rounds):.3f} s",
        ),
        *(Figure(name=f"  {name}", value=value, unit="s") for name, value in parts.items()),
        Figure(
            name="from the begin of restoring to the first frame of the agent",
            value=first,
            unit="s",
            bound=f"<= {FIRST_FRAME_LIMIT_S}",
            reached=first <= FIRST_FRAME_LIMIT_S,
        ),
        Figure(
            name="memory of a restored guest's QEMU, its own",
            value=private,
            unit="MiB",
            note=f"and {shared:.0f} MiB that it can share with others",
        ),
        Figure(name="a snapshot on the disk", value=saved.disk_bytes / (1 << 20), unit="MiB"),
    )


def of_virtme(rounds: Sequence[Round], virtme: Timing) -> Figure:
    ratio = virtme.median / statistics.median(each.gone_s for each in rounds)
    return Figure(
        name="the same under virtme-run --script-sh",
        value=ratio,
        unit="times as long",
        bound=f">= {VIRTME_RATIO:g}",
        reached=ratio >= VIRTME_RATIO,
        samples=virtme.seconds,
        note=f"median of {len(virtme.seconds)}: {virtme.median:.2f} s",
    )


def of_booted(booted: Timing, virtme: Timing) -> Figure:
    ratio = booted.median / virtme.median
    return Figure(
        name="the same in a vng guest, against virtme-run",
        value=ratio,
        unit="times as long",
        bound=f"<= {VNG_RATIO:g}",
        reached=ratio <= VNG_RATIO,
        samples=booted.seconds,
        note=f"median of {len(booted.seconds)}: {booted.median:.2f} s",
    )


def of_machines(seconds: Mapping[str, Sequence[float]]) -> tuple[Figure, ...]:
    """Compare machine types, by what tests on each took in seconds."""
    return tuple(
        Figure(
            name=f"the same on {name}, by turns",
            value=statistics.median(samples),
            unit="s",
            samples=tuple(samples),
        )
        for name, samples in seconds.items()
    )


def of_many(
    alone: Sequence[float], by_two: Sequence[float], virtme: Timing, count: int
) -> tuple[Figure, ...]:
    """What a suite of *count* short tests takes with one guest at a time, and with two."""
    one, two = statistics.median(alone), statistics.median(by_two)
    ratio, gain = count * virtme.median / two, one / two
    return (
        Figure(
            name=f"one virtme-run for each of {count} tests, against --jobs 2",
            value=ratio,
            unit="times as long",
            bound=f">= {MANY_RATIO:g}",
            reached=ratio >= MANY_RATIO,
            samples=tuple(by_two),
            note=f"the whole command: {two:.1f} s; virtme-run's median times {count}",
        ),
        Figure(
            name=f"--jobs 1 against --jobs 2, {count} tests",
            value=gain,
            unit="times as long",
            bound=f">= {JOBS_RATIO:g}",
            reached=gain >= JOBS_RATIO,
            samples=tuple(alone),
            note=f"{one:.1f} s against {two:.1f} s",
        ),
    )


def machine() -> str:
    """Return in one line what is measured on."""
    return f"{len(os.sched_getaffinity(0))} CPUs, {platform.platform()}"


def encode(report: Report) -> str:
    """Return *report* as indented JSON."""
    return json.dumps(msgspec.to_builtins(report), indent=2)

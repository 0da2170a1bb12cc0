# SPDX-License-Identifier: GPL-2.0-only
"""What ``make bench`` prints where something cannot be measured: all the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from harness.errors import ExitCode, MachineError, UserError
from tools.bench import figures
from tools.bench.command import bench
from tools.bench.figures import Figure
from tools.bench.many import ManyBench
from tools.bench.measured import Measured, Stage
from tools.bench.overhead import Overhead

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).parents[2]


def figure(name: str, *, reached: bool = True) -> Figure:
    return Figure(name=name, value=1.0, unit="s", bound="<= 2", reached=reached)


@dataclass
class Played:
    """A part with these stages; *before* runs before the first."""

    measures: tuple[Callable[[], Iterable[Figure]], ...]
    before: Callable[[], object] = int

    def check(self) -> None: ...

    @contextmanager
    def stages(self) -> Iterator[Iterator[Stage]]:
        self.before()
        yield ((f"stage {number}", each) for number, each in enumerate(self.measures))


def refuse() -> Iterator[Figure]:
    yield figure("before")
    raise MachineError("scp has failed", why="the link is down", hint="mend it")


def full() -> Iterable[Figure]:
    raise OSError(28, "No space left on device")


def test_a_stage_that_fails_loses_nothing_of_the_others() -> None:
    measured = Measured()
    measured.take("hosts", Played((lambda: (figure("first"),), refuse, full, refuse)))
    measured.take("workers", Played((lambda: (figure("last", reached=False),),)))
    names = [each.name for each in measured.figures]
    assert names == ["first", "before", "before", "last"]
    assert [title for title, _ in measured.failed] == ["stage 1", "stage 2", "stage 3"]
    # What is not known is no bound that is kept, and none that is not.
    assert measured.status == ExitCode.MACHINE
    said = json.loads(figures.encode(measured.report))
    assert [each["name"] for each in said["figures"]] == names
    assert said["failed"][0] == {
        "stage": "stage 1",
        "what": "scp has failed",
        "where": "",
        "why": "the link is down",
        "hint": "mend it",
    }
    assert "No space left" in said["failed"][1]["why"]


def test_a_part_that_cannot_begin_loses_nothing_of_the_others() -> None:
    def before() -> None:
        raise UserError("the series does not apply")

    measured = Measured()
    measured.take("matrix", Played((lambda: (figure("first"),),), before))
    measured.take("workers", Played((lambda: (figure("second"),),)))
    assert [each.name for each in measured.figures] == ["second"]
    assert [title for title, _ in measured.failed] == ["matrix"]
    assert measured.status == ExitCode.USER


@pytest.mark.parametrize(("reached", "status"), [(True, 0), (False, 1)])
def test_without_a_failure_the_bounds_decide(reached: bool, status: int) -> None:
    measured = Measured()
    measured.take("hosts", Played((lambda: (figure("first", reached=reached), figure("b")),)))
    assert measured.status == status
    assert ("NOT REACHED" in measured.report.table()) is not reached


@pytest.mark.parametrize("end", [KeyboardInterrupt, ZeroDivisionError])
def test_what_has_been_measured_is_printed_also_after_ctrl_c_and_a_fault_of_the_harness(
    end: type[BaseException], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(_: ManyBench) -> Iterator[Figure]:
        yield figure("ten minutes' work")
        raise end

    monkeypatch.setattr(ManyBench, "_measure", measure)
    monkeypatch.chdir(REPOSITORY)
    # Ctrl-C is click's own exception outside.
    with pytest.raises((end, click.Abort)):
        bench.main(["--part", "workers"], standalone_mode=False)
    assert "ten minutes' work" in capsys.readouterr().out


def test_several_parts_are_all_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ManyBench, "_measure", lambda _: iter([figure("workers")]))
    few = Overhead(
        tests=10,
        run_s=1.0,
        reports_s=1.0,
        journal_bytes=1,
        report_bytes=1,
        run_kib=1,
        reports_kib=1,
    )
    monkeypatch.setattr("tools.bench.matrix.OverheadBench._overhead", lambda *_: few)
    monkeypatch.chdir(REPOSITORY)
    assert bench.main(["--part", "overhead", "--part", "workers"], standalone_mode=False) == 0
    shown = capsys.readouterr().out
    assert "workers" in shown
    assert "tests that do nothing, memory" in shown


@pytest.mark.slow
def test_what_is_missing_is_said_before_anything_is_measured() -> None:
    # As where the packages of extras are not installed.
    program = "import sys; sys.modules['distributed'] = None; sys.argv[0] = 'bench'; "
    program += "import runpy; runpy.run_module('tools.bench', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", program, "--part", "workers", "--part", "hosts"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == ExitCode.MACHINE, done.stderr
    assert "Dask is not installed" in done.stderr
    assert "scripts/setup.sh extra" in done.stderr
    assert done.stdout == ""
    assert "attempts" not in done.stderr

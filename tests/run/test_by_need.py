# SPDX-License-Identifier: GPL-2.0-only
"""Tests that require what this machine lacks go to hosts whose doctor said that they have it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from harness.context import Context
from harness.doctor.model import Check, Diagnosis, State
from harness.errors import ExitCode, MachineError
from harness.lab import ssh
from harness.lab.fleet import Need
from harness.lab.local import Bench
from harness.model import results
from harness.model.ids import HERE, ONLY
from harness.model.logfiles import LogFiles
from harness.model.spec import HostTable
from harness.outcome import Outcome
from harness.progress import Quiet
from harness.project import load
from harness.run.hosts import Hosts, recall, remember
from harness.run.prepare import Built, Prepared, build, planned, select
from harness.run.request import Request
from harness.store import Entry, Store
from tests.conftest import PROJECT_FILE
from tests.run.test_hosts import Place
from tests.run.test_main_job import suite
from tools.bench.sshd import Sshd, sshd

pytestmark = pytest.mark.kernel

SETTINGS = '[program.tdx_test]\nrequires = ["tdx"]\n'


def said(**states: State) -> Diagnosis:
    """Return what a doctor says who has looked at no more than this."""
    return Diagnosis(
        harness="0",
        time="2026-07-01T03:00:00Z",
        machine="a machine",
        ready=True,
        checks=tuple(
            Check(name=name, group="guests", state=state, detail="")
            for name, state in states.items()
        ),
    )


@pytest.fixture
def own(tmp_path: Path) -> Path:
    made = suite(tmp_path / "own", plain_test="\treturn 0;", tdx_test="\treturn 0;")
    (made / "suite.toml").write_text(SETTINGS)
    return made


@pytest.fixture
def place(tmp_path: Path, user_store: Store, prepared: Prepared) -> Place:
    return Place(tmp_path, user_store)


@pytest.fixture
def big(place: Place) -> Iterator[Sshd]:
    with sshd(place.root / "big", place.home) as machine:
        place.hosts(machine.table("big"))
        yield machine


@pytest.mark.parametrize("state", ["yes", "no"])
def test_a_host_is_asked_only_where_its_doctor_said_yes(
    state: State, place: Place, big: Sshd, own: Path, user_store: Store
) -> None:
    table = load(place.project / "harness.toml").hosts["big"]
    assert recall(user_store, table) is None
    answers = user_store.place("hosts")
    before = {*answers.iterdir()}
    remember(user_store, table, said(tdx=state, numa="yes"))
    out = place.root / "out"
    try:
        done = place.harness("run", "--suite", str(own), "--out", str(out))
    finally:
        for mine in {*answers.iterdir()} - before:
            mine.unlink()
    assert done.returncode == ExitCode.AS_EXPECTED, done.stdout + done.stderr
    found = results.decode((out / "results.json").read_bytes())
    tests = {test.program: test for test in found.tests}
    assert (tests["plain_test"].outcome, tests["plain_test"].host) == (Outcome.PASS, HERE)
    # Whoever answers there is this machine, which has no TDX.
    assert tests["tdx_test"].outcome is Outcome.SKIP
    assert ("Connecting to big" in done.stderr) is (state == "yes")
    assert ("big: " in tests["tdx_test"].reason) is (state == "yes")


class Played:
    """A worker whose guests have what *has* names."""

    def __init__(self, name: str, has: frozenset[str]) -> None:
        self.host, self.about, self.notes, self.lost = name, "played", (), ""
        self.machine = ""
        self._has = has

    def slots(self, tests: object, most: int | None) -> int:
        return 1

    async def lacking(self, entries: Sequence[Entry]) -> tuple[Entry, ...]:
        return ()

    async def open(self, *_: object) -> None: ...

    async def lacks(self, kernel: str, needs: Sequence[Need]) -> tuple[str, ...]:
        return tuple("" if {*wanted} <= self._has else "not on this one" for _, wanted in needs)

    async def close(self) -> None: ...


@pytest.fixture
def built(own: Path, user_store: Store, tmp_path: Path) -> Built:
    request = Request(
        project_file=PROJECT_FILE,
        project=load(PROJECT_FILE),
        working_dir=PROJECT_FILE.parent,
        suites=(str(own),),
    )
    context = Context(user_store, Quiet())
    (tmp_path / "built").mkdir()
    return build(select(request, request.kernels[0], context), context, tmp_path / "built")


def placed(
    built: Built, out: Path, monkeypatch: pytest.MonkeyPatch, **doctors: State | None
) -> tuple[dict[str, str], dict[str, set[str]], list[str]]:
    """Return why each test is skipped, where each may run, and which hosts were connected to.

    Each of the hosts *doctors* has TDX but those whose names begin with ``no``.
    """
    store = Store(out / "store")
    tables = {name: HostTable(ssh=f"me@{name}.invalid") for name in doctors}
    for name, state in doctors.items():
        if state:
            remember(store, tables[name], said(tdx=state))
    connected: list[str] = []

    async def connect(name: str, table: HostTable, *_: object) -> Played:
        connected.append(name)
        if name == "noway":
            raise MachineError("the host does not answer")
        return Played(name, frozenset() if name.startswith("no") else frozenset({"tdx"}))

    monkeypatch.setattr(ssh, "connect", connect)
    request = built.selected.request
    project = msgspec.structs.replace(request.project, hosts=tables)
    request = msgspec.structs.replace(request, project=project)

    async def go() -> tuple[dict[str, str], dict[str, set[str]]]:
        hosts = Hosts(request, out, Context(store, Quiet()), 1)
        async with hosts.joining():
            assert await hosts.meanwhile(asyncio.sleep(0, "built")) == "built"
            prepared = planned(built, await hosts.add(built))
            logs = LogFiles(prepared.tests, repeated=False)
            hosts.planned(prepared, Bench(built.factory, {}, logs))
            reasons = {test.program: test.unfit for test in prepared.tests}
            where = {
                test.program: {
                    host
                    for host in hosts.executor.slots(())
                    if hosts.executor.fits(host, ONLY, test)
                }
                for test in prepared.tests
            }
        return reasons, where

    reasons, where = asyncio.run(go())
    return reasons, where, connected


def test_a_test_goes_where_it_can_run(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doctors: dict[str, State | None] = {"big": "yes", "small": "no", "unasked": None}
    reasons, where, connected = placed(built, tmp_path, monkeypatch, **doctors)
    assert connected == ["big"]
    assert reasons == {"plain_test": "", "tdx_test": ""}
    # What can run here does: the host was asked for the other one only.
    assert where == {"plain_test": {HERE}, "tdx_test": {"big"}}


def test_where_none_has_it_the_reason_has_each_one_that_was_asked(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doctors: dict[str, State | None] = {"nolonger": "yes", "noway": "yes"}
    reasons, _, connected = placed(built, tmp_path, monkeypatch, **doctors)
    assert connected == ["nolonger", "noway"]
    assert reasons["plain_test"] == ""
    here, there, silent = reasons["tdx_test"].split("; ")
    assert here.startswith("local: ")
    assert there == "nolonger: not on this one"
    assert silent == "noway: it cannot be used: the host does not answer"


def test_nothing_is_built_for_a_host_that_cannot_be_had(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect(name: str, table: HostTable, *_: object) -> Played:
        await asyncio.sleep(0.1)
        raise MachineError("the host does not answer")

    monkeypatch.setattr(ssh, "connect", connect)
    request = built.selected.request
    tables = {"big": HostTable(ssh="me@big.invalid")}
    project = msgspec.structs.replace(request.project, hosts=tables)
    request = msgspec.structs.replace(request, project=project, hosts=("big",))

    async def go() -> None:
        hosts = Hosts(request, tmp_path, Context(Store(tmp_path / "store"), Quiet()), 1)
        async with hosts.joining():
            await hosts.meanwhile(asyncio.sleep(3600))

    with pytest.raises(MachineError, match="does not answer"):
        asyncio.run(asyncio.wait_for(go(), 60))

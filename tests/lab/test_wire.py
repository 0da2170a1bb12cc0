# SPDX-License-Identifier: GPL-2.0-only
"""Records over a channel, from a worker that may be anything, and entries on their way."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import struct
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st

from harness import __version__, ktap
from harness.digest import DigestingSink, Write, digest_file
from harness.errors import MachineError
from harness.lab import archive, wire
from harness.lab.executor import Attempt, HostLost
from harness.lab.remote import MOST_SLOTS, RemoteWorker
from harness.model.logfiles import LogFiles
from harness.model.plan import PlannedTest
from harness.model.records import Ending, TestEnded, TestStarted
from harness.model.results import Logs
from harness.progress import Quiet
from harness.store import Damaged, Store

pytestmark = pytest.mark.unit

TEST = PlannedTest(name="s:a", suite="s", program="a", path="a")
STARTED = TestStarted(name="s:a", time="2026-07-01T03:00:00.000Z", seed="", limit_s=1.0)


def ended(**changes: object) -> TestEnded:
    made = TestEnded(
        name="s:a",
        ending=Ending(how="exit", status=0),
        report=ktap.Parser().close(),
        total_s=0.1,
        logs=Logs(output="../../etc/passwd", kernel="/etc/shadow"),
    )
    return msgspec.structs.replace(made, **changes)


def hello(**changes: object) -> wire.Hello:
    made = wire.Hello(
        protocol=wire.PROTOCOL,
        harness=__version__,
        pid=1,
        cpus=2,
        free_mib=4096,
        incoming="/nowhere",
        time=time.time(),
    )
    return msgspec.structs.replace(made, **changes)


class Pair:
    """A link whose other end the test plays."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()

    def read(self, size: int) -> bytes:
        try:
            return self.ours.recv(size)
        except OSError:
            return b""

    def write(self, data: bytes) -> None:
        self.ours.sendall(data)

    def put(self, write: Write, name: str) -> DigestingSink:
        raise OSError("not here")

    def close(self) -> None:
        try:
            self.ours.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def last_words(self) -> str:
        return ""

    def say(self, *records: wire.Reply) -> None:
        for record in records:
            self.theirs.sendall(wire.frame(record))

    def orders(self, answer: Callable[[wire.Order], None]) -> None:
        """Have *answer* called with every order."""

        def listen() -> None:
            while (order := wire.receive(self.theirs.recv, wire.ORDERS)) is not None:
                answer(order)

        threading.Thread(target=listen, daemon=True).start()


async def greeted(link: Pair, out: Path, said: wire.Hello | None = None) -> RemoteWorker:
    link.theirs.sendall(b"Welcome to this machine!" + wire.MAGIC)
    link.say(said or hello())
    return await RemoteWorker.greet("far", link)


@hypothesis.given(st.binary(max_size=200))
def test_no_bytes_are_taken_for_a_record_by_luck(data: bytes) -> None:
    try:
        found = wire.receive(io.BytesIO(data).read, wire.REPLIES)
    except wire.Broken:
        return
    assert found is None or wire.frame(found)


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!I", wire.MOST + 1),
        struct.pack("!I", 3) + b"abc",
        b"\0\0\0\x10" + msgspec.msgpack.encode({"is": "pulse", "more": 1}),
        b"\0\0\0\x0a" + msgspec.msgpack.encode({"is": "other"}),
    ],
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(wire.Broken):
        wire.receive(io.BytesIO(data).read, wire.REPLIES)


def test_what_a_shell_prints_first_is_left_out() -> None:
    stream = io.BytesIO(b"motd\nhello\n" + wire.MAGIC + b"rest")
    assert wire.skip_noise(stream.read) is None
    assert stream.read() == b"rest"
    assert wire.skip_noise(io.BytesIO(b"no such file").read) == b"no such file"
    endless = io.BytesIO(b"x" * (wire.NOISE + 10))
    assert wire.skip_noise(endless.read)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (hello(harness="0"), "another version"),
        (hello(protocol=99), "another version"),
        (hello(time=time.time() - 3 * 365 * 86400), "clock of the host is wrong"),
    ],
)
def test_a_worker_that_cannot_be_worked_with_is_refused(
    said: wire.Hello, why: str, tmp_path: Path
) -> None:
    with pytest.raises(MachineError, match=why):
        asyncio.run(greeted(Pair(), tmp_path, said))


def test_a_clock_that_is_a_little_off_is_noted(tmp_path: Path) -> None:
    async def go() -> None:
        worker = await greeted(Pair(), tmp_path, hello(time=time.time() - 600))
        assert "600 s off" in worker.notes[0]
        await worker.close()

    asyncio.run(go())


def test_a_worker_does_not_decide_how_much_is_asked_of_it(tmp_path: Path) -> None:
    async def go() -> None:
        worker = await greeted(Pair(), tmp_path, hello(cpus=1 << 40, free_mib=1 << 60))
        assert worker.slots((TEST,), None) == MOST_SLOTS
        assert worker.slots((TEST,), 3) == 3
        await worker.close()
        worker = await greeted(Pair(), tmp_path, hello(cpus=-5, free_mib=-5))
        assert worker.slots((TEST,), None) == 1
        await worker.close()

    asyncio.run(go())


def test_logs_lie_where_this_side_puts_them(tmp_path: Path) -> None:
    async def go() -> None:
        link = Pair()
        worker = await greeted(link, tmp_path)

        def answer(order: wire.Order) -> None:
            if isinstance(order, wire.Run):
                link.say(
                    wire.LogPart(order.id, "output", b"one "),
                    wire.LogPart(order.id, "output", b"two"),
                    wire.LogPart(order.id, "kernel", b""),
                    wire.Ended(order.id, ended()),
                )

        link.orders(answer)
        names = LogFiles([TEST], repeated=False)
        said = await worker.run(Attempt(TEST, STARTED), names, tmp_path)
        assert said.logs == names.of(TEST, 1)
        assert (tmp_path / said.logs.output).read_bytes() == b"one two"
        assert (tmp_path / said.logs.kernel).read_bytes() == b""
        await worker.close()

    asyncio.run(go())


def test_a_worker_does_not_say_that_another_run_has_observed_it(tmp_path: Path) -> None:
    async def go() -> None:
        link = Pair()
        worker = await greeted(link, tmp_path)
        link.orders(
            lambda order: (
                link.say(wire.Ended(order.id, ended(reused="another-run")))
                if isinstance(order, wire.Run)
                else None
            )
        )
        said = await worker.run(Attempt(TEST, STARTED), LogFiles([TEST], repeated=False), tmp_path)
        assert said.reused == ""
        await worker.close()

    asyncio.run(go())


def test_notes_of_a_worker_are_few_and_short(tmp_path: Path) -> None:
    async def go() -> None:
        link = Pair()
        worker = await greeted(link, tmp_path)
        link.say(*(wire.Note("x" * 5000) for _ in range(500)))

        def answer(order: wire.Order) -> None:
            if isinstance(order, wire.Need):
                link.say(wire.Lacking(order.id, order.entries))

        link.orders(answer)
        assert await worker.lacking([("suite", "a" * 64)])
        assert len(worker.notes) == 100
        assert {len(note) for note in worker.notes} == {2000}
        await worker.close()

    asyncio.run(go())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda number: wire.Ended(number, ended(name="s:b")),
        lambda number: wire.Ended(number, ended(attempt=7)),
        lambda number: wire.Ended(number, ended(kernel="other")),
        lambda number: wire.Done(number),
        lambda _: hello(),
    ],
)
def test_an_answer_to_another_question_loses_the_host(
    wrong: Callable[[int], wire.Reply], tmp_path: Path
) -> None:
    async def go() -> None:
        link = Pair()
        worker = await greeted(link, tmp_path)
        link.orders(
            lambda order: link.say(wrong(order.id)) if isinstance(order, wire.Run) else None
        )
        with pytest.raises(HostLost):
            await worker.run(Attempt(TEST, STARTED), LogFiles([TEST], repeated=False), tmp_path)
        assert worker.lost

    asyncio.run(go())


def test_what_is_damaged_there_is_damage_here(tmp_path: Path) -> None:
    async def go() -> None:
        link = Pair()
        worker = await greeted(link, tmp_path)

        def answer(order: wire.Order) -> None:
            if isinstance(order, wire.Run):
                found = ((("suite", "1" * 64), "file is gone"),)
                link.say(wire.Failed(order.id, "damaged", "damaged", damaged=found))

        link.orders(answer)
        with pytest.raises(Damaged) as caught:
            await worker.run(Attempt(TEST, STARTED), LogFiles([TEST], repeated=False), tmp_path)
        assert caught.value.entries == {("suite", "1" * 64)}
        await worker.close()

    asyncio.run(go())


def test_a_worker_that_says_nothing_is_lost_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "SILENCE_S", 0.6)
    monkeypatch.setattr(wire, "PULSE_S", 0.1)

    async def go() -> None:
        worker = await greeted(Pair(), tmp_path)
        with pytest.raises(HostLost) as caught:
            await worker.run(Attempt(TEST, STARTED), LogFiles([TEST], repeated=False), tmp_path)
        assert "sign of life" in caught.value.why

    asyncio.run(go())


ENTRY = ("suite", "a" * 64)


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Store, Store]:
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")

    def fill(out: Path) -> None:
        (out / "files" / "empty").mkdir(parents=True)
        (out / "files" / "a").write_bytes(b"program")
        (out / "files" / "a").chmod(0o4755)
        os.link(out / "files" / "a", out / "files" / "b")
        (out / "files" / "link").symlink_to("/etc/passwd")
        (out / "files" / "hole").write_bytes(bytes(3 << 20))

    here.obtain(*ENTRY, fill, Quiet())
    return here, there


def written(store: Store, packed: Path) -> str:
    """Write the archive of the entry, and return its digest."""
    with packed.open("wb") as file:
        sink = DigestingSink(file)
        archive.pack(store, ENTRY, sink)
    assert sink.size == packed.stat().st_size
    assert sink.sha256 == digest_file(packed)
    return sink.sha256


def test_an_entry_arrives_as_it_is(stores: tuple[Store, Store], tmp_path: Path) -> None:
    here, there = stores
    packed = tmp_path / "packed"
    sha256 = written(here, packed)
    archive.unpack(there, ENTRY, packed, sha256, Quiet())
    files = there.path(*ENTRY) / "files"
    assert sorted(path.name for path in files.iterdir()) == ["a", "b", "empty", "hole", "link"]
    assert (files / "a").stat().st_mode & 0o7777 == 0o4755
    assert (files / "b").read_bytes() == b"program"
    assert (files / "link").readlink() == Path("/etc/passwd")
    there.check([ENTRY])


def test_what_has_changed_on_its_way_is_no_entry(
    stores: tuple[Store, Store], tmp_path: Path
) -> None:
    here, there = stores
    packed = tmp_path / "packed"
    sha256 = written(here, packed)
    data = bytearray(packed.read_bytes())
    data[len(data) // 2] ^= 1
    packed.write_bytes(data)
    with pytest.raises(MachineError, match="was corrupted in transfer"):
        archive.unpack(there, ENTRY, packed, sha256, Quiet())
    assert there.find(*ENTRY) is None
    assert list((there.root / "tmp").iterdir()) == []


def test_what_is_damaged_here_does_not_travel(stores: tuple[Store, Store], tmp_path: Path) -> None:
    here, _ = stores
    with (here.path(*ENTRY) / "files" / "a").open("r+b") as file:
        file.write(b"Q")
    with pytest.raises(Damaged):
        archive.pack(here, ENTRY, io.BytesIO())


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


@pytest.mark.parametrize(
    "members",
    [
        [member("/absolute")],
        [member("../outside")],
        [member("a", tarfile.DIRTYPE), member("a/../../outside")],
        [member("a", tarfile.SYMTYPE, "/tmp"), member("a/inside")],
        [member("no-parent/file")],
        [member("device", tarfile.CHRTYPE)],
        [member("hard", tarfile.LNKTYPE, "/etc/passwd")],
        [member("pipe", tarfile.FIFOTYPE)],
    ],
)
def test_an_archive_stays_in_its_entry(members: list[tarfile.TarInfo], tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    with tarfile.open(packed, "w") as tar:
        for each in members:
            tar.addfile(each)
    store = Store(tmp_path / "store")
    with pytest.raises(MachineError, match="an unexpected file"):
        archive.unpack(store, ENTRY, packed, digest_file(packed), Quiet())
    assert store.find(*ENTRY) is None
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("entry", [("../x", "a" * 64), ("snapshot", "a" * 64), ("suite", "../x")])
def test_only_entries_that_travel_are_taken(entry: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="no such entry"):
        archive.unpack(Store(tmp_path / "s"), entry, tmp_path / "none", "", Quiet())

# SPDX-License-Identifier: GPL-2.0-only
"""What ``--series`` means, and the command line that asks for one test again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness import project
from harness.errors import MachineError, UserError
from harness.model.recording import RecordSpec
from harness.model.spec import KernelSpec, Trust
from harness.run.request import Request
from harness.series import Stack
from tests.series.mails import Thread, mboxrd

pytestmark = pytest.mark.unit

FILE = """
series = "both"

[kernel]
source = "linux"
config = ["a"]

[stacks]
one = ["patches/one"]
both = ["patches/one", "patches/two"]
"""
PATCH = """From: S <s@example.org>
Subject: [PATCH] {0}

{0}

---
diff --git a/{0} b/{0}
new file mode 100644
--- /dev/null
+++ b/{0}
@@ -0,0 +1 @@
+{0}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "harness.toml").write_text(FILE)
    for name in ("patches/one/1.patch", "patches/two/1.patch", "here/mine.patch", "here/one.patch"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PATCH.format("-".join(path.parts[-2:])))
    return tmp_path


def request(directory: Path, *series: str, upto: int | None = None) -> Request:
    file = directory / "harness.toml"
    kernels = (KernelSpec(series=series, upto=upto),)
    return Request(file, project.load(file), directory / "here", kernels)


def stack_of(asked: Request) -> Stack:
    """Return the stack of the only kernel."""
    return asked.stack(*asked.kernels)


def unlike_posted(asked: Request) -> str:
    """Return why the series of the only kernel is not as posted."""
    return asked.unlike_posted(*asked.kernels)


def fragments_of(asked: Request) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the fragments of the only kernel, and notes."""
    return asked.fragments(*asked.kernels)


def lineage_of(asked: Request, source: str) -> str | None:
    """Return the lineage of the only kernel."""
    (spec,) = asked.kernels
    return asked.lineage(spec, asked.stack(spec), source)


def other(asked: Request, **changes: Any) -> Request:
    """Return *asked* with another kernel."""
    (spec,) = asked.kernels
    return msgspec.structs.replace(asked, kernels=(msgspec.structs.replace(spec, **changes),))


@pytest.mark.parametrize(
    ("wanted", "name", "subjects"),
    [
        ((), "both", ["one-1.patch", "two-1.patch"]),
        (("one",), "one", ["one-1.patch"]),
        (("none",), "none", []),
        (("one", "../patches/two"), "one+two", ["one-1.patch", "two-1.patch"]),
        (("both", "mine.patch"), "both+mine", ["one-1.patch", "two-1.patch", "here-mine.patch"]),
        (("./one.patch",), "one", ["here-one.patch"]),
    ],
)
def test_a_stack_or_a_path_or_several(
    directory: Path, wanted: tuple[str, ...], name: str, subjects: list[str]
) -> None:
    stack = stack_of(request(directory, *wanted))
    assert stack.name == name
    assert [patch.subject for patch in stack.patches] == subjects


@pytest.mark.parametrize(
    ("wanted", "upto", "told"),
    [
        (("bth",), None, "did you mean 'both'"),
        (("elsewhere",), None, "there is no series 'elsewhere'"),
        (("none", "one"), None, "exclude each other"),
        (("none",), 1, "no series to apply a part of"),
        (("both",), 3, "the series has 2"),
    ],
)
def test_what_cannot_be_meant(
    directory: Path, wanted: tuple[str, ...], upto: int | None, told: str
) -> None:
    with pytest.raises(UserError) as caught:
        stack_of(request(directory, *wanted, upto=upto))
    assert told in str(caught.value)


def test_a_version_is_chosen_of_one_series(directory: Path) -> None:
    thread = directory / "here" / "thread.mbox"
    versions = [Thread(f"PATCH v{n}", name=f"v{n}", new=f"{n}").letters() for n in (2, 3)]
    thread.write_bytes(mboxrd([each.bytes() for letters in versions for each in letters]))
    newest = request(directory, "thread.mbox")
    assert stack_of(newest).series[0].version == 3
    assert any("left out: v2 (3 patches)" in note for note in stack_of(newest).notes)
    asked = other(newest, series_version=2)
    assert (stack_of(asked).name, stack_of(asked).series[0].version) == ("thread", 2)
    again = shlex.split(asked.rerun(asked.kernels[0], (), "s:p"))
    assert again[again.index("--series-version") + 1] == "2"
    assert Request.again(asked.record("t"), ("harness",)).kernels[0].series_version == 2
    for wanted in (("none",), ("one", "thread.mbox")):
        with pytest.raises(UserError, match="for one series only"):
            stack_of(other(asked, series=wanted))


def test_one_of_several_series_in_a_file_is_asked_for_by_number(directory: Path) -> None:
    path = directory / "here" / "both.mbox"
    series = [Thread(name=name, title=name, words=name) for name in ("one", "two")]
    path.write_bytes(mboxrd([each.bytes() for thread in series for each in thread.letters()]))
    with pytest.raises(UserError, match="2 different series"):
        stack_of(request(directory, "both.mbox"))
    stack = stack_of(request(directory, "both.mbox#2"))
    assert (stack.name, stack.title) == ("both", "two")
    with pytest.raises(UserError, match=r"there is no series 'no\.mbox#2'"):
        stack_of(request(directory, "no.mbox#2"))


def test_a_rerun_asks_for_the_same_series(directory: Path) -> None:
    wanted = request(directory, "both", "mine.patch", upto=2)
    again = shlex.split(wanted.rerun(wanted.kernels[0], ["s"], "s:p"))
    asked = [again[n + 1] for n, word in enumerate(again) if word == "--series"]
    assert asked == ["both", "mine.patch"]
    assert again[again.index("--upto") + 1] == "2"


@pytest.mark.parametrize(
    ("there", "config", "names"),
    [
        (["a", "net", "virtme"], (), ("net", "virtme", "a")),
        (["a", "net", "virtme"], ("virtme", "b"), ("net", "virtme", "b")),
        (["a", "net", "virtme"], ("net", "virtme"), ("net", "virtme")),
        (["a"], (), ("a",)),
    ],
)
def test_what_vng_guests_need_is_built_in(
    directory: Path, there: list[str], config: tuple[str, ...], names: tuple[str, ...]
) -> None:
    (directory / "kernel-configs").mkdir()
    for name in there:
        (directory / "kernel-configs" / f"{name}.config").touch()
    asked = other(request(directory), config=config)
    assert fragments_of(asked) == (config or ("a",), ())
    found, notes = fragments_of(msgspec.structs.replace(asked, guest="vng"))
    assert found == names
    added = [name for name in names if name not in (config or ("a",))]
    assert [note.rpartition(": ")[2] for note in notes] == [", ".join(added)] * bool(added)


def test_without_virtme_ng_nothing_is_built_for_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/bin/python")
    monkeypatch.setenv("PATH", "/nowhere")
    fragments_of(request(directory))
    with pytest.raises(MachineError, match="virtme-run is not installed"):
        fragments_of(msgspec.structs.replace(request(directory), guest="vng"))


@pytest.mark.parametrize(
    ("source", "series", "trust", "stranger"),
    [
        (None, ("one",), None, False),
        ("../linux#branch", ("one",), None, False),
        ("debian:linux-source-6.1=6.1.176-1", ("none",), None, False),
        ("https://example.org/linux.git#v6.1", ("none",), None, True),
        ("git@example.org:linux.git#v6.1", ("one",), None, True),
        ("example.org:linux.git#v6.1", ("one",), None, True),
        ("https://example.org/linux-6.1.tar.xz", ("one",), None, True),
        ("https://example.org/linux.git#v6.1", ("none",), "own", False),
        (None, ("mail.mbox",), None, True),
        (None, ("one", "mail.mbox"), None, True),
        (None, ("mail.mbox",), "own", False),
        (None, ("one",), "stranger", True),
        (None, ("none",), "stranger", True),
    ],
)
def test_who_is_a_stranger(
    directory: Path, source: str | None, series: tuple[str, ...], trust: str | None, stranger: bool
) -> None:
    letters = [each.bytes() for each in Thread().letters()]
    (directory / "here" / "mail.mbox").write_bytes(mboxrd(letters))
    asked = msgspec.structs.replace(
        other(request(directory, *series), source=source), trust=Trust(trust) if trust else None
    )
    assert (lineage_of(asked, source or "linux") is not None) is stranger


@pytest.mark.parametrize(
    ("lines", "stranger"),
    [
        ('[trust]\n"patches/one" = "stranger"\n', True),
        ('[trust]\n"patches/one" = "own"\n', False),
        ("", True),
    ],
)
def test_the_project_file_says_who_is_a_stranger(
    directory: Path, lines: str, stranger: bool
) -> None:
    file = directory / "harness.toml"
    file.write_text(file.read_text() + lines)
    patch = directory / "patches/one/1.patch"
    if "stranger" not in lines:
        patch.write_text("Received: from a by b\n" + patch.read_text())
    asked = request(directory, "one")
    assert (lineage_of(asked, "linux") is not None) is stranger


def test_sources_of_the_project_file_are_trusted_as_it_says(directory: Path) -> None:
    file = directory / "harness.toml"
    url = "https://example.org/linux.git#v6.1"
    file.write_text(
        file.read_text().replace('source = "linux"', f'source = "{url}"\ntrust = "own"')
    )
    asked = request(directory, "one")
    assert lineage_of(asked, url) is None
    # What the command line names is not what the file speaks of.
    named = other(asked, source=url)
    assert lineage_of(named, url) is not None


def test_a_stranger_gets_no_guest_with_the_users_files(directory: Path) -> None:
    asked = msgspec.structs.replace(request(directory, "one"), guest="vng", trust=Trust.STRANGER)
    (spec,) = asked.kernels
    with pytest.raises(UserError, match="in guests with your files"):
        asked.lineage(spec, asked.stack(spec), "linux")
    own = msgspec.structs.replace(asked, trust=Trust.OWN)
    assert own.lineage(spec, own.stack(spec), "linux") is None


def test_versions_of_a_strangers_series_have_one_lineage(directory: Path) -> None:
    found = []
    for name, thread in {
        "v1": Thread(),
        "v2": Thread(prefix="PATCH v2", name="t", words="alter"),
        "other": Thread(title="mm: another thing"),
    }.items():
        file = directory / "here" / f"{name}.mbox"
        file.write_bytes(mboxrd([each.bytes() for each in thread.letters()]))
        asked = request(directory, file.name)
        found.append(lineage_of(asked, "linux"))
    assert found[0] == found[1] != found[2]


def test_trust_survives_in_the_journal_and_in_the_command_for_one_test(directory: Path) -> None:
    asked = msgspec.structs.replace(request(directory, "one"), trust=Trust.STRANGER)
    assert Request.again(asked.record("now"), ("harness",)).trust is Trust.STRANGER
    assert "--trust stranger" in asked.rerun(asked.kernels[0], ["s"], "s:t")
    assert "--trust" not in request(directory, "one").rerun(
        KernelSpec(series=("one",)), ["s"], "s:t"
    )


def test_cost_is_counted_on_one_processor_that_is_emulated(directory: Path) -> None:
    asked = msgspec.structs.replace(request(directory), cost=True)
    guest = asked.guest_table()
    assert (guest.cpus, guest.accel, guest.counted) == (1, "tcg", True)
    assert not request(directory).guest_table().counted
    assert "--cost" in asked.rerun(KernelSpec(), (), "s:p").split()
    again = Request.again(asked.record("now"), ("harness",))
    assert again.guest_table() == guest


@pytest.mark.parametrize(
    ("table", "guest", "what"),
    [
        ('accel = "kvm"', "", "with KVM the instructions of a test cannot be counted"),
        ('type = "vng"', "", "in sealed guests only"),
        ("", "vng", "in sealed guests only"),
        ('confidential = "tdx"', "", "of a confidential guest cannot be counted"),
    ],
)
def test_cost_where_it_cannot_be_counted_is_refused(
    directory: Path, table: str, guest: str, what: str
) -> None:
    file = directory / "harness.toml"
    file.write_text(f"{FILE}\n[guest]\n{table}\n")
    asked = msgspec.structs.replace(
        request(directory), project=project.load(file), cost=True, guest=guest
    )
    with pytest.raises(UserError, match=what) as error:
        asked.guest_table()
    assert "--cost" in error.value.where


def test_what_is_recorded_is_asked_for_again_with_its_seeds(directory: Path) -> None:
    asked = msgspec.structs.replace(request(directory), recording=RecordSpec())
    guest = asked.guest_table()
    assert (guest.cpus, guest.accel, guest.counted) == (1, "tcg", True)
    assert asked.watched
    words = shlex.split(asked.rerun(KernelSpec(), (), "s:p"))
    assert (words[:2], words[-1:]) == (["harness", "replay"], ["s:p"])
    assert "--seed" not in words
    hunt = msgspec.structs.replace(asked, recording=RecordSpec(seed=9), repeat=50, until_fail=True)
    words = shlex.split(hunt.rerun(KernelSpec(), (), "s:p"))
    assert words[-5:] == ["--seed", "9", "--hunt", "50", "s:p"]
    again = Request.again(hunt.record("now"), ("harness",))
    assert again.recording == RecordSpec(seed=9)

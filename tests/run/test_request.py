# SPDX-License-Identifier: GPL-2.0-only
"""What ``--series`` means, and the command line that asks for one test again."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import pytest

from harness import project
from harness.errors import MachineError, UserError
from harness.run.request import Request
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
    return Request(file, project.load(file), directory / "here", series=series, upto=upto)


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
    stack = request(directory, *wanted).stack()
    assert stack.name == name
    assert [patch.subject for patch in stack.patches] == subjects


@pytest.mark.parametrize(
    ("wanted", "upto", "told"),
    [
        (("bth",), None, "did you mean 'both'"),
        (("elsewhere",), None, "there is no series 'elsewhere'"),
        (("none", "one"), None, "exclude each other"),
        (("none",), 1, "no series of which a part"),
        (("both",), 3, "the series has 2"),
    ],
)
def test_what_cannot_be_meant(
    directory: Path, wanted: tuple[str, ...], upto: int | None, told: str
) -> None:
    with pytest.raises(UserError) as caught:
        request(directory, *wanted, upto=upto).stack()
    assert told in str(caught.value)


def test_a_version_is_chosen_of_one_series(directory: Path) -> None:
    thread = directory / "here" / "thread.mbox"
    versions = [Thread(f"PATCH v{n}", name=f"v{n}", new=f"{n}").letters() for n in (2, 3)]
    thread.write_bytes(mboxrd([each.bytes() for letters in versions for each in letters]))
    newest = request(directory, "thread.mbox")
    assert newest.stack().series[0].version == 3
    assert any("left out: v2 (3 patches)" in note for note in newest.stack().notes)
    asked = dataclasses.replace(newest, series_version=2)
    assert (asked.stack().name, asked.stack().series[0].version) == ("thread", 2)
    again = shlex.split(asked.rerun((), "s:p"))
    assert again[again.index("--series-version") + 1] == "2"
    assert Request.again(asked.record("t"), ("harness",)).series_version == 2
    for wanted in (("none",), ("one", "thread.mbox")):
        with pytest.raises(UserError, match="of one series only"):
            dataclasses.replace(asked, series=wanted).stack()


def test_one_of_several_series_in_a_file_is_asked_for_by_number(directory: Path) -> None:
    path = directory / "here" / "both.mbox"
    series = [Thread(name=name, title=name, words=name) for name in ("one", "two")]
    path.write_bytes(mboxrd([each.bytes() for thread in series for each in thread.letters()]))
    with pytest.raises(UserError, match="2 different series"):
        request(directory, "both.mbox").stack()
    stack = request(directory, "both.mbox#2").stack()
    assert (stack.name, stack.title) == ("both", "two")
    with pytest.raises(UserError, match=r"there is no series 'no\.mbox#2'"):
        request(directory, "no.mbox#2").stack()


def test_a_rerun_asks_for_the_same_series(directory: Path) -> None:
    again = shlex.split(request(directory, "both", "mine.patch", upto=2).rerun(["s"], "s:p"))
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
    asked = dataclasses.replace(request(directory), config=config)
    assert asked.fragments() == (config or ("a",), ())
    found, notes = dataclasses.replace(asked, guest="vng").fragments()
    assert found == names
    added = [name for name in names if name not in (config or ("a",))]
    assert [note.rpartition(": ")[2] for note in notes] == [", ".join(added)] * bool(added)


def test_without_virtme_ng_nothing_is_built_for_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/bin/python")
    monkeypatch.setenv("PATH", "/nowhere")
    request(directory).fragments()
    with pytest.raises(MachineError, match="virtme-run is not installed"):
        dataclasses.replace(request(directory), guest="vng").fragments()

# SPDX-License-Identifier: GPL-2.0-only
"""Debian packages, with an apt that is a script: real packages, no network."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from harness.context import Context
from harness.errors import MachineError
from harness.proc.git import git
from harness.progress import Quiet
from harness.source import debian, resolve, resolve_first
from harness.store import Store
from tests.kerneltree import Recorder, make_tree, sh

pytestmark = pytest.mark.unit

PACKAGE = "linux-source-6.1"

APT_CACHE = """\
#!/bin/sh
echo "cache $*" >> "$APT/log"
case $* in *Lists=*)
	[ -e "$APT/updated" ] &&
		echo "linux-source-6.1 | 6.1.176-1 | http://deb.example.org main amd64 Packages"
	exit 0
esac
[ -e "$APT/offered" ] && while read -r v; do
	echo "linux-source-6.1 |  $v | http://deb.example.org bookworm/main amd64 Packages"
	echo "linux-source-6.1 |  $v | http://deb.example.org bookworm/main Sources"
done < "$APT/offered"
exit 0
"""

APT_GET = """\
#!/bin/sh
echo "get $*" >> "$APT/log"
case $* in
*Lists=*" indextargets "*)
	echo "Debian|Debian|http://deb.example.org/debian/"
	exit 0 ;;
indextargets*)
	cat "$APT/archives" 2>/dev/null
	exit 0 ;;
*" update")
	echo "$https_proxy" > "$APT/proxy"
	[ -e "$APT/away" ] && {
		echo "Err:1 http://deb.example.org/debian bookworm InRelease"
		echo "E: Failed to fetch http://deb.example.org/debian/dists  Cannot resolve"
		case $* in *Error-Mode=any*) exit 100 ;; *) exit 0 ;; esac
	}
	[ ! -e "$APT/without" ] || case $* in *SourceList=*) ;; *) exit 0 ;; esac
	: > "$APT/updated"
	for word; do
		case $word in Dir::Etc::SourceList=*) cat "${word#*=}" > "$APT/updated" ;; esac
	done
	exit 0 ;;
esac
for last; do :; done
echo "dlstatus:1:80.0000:Retrieving file 1 of 1"
[ -e "$APT/pool/${last#*=}.deb" ] || { echo "E: Failed to fetch: 404 Not Found"; exit 100; }
cp "$APT/pool/${last#*=}.deb" .
"""


class Apt:
    """The archive and what was asked of it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def offer(self, *versions: str) -> None:
        (self.root / "offered").write_text("".join(f"{v}\n" for v in versions))

    def publish(self, version: str) -> None:
        root = self.root / "build"
        (root / "DEBIAN").mkdir(parents=True, exist_ok=True)
        (root / "DEBIAN/control").write_text(
            f"Package: {PACKAGE}\nVersion: {version}\nArchitecture: all\n"
            "Maintainer: A <a@example.org>\nDescription: source\n"
        )
        (root / "usr/src").mkdir(parents=True, exist_ok=True)
        tree = self.root / "tree"
        if not tree.exists():
            make_tree(tree)
        (tree / "debian-version").write_text(version)
        with tarfile.open(root / f"usr/src/{PACKAGE}.tar.xz", "w:xz") as tar:
            tar.add(tree, PACKAGE)
        (self.root / "pool").mkdir(exist_ok=True)
        sh("dpkg-deb", "-b", str(root), str(self.root / f"pool/{version}.deb"), cwd=self.root)

    def calls(self) -> list[str]:
        log = self.root / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apt:
    root = tmp_path / "apt"
    (root / "bin").mkdir(parents=True)
    for name, text in (("apt-cache", APT_CACHE), ("apt-get", APT_GET)):
        (root / "bin" / name).write_text(text.replace("$APT", str(root)))
        (root / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{root / 'bin'}:{os.environ['PATH']}")
    return Apt(root)


def test_pinned_version_is_imported_once(apt: Apt, store: Store) -> None:
    apt.publish("6.1.176-1~bpo11+1")
    apt.offer("6.1.192-2", "6.1.176-1~bpo11+1")
    spec = f"debian:{PACKAGE}=6.1.176-1~bpo11+1"
    source = resolve(spec, Context(store, Quiet()), relative_to=Path("/"))
    assert source.description == "Linux 6.1.176 (Debian linux-source-6.1 6.1.176-1~bpo11+1)"
    assert source.note is None
    text = git("cat-file", "blob", f"{source.commit}:debian-version", repo=source.repo).text
    assert text == "6.1.176-1~bpo11+1"
    assert any(call.startswith("get download ") for call in apt.calls())
    progress = Recorder()
    assert resolve(spec, Context(store, progress), relative_to=Path("/")) == source
    assert (apt.calls(), progress.steps) == ([], [])
    assert list((store.root / "tmp").iterdir()) == []


def test_version_that_is_gone_is_replaced_and_said(apt: Apt, store: Store) -> None:
    apt.publish("6.1.192-2")
    apt.offer("6.1.192-2", "6.1.190-1")
    progress = Recorder()
    spec = f"debian:{PACKAGE}=6.1.1-1"
    source = resolve(spec, Context(store, progress), relative_to=Path("/"))
    assert source.spec == spec
    note = "linux-source-6.1 6.1.1-1 is no longer in the archive; 6.1.192-2 is used instead"
    assert source.note == note
    assert progress.notes == [note]
    assert "6.1.192-2" in source.description
    assert resolve(spec, Context(store, Quiet()), relative_to=Path("/")).note == note
    pinned = resolve(f"debian:{PACKAGE}=6.1.192-2", Context(store, Quiet()), relative_to=Path("/"))
    assert (pinned.commit, pinned.note) == (source.commit, None)


def test_without_version_the_newest(apt: Apt, store: Store) -> None:
    spec = f"debian:{PACKAGE}"
    for version in ("6.1.99-1", "6.1.176-1"):
        apt.publish(version)
        apt.offer(version)
        source = resolve(spec, Context(store, Quiet()), relative_to=Path("/"))
        assert version in source.description
    apt.calls()
    (apt.root / "offered").unlink()
    (apt.root / "away").touch()
    offline = resolve(spec, Context(store, Quiet()), relative_to=Path("/"))
    assert offline.commit == source.commit
    assert offline.note is not None
    assert "6.1.176-1 from the cache" in offline.note
    assert not any(" download " in call for call in apt.calls())


@pytest.mark.parametrize("pin", ["", "=6.1.176-1"])
def test_empty_lists_hint_at_update(apt: Apt, store: Store, pin: str) -> None:
    (apt.root / "away").touch()
    with pytest.raises(MachineError) as caught:
        resolve(f"debian:{PACKAGE}{pin}", Context(store, Quiet()), relative_to=Path("/"))
    assert "apt-get update" in caught.value.hint


def test_failed_download_hints_at_update(apt: Apt, store: Store) -> None:
    apt.offer("6.1.176-1")
    with pytest.raises(MachineError, match="could not be downloaded") as caught:
        resolve(f"debian:{PACKAGE}=6.1.176-1", Context(store, Quiet()), relative_to=Path("/"))
    assert caught.value.why == "E: Failed to fetch: 404 Not Found"
    assert "apt-get update" in caught.value.hint


@pytest.fixture
def keyring(apt: Apt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with Debian's keyring, whose own release lacks the package."""
    path = tmp_path / "keyring.gpg"
    path.touch()
    monkeypatch.setattr(debian, "_KEYRING", path)
    (apt.root / "archives").write_text("Debian|Debian|http://deb.example.org/debian/\n")
    return path


@pytest.mark.parametrize("pin", ["", "=6.1.176-1"])
def test_a_later_release_takes_the_package_from_the_archive_of_the_older_one(
    apt: Apt, store: Store, keyring: Path, monkeypatch: pytest.MonkeyPatch, pin: str
) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example.org:3128")
    (apt.root / "archives").write_text(
        "Debian|Debian-Security|http://deb.example.org/debian-security/\n"
        "Other|Debian|http://other.example.org/\n"
        "Debian|Debian|http://deb.example.org/debian/\n"
    )
    apt.publish("6.1.176-1")
    source = resolve(f"debian:{PACKAGE}{pin}", Context(store, Quiet()), relative_to=Path("/"))
    assert source.description == "Linux 6.1.176 (Debian linux-source-6.1 6.1.176-1)"
    assert (apt.root / "updated").read_text() == (
        f"deb [signed-by={keyring}] http://deb.example.org/debian/ bookworm main\n"
    )
    assert (apt.root / "proxy").read_text() == "http://proxy.example.org:3128\n"
    download = next(call for call in apt.calls() if " download " in call)
    assert f"Dir::State::Lists={store.root}" in download
    assert resolve(f"debian:{PACKAGE}{pin}", Context(store, Quiet()), relative_to=Path("/")).tree


@pytest.mark.parametrize("pin", ["", "=6.1.176-1"])
def test_an_archive_that_cannot_be_reached_is_the_reason(
    apt: Apt, store: Store, keyring: Path, pin: str
) -> None:
    (apt.root / "away").touch()
    with pytest.raises(MachineError, match="apt offers no package") as caught:
        resolve(f"debian:{PACKAGE}{pin}", Context(store, Quiet()), relative_to=Path("/"))
    why = "E: Failed to fetch http://deb.example.org/debian/dists  Cannot resolve"
    assert caught.value.why == why
    assert "check the network" in caught.value.hint


def test_without_network_one_error_names_the_archive_and_the_tarball(
    apt: Apt, store: Store, keyring: Path
) -> None:
    (apt.root / "away").touch()
    package = f"debian:{PACKAGE}=6.1.176-1"
    tarball = f"http://127.0.0.1:1/linux-6.1.tar.xz#sha256={64 * '0'}"
    with pytest.raises(MachineError, match="none of the kernel sources") as caught:
        resolve_first([package, tarball], Context(store, Quiet()), relative_to=Path("/"))
    assert caught.value.where == f"{package}, {tarball}"
    assert "Cannot resolve" in caught.value.why
    assert "Connection refused" in caught.value.why
    assert "--source DIR" in caught.value.hint


def test_lists_of_another_day_will_do(apt: Apt, store: Store, keyring: Path) -> None:
    apt.publish("6.1.176-1")
    (apt.root / "updated").touch()
    (apt.root / "away").touch()
    source = resolve(f"debian:{PACKAGE}", Context(store, Quiet()), relative_to=Path("/"))
    assert "6.1.176-1" in source.description


def test_without_debian_s_keyring_no_archive_is_asked(
    apt: Apt, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "_KEYRING", tmp_path / "missing.gpg")
    (apt.root / "archives").write_text("Debian|Debian|http://deb.example.org/debian/\n")
    with pytest.raises(MachineError, match="apt offers no package"):
        resolve(f"debian:{PACKAGE}=6.1.176-1", Context(store, Quiet()), relative_to=Path("/"))
    assert not any(" update" in call for call in apt.calls())


@pytest.mark.parametrize("pin", ["", "=6.1.176-1"])
@pytest.mark.parametrize("lacking", [False, True], ids=["same release", "later release"])
def test_a_machine_without_lists_fetches_those_of_its_archives(
    apt: Apt, store: Store, keyring: Path, pin: str, lacking: bool
) -> None:
    """An image of a container has none, and its user cannot write where apt keeps them."""
    (apt.root / "archives").unlink()
    apt.publish("6.1.176-1")
    if lacking:
        (apt.root / "without").touch()
    source = resolve(f"debian:{PACKAGE}{pin}", Context(store, Quiet()), relative_to=Path("/"))
    assert source.description == "Linux 6.1.176 (Debian linux-source-6.1 6.1.176-1)"
    calls = apt.calls()
    updates = [call for call in calls if call.endswith(" update")]
    assert len(updates) == 1 + lacking
    assert all(f"Dir::State::Lists={store.root}" in call for call in updates)
    assert "SourceList" not in updates[0]
    download = next(call for call in calls if " download " in call)
    assert f"Dir::State::Lists={store.root}" in download


def test_a_machine_with_lists_of_others_alone_fetches_none(
    apt: Apt, store: Store, keyring: Path
) -> None:
    (apt.root / "archives").write_text("Ubuntu|Ubuntu|http://archive.example.org/ubuntu/\n")
    with pytest.raises(MachineError, match="apt offers no package"):
        resolve(f"debian:{PACKAGE}", Context(store, Quiet()), relative_to=Path("/"))
    assert not any(call.endswith(" update") for call in apt.calls())

# SPDX-License-Identifier: GPL-2.0-only
"""The archive is what cpio reads, and the same bytes for the same content."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.guest.initramfs import Entry, directory, file, guest_entries, symlink, write_initramfs

pytestmark = pytest.mark.unit

needs_cpio = pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")


def entries(source: Path) -> list[Entry]:
    source.write_bytes(b"content of odd length")
    return [
        file("bin/tool", source),
        file("etc/some/data", b"", mode=0o640),
        symlink("bin/alias", "tool"),
        directory("empty", 0o711),
        Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
    ]


@needs_cpio
def test_cpio_lists_what_was_put_in(tmp_path: Path) -> None:
    archive = tmp_path / "a"
    write_initramfs(archive, entries(tmp_path / "source"))
    with archive.open("rb") as f:
        listing = subprocess.run(
            ["cpio", "-tv", "--quiet"], stdin=f, capture_output=True, text=True, check=True
        )
    assert listing.stderr == ""
    rows = {row.split()[-1]: row.split() for row in listing.stdout.splitlines()}
    assert " bin/alias -> tool\n" in listing.stdout
    del rows["tool"]
    assert list(rows) == [
        "bin",
        "bin/tool",
        "dev",
        "dev/console",
        "empty",
        "etc",
        "etc/some",
        "etc/some/data",
    ]
    assert rows["bin/tool"][0] == "-rwxr-xr-x"
    assert rows["bin/tool"][2:5] == ["root", "root", "21"]
    assert rows["etc/some/data"][0] == "-rw-r-----"
    assert rows["empty"][0] == "drwx--x--x"
    assert rows["dev/console"][0] == "crw-------"


@needs_cpio
def test_cpio_extracts_the_content(tmp_path: Path) -> None:
    archive, out = tmp_path / "a", tmp_path / "out"
    out.mkdir()
    given = [e for e in entries(tmp_path / "source") if not stat.S_ISCHR(e.mode)]
    write_initramfs(archive, given)
    with archive.open("rb") as f:
        subprocess.run(["cpio", "-id", "--quiet"], stdin=f, cwd=out, check=True)
    assert (out / "bin/tool").read_bytes() == b"content of odd length"
    assert (out / "bin/alias").readlink() == Path("tool")
    assert (out / "etc/some/data").read_bytes() == b""


def test_order_and_time_do_not_matter(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    first = write_initramfs(a, entries(tmp_path / "source"))
    given = entries(tmp_path / "source")
    os.utime(tmp_path / "source", (1, 1))
    assert write_initramfs(b, reversed(given)) == first
    assert a.read_bytes() == b.read_bytes()


def test_content_and_mode_do_matter(tmp_path: Path) -> None:
    digests = {
        write_initramfs(tmp_path / "a", [entry])
        for entry in (file("x", b"1"), file("x", b"2"), file("x", b"1", 0o644), file("y", b"1"))
    }
    assert len(digests) == 4


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", ".", "a\0b"])
def test_paths_outside_the_root_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError):
        write_initramfs(tmp_path / "a", [file(path, b"")])


def test_a_path_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="same path"):
        write_initramfs(tmp_path / "a", [file("x/y", b"1"), file("x//y", b"2")])


def test_a_file_below_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="below another"):
        write_initramfs(tmp_path / "a", [file("x", b"1"), file("x/y", b"2")])


def test_a_missing_source_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        write_initramfs(tmp_path / "a", [file("x", tmp_path / "missing")])
    assert "missing" in error.value.where


def test_the_agent_is_init(tmp_path: Path) -> None:
    names = [entry.path for entry in guest_entries(tmp_path / "agent", [file("x", b"")])]
    assert names[0] == "init"
    assert "dev/console" in names
    assert names[-1] == "x"

# SPDX-License-Identifier: GPL-2.0-only
"""Tarballs from a web server, and a source that is a list of places."""

from __future__ import annotations

import hashlib
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.context import Context
from harness.errors import MachineError, UserError
from harness.progress import Quiet
from harness.source import resolve, resolve_first
from harness.store import Store
from tests.kerneltree import Recorder, make_tree

pytestmark = [pytest.mark.unit, pytest.mark.slow]


class Site:
    """A web server with one tarball."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.cut = 0
        self.asked = 0
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked += 1
                if not self.path.endswith("linux-6.1.tar.xz"):
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(site.data)))
                self.end_headers()
                self.wfile.write(site.data[: len(site.data) - site.cut])

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v6.x/linux-6.1.tar.xz"

    @property
    def spec(self) -> str:
        return f"{self.url}#sha256={hashlib.sha256(self.data).hexdigest()}"

    def close(self) -> None:
        if self.thread.is_alive():
            self.server.shutdown()
            self.thread.join()
            self.server.server_close()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    make_tree(tmp_path / "linux-6.1")
    with tarfile.open(tmp_path / "linux-6.1.tar.xz", "w:xz") as tar:
        tar.add(tmp_path / "linux-6.1", "linux-6.1")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    found = Site((tmp_path / "linux-6.1.tar.xz").read_bytes())
    yield found
    found.close()


def test_a_tarball_is_fetched_once_and_needs_no_network_then(site: Site, store: Store) -> None:
    first = resolve(site.spec, Context(store, Quiet()), relative_to=Path("/"))
    assert "linux-6.1.tar.xz from 127.0.0.1, sha256 " in first.description
    asked = site.asked
    site.close()
    assert resolve(site.spec, Context(store, Quiet()), relative_to=Path("/")) == first
    assert asked == 1
    assert list((store.root / "tmp").iterdir()) == []


def test_the_same_bytes_from_a_file_are_the_same_source(
    site: Site, store: Store, tmp_path: Path
) -> None:
    fetched = resolve(site.spec, Context(store, Quiet()), relative_to=tmp_path)
    assert (
        resolve("linux-6.1.tar.xz", Context(store, Quiet()), relative_to=tmp_path).commit
        == fetched.commit
    )


def test_other_bytes_than_the_digest_s_are_refused(site: Site, store: Store) -> None:
    spec = site.spec
    site.data = site.data[:-1] + bytes([site.data[-1] ^ 1])
    with pytest.raises(MachineError, match="not the requested file") as caught:
        resolve(spec, Context(store, Quiet()), relative_to=Path("/"))
    assert "SHA-256" in caught.value.why


def test_a_download_that_is_cut_off_is_an_error(site: Site, store: Store) -> None:
    site.cut = 100
    with pytest.raises(MachineError, match=r"cut off|could not be downloaded"):
        resolve(site.spec, Context(store, Quiet()), relative_to=Path("/"))


@pytest.mark.parametrize("end", ["", "#", "#v6.1", "#sha256=abc", "#sha1=" + 40 * "0"])
def test_a_url_without_a_digest_says_what_is_missing(site: Site, store: Store, end: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve(site.url + end, Context(store, Quiet()), relative_to=Path("/"))
    assert "#sha256=" in caught.value.why


def test_the_first_place_that_can_be_had_is_taken_and_said(
    site: Site, store: Store, tmp_path: Path
) -> None:
    gone = site.spec.replace("linux-6.1.tar.xz", "linux-6.0.tar.xz")
    progress = Recorder()
    found = resolve_first([gone, site.spec], Context(store, progress), relative_to=tmp_path)
    assert found.spec == site.spec
    assert found.note is not None
    assert found.note.startswith(f"the kernel source is {site.spec}")
    assert f"{gone}: linux-6.0.tar.xz could not be downloaded" in found.note
    assert progress.notes == [found.note]
    assert (
        resolve_first([site.spec, gone], Context(store, Quiet()), relative_to=tmp_path).note is None
    )


def test_if_no_place_can_be_had_one_error_names_them_all(
    site: Site, store: Store, tmp_path: Path
) -> None:
    first, second = site.spec, site.spec.replace("v6.x", "v6.y")
    site.close()
    with pytest.raises(MachineError, match="none of the kernel sources") as caught:
        resolve_first([first, second], Context(store, Quiet()), relative_to=tmp_path)
    text = str(caught.value)
    assert first in text
    assert second in text
    assert "--source DIR" in text


def test_a_spec_that_cannot_be_understood_is_not_passed_over(
    site: Site, store: Store, tmp_path: Path
) -> None:
    with pytest.raises(UserError):
        resolve_first(["no/such/tree", site.spec], Context(store, Quiet()), relative_to=tmp_path)

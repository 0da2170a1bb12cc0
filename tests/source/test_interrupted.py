# SPDX-License-Identifier: GPL-2.0-only
"""Two runs at a time, and a run that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from harness.context import Context
from harness.digest import digest_file
from harness.proc.git import git, object_id
from harness.progress import Quiet
from harness.source import resolve
from harness.store import Store
from tests.kerneltree import make_tree

pytestmark = [pytest.mark.unit, pytest.mark.slow]

CHILD = """
import sys
from pathlib import Path
from harness.context import Context
from harness.source import resolve
from harness.store import Store
from tests.kerneltree import Recorder
progress = Recorder()
context = Context(Store(Path(sys.argv[1])), progress)
source = resolve(sys.argv[2], context, relative_to=Path("/"))
print(source.commit, *progress.steps, sep="\\n")
"""


def start(store: Store, spec: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(store.root), str(spec)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )


def big_tarball(path: Path, files: int) -> Path:
    tree = make_tree(path / "linux")
    (tree / "big").mkdir()
    for number in range(files):
        (tree / "big" / f"{number}.bin").write_bytes(os.urandom(1 << 20))
    with tarfile.open(path / "linux.tar", "w") as tar:
        tar.add(tree, "linux")
    return path / "linux.tar"


def test_two_at_a_time_import_once(store: Store, tmp_path: Path) -> None:
    path = big_tarball(tmp_path, 8)
    children = [start(store, path) for _ in range(2)]
    results = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0, 0], results
    told = [result[0].decode().splitlines() for result in results]
    assert told[0][0] == told[1][0]
    imports = [line for lines in told for line in lines if line.startswith("Importing")]
    assert len(imports) == 1


def test_killed_in_the_middle_leaves_nothing_half(store: Store, tmp_path: Path) -> None:
    path = big_tarball(tmp_path, 32)
    ref = f"refs/sources/tarball/{digest_file(path)}"
    child = start(store, path)
    repo = store.place("git") / "linux.git"
    deadline = time.monotonic() + 60
    # As soon as the pack has begun to grow, it is in the middle.
    while not any(p.stat().st_size > 1 << 20 for p in repo.glob("objects/pack/tmp_*")):
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    assert object_id(repo, ref) is None
    source = resolve(str(path), Context(store, Quiet()), relative_to=Path("/"))
    assert git("fsck", "--strict", "--no-dangling", repo=repo).ok
    assert list(repo.glob("objects/pack/tmp_*")) == []
    assert list(repo.glob("fast_import_crash_*")) == []
    other = resolve(str(path), Context(Store(tmp_path / "other"), Quiet()), relative_to=Path("/"))
    assert source.commit == other.commit

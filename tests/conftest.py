# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures for all tests; what is real comes from the cache that users have."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import hypothesis
import pytest

from harness import project, source
from harness.context import Context
from harness.progress import Quiet
from harness.run.prepare import Prepared, prepare
from harness.run.request import Request
from harness.source import Source
from harness.store import Store

# A shell has its background jobs ignore SIGINT, and the programs that tests interrupt would too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says nothing on a machine that others use too.  Each run has the same
# examples, so that no change is refused by luck; the proofs look for new ones.
_EVERY_RUN = hypothesis.settings(deadline=None, max_examples=50, derandomize=True)
_PROOFS = hypothesis.settings(deadline=None, max_examples=2000)
hypothesis.settings.register_profile("every-run", _EVERY_RUN)
hypothesis.settings.register_profile("proofs", _PROOFS)
hypothesis.settings.load_profile("every-run")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have what takes longest begin first: as the last it would keep one worker only at work."""

    def seconds(item: pytest.Item) -> float:
        mark = item.get_closest_marker("long")
        return mark.args[0] if mark else 0

    items.sort(key=seconds, reverse=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return the workers of ``-n auto``: one more than processors, as many tests wait."""
    return len(os.sched_getaffinity(0)) + 1


PROJECT_FILE = Path(__file__).parents[1] / project.FILE_NAME


@pytest.fixture(scope="session")
def user_store() -> Store:
    """The user's cache: what tests build there serves the user, and the other way round."""
    return Store.default()


@pytest.fixture(scope="session")
def linux_source(user_store: Store) -> Source:
    """The project's kernel source, fetched and imported if need be."""
    specs = project.load(PROJECT_FILE).kernel.sources
    return source.resolve_first(
        specs, Context(user_store, Quiet()), relative_to=PROJECT_FILE.parent
    )


@pytest.fixture(scope="session")
def linux_tree(linux_source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directories of the kernel source that tests read."""
    target = tmp_path_factory.mktemp("linux")
    argv = ["git", f"--git-dir={linux_source.repo}", "archive", linux_source.commit]
    done = subprocess.run([*argv, "tools/testing/kunit"], capture_output=True, check=True)
    # Not tarfile: its filters came with Python 3.11.4.
    subprocess.run(["tar", "-x", "-C", str(target)], input=done.stdout, check=True)
    return target


@pytest.fixture(scope="session")
def prepared(user_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The project's own kernel, with its series, and its suites, built if need be."""
    request = Request(
        project_file=PROJECT_FILE,
        project=project.load(PROJECT_FILE),
        working_dir=PROJECT_FILE.parent,
    )
    return prepare(request, Context(user_store, Quiet()), tmp_path_factory.mktemp("prepare"))


@pytest.fixture(scope="session")
def guest_kernel(prepared: Prepared) -> Path:
    """The image of the project's own kernel."""
    return prepared.kernel.image

# SPDX-License-Identifier: GPL-2.0-only
"""A bisection from the request to the report; kernels and guests are played, git is not."""

from __future__ import annotations

import asyncio
import contextlib
import io
import math
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec
import pytest

from harness import project
from harness.errors import ExitCode, MachineError, UserError
from harness.judge import merge
from harness.lab.executor import Attempt
from harness.model.records import (
    KernelAdded,
    KernelPlanned,
    RunEnded,
    RunPlanned,
    TestEnded,
)
from harness.model.results import Bisected, Kernel, Results
from harness.model.spec import BisectTable, KernelSpec
from harness.proc import process
from harness.report.console import print_summary
from harness.report.plain import PlainProgress
from harness.run import chosen, journal, rundir, underway
from harness.run.history import between, of_commit
from harness.run.journal import Journal
from harness.run.matrix import specs
from harness.run.request import Request
from harness.run.underway import Underway
from harness.series.model import AppliedPatch, Tree
from harness.store import Store
from tests.conftest import PROJECT_FILE
from tests.kerneltree import sh
from tests.run.played import Play, PlayedExecutor, planned_tests

T = TypeVar("T")

pytestmark = [pytest.mark.unit, pytest.mark.slow]

AUTHOR = "Ada Example <ada@example.org>"


@dataclass
class Played:
    """Commits of a repository, and how their kernels are to be."""

    repository: Path
    store: Store
    monkeypatch: pytest.MonkeyPatch
    unbuildable: set[str] = field(default_factory=set)
    """Commits whose kernels do not build."""
    unbootable: set[str] = field(default_factory=set)
    programs: Callable[[str], Sequence[str]] = lambda _: ("t",)
    """The programs that a commit's kernel has."""
    content: Callable[[str], str] = str
    """What a commit's kernel is by content."""
    takes_s: dict[str, float] = field(default_factory=dict)
    """For how long the compiler works on a commit's kernel."""
    built: list[str] = field(default_factory=list)
    """The kernels in the order in which they were built."""
    ran: list[tuple[str, str]] = field(default_factory=list)
    said: str = ""
    """What the progress has told."""

    @property
    def commits(self) -> list[str]:
        """All commits, each after its parents."""
        return sh(
            "git", "rev-list", "--topo-order", "--reverse", "HEAD", cwd=self.repository
        ).split()

    def grow(self, count: int) -> list[str]:
        """Add *count* commits in a row; return all."""
        there = len(self.commits)
        stream = "".join(
            f"commit refs/heads/master\ncommitter {AUTHOR} {number} +0000\n"
            f"data <<END\nmm: Number {number}\nEND\n"
            + ("from refs/heads/master^0\n" if number == there else "")
            for number in range(there, there + count)
        )
        (self.repository / "stream").write_text(stream)
        sh("sh", "-c", "git fast-import --quiet < stream", cwd=self.repository)
        return self.commits

    def request(self, good: str, bad: str) -> Request:
        table = between(self.repository, good, bad, own_tests=False)
        whole = KernelSpec(series=("none",))
        kernel = of_commit(whole, table, table.bad, 1 << 40)
        return self._request((kernel,), bisect=table)

    def of_series(self) -> Request:
        """Return ``matrix --bisect`` over all commits as a series upon the first."""
        count = len(self.commits) - 1
        kernels = specs(KernelSpec(), (count,), count, own_tests=False)
        return self._request(kernels, bisect=BisectTable())

    def _request(self, kernels: tuple[KernelSpec, ...], **more: Any) -> Request:
        return Request(
            project_file=PROJECT_FILE,
            project=project.load(PROJECT_FILE),
            working_dir=PROJECT_FILE.parent,
            kernels=kernels,
            **more,
        )

    def commit(self, spec: KernelSpec) -> str:
        """Return the commit that a kernel is made from."""
        if spec.source:
            return spec.source.partition("#")[2]
        return self.commits[len(self.commits) - 1 if spec.upto is None else spec.upto]

    def run(
        self, request: Request, out: Path, play: Play, stop_after: int | None = None
    ) -> Results:
        """Run it, or take it up again; *play* gets a commit's number for a kernel's name."""
        commits = self.commits
        numbers = {}

        def select(_: Request, spec: KernelSpec, __: object) -> Any:
            commit = self.commit(spec)
            numbers[spec.name] = commits.index(commit)
            patches = tuple(f"mm: Number {each}" for each in range(1, numbers[spec.name] + 1))
            tree = Tree(
                self.repository / ".git",
                commit,
                "",
                commits[0],
                tuple(
                    AppliedPatch(number, f"mm: Number {number}", each)
                    for number, each in enumerate(commits[1:], 1)
                ),
            )
            facts = Kernel(release="6.1.0", source="s", base_commit=commits[0], patches=patches)
            suites = (SimpleNamespace(name="s"),)
            return SimpleNamespace(
                name=spec.name, spec=spec, facts=facts, suites=suites, tree=tree, commit=commit
            )

        def build(selected: Any, *_: object) -> Any:
            self.built.append(selected.name)
            if seconds := self.takes_s.get(selected.commit):
                process.run(["sleep", str(seconds)], limit_s=2 * seconds)
            if selected.commit in self.unbuildable:
                raise UserError("the kernel does not compile", why="mm/foo.c:1: error: played")
            return selected

        def planned(built: Any, _: object, needed: Collection[str] | None = None) -> Any:
            tests = [
                each
                for each in planned_tests(self.programs(built.commit))
                if needed is None or each.name in needed
            ]
            kernel = SimpleNamespace(meta=SimpleNamespace(warnings=()))
            return SimpleNamespace(
                name=built.name,
                suites=built.suites,
                tests=tuple(tests),
                facts=built.facts,
                kernel=kernel,
                notes=(),
                factory=_PlayedFactory(self.content(built.commit)),
            )

        def hosts(*_: object) -> Any:
            return _Hosts(
                PlayedExecutor(
                    lambda kernel, program, count: play(str(numbers[kernel]), program, count),
                    no_guest=frozenset(
                        each for each in self.names if self.of_name(each) in self.unbootable
                    ),
                    stop_after=stop_after,
                    order=self.ran,
                )
            )

        for name, value in {
            "select": select,
            "build": build,
            "planned": planned,
            "Hosts": hosts,
            "check_same": lambda *_: None,
        }.items():
            self.monkeypatch.setattr(underway, name, value)
        for name, value in {"select": select, "build": build}.items():
            self.monkeypatch.setattr(chosen, name, value)
        out.mkdir(exist_ok=True)
        stream = io.StringIO()
        try:
            with Journal(out) as book:
                if not book.records():
                    book.write(request.record("2026-07-01T03:00:00.000Z"))
                place = rundir.RunDirectory(out, out)
                display = PlainProgress(stream)
                Underway(request, "r", place, book, self.store, display, 1, lambda: None).execute()
                book.write(RunEnded(time="2026-07-01T03:01:00.000Z", seconds=60.0))
        finally:
            self.said = stream.getvalue()
        return merge.whole(journal.read(out))

    @property
    def names(self) -> list[str]:
        """Return the names that kernels can have."""
        return [each[:12] for each in self.commits] + [
            "base",
            *(str(number) for number in range(1, len(self.commits))),
        ]

    def of_name(self, name: str) -> str:
        """Return the commit of a kernel."""
        if name == "base":
            return self.commits[0]
        if name.isdigit() and len(name) < 6:
            return self.commits[int(name)]
        return next(each for each in self.commits if each.startswith(name))


@dataclass(frozen=True)
class _PlayedFactory:
    """Says what a kernel is by content, and remembers nothing of earlier runs."""

    kernel: str

    def kernel_content(self) -> str:
        return self.kernel

    async def content(self, *_: object) -> str:
        return self.kernel

    async def identity(self, *_: object) -> str:
        return ""


@dataclass(frozen=True)
class _Hosts:
    """One host, which has all that a test may ask for."""

    executor: PlayedExecutor

    @contextlib.contextmanager
    def ahead(self) -> Iterator[None]:
        yield

    @contextlib.asynccontextmanager
    async def joining(self) -> AsyncIterator[None]:
        yield

    async def meanwhile(self, work: Coroutine[Any, Any, T]) -> T:
        return await work

    async def add(self, built: object) -> None: ...

    def planned(self, prepared: object, bench: object) -> None: ...


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    """A repository with one commit."""
    repository = tmp_path / "repository"
    repository.mkdir()
    sh("git", "init", "-q", "-b", "master", cwd=repository)
    sh("git", "commit", "-q", "--allow-empty", "-m", "Linux 6.1", cwd=repository)
    return Played(repository, Store(tmp_path / "cache"), monkeypatch)


def only(results: Results) -> Bisected:
    (found,) = results.bisected
    return found


def shown(results: Results) -> str:
    stream = io.StringIO()
    print_summary(results, stream)
    return stream.getvalue()


def breaks_at(first: int) -> Play:
    return lambda number, *_: int(number) < first


@pytest.mark.parametrize("first", [1, 37, 64])
def test_sixty_four_commits_take_seven_builds(played: Played, tmp_path: Path, first: int) -> None:
    commits = played.grow(64)
    results = played.run(
        played.request(commits[0], commits[-1]), tmp_path / "out", breaks_at(first)
    )
    found = only(results)
    assert found.first_bad == commits[first][:12]
    assert found.last_good == commits[first - 1][:12]
    # The bad one, six between them; and the good one where all depends on it.
    assert len(played.built) <= 7 + (first == 1)
    assert results.exit_code is ExitCode.AS_EXPECTED
    assert found.confirmed.startswith("run again: 0/")
    # As few runs as make sure of each kernel.
    assert len(played.ran) <= 5 + 2 * 6 + 10


def test_the_end_names_commit_evidence_and_command(played: Played, tmp_path: Path) -> None:
    commits = played.grow(8)
    results = played.run(played.request(commits[0], "HEAD"), tmp_path / "out", breaks_at(5))
    text = shown(results)
    assert f"First bad: commit {commits[5][:12]}, 'mm: Number 5'" in text
    assert "Ada Example <ada@example.org>" in text
    assert f"s:t: good on {commits[4][:12]}, bad on {commits[5][:12]}" in text
    assert "passed; exit status 1" in text
    assert "run again: harness run -k s:t" in text
    assert "FOUND (exit 0)" in text
    assert "commits left, about" in played.said


def test_git_takes_the_log(played: Played, tmp_path: Path) -> None:
    commits = played.grow(10)
    played.unbuildable = {commits[5]}
    results = played.run(played.request(commits[0], commits[-1]), tmp_path / "out", breaks_at(8))
    log = tmp_path / "log"
    log.write_text(only(results).log)
    said = sh("git", "bisect", "replay", str(log), cwd=played.repository)
    assert f"{commits[8]} is the first bad commit" in said


def test_what_does_not_build_or_boot_is_skipped(played: Played, tmp_path: Path) -> None:
    commits = played.grow(16)
    played.unbuildable = {commits[8]}
    played.unbootable = {commits[7]}
    results = played.run(played.request(commits[0], commits[-1]), tmp_path / "out", breaks_at(11))
    assert only(results).first_bad == commits[11][:12]
    assert "git bisect skip" in only(results).log


def test_where_only_skipped_ones_are_left_all_are_named(played: Played, tmp_path: Path) -> None:
    commits = played.grow(16)
    played.unbuildable = set(commits[6:9])
    results = played.run(played.request(commits[0], commits[-1]), tmp_path / "out", breaks_at(7))
    found = only(results)
    assert found.first_bad == ""
    assert len(found.possible) == 4
    assert results.exit_code is ExitCode.NOT_AS_EXPECTED
    assert "the first bad commit is one of 4 commits" in shown(results)


def test_a_merge_does_not_hide_the_commit_of_its_branch(played: Played, tmp_path: Path) -> None:
    played.grow(3)
    good = played.commits[-1]
    sh("git", "checkout", "-q", "-b", "side", cwd=played.repository)
    for number in range(3):
        sh("git", "commit", "-q", "--allow-empty", "-m", f"side {number}", cwd=played.repository)
    guilty = sh("git", "rev-parse", "side~1", cwd=played.repository)
    sh("git", "checkout", "-q", "master", cwd=played.repository)
    sh("git", "commit", "-q", "--allow-empty", "-m", "main", cwd=played.repository)
    sh("git", "merge", "-q", "--no-ff", "-m", "merge", "side", cwd=played.repository)
    has_it = sh(
        "git", "rev-list", "--ancestry-path", f"{guilty}..HEAD", cwd=played.repository
    ).split()
    bad = {str(played.commits.index(each)) for each in (guilty, *has_it)}
    results = played.run(
        played.request(good, "HEAD"), tmp_path / "out", lambda number, *_: number not in bad
    )
    assert only(results).first_bad == guilty[:12]
    assert only(results).title == "side 1"


def test_a_test_that_does_not_fail_on_the_bad_commit_is_told(
    played: Played, tmp_path: Path
) -> None:
    commits = played.grow(8)
    results = played.run(played.request(commits[0], "HEAD"), tmp_path / "out", lambda *_: True)
    assert "it does not fail on" in only(results).why
    assert results.exit_code is ExitCode.NOT_AS_EXPECTED
    assert {kernel for kernel, _ in played.ran} == {commits[8][:12]}


def test_the_first_kernel_between_is_built_while_the_bad_one_is_tested(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = played.grow(8)
    bad, middle = commits[8][:12], commits[4][:12]
    run = PlayedExecutor.run

    async def wait(executor: PlayedExecutor, attempt: Attempt) -> TestEnded:
        async with asyncio.timeout(20):
            while attempt.started.kernel == bad and middle not in played.built:
                await asyncio.sleep(0.01)
        return await run(executor, attempt)

    monkeypatch.setattr(PlayedExecutor, "run", wait)
    results = played.run(played.request(commits[0], "HEAD"), tmp_path / "out", breaks_at(6))
    assert only(results).first_bad == commits[6][:12]
    assert sorted(played.built) == sorted(set(played.built)), "each kernel is built once"
    assert played.built[:2] == [bad, middle]


def test_a_build_that_is_not_needed_is_ended(played: Played, tmp_path: Path) -> None:
    commits = played.grow(8)
    played.takes_s = {commits[4]: 60.0}
    begun = time.monotonic()
    results = played.run(played.request(commits[0], "HEAD"), tmp_path / "out", lambda *_: True)
    assert time.monotonic() - begun < 30
    assert "it does not fail on" in only(results).why
    assert {kernel for kernel, _ in played.ran} == {commits[8][:12]}


def test_a_good_commit_that_is_not_good_is_told(played: Played, tmp_path: Path) -> None:
    commits = played.grow(8)
    results = played.run(played.request(commits[0], "HEAD"), tmp_path / "out", lambda *_: False)
    assert "was said to be good" in only(results).why
    assert results.exit_code is ExitCode.NOT_AS_EXPECTED


@pytest.mark.parametrize("shift", [0, 3])
def test_one_that_fails_one_time_in_eight_blames_no_commit(
    played: Played, tmp_path: Path, shift: int
) -> None:
    """On the bad commit it fails the first time, and else now and then, on whichever kernel."""
    commits = played.grow(16)

    def play(number: str, _: str, count: int) -> bool:
        return count % 8 != 0 if number == "16" else (count + shift + int(number)) % 8 != 0

    results = played.run(played.request(commits[0], "HEAD"), tmp_path / "out", play)
    found = only(results)
    assert found.first_bad == ""
    assert "unstable" in found.why
    assert "failed" in found.why
    assert results.exit_code is ExitCode.NOT_AS_EXPECTED
    assert len(results.kernels) == 2


@pytest.mark.parametrize("first", [3, 14])
def test_one_that_a_commit_makes_unstable_is_found_by_its_counts(
    played: Played, tmp_path: Path, first: int
) -> None:
    commits = played.grow(16)

    def play(number: str, _: str, count: int) -> bool:
        return int(number) < first or count % 4 == 3

    results = played.run(played.request(commits[0], "HEAD"), tmp_path / "out", play)
    assert only(results).first_bad == commits[first][:12]


def test_a_kernel_that_is_needed_after_its_build_ahead_was_given_up(
    played: Played, tmp_path: Path
) -> None:
    """The good one is needed first, as the test is unstable."""
    commits = played.grow(4)
    middle = commits[2]
    played.takes_s = {middle: 2.0}
    results = played.run(
        played.request(commits[0], "HEAD"),
        tmp_path / "out",
        lambda number, _, count: int(number) < 2 or count % 4 == 3,
    )
    assert only(results).first_bad == middle[:12]
    assert played.built.count(middle[:12]) == 2, "its build was given up, and begun again"


def test_a_bad_commit_that_does_not_build_is_what_is_looked_for(
    played: Played, tmp_path: Path
) -> None:
    commits = played.grow(16)
    played.unbuildable = set(commits[9:])
    results = played.run(played.request(commits[0], "HEAD"), tmp_path / "out", lambda *_: True)
    found = only(results)
    assert (found.test, found.first_bad) == ("the kernel does not build", commits[9][:12])
    assert "the kernel does not compile" in shown(results)


def test_a_bad_commit_that_does_not_boot_is_what_is_looked_for(
    played: Played, tmp_path: Path
) -> None:
    commits = played.grow(16)
    played.unbootable = set(commits[4:])
    results = played.run(played.request(commits[0], "HEAD"), tmp_path / "out", lambda *_: True)
    found = only(results)
    assert (found.test, found.first_bad) == ("the kernel does not boot", commits[4][:12])
    assert "panicked" in shown(results)


def test_several_tests_share_kernels(played: Played, tmp_path: Path) -> None:
    commits = played.grow(64)
    played.programs = lambda _: ("a", "b", "c", "fine")
    first = {"a": 20, "b": 21, "c": 50, "fine": 99}
    results = played.run(
        played.request(commits[0], "HEAD"),
        tmp_path / "out",
        lambda number, program, _: int(number) < first[program],
    )
    found = {each.test: each.first_bad for each in results.bisected if each.first_bad}
    assert found == {f"s:{name}": commits[first[name]][:12] for name in "abc"}
    assert len(played.built) < 3 * 7 - 4
    # One kernel is built once only.
    assert len(set(played.built)) == len(played.built)


@pytest.mark.parametrize("count", [1, 2, 9, 33])
def test_matrix_bisect_needs_few_kernels_of_a_series(
    played: Played, tmp_path: Path, count: int
) -> None:
    played.grow(count)
    first = (count + 1) // 2
    results = played.run(played.of_series(), tmp_path / "out", breaks_at(first))
    assert only(results).first_bad == str(first)
    assert len(played.built) <= 2 + math.ceil(math.log2(count)) if count > 1 else 2
    names = list(results.kernels)
    assert names == sorted(names, key=lambda name: 0 if name == "base" else int(name))
    text = shown(results)
    assert f"patch {first}, 'mm: Number {first}', breaks s:t: pass, then fail" in text
    assert f"First bad: patch {first}, 'mm: Number {first}'" in text


def test_matrix_bisect_leaves_alone_what_fails_on_base(played: Played, tmp_path: Path) -> None:
    played.grow(9)
    played.programs = lambda _: ("old", "new")
    results = played.run(
        played.of_series(),
        tmp_path / "out",
        lambda number, program, _: program == "new" and int(number) < 5,
    )
    assert [(each.test, each.first_bad) for each in results.bisected] == [("s:new", "5")]
    assert "Not as expected on base already" in shown(results)


def test_matrix_bisect_finds_where_a_new_test_fails_first(played: Played, tmp_path: Path) -> None:
    commits = played.grow(9)
    played.programs = lambda commit: ("t", "new") if commits.index(commit) >= 4 else ("t",)
    results = played.run(
        played.of_series(), tmp_path / "out", lambda _, program, __: program != "new"
    )
    assert [(each.test, each.first_bad) for each in results.bisected] == [("s:new", "4")]


@pytest.mark.parametrize("first", [3, 7, 9])
def test_a_patch_that_changes_no_code_says_what_the_kernel_before_says(
    played: Played, tmp_path: Path, first: int
) -> None:
    commits = played.grow(10)

    def content(commit: str) -> str:
        """Every second patch changes documentation only."""
        number = commits.index(commit)
        return str(number if number % 2 else max(0, number - 1))

    played.content = content
    request = msgspec.structs.replace(played.of_series(), reuse=True)
    results = played.run(request, tmp_path / "out", breaks_at(first))
    assert only(results).first_bad == str(first)
    tested = {kernel for kernel, _ in played.ran}
    assert len({content(played.of_name(name)) for name in tested}) == len(tested)


def test_a_bisection_that_is_cut_off_goes_the_same_way(played: Played, tmp_path: Path) -> None:
    commits = played.grow(16)
    request = played.request(commits[0], "HEAD")
    whole = played.run(request, tmp_path / "whole", breaks_at(6))
    ran, built = list(played.ran), list(played.built)
    for stop in range(0, len(ran), 5):
        out = tmp_path / str(stop)
        played.ran.clear()
        with contextlib.suppress(MachineError):
            played.run(request, out, breaks_at(6), stop_after=stop)
        results = played.run(request, out, breaks_at(6))
        assert results.bisected == whole.bisected
        assert sorted(played.ran) == sorted(ran)
        assert kernels(out) == kernels(tmp_path / "whole")
    assert len(built) == len(set(built))


def kernels(out: Path) -> list[str]:
    """Return the kernels of a run's plan as they came."""
    records = journal.read(out)
    first = next(each for each in records if isinstance(each, RunPlanned))
    added: list[KernelPlanned] = [each.kernel for each in records if isinstance(each, KernelAdded)]
    return [each.name for each in (*first.kernels, *added)]


def test_ranges_that_are_none(played: Played) -> None:
    commits = played.grow(3)
    for good, bad, why in (
        (commits[1], commits[1], "the same"),
        (commits[2], commits[0], "older"),
        ("nothing", "HEAD", "no commit nothing"),
    ):
        with pytest.raises(UserError, match=why):
            between(played.repository, good, bad, own_tests=False)

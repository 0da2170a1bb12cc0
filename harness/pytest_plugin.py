# SPDX-License-Identifier: GPL-2.0-only
"""For pytest: suites of ``harness.toml`` as tests, and guests for tests in Python (docs/pytest.md).

pytest loads this in every project of an environment, so what costs time is imported when the first
suite or guest is wanted.  What is an outcome is judged by ``harness run`` itself, a test at a time.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import HarnessError, UserError
from harness.visible import visible

if TYPE_CHECKING:
    from harness.kbuild import Kernel
    from harness.model.plan import PlannedTest
    from harness.model.results import Test
    from harness.proc.background import Background
    from harness.project import Project
    from harness.report.display import Display
    from harness.run.prepare import Prepared
    from harness.run.request import Request
    from harness.shell.scripted import ScriptedGuest
    from harness.store import Store

_PROJECT = "harness.toml"
_MAKEFILE = "Makefile"
_KERNEL = "kernel:"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; they have the meaning of those of ``harness run``."""
    group = parser.getgroup("harness", "kernel selftests in guests")
    group.addoption(
        "--harness-series",
        action="append",
        default=[],
        metavar="NAME|PATH|none",
        help="Apply this series instead of that of harness.toml; may be given several times.",
    )
    group.addoption("--harness-source", metavar="SPEC", help="Take the kernel from there instead.")
    group.addoption(
        "--harness-config",
        action="append",
        default=[],
        metavar="NAME",
        help="Build with this fragment instead; may be given several times.",
    )
    group.addoption("--harness-guest", choices=["sealed", "vng"], help="Run in this type of guest.")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and the storage of this session."""
    config.addinivalue_line(
        "markers",
        "guest(suite=NAME, **keys of [guest]): which guest the fixture `guest` starts, and whose "
        "programs are in it",
    )
    config.stash[_BENCH] = _Workbench(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the thread that holds guests, if there is one."""
    bench = config.stash.get(_BENCH, None)
    if bench is not None:
        bench.close()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a suite at its Makefile, and at harness.toml those that have none here."""
    bench = parent.config.stash[_BENCH]
    if file_path.name == _PROJECT:
        return _ProjectFile.from_parent(parent, path=file_path)
    if file_path.name != _MAKEFILE:
        return None
    file = bench.project_file(file_path.parent)
    if file is None:
        return None
    with _refused():
        project = bench.project(file)
    for name, table in project.suites.items():
        # Only what has this name is looked for on the disk: a kernel tree has thousands of these.
        if Path(table.path).name == file_path.parent.name and _same(
            file.parent / table.path, file_path.parent
        ):
            made: pytest.Collector = _SuiteFile.from_parent(
                parent, path=file_path, file=file, suite=name
            )
            return made
    return None


class NotAsExpected(Exception):
    """A test of a suite ended other than with a pass or a skip."""

    def __init__(self, test: Test, directory: Path) -> None:
        super().__init__(test.reason)
        self.test = test
        self.directory = directory


class _Suite(pytest.Collector):
    """What collects a suite of the project *file*."""

    def __init__(self, *, file: Path, suite: str, **rest: Any) -> None:
        super().__init__(**rest)
        self.file = file
        self.suite = suite

    def collect(self) -> Iterable[pytest.Item]:
        """Build the suite, and yield its tests."""
        with _refused():
            planned = self.config.stash[_BENCH].prepared(self.file, self.suite).tests
        for each in planned:
            yield _SuiteTest.from_parent(
                self, name=each.program, planned=each, file=self.file, suite=self.suite
            )


class _SuiteFile(_Suite, pytest.File):
    """The Makefile of a suite that is a directory of the project."""


class _SuiteElsewhere(_Suite):
    """A suite of the kernel tree, or of another place, below the project file."""


class _ProjectFile(pytest.File):
    """``harness.toml``: the suites that have no Makefile below it.

    Those that are not run by default are collected where the file itself is named.
    """

    def collect(self) -> Iterable[pytest.Collector]:
        with _refused():
            project = self.config.stash[_BENCH].project(self.path)
        named = self.session.isinitpath(self.path)
        for name, table in project.suites.items():
            here = self.path.parent.resolve()
            inside = (here / table.path).resolve().is_relative_to(here)
            if inside and not table.path.startswith(_KERNEL):
                continue
            if table.default or named:
                yield _SuiteElsewhere.from_parent(self, name=name, file=self.path, suite=name)


class _SuiteTest(pytest.Item):
    """A program of a suite."""

    def __init__(self, *, planned: PlannedTest, file: Path, suite: str, **rest: Any) -> None:
        super().__init__(**rest)
        self.planned = planned
        self.file = file
        self.suite = suite

    def runtest(self) -> None:
        """Run it in a guest of its own; raises :class:`NotAsExpected`, and skips."""
        from harness.outcome import Outcome

        with _refused():
            test, directory = self.config.stash[_BENCH].run(self.file, self.suite, self.planned)
        told = {"outcome": test.outcome, "seed": test.seed, "rerun": test.rerun}
        self.user_properties += [(name, visible(text)) for name, text in told.items() if text]
        if test.outcome is Outcome.SKIP:
            pytest.skip(visible(test.reason) or "no reason given")
        if test.outcome is not Outcome.PASS:
            raise NotAsExpected(test, directory)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return what shows why it is not as expected, for the terminal and for JUnit."""
        if isinstance(excinfo.value, NotAsExpected):
            from harness.report.story import story

            told = story(excinfo.value.test, str(excinfo.value.directory))
            strict = excinfo.value.test.outcome == "xpass"
            return f"[XPASS(strict)] {told}" if strict else told
        if isinstance(excinfo.value, _Refused):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return where it stands: its suite, and its name."""
        return self.path, None, self.planned.name


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Map the outcomes of the harness to those of pytest."""
    report = yield
    if not isinstance(item, _SuiteTest) or call.when != "call" or call.excinfo is None:
        return report
    error = call.excinfo.value
    if report.skipped:
        # Its reason is the suite's: a line of this file would tell no reader anything.
        report.longrepr = (str(item.path), 1, str(error))
    if isinstance(error, NotAsExpected):
        outcome = error.test.outcome
        if outcome == "xfail" and not item.config.option.runxfail:
            report.outcome = "skipped"
            report.wasxfail = visible(error.test.reason)
        elif outcome in ("error", "notrun"):
            report.when = "setup"
    elif isinstance(error, _Refused):
        report.when = "setup"
    return report


@dataclass(frozen=True)
class GuestSuite:
    """A suite in the guest of a test in Python."""

    name: str
    directory: str
    """Where it lies in the guest."""
    programs: dict[str, str]
    """By name, the paths of its programs in the guest."""


@pytest.fixture
def suite(request: pytest.FixtureRequest) -> GuestSuite:
    """Return the suite whose programs are in the guest."""
    with _failing():
        (built,) = _prepared_for(request).suites
    directory = f"/selftests/{built.name}"
    programs = {each.name: f"{directory}/{each.path}" for each in built.programs}
    return GuestSuite(built.name, directory, programs)


@pytest.fixture
def kernel(request: pytest.FixtureRequest) -> Kernel:
    """Return the kernel that guests run: ``image``, ``vmlinux``, ``config``, ``meta.release``."""
    with _failing():
        return _prepared_for(request).kernel


@pytest.fixture
def guest(request: pytest.FixtureRequest) -> Iterator[ScriptedGuest]:
    """Start a guest, restored from a snapshot; complaints of its kernel fail the test."""
    from harness.run.single import start_guest

    bench = request.config.stash[_BENCH]
    with _failing():
        started = start_guest(_prepared_for(request), _changes(request), bench.background)
    try:
        yield started
    finally:
        started.close()
    if why := started.complaint():
        pytest.fail(f"the kernel complained under the test: {visible(why)}", pytrace=False)


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for mark in request.node.iter_markers("guest"):
        if mark.args:
            raise UserError(
                "pytest.mark.guest takes names only",
                where=request.node.nodeid,
                hint='for example: @pytest.mark.guest(suite="mine", memory_mib=1024)',
            )
        found = mark.kwargs | found
    return found


def _changes(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {name: value for name, value in _marked(request).items() if name != "suite"}


def _prepared_for(request: pytest.FixtureRequest) -> Prepared:
    """Return what the test that asks has in its guest; raises UserError where that is not clear."""
    bench = request.config.stash[_BENCH]
    file = bench.project_file(request.path.parent)
    if file is None:
        raise UserError(
            f"no {_PROJECT} here", where=f"{request.path.parent} and the directories above it"
        )
    suites = bench.project(file).suites
    named = _marked(request).get("suite")
    if named is None:
        around = [
            name
            for name, table in suites.items()
            if request.path.resolve().is_relative_to((file.parent / table.path).resolve())
        ]
        default = [name for name, table in suites.items() if table.default]
        named = next(iter(around or (default if len(default) == 1 else [])), None)
    if named is None:
        raise UserError(
            "it is not clear which suite is in the guest",
            where=request.node.nodeid,
            why=f"suites of the project: {', '.join(suites) or 'none'}",
            hint='say it: @pytest.mark.guest(suite="NAME"), or pytestmark for the whole file',
        )
    below = file.parent / named
    return bench.prepared(file, str(below) if named not in suites and below.is_dir() else named)


class _Refused(Exception):
    """The harness could not begin; the text says what, where, why, and what to do."""


@contextlib.contextmanager
def _harness_errors(kind: type[BaseException]) -> Iterator[None]:
    """Raise what the harness has words for as *kind*, with those words and no traceback."""
    try:
        yield
    except Exception as error:
        from harness.foreign import translate

        meaning = error if isinstance(error, HarnessError) else translate(error)
        if meaning is None:
            raise
        raise kind(visible(str(meaning))) from None


def _refused() -> contextlib.AbstractContextManager[None]:
    return _harness_errors(_CollectOrRefuse)


class _CollectOrRefuse(_Refused, pytest.Collector.CollectError):
    """Both kinds of errors, with the same text: one for collecting, one for running."""


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    try:
        with _harness_errors(_Refused):
            yield
    except _Refused as error:
        pytest.fail(str(error), pytrace=False)


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


class _Workbench:
    """The prepared suites of a session, each once per process."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._files: dict[Path, Path | None] = {}
        self._projects: dict[Path, Project] = {}
        self._prepared: dict[tuple[Path, str], Prepared] = {}
        self._background: Background | None = None

    def project_file(self, directory: Path) -> Path | None:
        """Return the project file of *directory* or of the nearest one above it."""
        if directory not in self._files:
            here = directory / _PROJECT
            above = None if directory == directory.parent else directory.parent
            found = here if here.is_file() else above and self.project_file(above)
            self._files[directory] = found
        return self._files[directory]

    def project(self, file: Path) -> Project:
        """Return the project file's content."""
        if file not in self._projects:
            from harness import project

            self._projects[file] = project.load(file)
        return self._projects[file]

    def prepared(self, file: Path, suite: str) -> Prepared:
        """Return the kernel with *suite*, built if need be; another process may be at it."""
        key = file, suite
        if key not in self._prepared:
            from harness.context import Context
            from harness.run import single

            out = self._directory("prepare", suite)
            with self._shown() as display:
                context = Context(self._store, display)
                self._prepared[key] = single.prepared(self._request(file, suite), context, out)
        return self._prepared[key]

    def run(self, file: Path, suite: str, test: PlannedTest) -> tuple[Test, Path]:
        """Run *test*; return how it ended, and the directory of its run."""
        from harness.report.console import make_progress
        from harness.run import single

        directory = self._directory(suite, test.program)
        request = self._request(file, suite)
        display = make_progress(sys.stderr)
        results = single.run_one(request, test, directory, self._store, display)
        return results.tests[0], directory

    @property
    def background(self) -> Background:
        """The event loop of guests that tests hold."""
        if self._background is None:
            from harness.proc.background import Background

            self._background = Background()
        return self._background

    def close(self) -> None:
        """End the thread of :attr:`background`."""
        if self._background is not None:
            self._background.close()

    @cached_property
    def _store(self) -> Store:
        from harness.store import Store

        return Store.default()

    def _directory(self, *names: str) -> Path:
        """Return a new directory below those that pytest keeps of its last sessions."""
        factory: pytest.TempPathFactory = self._config._tmp_path_factory  # type: ignore[attr-defined]
        safe = "-".join(names).replace("/", "-").replace(":", "-")[:80]
        return factory.mktemp(f"harness-{safe}", numbered=True)

    def _request(self, file: Path, suite: str) -> Request:
        from harness.model.spec import KernelSpec
        from harness.run.request import Request

        option = self._config.option
        spec = KernelSpec(
            source=option.harness_source,
            series=tuple(option.harness_series),
            config=tuple(option.harness_config),
        )
        return Request(
            project_file=file,
            project=self.project(file),
            working_dir=Path(self._config.invocation_params.dir),
            kernels=(spec,),
            suites=(suite,),
            guest=option.harness_guest or "",
            command=("pytest", *map(str, self._config.invocation_params.args)),
            program=_program(Path(self._config.invocation_params.dir)),
        )

    @contextlib.contextmanager
    def _shown(self) -> Iterator[Display]:
        """Give a display that is seen although pytest captures; of several workers', one."""
        from harness.report.console import PlainProgress, make_progress

        worker = getattr(self._config, "workerinput", {}).get("workerid")
        if worker not in (None, "gw0"):
            yield PlainProgress(sys.stderr)
            return
        capture = self._config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            yield make_progress(sys.stderr) if worker is None else PlainProgress(sys.stderr)


def _program(here: Path) -> tuple[str, ...]:
    """Return the words that call ``harness`` from *here*."""
    script = Path(sys.executable).with_name("harness")
    if not script.exists():
        return (sys.executable, "-m", "harness")
    return (str(script.relative_to(here)) if script.is_relative_to(here) else str(script),)


_BENCH = pytest.StashKey[_Workbench]()

# SPDX-License-Identifier: GPL-2.0-only
"""From a request to everything that tests need: tree, kernel, suites and the plan."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from harness import kbuild, series, source, suites
from harness.entries import about_to_end
from harness.errors import UserError
from harness.guest import vng
from harness.guest.capabilities import check_names
from harness.kbuild import Fragments, Kernel
from harness.progress import Progress
from harness.project import NO_SERIES, GuestTable, Project, load
from harness.run import results
from harness.run.guests import Foundry, foundry
from harness.run.logfiles import build_logs
from harness.run.plan import plan
from harness.run.posted import unlike_posted
from harness.run.records import PlannedTest, Requested
from harness.series import Stack, Tree
from harness.source import Source
from harness.store import Store
from harness.suites import Suite
from harness.suites.expectations import named


@dataclass(frozen=True)
class Request:
    """What the user wants tested: the project file and what overrides it."""

    project_file: Path
    project: Project
    working_dir: Path
    """Paths given on the command line are relative to it; those in the file, to the file."""
    source: str | None = None
    series: tuple[str, ...] = ()
    """Stacks of the project file and paths, the first at the bottom; or ``none`` alone.  None given
    means what the project file says."""
    upto: int | None = None
    series_version: int | None = None
    """Which version of the series, where there are several in one file; None is the newest."""
    config: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    expression: str = ""
    guest: str = ""
    """The type of guest; empty means what the project file says."""
    repeat: int = 1
    """How often each test runs; 0 is without end."""
    until_fail: bool = False
    command: tuple[str, ...] = ()
    """The command line, for the record."""
    program: tuple[str, ...] = ("harness",)
    """How the user calls this program, for the command lines that he is given."""

    def record(self, time: str) -> Requested:
        """Return what is needed to ask for the same again, as asked for at this *time*."""
        return Requested(
            command=self.command,
            time=time,
            working_dir=str(self.working_dir),
            project_file=str(self.project_file),
            source=self.source,
            series=self.series,
            upto=self.upto,
            series_version=self.series_version,
            config=self.config,
            suites=self.suites,
            expression=self.expression,
            guest=self.guest,
            repeat=self.repeat,
            until_fail=self.until_fail,
        )

    @classmethod
    def again(cls, asked: Requested, program: tuple[str, ...]) -> Request:
        """Return the request that was recorded as *asked*; the project file is read anew."""
        file = Path(asked.project_file)
        return cls(
            project_file=file,
            project=load(file),
            working_dir=Path(asked.working_dir),
            source=asked.source,
            series=asked.series,
            upto=asked.upto,
            series_version=asked.series_version,
            config=asked.config,
            suites=asked.suites,
            expression=asked.expression,
            guest=asked.guest,
            repeat=asked.repeat,
            until_fail=asked.until_fail,
            command=asked.command,
            program=program,
        )

    @property
    def project_dir(self) -> Path:
        """Where relative paths of the project file start."""
        return self.project_file.parent

    def guest_table(self) -> GuestTable:
        """Return what tests run in, unless their suite says otherwise."""
        asked = {"type": self.guest} if self.guest else {}
        return msgspec.structs.replace(self.project.guest, **asked)

    def fragments(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the names of the fragments to build with, and a note on those nobody named.

        Raises MachineError where vng guests are asked for and there is no virtme-ng.
        """
        names = self.config or self.project.kernel.config
        if self.guest_table().type != "vng":
            return names, ()
        vng.find_virtme()
        # A project may have the same options in fragments of its own.
        directory = self.project_dir / self.project.kernel.config_dir
        there = [name for name in vng.FRAGMENTS if (directory / f"{name}.config").exists()]
        missing = tuple(name for name in there if name not in names)
        if not missing:
            return names, ()
        note = f"for vng guests the kernel is also built with: {', '.join(missing)}"
        # First, so that what the user names has the last word.
        return (*missing, *names), (note,)

    def stack(self) -> Stack:
        """Read the series that are asked for.

        The stack's name, by which expectations know it, is made of the names of stacks, directories
        and files, joined by ``+``.
        """
        names, paths = self._series()
        if not paths and self.upto is not None:
            raise UserError(
                "there is no series of which a part could be applied", where=f"--upto {self.upto}"
            )
        version = self.series_version
        if version is not None and len(paths) != 1:
            raise UserError(
                "a version can be chosen of one series only",
                where=f"--series-version {version}",
                why=f"asked for are {len(paths)} series",
                hint="name one mailbox or directory with --series",
            )
        name = "+".join(names) or NO_SERIES
        return series.read_stack(name, paths, upto=self.upto, version=version)

    def unlike_posted(self) -> str:
        """Return why the series that are asked for are not what was posted; empty if they are."""
        return unlike_posted(self._series()[1], self.project, self.project_file)

    def _series(self) -> tuple[list[str], list[Path]]:
        """Return the names and the paths of the series that are asked for."""
        wanted = self.series or (self.project.series,)
        if NO_SERIES in wanted and len(wanted) > 1:
            raise UserError(
                "'none' and a series exclude each other",
                where=shlex.join(word for each in wanted for word in ("--series", each)),
            )
        names: list[str] = []
        paths: list[Path] = []
        for each in wanted:
            if each in self.project.stacks:
                names.append(each)
                paths += [self.project_dir / path for path in self.project.stacks[each]]
            elif each != NO_SERIES:
                path = self.working_dir / each
                if not series.exists(path):
                    raise self._no_series(each)
                names.append(series.name_of(path))
                paths.append(path)
        return names, paths

    def _no_series(self, wanted: str) -> UserError:
        stacks = self.project.stacks
        close = difflib.get_close_matches(wanted, stacks, n=1)
        return UserError(
            f"there is no series '{wanted}'",
            where=f"{self.working_dir / wanted}, and [stacks] of {self.project_file}",
            why=f"[stacks] has: {', '.join(stacks) or 'nothing'}",
            hint=f"did you mean '{close[0]}'?"
            if close
            else "name a stack, a directory of patches, a patch, an mbox or a maildir",
        )

    def rerun(self, suites: Sequence[str], test: str) -> str:
        """Return a shell command that runs *test* alone with everything else as it is now.

        *suites* are the ``--suite`` options, as they were given, that its suite was made from.
        """
        argv = [*self.program, "run"]
        if self.project_file != self.working_dir / self.project_file.name:
            argv += ["--project", str(self.project_file)]
        argv += ["--source", self.source] if self.source is not None else []
        argv += [word for name in self.series for word in ("--series", name)]
        argv += ["--upto", str(self.upto)] if self.upto is not None else []
        if self.series_version is not None:
            argv += ["--series-version", str(self.series_version)]
        argv += [word for name in self.config for word in ("--config", name)]
        argv += ["--guest", self.guest] if self.guest else []
        argv += [word for name in suites for word in ("--suite", name)]
        return shlex.join([*argv, "-k", test])


@dataclass(frozen=True)
class Prepared:
    """All that is needed to run the tests."""

    source: Source
    stack: Stack
    tree: Tree
    kernel: Kernel
    place: kbuild.Slot
    """Where the kernel was built."""
    suites: tuple[Suite, ...]
    foundry: Foundry
    """Makes guests with that kernel."""
    tests: tuple[PlannedTest, ...]
    notes: tuple[str, ...]
    facts: results.Kernel


def prepare(request: Request, store: Store, out: Path, progress: Progress) -> Prepared:
    """Make everything ready; what the store has is not made again.

    Logs go to *out*/logs.  Raises UserError and MachineError as the rooms do.
    """
    logs = out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    project = request.project
    # The cheap mistakes first: nobody wants to learn of a typing error after a download.
    names, added = request.fragments()
    fragments = kbuild.load(request.project_dir / project.kernel.config_dir, names)
    stack = request.stack()
    wanted = _wanted_suites(request)

    base = source.resolve_first(
        (request.source,) if request.source else project.kernel.sources,
        store,
        progress,
        relative_to=request.working_dir if request.source else request.project_dir,
    )
    tree = series.apply(stack.series, base, store, progress)
    found = [
        suites.find(
            name,
            project.suites,
            project_dir=request.project_dir,
            working_dir=request.working_dir,
            repo=tree.repo,
            commit=tree.commit,
        )
        for name in wanted
    ]
    asked: dict[str, list[str]] = {}
    for name, each in zip(wanted, found, strict=True):
        asked.setdefault(each.name, []).append(name)
    found = suites.together(found)
    _check_names(found)
    for each in found:
        for key, names in each.settings.required.items():
            check_names(names, f"{each.settings_file}: {key}")
    fragments = _with_suites(fragments, found, request, tree)
    place = kbuild.slot(store, base.spec, fragments)
    kernel = kbuild.build(
        tree,
        fragments,
        place,
        store=store,
        log=logs / "kernel-build.log",
        limit_s=project.limits.build_s,
        progress=progress,
    )
    built = suites.build_all(
        found,
        lambda each: suites.build(
            each,
            kernel,
            tree,
            place,
            store=store,
            limit_s=project.limits.build_s,
            progress=progress,
        ),
    )
    for origin, suite in zip(found, built, strict=True):
        if not suite.key:
            continue  # what it has is not known
        there = [each.name for each in suite.programs] + [each.name for each in suite.broken]
        origin.check_programs(there)
    unlike = _not_as_posted(found, stack.name, request)
    for text in unlike:
        progress.note(text)
    maker = foundry(project, kernel, store, progress)
    tests = plan(
        built,
        sources={each.name: each.dated() if unlike else each for each in found},
        guest=request.guest_table(),
        lacks=maker.lacks,
        series=stack.name,
        expression=request.expression,
        default_timeout_s=project.limits.test_s,
        rerun=lambda suite, test: request.rerun(asked[suite], test),
        build_logs=_save_build_logs(built, out),
    )
    facts = results.Kernel(
        release=kernel.meta.release,
        source=base.description,
        base_commit=base.commit,
        series=stack.title,
        series_name=stack.name,
        series_commit=tree.commit,
        series_digest=stack.digest,
        patches=tuple(patch.subject for patch in stack.patches),
        config=fragments.names,
        config_digest=kernel.meta.config_digest,
        toolchain=kernel.meta.toolchain,
        build_id=kernel.meta.build_id,
    )
    notes = ((base.note,) if base.note else ()) + stack.notes + added
    notes += unlike + _about_to_end(found)
    notes += maker.notes(test.guest for test in tests)
    return Prepared(base, stack, tree, kernel, place, tuple(built), maker, tests, notes, facts)


def _not_as_posted(
    found: Iterable[suites.SuiteSource], name: str, request: Request
) -> tuple[str, ...]:
    """Return a line that says which entries do not hold, as the series is not what was posted."""
    files = [
        f"{count} in {each.expectations_file}"
        for each in found
        if (count := each.expectations.posted_for(name))
    ]
    why = request.unlike_posted() if files else ""
    return (f"expectations with posted = true do not hold ({', '.join(files)}): {why}",) * bool(why)


def _about_to_end(found: Iterable[suites.SuiteSource]) -> tuple[str, ...]:
    """Return a line for each entry that changes nothing any more on this day, or soon will."""
    today = datetime.now(UTC).date()
    return tuple(
        f"{each.expectations_file}: {text}"
        for each in found
        for text in about_to_end(named(each.expectations), today)
    )


def _wanted_suites(request: Request) -> Sequence[str]:
    if request.suites:
        return tuple(dict.fromkeys(request.suites))
    defaults = [name for name, table in request.project.suites.items() if table.default]
    if not defaults:
        raise UserError(
            "no suite is named",
            where=str(request.project_file),
            hint="add a [suites.NAME] table, or name a suite with --suite",
        )
    return defaults


def _with_suites(
    fragments: Fragments, found: Iterable[suites.SuiteSource], request: Request, tree: Tree
) -> Fragments:
    """Return *fragments* with what the ``config`` files of the kernel's own suites ask for.

    These are made for a distribution's configuration; what they take for granted there stands in
    the project's fragment ``suite-NAME``, if there is one.
    """
    configs = request.project_dir / request.project.kernel.config_dir
    for suite in found:
        if not suite.brings_config:
            continue
        for companion in (f"suite-{name}" for name in suite.names):
            if (configs / f"{companion}.config").is_file():
                fragments = kbuild.merge(fragments, kbuild.load(configs, [companion]))
        origin = f"{suites.SELFTESTS}/{suite.target}/config"
        text = suites.read_file(tree.repo, tree.commit, origin)
        if text is not None:
            fragments = kbuild.with_suite(fragments, suite.name, text, origin)
    return fragments


def _save_build_logs(built: Sequence[Suite], out: Path) -> dict[str, str]:
    """Copy the build logs of suites that did not build whole into the run's directory."""
    saved = {}
    for name, log in build_logs(suite.name for suite in built).items():
        suite = next(each for each in built if each.name == name)
        if suite.broken and suite.key:
            (out / log).parent.mkdir(exist_ok=True)
            (out / log).write_bytes(suite.build_log.read_bytes())
            saved[name] = str(log)
    return saved


def _check_names(found: Sequence[suites.SuiteSource]) -> None:
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"two suites have the name '{name}'",
                where=", ".join(str(each.directory or each.target) for each in found),
                hint="give one of them another name under [suites] in harness.toml",
            )

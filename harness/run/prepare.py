# SPDX-License-Identifier: GPL-2.0-only
"""From a request to everything that tests need: tree, kernel, suites and the plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness import kbuild, series, source, suites
from harness.entries import about_to_end
from harness.errors import UserError
from harness.guest.capabilities import check_names
from harness.kbuild import Fragments, Kernel
from harness.lab.templates import Foundry, foundry
from harness.model import results
from harness.model.expectations import named
from harness.model.logfiles import KERNEL_BUILD, LOGS, build_logs
from harness.model.plan import PlannedTest
from harness.proc.process import need_sandbox
from harness.progress import Progress
from harness.run.plan import plan
from harness.run.request import Request
from harness.series import Stack, Tree
from harness.source import Source
from harness.store import Store
from harness.suites import Suite


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
    logs = out / LOGS
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
    lineage = request.lineage(stack, base.spec)
    if lineage is not None:
        need_sandbox()
    place = kbuild.slot(store, base.spec, fragments, lineage)
    kernel = kbuild.build(
        tree,
        fragments,
        place,
        store=store,
        log=logs / KERNEL_BUILD,
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
    saved = _save_build_logs(built, out)
    denied = kernel.denied(fragments)
    built = [
        suites.barred(suite, denied[suite.name]) if suite.name in denied else suite
        for suite in built
    ]
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
        build_logs=saved,
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
    notes += tuple(f"the sandbox has kept from the build: {line}" for line in kernel.meta.tried)
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
    fragments: Fragments, found: Sequence[suites.SuiteSource], request: Request, tree: Tree
) -> Fragments:
    """Return *fragments* with what the ``config`` files of the kernel's own suites ask for.

    Of several suites these are wishes; what the only one asks for must be taken.  The files are
    made for a distribution's configuration; what they take for granted there stands in the
    project's fragment ``suite-NAME``, if there is one.
    """
    configs = request.project_dir / request.project.kernel.config_dir
    for suite in found:
        if not suite.brings_config:
            continue
        for companion in (f"suite-{name}" for name in suite.names):
            if (configs / f"{companion}.config").is_file():
                companion_options = kbuild.load(configs, [companion])
                fragments = kbuild.with_companion(fragments, suite.name, companion_options)
        origin = f"{suites.SELFTESTS}/{suite.target}/config"
        text = suites.read_file(tree.repo, tree.commit, origin)
        if text is not None:
            fragments = kbuild.with_suite(fragments, suite.name, text, origin)
    return fragments if len(found) > 1 else fragments.binding()


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

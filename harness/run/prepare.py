# SPDX-License-Identifier: GPL-2.0-only
"""From a request to everything that tests need, kernel by kernel and in stages.

:func:`select` finds out what is to be built, :func:`build` builds it, :func:`probe` asks what
guests can do, and :func:`planned` has the tests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from harness import kbuild, series, source, suites
from harness.context import Context
from harness.entries import about_to_end
from harness.errors import UserError
from harness.guest.capabilities import check_names
from harness.kbuild import Fragments, Kernel
from harness.lab.templates import Answers, TemplateFactory, template_factory
from harness.model import results
from harness.model.expectations import named
from harness.model.ids import KernelName
from harness.model.logfiles import build_logs, kernel_build_log
from harness.model.plan import PlannedTest
from harness.model.spec import KernelSpec
from harness.proc import signals
from harness.proc.process import need_sandbox
from harness.run.plan import Lacks, Terms, needed, plan
from harness.run.request import Request
from harness.series import Stack, Tree
from harness.source import Source
from harness.suites import Suite


class Selected(msgspec.Struct, frozen=True):
    """A kernel and its suites, as far as they are known before anything is built."""

    request: Request
    spec: KernelSpec
    source: Source
    stack: Stack
    tree: Tree
    fragments: Fragments
    """Those of the project, and what the suites ask for."""
    suites: tuple[suites.SuiteSource, ...]
    asked: Mapping[str, Sequence[str]]
    """By the name of a suite, the ``--suite`` options that it comes from."""
    place: kbuild.Slot
    """Where the kernel is built."""
    tests_tree: Tree
    """Where suites of the kernel tree come from: the kernel's tree, or that with more patches."""
    tests_place: kbuild.Slot
    """Where suites are built."""
    notes: tuple[str, ...]

    @property
    def name(self) -> KernelName:
        """The name of the kernel in the run."""
        return self.spec.name

    @property
    def facts(self) -> results.Kernel:
        """The description of the kernel in reports before it is built."""
        return results.Kernel(
            release="",
            source=self.source.description,
            base_commit=self.source.commit,
            series=self.stack.title,
            series_name=self.stack.name,
            series_commit=self.tree.commit,
            series_digest=self.stack.digest,
            cover_mail=self.stack.cover_mail,
            patches=tuple(patch.subject for patch in self.stack.patches),
            patch_digests=tuple(patch.sha256 for patch in self.stack.patches),
            patch_contents=tuple(patch.content for patch in self.stack.patches),
            config=self.fragments.names,
        )


class Built(msgspec.Struct, frozen=True):
    """A kernel and its suites."""

    selected: Selected
    kernel: Kernel
    suites: tuple[Suite, ...]
    factory: TemplateFactory
    """Makes guests with that kernel."""
    build_logs: Mapping[str, str]
    """Of suites that did not build whole, relative to the run's directory."""
    unlike: tuple[str, ...]
    """Which known failures do not hold, as the series is not what was posted."""

    @property
    def facts(self) -> results.Kernel:
        """What reports say of the kernel."""
        meta = self.kernel.meta
        return msgspec.structs.replace(
            self.selected.facts,
            release=meta.release,
            config_digest=meta.config_digest,
            toolchain=meta.toolchain,
            warnings=meta.warnings,
            build_id=meta.build_id,
        )


class Prepared(msgspec.Struct, frozen=True):
    """Everything that is needed to run tests on a kernel."""

    built: Built
    tests: tuple[PlannedTest, ...]
    notes: tuple[str, ...]

    @property
    def name(self) -> KernelName:
        """The name of the kernel in the run."""
        return self.built.selected.name

    @property
    def kernel(self) -> Kernel:
        """The kernel."""
        return self.built.kernel

    @property
    def place(self) -> kbuild.Slot:
        """Where it was built."""
        return self.built.selected.place

    @property
    def suites(self) -> tuple[Suite, ...]:
        """What is tested on it."""
        return self.built.suites

    @property
    def factory(self) -> TemplateFactory:
        """Makes guests with it."""
        return self.built.factory

    @property
    def stack(self) -> Stack:
        """The series that are applied."""
        return self.built.selected.stack

    @property
    def tree(self) -> Tree:
        """What it was built from."""
        return self.built.selected.tree

    @property
    def facts(self) -> results.Kernel:
        """What reports say of it."""
        return self.built.facts


def select(request: Request, spec: KernelSpec, context: Context) -> Selected:
    """Find out what is to be built for *spec*; the tree is fetched and the series applied.

    Raises UserError and MachineError as the rooms do.
    """
    project = request.project
    # Cheap checks first: a typing error is reported before a download.
    names, added = request.fragments(spec)
    fragments = kbuild.load(request.project_dir / project.kernel.config_dir, names)
    stack = request.stack(spec)
    wanted = _wanted_suites(request)
    base = _base(request, spec, context)
    tree = series.apply(stack.series, base, context)
    tests_tree, tests_lineage = _tests_from(request, spec, base, context) or (tree, None)
    found = [
        suites.find(
            name,
            project.suites,
            project_dir=request.project_dir,
            working_dir=request.working_dir,
            repo=tests_tree.repo,
            commit=tests_tree.commit,
        )
        for name in wanted
    ]
    asked: dict[str, list[str]] = {}
    for name, each in zip(wanted, found, strict=True):
        asked.setdefault(each.name, []).append(name)
    found = suites.merge_duplicates(found)
    _check_names(found)
    for each in found:
        for key, names in each.settings.required.items():
            check_names(names, f"{each.settings_file}: {key}")
    fragments = _with_suites(fragments, found, request, tests_tree)
    # A stranger's tests are built in a sandbox, also for a kernel of the user's own.
    lineage = tests_lineage or request.lineage(spec, stack, base.spec)
    if lineage is not None:
        need_sandbox()
    cc = request.compiler(spec)
    place = kbuild.slot(context.store, base.spec, fragments, lineage, cc=cc)
    tests_place = place
    if tests_tree.commit != tree.commit:
        tests_place = kbuild.slot(context.store, base.spec, fragments, lineage, "suites", cc)
    return Selected(
        request=request,
        spec=spec,
        source=base,
        stack=stack,
        tree=tree,
        fragments=fragments,
        suites=tuple(found),
        asked=asked,
        place=place,
        tests_tree=tests_tree,
        tests_place=tests_place,
        notes=((base.note,) if base.note else ()) + stack.notes + added,
    )


def _base(request: Request, spec: KernelSpec, context: Context) -> Source:
    """Return the source that the series of *spec* applies to."""
    return source.resolve_first(
        (spec.source,) if spec.source else request.project.kernel.sources,
        context,
        relative_to=request.working_dir if spec.source else request.project_dir,
    )


def _tests_from(
    request: Request, spec: KernelSpec, base: Source, context: Context
) -> tuple[Tree, str | None] | None:
    """Return where suites of the kernel tree come from, and whose they are as a lineage.

    None where they come from the tree of *spec*, which is based on *base*.
    """
    if spec.tests_of:
        spec = request.kernel(spec.tests_of)
        base = _base(request, spec, context)
    elif spec.tests_upto is not None:
        spec = msgspec.structs.replace(spec, upto=spec.tests_upto)
    else:
        return None
    stack = request.stack(spec)
    return series.apply(stack.series, base, context), request.lineage(spec, stack, base.spec)


def build(selected: Selected, context: Context, out: Path) -> Built:
    """Build the kernel and the suites; what the store has is not made again.

    Logs go to *out*/logs.  Raises UserError where the kernel cannot be built, MachineError where
    the machine fails.
    """
    request, name = selected.request, selected.name
    project = request.project
    log = out / kernel_build_log(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    kernel = kbuild.build(
        selected.tree,
        selected.fragments,
        selected.place,
        context=context,
        log=log,
        limit_s=project.limits.build_s,
    )
    built = suites.build_all(
        selected.suites,
        lambda each: suites.build(
            each,
            kernel,
            selected.tests_tree,
            selected.tests_place,
            context=context,
            limit_s=project.limits.build_s,
        ),
    )
    for origin, suite in zip(selected.suites, built, strict=True):
        if not suite.key:
            continue  # what it has is not known
        there = [each.name for each in suite.programs] + [each.name for each in suite.broken]
        origin.check_programs(there)
    saved = _save_build_logs(built, out, name)
    denied = kernel.denied(selected.fragments)
    built = [
        suites.barred(suite, denied[suite.name]) if suite.name in denied else suite
        for suite in built
    ]
    unlike = _not_as_posted(selected)
    for text in unlike:
        context.note(text)
    return Built(
        selected=selected,
        kernel=kernel,
        suites=tuple(built),
        factory=template_factory(project, kernel, context),
        build_logs=saved,
        unlike=unlike,
    )


async def probe(built: Built) -> Answers:
    """Probe the capabilities that tests require of guests; raises MachineError if that fails."""
    request = built.selected.request
    return await built.factory.probe(
        needed(built.suites, built.selected.suites, request.guest_table())
    )


def here(built: Built, answers: Answers) -> Lacks:
    """Return what tells why a guest of this machine does not meet needs, by :func:`probe`."""
    return lambda guest, needs: built.factory.lacks(guest, needs, answers)


def planned(built: Built, lacks: Lacks, needed: Collection[str] | None = None) -> Prepared:
    """Plan the tests; where it is known, only those *needed*.

    *lacks* tells why a guest, wherever it may be, does not meet needs.

    Raises UserError where no test is selected, and for what no guest can be.
    """
    selected, request = built.selected, built.selected.request
    terms = Terms(
        sources={each.name: each.dated() if built.unlike else each for each in selected.suites},
        guest=request.guest_table(),
        lacks=lacks,
        series=selected.stack.name,
        default_timeout_s=request.project.limits.test_s,
        rerun=lambda suite, test: request.rerun(selected.spec, selected.asked[suite], test),
        build_logs=built.build_logs,
        needed=needed,
    )
    tests = plan(built.suites, request.expression, terms)
    if request.recording and len(tests) > 1:
        raise UserError(
            "one test is recorded, and several have this in their names",
            where=request.expression,
            why=", ".join(test.name for test in tests),
            hint="harness replay with the whole name of one of them",
        )
    left_out = [test.name for test in tests if test.name in request.left_out]
    tests = tuple(test for test in tests if test.name not in request.left_out)
    if left_out and not tests:
        raise UserError(
            f"no test runs a changed line of patch {request.for_patch}",
            why=f"left out: {', '.join(left_out)}",
            hint="harness run --coverage updates the coverage data",
        )
    tried = built.kernel.meta.tried
    notes = selected.notes + tuple(f"the sandbox denied the build: {each}" for each in tried)
    notes += built.unlike + _about_to_end(selected.suites)
    if left_out:
        patch = f"patch {request.for_patch}"
        notes += (f"left out, because they run no line of {patch}: {', '.join(left_out)}",)
    return Prepared(built, tests, notes + built.factory.notes(test.guest for test in tests))


def prepare(request: Request, context: Context, out: Path) -> Prepared:
    """Do all of it for the only kernel of *request*, outside of a run."""
    (spec,) = request.kernels
    built = build(select(request, spec, context), context, out)
    return planned(built, here(built, signals.run(probe(built))))


def _not_as_posted(selected: Selected) -> tuple[str, ...]:
    """Return a line with the entries that do not hold, because the series was changed."""
    files = [
        f"{count} in {each.expectations_file}"
        for each in selected.suites
        if (count := each.expectations.posted_for(selected.stack.name))
    ]
    why = selected.request.unlike_posted(selected.spec) if files else ""
    return (f"expectations with posted = true do not hold ({', '.join(files)}): {why}",) * bool(why)


def _about_to_end(found: Iterable[suites.SuiteSource]) -> tuple[str, ...]:
    """Return a line for each entry that has expired on this day, or soon will."""
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


def _save_build_logs(built: Sequence[Suite], out: Path, kernel: KernelName) -> dict[str, str]:
    """Copy the build logs of suites that did not build whole into the run's directory."""
    saved = {}
    for name, log in build_logs((suite.name for suite in built), kernel).items():
        suite = next(each for each in built if each.name == name)
        if suite.broken and suite.key:
            (out / log).parent.mkdir(parents=True, exist_ok=True)
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

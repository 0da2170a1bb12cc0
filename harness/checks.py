# SPDX-License-Identifier: GPL-2.0-only
"""``harness series check``: what each patch of a series introduces, as results of tests.

A check of a patch is a test of the suite ``series``, named ``series:NUMBER-CHECK``, so that every
report of tests is one of checks too.  A check that could not be made is a skip or an error with the
reason, and never a pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from harness.errors import HarnessError, MachineError, UserError
from harness.kbuild import Fragments
from harness.kbuild.warnings import Built, Warned, Workshop, new_warnings
from harness.model.results import Remark, Test
from harness.outcome import Outcome
from harness.proc.git import git, object_id
from harness.proc.process import find
from harness.series import Patch, Stack, Tree
from harness.series.check import at, check_fixes, check_signed, check_style, titles_in
from harness.series.finding import Finding, Severity
from harness.series.position import lines_of, renames_of
from harness.source import Source, worktree

SUITE = "series"
STATIC = ("signed-off", "fixes", "checkpatch")
BUILT = ("builds", "warnings", "kernel-doc", "sparse", "headers")
CHECKS = (*STATIC, *BUILT)
_TEXT_LINES = 200


@dataclass(frozen=True)
class Checked:
    """One check of one patch."""

    number: int
    """Of the patch, from 1, counted through all series of the stack."""
    check: str
    patch: Patch
    findings: tuple[Finding, ...] = ()
    skipped: str = ""
    """Why it could not be made here."""
    trouble: str = ""
    """Why it could not be made, where that is an error."""
    notrun: str = ""
    """Why nothing is known: an earlier patch or this one does not build."""
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """That of the test."""
        return f"{SUITE}:{self.number}-{self.check}"

    def worst(self) -> Severity | None:
        """Return the worst severity of what was found; None for nothing."""
        order = (Severity.ERROR, Severity.WARNING, Severity.NOTE)
        found = {each.severity for each in self.findings}
        return next((severity for severity in order if severity in found), None)


@dataclass(frozen=True)
class Subject:
    """A series on its source, and where its trees are built."""

    stack: Stack
    source: Source
    tree: Tree
    fragments: Fragments
    workshop: Workshop
    histories: tuple[Path, ...]
    """Git directories in which ``Fixes:`` tags are looked up besides the source."""


def run_checks(subject: Subject, wanted: Iterable[str] = CHECKS) -> tuple[Checked, ...]:
    """Return each of the *wanted* checks of each patch, by patch and in the order of CHECKS.

    Raises UserError where an option of the configuration is not taken, MachineError for a fault of
    the machine that concerns more than one check.
    """
    names = [name for name in CHECKS if name in set(wanted)]
    work = _Work(subject, names)
    workshop = subject.workshop
    with workshop.context.lock(workshop.place.name):
        work.static()
        if set(names) & set(BUILT):
            work.build_all()
    order = {name: at for at, name in enumerate(CHECKS)}
    return tuple(sorted(work.done, key=lambda each: (each.number, order[each.check])))


@dataclass
class _Work:
    subject: Subject
    wanted: Sequence[str]
    done: list[Checked] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    """Of the tree that is in the workshop: digests by name."""
    headers_trouble: str = ""
    """Why they are not known."""

    @property
    def _patches(self) -> list[tuple[int, Patch]]:
        return list(enumerate(self.subject.stack.patches, start=1))

    def static(self) -> None:
        """Make the checks that need no compiler."""
        subject = self.subject
        workshop, base = subject.workshop, subject.source
        repositories = (base.repo, *subject.histories)
        titles = titles_in(repositories)
        history = bool(subject.histories) or _has_history(base)
        if "checkpatch" in self.wanted:
            # The source's own: that of the patched tree is the series' to change.
            worktree.checkout(
                base.repo, base.commit, workshop.place.source, workshop.context.progress
            )
        with (
            workshop.context.step("Checking messages and style") as step,
            workshop.context.store.for_make().scratch("checks") as scratch,
        ):
            sandbox = workshop.place.sandbox(readable=(scratch,))
            source = workshop.place.source
            for number, patch in self._patches:
                step.update(done=number - 1, total=len(self._patches))
                self._make(number, "signed-off", patch, partial(check_signed, patch))
                self._make(
                    number,
                    "fixes",
                    patch,
                    partial(check_fixes, patch, titles, history=history),
                )
                self._make(
                    number,
                    "checkpatch",
                    patch,
                    partial(check_style, patch, source, scratch, sandbox),
                )

    def build_all(self) -> None:
        """Build the source and then each patch alone, and compare what compilers say."""
        subject = self.subject
        workshop, base = subject.workshop, subject.source
        tree = replace(subject.tree, commit=base.commit, tree=base.tree, patches=())
        last = workshop.build(tree, subject.fragments, "the source")
        self._look_at_headers()
        broken = f"the source itself does not build: {last.error}" if last.error else ""
        commits = [applied.commit for applied in subject.tree.patches]
        for (number, patch), commit in zip(self._patches, commits, strict=True):
            last, broken = self._build(number, patch, commit, last, broken)

    def _build(
        self, number: int, patch: Patch, commit: str, last: Built, broken: str
    ) -> tuple[Built, str]:
        """Check one patch on the tree that is in the workshop, of which *last* is known.

        Return the same of the tree with the patch, and why nothing can be said of the next one.
        """
        subject, workshop = self.subject, self.subject.workshop
        begun = time.monotonic()
        documented = self._if("kernel-doc", lambda: workshop.kernel_doc(patch.files))
        sparse = find("sparse") is not None
        looked = self._if("sparse", lambda: workshop.sparse(patch.files) if sparse else [])
        tree = Tree(subject.tree.repo, commit, _tree_of(subject.tree.repo, commit), commit, ())
        total = len(self._patches)
        try:
            built = workshop.build(tree, subject.fragments, f"patch {number}/{total}")
        except UserError as error:
            # What the makefiles and Kconfig files say of themselves is the patch's fault.
            built = Built(_one_line(error), last.warnings)
        seconds = time.monotonic() - begun
        failed = [Finding(Severity.ERROR, built.error)] if built.error else []
        # With a source that does not build, a patch may fail for what is not its own.
        blamed = "" if not built.error else broken
        self._add(
            number, "builds", patch, failed if not blamed else [], notrun=blamed, seconds=seconds
        )
        unknown = broken or (f"patch {number} does not build: {built.error}" if built.error else "")
        lines, renamed = lines_of(patch), renames_of(patch)

        def compare(before: Iterable[Warned], after: Iterable[Warned]) -> list[Finding]:
            new = new_warnings(before, after, lines, renamed)
            return [at(patch, Severity.WARNING, each.text, each.file, each.line) for each in new]

        doc = self._if("kernel-doc", lambda: workshop.kernel_doc(patch.files))
        # make runs kernel-doc on C files at W=1: told once is enough.
        apart = set(doc) | set(documented)
        self._add(
            number,
            "warnings",
            patch,
            compare(last.warnings, [each for each in built.warnings if each not in apart])
            if not unknown
            else [],
            notrun=unknown,
        )
        self._add(number, "kernel-doc", patch, compare(documented, doc))
        skipped = "" if sparse else "sparse is not installed (apt-get install sparse)"
        self._add(
            number,
            "sparse",
            patch,
            compare(looked, self._if("sparse", lambda: workshop.sparse(patch.files)))
            if sparse and not unknown
            else [],
            skipped=skipped,
            notrun="" if skipped else unknown,
        )
        self._check_headers(number, patch)
        why = f"patch {number} does not build" if built.error else ""
        return built, why

    def _look_at_headers(self) -> None:
        """Remember the user-space headers of the tree that is in the workshop."""
        if "headers" not in self.wanted:
            return
        try:
            self.headers = self.subject.workshop.headers()
            self.headers_trouble = ""
        except UserError as error:
            self.headers, self.headers_trouble = {}, _one_line(error)

    def _check_headers(self, number: int, patch: Patch) -> None:
        before, unknown = self.headers, self.headers_trouble
        self._look_at_headers()
        if self.headers_trouble:
            failed = [Finding(Severity.ERROR, self.headers_trouble)]
            self._add(number, "headers", patch, [] if unknown else failed, notrun=unknown)
            return
        found = [
            Finding(Severity.WARNING, f"the user-space header {name} is gone")
            for name in sorted(before.keys() - self.headers.keys())
        ]
        found += [
            Finding(Severity.NOTE, f"the user-space header {name} is new")
            for name in sorted(self.headers.keys() - before.keys())
        ]
        found += [
            Finding(Severity.NOTE, f"the user-space header {name} is another")
            for name in sorted(before.keys() & self.headers.keys())
            if before[name] != self.headers[name]
        ]
        self._add(number, "headers", patch, [] if unknown else found, notrun=unknown)

    def _if(self, check: str, ask: Callable[[], list[Warned]]) -> list[Warned]:
        return ask() if check in self.wanted else []

    def _make(
        self, number: int, check: str, patch: Patch, ask: Callable[[], Iterable[Finding]]
    ) -> None:
        if check not in self.wanted:
            return
        begun = time.monotonic()
        try:
            found = tuple(ask())
        except (MachineError, UserError) as error:
            self.done.append(Checked(number, check, patch, trouble=_one_line(error)))
            return
        seconds = time.monotonic() - begun
        self.done.append(Checked(number, check, patch, found, seconds=seconds))

    def _add(
        self,
        number: int,
        check: str,
        patch: Patch,
        found: Sequence[Finding],
        *,
        skipped: str = "",
        notrun: str = "",
        seconds: float = 0.0,
    ) -> None:
        if check in self.wanted:
            self.done.append(
                Checked(
                    number,
                    check,
                    patch,
                    tuple(found),
                    skipped=skipped,
                    notrun=notrun,
                    seconds=seconds,
                )
            )


def to_tests(
    checked: Iterable[Checked], fail_on: Severity, rerun: Callable[[int, str], str]
) -> tuple[Test, ...]:
    """Return the checks as results of tests; findings from *fail_on* up fail.

    *rerun* returns a command line that makes a check of a patch once more.
    """
    return tuple(_test(each, fail_on, rerun(each.number, each.check)) for each in checked)


def describe(found: Finding, patch: Patch) -> str:
    """Return a finding in one line: severity, both places, the tool's words."""
    places = [found.place] if found.place else []
    if found.patch_line is not None:
        places.append(f"{patch.path.name}:{found.patch_line}")
    where = f"{', '.join(places)}: " if places else ""
    return f"{found.severity}: {where}{found.text}"


def _test(each: Checked, fail_on: Severity, rerun: str) -> Test:
    outcome, reason = _judge(each, fail_on)
    lines = [describe(found, each.patch) for found in each.findings]
    left = len(lines) - _TEXT_LINES
    text = "\n".join([each.patch.title, *lines[:_TEXT_LINES]])
    return Test(
        name=each.name,
        suite=SUITE,
        program=f"{each.number}-{each.check}",
        outcome=outcome,
        reason=reason,
        planned=True,
        output=text + (f"\n[... {left} more findings]" if left > 0 else "") if lines else "",
        remarks=tuple(
            Remark(severity=found.severity, text=found.text, file=found.file, line=found.line)
            for found in each.findings
        ),
        total_s=round(each.seconds, 3),
        rerun=rerun,
    )


def _judge(each: Checked, fail_on: Severity) -> tuple[Outcome, str]:
    if each.trouble:
        return Outcome.ERROR, each.trouble
    if each.notrun:
        return Outcome.NOTRUN, each.notrun
    if each.skipped:
        return Outcome.SKIP, each.skipped
    worst = each.worst()
    if worst is None:
        return Outcome.PASS, ""
    first = next(found for found in each.findings if found.severity is worst)
    more = f" (and {len(each.findings) - 1} more)" if len(each.findings) > 1 else ""
    reason = describe(first, each.patch) + more
    bad = worst is Severity.ERROR or worst is fail_on
    return (Outcome.FAIL if bad else Outcome.PASS), reason


def _has_history(source: Source) -> bool:
    return git("rev-parse", "--verify", "--quiet", f"{source.commit}^", repo=source.repo).ok


def _tree_of(repo: Path, commit: str) -> str:
    tree = object_id(repo, f"{commit}^{{tree}}")
    if tree is None:
        raise MachineError("the cache's git repository is damaged", where=f"{repo} {commit}")
    return tree


def _one_line(error: HarnessError) -> str:
    return " ".join(": ".join(filter(None, (error.what, error.why))).split())

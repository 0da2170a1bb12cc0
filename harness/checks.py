# SPDX-License-Identifier: GPL-2.0-only
"""``harness series check``: what each patch of a series introduces.

Whether its kernel boots is found out elsewhere: see ``harness.run.checking``.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from harness.errors import HarnessError, MachineError, UserError
from harness.kbuild import Fragments
from harness.kbuild.fragments import varied
from harness.kbuild.left import file_left
from harness.kbuild.warnings import Built, Warned, Workshop, new_warnings
from harness.model.checks import CheckResult, Finding, Severity
from harness.proc.git import git, object_id
from harness.proc.packages import install
from harness.proc.process import find
from harness.series import Patch, Stack, Tree
from harness.series.check import at, check_fixes, check_signed, check_style, titles_in
from harness.series.position import lines_of, renames_of
from harness.series.symbols import added_switches, in_tree, speaks_of
from harness.source import Source, worktree

STATIC = ("signed-off", "fixes", "checkpatch")
BUILT = ("builds", "options", "boots", "warnings", "kernel-doc", "sparse", "headers")
CHECKS = (*STATIC, *BUILT)
_IMAGE = "arch/x86/boot/bzImage"

_NOTHING = Built("", ())

Tell = Callable[[CheckResult], None]
"""Receives the result of a check."""


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


@dataclass
class Checks:
    """The *wanted* checks of a subject, step by step; hold the lock of its workshop meanwhile.

    First :meth:`static`; then :meth:`source` and, in their order, :meth:`patch` and :meth:`options`
    of each patch.  What has been found goes to *tell*.
    """

    subject: Subject
    wanted: Sequence[str]
    tell: Tell
    _headers: dict[str, str] = field(default_factory=dict)
    """Of the tree that is in the workshop: digests by name."""
    _headers_trouble: str = ""
    """Why they are unknown."""
    _last: Built = _NOTHING
    """The tree that is in the workshop."""
    _broken: str = ""
    """Why the next patch cannot be checked."""

    @cached_property
    def patches(self) -> Mapping[int, Patch]:
        """All patches by their number, from 1."""
        return dict(enumerate(self.subject.stack.patches, start=1))

    @cached_property
    def switches(self) -> Mapping[int, tuple[str, ...]]:
        """By the number of a patch, the new configuration symbols that are tried with and without.

        Those are the ones that it adds, and the earlier ones that it speaks of; and with the last
        patch all of them.
        """
        tree, found, known = self.subject.tree, {}, list[str]()
        for number, patch in self.patches.items():
            new = [
                each
                for each in added_switches(patch)
                if each not in known and not in_tree(tree.repo, self.subject.source.commit, each)
            ]
            words = speaks_of(patch)
            last = number == len(self.patches)
            mine = [each for each in known if last or each in words]
            known += new
            found[number] = (*mine, *new)
        return found

    def planned(self) -> list[tuple[int, str]]:
        """Return each check that will be reported: the patch, and the check, in their order."""
        return [
            (number, check)
            for number in self.patches
            for check in CHECKS
            if check in self.wanted and (check != "options" or self.switches[number])
        ]

    def static(self) -> None:
        """Run the checks that need no compiler."""
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
            for number, patch in self.patches.items():
                step.update(done=number - 1, total=len(self.patches))
                self._make(number, "signed-off", partial(check_signed, patch))
                self._make(number, "fixes", partial(check_fixes, patch, titles, history=history))
                self._make(
                    number, "checkpatch", partial(check_style, patch, source, scratch, sandbox)
                )

    def source(self) -> None:
        """Build the source without a patch: what compilers say of it, no patch has introduced."""
        subject, base = self.subject, self.subject.source
        tree = replace(subject.tree, commit=base.commit, tree=base.tree, patches=())
        self._last = subject.workshop.build(tree, subject.fragments, "the source")
        self._look_at_headers()
        error = self._last.error
        self._broken = f"the source itself does not build: {error}" if error else ""

    def image(self, out: Path) -> Path | None:
        """Copy the kernel that is in the workshop to *out*; None where that tree does not build."""
        if self._last.error:
            return None
        place = self.subject.workshop.place
        shutil.copyfile(file_left(place.objects, _IMAGE), out)
        return out

    def patch(self, number: int) -> None:
        """Build the tree with the patches up to this one, and compare what compilers say."""
        patch, last, broken = self.patches[number], self._last, self._broken
        subject, workshop = self.subject, self.subject.workshop
        begun = time.monotonic()
        documented = self._if("kernel-doc", lambda: workshop.kernel_doc(patch.files))
        sparse = find("sparse") is not None
        looked = self._if("sparse", lambda: workshop.sparse(patch.files) if sparse else [])
        try:
            tree, title = self._tree(number), self._title(number)
            built = workshop.build(tree, subject.fragments, title, patch.files)
        except UserError as error:
            # What the makefiles and Kconfig files say of themselves is the patch's fault.
            built = Built(_one_line(error), last.warnings)
        seconds = time.monotonic() - begun
        failed = [Finding(Severity.ERROR, built.error)] if built.error else []
        # With a source that does not build, a patch may fail for what is not its own.
        blamed = "" if not built.error else broken
        self._add(number, "builds", failed if not blamed else [], notrun=blamed, seconds=seconds)
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
            compare(last.warnings, [each for each in built.warnings if each not in apart])
            if not unknown
            else [],
            notrun=unknown,
        )
        self._add(number, "kernel-doc", compare(documented, doc))
        skipped = "" if sparse else f"sparse is not installed ({install('sparse')})"
        self._add(
            number,
            "sparse",
            compare(looked, self._if("sparse", lambda: workshop.sparse(patch.files)))
            if sparse and not unknown
            else [],
            skipped=skipped,
            notrun="" if skipped else unknown,
        )
        self._check_headers(number)
        self._last = built
        self._broken = f"patch {number} does not build" if built.error else ""

    def options(self, number: int) -> None:
        """Build the same tree with each new configuration symbol the other way round."""
        symbols = self.switches[number]
        if "options" not in self.wanted or not symbols:
            return
        begun = time.monotonic()
        if self._last.error:
            self._add(number, "options", [], notrun=self._broken)
            return
        found: list[Finding] = []
        fixed: list[str] = []
        for symbol in symbols:
            try:
                found += self._other_way(number, symbol, fixed)
            except UserError as error:
                found.append(Finding(Severity.ERROR, f"CONFIG_{symbol}: {_one_line(error)}"))
        # What follows looks at files as they are compiled.
        self.subject.workshop.configured(self._tree(number), self.subject.fragments)
        skipped = "; ".join(fixed) if len(fixed) == len(symbols) else ""
        found += [Finding(Severity.NOTE, each) for each in fixed if not skipped]
        seconds = time.monotonic() - begun
        self._add(number, "options", found, skipped=skipped, seconds=seconds)

    def _other_way(self, number: int, symbol: str, fixed: list[str]) -> list[Finding]:
        """Build with *symbol* as it is not; where it cannot be that, add to *fixed* why."""
        workshop, asked = self.subject.workshop, self.subject.fragments
        tree = self._tree(number)
        is_on = workshop.configured(tree, asked).get(symbol, "n") != "n"
        other = varied(asked, symbol, "n" if is_on else "y")
        if (workshop.configured(tree, other).get(symbol, "n") != "n") is is_on:
            now = "on" if is_on else "off"
            fixed.append(f"CONFIG_{symbol} is {now} and cannot be changed: other options decide it")
            return []
        way = "without" if is_on else "with"
        built = workshop.build(tree, other, f"{self._title(number)} {way} {symbol}")
        if not built.error:
            return []
        text = f"it does not build {way} CONFIG_{symbol}: {built.error}"
        return [Finding(Severity.ERROR, text)]

    def _tree(self, number: int) -> Tree:
        repo, commit = self.subject.tree.repo, self.subject.tree.patches[number - 1].commit
        return Tree(repo, commit, _tree_of(repo, commit), commit, ())

    def _title(self, number: int) -> str:
        return f"patch {number}/{len(self.patches)}"

    def _look_at_headers(self) -> None:
        """Remember the user-space headers of the tree that is in the workshop."""
        if "headers" not in self.wanted:
            return
        try:
            self._headers = self.subject.workshop.headers()
            self._headers_trouble = ""
        except UserError as error:
            self._headers, self._headers_trouble = {}, _one_line(error)

    def _check_headers(self, number: int) -> None:
        before, unknown = self._headers, self._headers_trouble
        self._look_at_headers()
        if self._headers_trouble:
            failed = [Finding(Severity.ERROR, self._headers_trouble)]
            self._add(number, "headers", [] if unknown else failed, notrun=unknown)
            return
        found = [
            Finding(Severity.WARNING, f"the user-space header {name} is gone")
            for name in sorted(before.keys() - self._headers.keys())
        ]
        found += [
            Finding(Severity.NOTE, f"the user-space header {name} is new")
            for name in sorted(self._headers.keys() - before.keys())
        ]
        found += [
            Finding(Severity.NOTE, f"the user-space header {name} has changed")
            for name in sorted(before.keys() & self._headers.keys())
            if before[name] != self._headers[name]
        ]
        self._add(number, "headers", [] if unknown else found, notrun=unknown)

    def _if(self, check: str, ask: Callable[[], list[Warned]]) -> list[Warned]:
        return ask() if check in self.wanted else []

    def _make(self, number: int, check: str, ask: Callable[[], Iterable[Finding]]) -> None:
        if check not in self.wanted:
            return
        begun = time.monotonic()
        try:
            found = tuple(ask())
        except (MachineError, UserError) as error:
            self.tell(CheckResult(number=number, check=check, trouble=_one_line(error)))
            return
        self._add(number, check, found, seconds=time.monotonic() - begun)

    def _add(
        self,
        number: int,
        check: str,
        found: Sequence[Finding],
        *,
        skipped: str = "",
        notrun: str = "",
        seconds: float = 0.0,
    ) -> None:
        if check not in self.wanted:
            return
        self.tell(
            CheckResult(
                number=number,
                check=check,
                findings=tuple(found),
                skipped=skipped,
                notrun=notrun,
                seconds=seconds,
            )
        )


def _has_history(source: Source) -> bool:
    return git("rev-parse", "--verify", "--quiet", f"{source.commit}^", repo=source.repo).ok


def _tree_of(repo: Path, commit: str) -> str:
    tree = object_id(repo, f"{commit}^{{tree}}")
    if tree is None:
        raise MachineError("the cache's git repository is damaged", where=f"{repo} {commit}")
    return tree


def _one_line(error: HarnessError) -> str:
    return " ".join(": ".join(filter(None, (error.what, error.why))).split())

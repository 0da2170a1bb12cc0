# SPDX-License-Identifier: GPL-2.0-only
"""``harness series check``: what each patch of a series introduces.

Whether its kernel boots is found out elsewhere: see ``harness.run.checking``.
"""

from __future__ import annotations

import contextvars
import math
import re
import statistics
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import msgspec

from harness.errors import MachineError, UserError
from harness.kbuild import Fragments, slot, toolchain
from harness.kbuild.diagnostics import Looked, Warned
from harness.kbuild.facts import Asked, Facts, Known, find_out, in_one_line
from harness.kbuild.fragments import varied
from harness.kbuild.warnings import Workshop, new_warnings
from harness.model.checks import CheckResult, Finding, Severity
from harness.proc.git import git, must, object_id
from harness.proc.packages import install
from harness.proc.process import find
from harness.proc.sandbox import Sandbox
from harness.series import Patch, Stack, Tree
from harness.series.check import at, check_fixes, check_signed, check_style, titles_in
from harness.series.position import Lines, lines_of, renames_of
from harness.series.symbols import added_switches, has_prompt, in_tree, speaks_of
from harness.source import Source, worktree

STATIC = ("signed-off", "fixes", "checkpatch")
BUILT = ("builds", "options", "boots", "warnings", "kernel-doc", "sparse", "headers")
CHECKS = (*STATIC, *BUILT)
_OF_HEADERS = re.compile(
    r"(^|/)(uapi|syscalls)/|^(scripts|usr|tools)/|(^|/)(Makefile|Kbuild)[^/]*$|\.(sh|pl|py|awk|tbl)$"
)
"""Files that can change what ``make headers`` exports."""

Tell = Callable[[CheckResult], None]
"""Receives the result of a check."""


class Subject(msgspec.Struct, frozen=True):
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

    :meth:`static`; and for each of :attr:`trees`, in their order, :meth:`build`, and if it is that
    of a patch, :meth:`compare` and :meth:`options`.  Results go to *tell*; those *made* before are
    not made again.
    """

    subject: Subject
    wanted: Sequence[str]
    tell: Tell
    made: frozenset[tuple[int, str]] = frozenset()
    """Number of the patch, and check."""
    _known: dict[int, Known] = field(default_factory=dict)
    _seconds: dict[int, float] = field(default_factory=dict)
    """What it took to build a tree, with its options."""

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

    def is_open(self, number: int, check: str) -> bool:
        """Whether this check of this patch is still to be made."""
        if check == "options" and not self.switches[number]:
            return False
        return check in self.wanted and (number, check) not in self.made

    @cached_property
    def trees(self) -> Sequence[int]:
        """The trees that are needed, by the number of their last patch; 0 is the source."""
        todo = {n for n in self.patches if any(self.is_open(n, check) for check in BUILT)}
        return [n for n in range(len(self.patches) + 1) if n in todo or n + 1 in todo]

    def static(self) -> None:
        """Run the checks that need no compiler; in another thread than the other methods, if any.

        Takes a lock of its own.
        """
        subject = self.subject
        workshop, base = subject.workshop, subject.source
        repositories = (base.repo, *subject.histories)
        titles = titles_in(repositories)
        history = bool(subject.histories) or _has_history(base)
        todo = [
            (number, check)
            for number in self.patches
            for check in STATIC
            if self.is_open(number, check)
        ]
        if not todo:
            return
        context = workshop.context
        # The source's own checkpatch, as that of the patched tree is the series' to change; in a
        # work tree that stays there while others are built, and that no build writes to.
        place = slot(context.store, base.spec, Fragments((), ()), purpose="checkpatch")
        source = place.source
        with (
            context.lock(place.name),
            context.step("Checking messages and style") as step,
            context.store.for_make().scratch("checks") as scratch,
            ThreadPoolExecutor(toolchain.jobs()) as pool,
        ):
            if any(check == "checkpatch" for _, check in todo):
                worktree.checkout(base.repo, base.commit, source, context.progress)
            sandbox = Sandbox((source, scratch)) if workshop.place.owner else None
            pending: list[Future[CheckResult]] = []
            for number, check in todo:
                patch = self.patches[number]
                ask: Callable[[], Iterable[Finding]]
                if check == "signed-off":
                    ask = partial(check_signed, patch)
                elif check == "fixes":
                    ask = partial(check_fixes, patch, titles, history=history)
                else:
                    own = scratch / str(number)
                    ask = partial(check_style, patch, self._lines(number), source, own, sandbox)
                # In the context of this thread, so that what stops it stops them, too.
                mine = contextvars.copy_context()
                pending.append(pool.submit(mine.run, _make, number, check, ask))
            for done, each in enumerate(pending):
                step.update(done=done, total=len(pending))
                self.tell(each.result())

    def build(self, number: int) -> Path | None:
        """Build the tree with the patches up to this one; return its kernel if it is to boot.

        None where the tree does not build.  Of the source, without a patch, only what compilers
        say of it is of interest: no patch has introduced that.
        """
        begun, subject = time.monotonic(), self.subject
        asked = Asked(
            sparse=tuple(n for n in self._touched(number, "sparse") if n.endswith(".c")),
            documented=self._touched(number, "kernel-doc"),
            headers=any(self._can_change_headers(n) for n in (number, number + 1)),
            image="boots" in self.wanted,
        )
        known = find_out(
            subject.workshop,
            self._tree(number),
            subject.fragments,
            asked,
            f"{self._title(number)}{self._left(number)}",
            look_at=self._looked_at,
        )
        self._known[number] = known
        if known.is_new:
            self._seconds[number] = time.monotonic() - begun
        return known.image

    def compare(self, number: int) -> None:
        """Tell what is new in the tree of this patch; both trees have been built."""
        before, after = self._known[number - 1].facts, self._known[number].facts
        patch, broken = self.patches[number], self._why_broken(number - 1)
        failed = [Finding(Severity.ERROR, after.error)] if after.error else []
        # With a source that does not build, a patch may fail for what is not its own.
        blamed = broken if after.error else ""
        seconds = self._seconds.get(number, 0.0)
        self._add(number, "builds", [] if blamed else failed, notrun=blamed, seconds=seconds)
        unknown = broken or (f"patch {number} does not build: {after.error}" if failed else "")
        lines, renamed = self._lines(number), renames_of(patch)

        def new(old: Iterable[Warned], now: Iterable[Warned]) -> list[Finding]:
            fresh = new_warnings(old, now, lines, renamed)
            return [at(patch, lines, each.text, each.file, each.line) for each in fresh]

        def tell(check: str, old: Sequence[Looked], now: Sequence[Looked]) -> None:
            """Tell what a tool has said; unknown is what it has not."""
            missing = "; ".join(dict.fromkeys(e.missing for e in (*now, *old) if e.missing))
            found = new((w for e in old for w in e.warnings), (w for e in now for w in e.warnings))
            self._add(
                number,
                check,
                # What it has not seen does not hide what it has found.
                [*found, *([Finding(Severity.NOTE, missing)] if found and missing else [])],
                trouble=next((each.trouble for each in (*now, *old) if each.trouble), ""),
                skipped="" if found else missing,
            )

        found = [] if unknown else new(before.warnings, after.warnings)
        self._add(number, "warnings", found, notrun=unknown)
        names = {*patch.files, *renamed}
        old, now = (_of_files(facts.documented, names) for facts in (before, after))
        tell("kernel-doc", old, now)
        if find("sparse") is None:
            why = f"sparse is not installed ({install('sparse')})"
            self._add(number, "sparse", [], skipped=why)
        elif unknown:
            self._add(number, "sparse", [], notrun=unknown)
        else:
            old, now = (
                [looked for name, looked in facts.sparse.items() if name in names]
                for facts in (before, after)
            )
            tell("sparse", old, now)
        self._compare_headers(number, before, after)

    def options(self, number: int) -> None:
        """Build the same tree with each new configuration symbol the other way round."""
        if not self.is_open(number, "options"):
            return
        symbols, begun = self.switches[number], time.monotonic()
        if self._known[number].facts.error:
            self._add(number, "options", [], notrun=self._why_broken(number))
            return
        tree = self._tree(number)
        self.subject.workshop.move(tree)
        config = self.subject.workshop.configured(tree, self.subject.fragments)
        found: list[Finding] = []
        fixed: list[str] = []
        for symbol in symbols:
            is_on = config.get(symbol, "n") != "n"
            try:
                found += self._other_way(number, symbol, is_on, fixed)
            except UserError as error:
                found.append(Finding(Severity.ERROR, f"CONFIG_{symbol}: {in_one_line(error)}"))
        skipped = "; ".join(fixed) if len(fixed) == len(symbols) else ""
        found += [Finding(Severity.NOTE, each) for each in fixed if not skipped]
        seconds = time.monotonic() - begun
        if number in self._seconds:
            self._seconds[number] += seconds
        self._add(number, "options", found, skipped=skipped, seconds=seconds)

    def _other_way(self, number: int, symbol: str, is_on: bool, fixed: list[str]) -> list[Finding]:
        """Build with *symbol* as it is not; where it cannot be that, add to *fixed* why."""
        workshop, tree = self.subject.workshop, self._tree(number)
        other = varied(self.subject.fragments, symbol, "n" if is_on else "y")
        if not has_prompt(tree.repo, tree.commit, symbol) or (
            (workshop.configured(tree, other).get(symbol, "n") != "n") is is_on
        ):
            now = "on" if is_on else "off"
            fixed.append(f"CONFIG_{symbol} is {now} and cannot be changed: other options decide it")
            return []
        way = "without" if is_on else "with"
        title = f"{self._title(number)} {way} {symbol}{self._left(number)}"
        error = find_out(workshop, tree, other, Asked(), title).facts.error
        if not error:
            return []
        return [Finding(Severity.ERROR, f"it does not build {way} CONFIG_{symbol}: {error}")]

    @cached_property
    def _looked_at(self) -> frozenset[str]:
        """All C files of the series, if sparse is to look at any."""
        if "sparse" not in self.wanted or find("sparse") is None:
            return frozenset()
        names = (name for patch in self.patches.values() for name in patch.files)
        return frozenset(name for name in names if name.endswith(".c"))

    def _touched(self, number: int, check: str) -> tuple[str, ...]:
        """Return the files of this tree that its patch or the next one touches, for a check.

        Those of the next patch are needed to know what was said of them before it.
        """
        if check not in self.wanted or (check == "sparse" and find("sparse") is None):
            return ()
        patches = [self.patches[n] for n in (number, number + 1) if n in self.patches]
        names = {name for patch in patches for name in (*patch.files, *renames_of(patch))}
        return tuple(sorted(names))

    def _can_change_headers(self, number: int) -> bool:
        """Whether the user-space headers may change with this patch."""
        if "headers" not in self.wanted or number not in self.patches:
            return False
        patch = self.patches[number]
        return any(_OF_HEADERS.search(name) for name in (*patch.files, *renames_of(patch)))

    def _why_broken(self, number: int) -> str:
        """Return why the tree cannot be compared with; empty if it can."""
        error = self._known[number].facts.error
        if not error:
            return ""
        if number == 0:
            return f"the source itself does not build: {error}"
        return f"patch {number} does not build"

    def _left(self, number: int) -> str:
        """Return how much time is left with this tree to build, in words; empty if unknown."""
        took = [seconds for n, seconds in self._seconds.items() if n != 0]
        if not took:
            return ""
        left = sum(n >= number for n in self.trees) * statistics.median(took)
        return f", about {math.ceil(left / 60)} min left"

    def _lines(self, number: int) -> dict[str, Lines]:
        """Return the lines of this patch where it has been applied."""
        repo, commit = self.subject.tree.repo, self.subject.tree.patches[number - 1].commit
        asked = (
            "diff-tree",
            "-p",
            "-M",
            "--no-commit-id",
            "--no-ext-diff",
            "--no-textconv",
            commit,
        )
        shown = must(git(*asked, repo=repo), "the commit cannot be shown")
        return lines_of(self.patches[number], shown.stdout)

    def _tree(self, number: int) -> Tree:
        if number == 0:
            base = self.subject.source
            return msgspec.structs.replace(
                self.subject.tree, commit=base.commit, tree=base.tree, patches=()
            )
        repo, commit = self.subject.tree.repo, self.subject.tree.patches[number - 1].commit
        return Tree(repo, commit, _tree_of(repo, commit), commit, ())

    def _title(self, number: int) -> str:
        return "the source" if number == 0 else f"patch {number}/{len(self.patches)}"

    def _compare_headers(self, number: int, before: Facts, after: Facts) -> None:
        if not self._can_change_headers(number):
            self._add(number, "headers", [])
            return
        if before.headers_error or after.headers_error:
            failed = [Finding(Severity.ERROR, after.headers_error)]
            unknown = before.headers_error
            self._add(number, "headers", [] if unknown else failed, notrun=unknown)
            return
        found = [
            Finding(Severity.WARNING, f"the user-space header {name} is gone")
            for name in sorted(before.headers.keys() - after.headers.keys())
        ]
        found += [
            Finding(Severity.NOTE, f"the user-space header {name} is new")
            for name in sorted(after.headers.keys() - before.headers.keys())
        ]
        found += [
            Finding(Severity.NOTE, f"the user-space header {name} has changed")
            for name in sorted(before.headers.keys() & after.headers.keys())
            if before.headers[name] != after.headers[name]
        ]
        self._add(number, "headers", found)

    def _add(
        self,
        number: int,
        check: str,
        found: Sequence[Finding],
        *,
        skipped: str = "",
        trouble: str = "",
        notrun: str = "",
        seconds: float = 0.0,
    ) -> None:
        if not self.is_open(number, check):
            return
        self.tell(
            CheckResult(
                number=number,
                check=check,
                findings=tuple(found),
                skipped=skipped,
                trouble=trouble,
                notrun=notrun,
                seconds=seconds,
            )
        )


def _of_files(looked: Looked, names: Collection[str]) -> list[Looked]:
    """Return what kernel-doc says of those files; nothing where none of them is for it."""
    if not any(name.endswith((".c", ".h")) for name in names):
        return []
    mine = tuple(each for each in looked.warnings if each.file in names)
    return [Looked(mine, looked.trouble, looked.missing)]


def _make(number: int, check: str, ask: Callable[[], Iterable[Finding]]) -> CheckResult:
    """Make a check that needs no kernel; what prevents it is its result."""
    begun = time.monotonic()
    try:
        found = tuple(ask())
    except (MachineError, UserError) as error:
        return CheckResult(number=number, check=check, trouble=in_one_line(error))
    seconds = time.monotonic() - begun
    return CheckResult(number=number, check=check, findings=found, seconds=seconds)


def _has_history(source: Source) -> bool:
    return git("rev-parse", "--verify", "--quiet", f"{source.commit}^", repo=source.repo).ok


def _tree_of(repo: Path, commit: str) -> str:
    tree = object_id(repo, f"{commit}^{{tree}}")
    if tree is None:
        raise MachineError("the cache's git repository is damaged", where=f"{repo} {commit}")
    return tree

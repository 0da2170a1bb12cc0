# SPDX-License-Identifier: GPL-2.0-only
"""Choose the kernels of a bisection, one after the other, for several tests at a time.

git says for each test which commit is next (:mod:`harness.source.bisection`); a kernel that one
test needs is there for all.  What is next follows from what has ended, so a run that is taken up
again goes the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from harness.judge.sequential import MOST, Decision, compare_rates, decided
from harness.judge.suspect import RARE, Says, Symptom, counts, says
from harness.judge.unstable import STABLE
from harness.model.counts import Counts
from harness.model.ids import KernelName
from harness.model.results import Bisected
from harness.model.spec import KernelSpec
from harness.outcome import Outcome
from harness.run.reruns import Reruns, Tried
from harness.source.bisection import Bisection, Commit, Term

_KERNEL_DOES_NOT = {
    Symptom.BUILD: "the kernel does not build",
    Symptom.BOOT: "the kernel does not boot",
}
_TERMS: Mapping[Says, Term] = {Says.GOOD: "good", Says.BAD: "bad", Says.SKIP: "skip"}


class History(msgspec.Struct, frozen=True):
    """Commits from a good one to a bad one."""

    repository: Path
    good: str
    bad: str
    assumed: bool
    """The user states that the good one is good; it is tested only if the result depends on it."""
    spec: Callable[[str], KernelSpec]
    """Returns the kernel that belongs to a commit."""
    commit: Callable[[str], Commit]
    """Returns the description of a commit."""


@dataclass
class _Search:
    """The bisection for one test, or for a kernel that does not build or boot."""

    test: str
    symptom: Symptom
    git: Bisection
    absent_is_good: bool = False
    """The test is not there, or skips, on the good kernel; where it still does, it is not bad."""
    good_rate: float = RARE
    bad_rate: float | None = None
    """How often it fails on bad kernels; None as long as that is being counted."""
    marks: dict[str, Says] = field(default_factory=dict)
    pair: tuple[str, str] | None = None
    """The last good and the first bad commit, if known."""
    found: Bisected | None = None
    """The result."""


class Course:
    """Chooses kernels and reruns until each test's first bad commit is known."""

    def __init__(self, history: History, at: Path, note: Callable[[str], None]) -> None:
        """*at* is a directory for git; progress is told to *note*."""
        self.reruns = Reruns(self)
        self._history = history
        self._at = at
        self._note = note
        self._names = {history.bad: history.spec(history.bad).name}
        if not history.assumed:
            self._names[history.good] = history.spec(history.good).name
        self._failed: set[KernelName] = set()
        self._untestable: set[KernelName] = set()
        self._searches: dict[str, _Search] | None = None
        self._only: dict[KernelName, frozenset[str]] = {}

    @property
    def found(self) -> tuple[Bisected, ...]:
        """The results."""
        return tuple(each.found for each in (self._searches or {}).values() if each.found)

    def only(self, kernel: KernelName) -> Collection[str] | None:
        """Return the tests that are needed on a kernel; None for all."""
        return self._only.get(kernel)

    def failed(self, kernel: KernelName) -> None:
        """Record that a kernel cannot be built."""
        self._failed.add(kernel)

    def untestable(self, kernel: KernelName) -> None:
        """Record that a kernel is built and cannot be tested."""
        self._untestable.add(kernel)

    def likely(self) -> KernelSpec | None:
        """Return the kernel that is needed next if the bad one is bad at all; None for none.

        It is the same for all tests, so it can be built while they run on the bad kernel.
        """
        history = self._history
        git = Bisection(history.repository, self._at / "likely.git", history.bad, (history.good,))
        return None if git.next is None else history.spec(git.next)

    async def following(self) -> KernelSpec | None:
        """Wait for and return the kernel that is needed next; None if none is."""
        while True:
            self.reruns.changed.clear()
            commit = self._advance()
            self.reruns.look()
            if commit is not None:
                return self._chosen(commit) if commit else None
            if self.reruns.idle and all(map(self._settled, self._names.values())):
                self._give_up()
                return None
            await self.reruns.changed.wait()

    def _give_up(self) -> None:
        """End searches that are still open although nothing runs, to avoid an endless wait."""
        for search in (self._searches or {}).values():
            why = "the results do not decide it, and no kernel is left to test"
            search.found = search.found or Bisected(test=search.test, why=why, log=search.git.log)

    def _advance(self) -> str | None:
        """Return the commit that is needed next; empty when none is, None when that is open."""
        if not all(self._settled(name) for name in self._names.values()):
            return None
        if self._searches is None:
            self._searches = self._begin()
        needs = {each.test: self._needs(each) for each in self._searches.values() if not each.found}
        if None in needs.values():
            return None
        left = [each for each in self._searches.values() if needs.get(each.test)]
        if not left:
            return ""
        # The one with the longest way to go: the others may need what it needs.
        return needs[max(left, key=lambda each: each.git.left).test]

    def _chosen(self, commit: str) -> KernelSpec:
        spec = self._history.spec(commit)
        self._names[commit] = spec.name
        searches = [each for each in (self._searches or {}).values() if not each.found]
        if all(each.symptom is Symptom.TEST for each in searches):
            self._only[spec.name] = frozenset(each.test for each in searches)
        commits, steps = max(each.git.left for each in searches)
        if commit == self._history.good:
            self._note(f"bisecting: the result depends on {spec.name}, so it is tested as well")
        else:
            self._note(
                f"bisecting: {commits} commits left, about {steps + 1} kernels; next is "
                f"{spec.name} ({self._history.commit(commit).subject})"
            )
        return spec

    def _settled(self, kernel: KernelName) -> bool:
        if kernel in self._failed | self._untestable:
            return True
        there = self.reruns.on(kernel)
        return kernel in self.reruns.kernels and all(
            each.complete or each.dropped for each in there
        )

    def _begin(self) -> dict[str, _Search]:
        """Return the searches, by the results of the bad kernel."""
        good, bad = self._history.good, self._names[self._history.bad]
        if bad in self._failed:
            return self._kernel_search(Symptom.BUILD)
        there = self.reruns.on(bad)
        if there and all(each.dropped for each in there):
            return self._kernel_search(Symptom.BOOT)
        searches = {}
        for tried in there:
            name = tried.test.name
            if tried.dropped or not counts(tried.attempts).failed:
                if self._history.assumed:
                    over = self._search(name, Symptom.TEST)
                    over.found = Bisected(test=name, why=_not_bad(tried))
                    searches[name] = over
                continue
            search = self._search(name, Symptom.TEST)
            if not self._history.assumed:
                on_good = self.reruns.at(name, self._names[good])
                if self._names[good] in self._failed or (on_good and on_good.dropped):
                    search.found = Bisected(test=name, why="the good kernel cannot be tested")
                elif on_good is None or not counts(on_good.attempts).runs:
                    search.absent_is_good = True
                elif counts(on_good.attempts).failed == counts(on_good.attempts).runs:
                    continue  # No patch broke it.
            searches[name] = search
        return searches

    def _kernel_search(self, symptom: Symptom) -> dict[str, _Search]:
        search = self._search(_KERNEL_DOES_NOT[symptom], symptom)
        good = self._names.get(self._history.good)
        if good is not None and self._says(search, self._history.good) is not Says.GOOD:
            search.found = Bisected(test=search.test, why="so it is on the good kernel")
        return {search.test: search}

    def _search(self, test: str, symptom: Symptom) -> _Search:
        history, number = self._history, len(list(self._at.iterdir()))
        git = Bisection(
            history.repository, self._at / f"{number}.git", history.bad, (history.good,)
        )
        return _Search(test, symptom, git)

    def _needs(self, search: _Search) -> str | None:
        """Return the commit that a search needs next; empty when it is over, None when open."""
        if search.symptom is Symptom.TEST and search.bad_rate is None:
            need = self._count_bad(search)
            if need is None or need or search.found:
                return need
        while search.pair is None and (commit := search.git.next) is not None:
            if commit not in self._names:
                return commit
            said = self._says(search, commit)
            if said is Says.OPEN:
                return None
            search.marks[commit] = said
            search.git.mark(commit, _TERMS[said])
        if search.pair is None:
            self._ended(search)
            if search.found:
                return ""
        return self._confirm(search)

    def _count_bad(self, search: _Search) -> str | None:
        """Determine how often the test fails on the bad kernel; as :meth:`_needs`."""
        bad = self._tried(search, self._history.bad)
        assert bad is not None  # noqa: S101  it has failed there
        if bad.dropped:
            search.found = Bisected(test=search.test, why=_not_bad(bad))
            return ""
        counted = counts(bad.attempts)
        if not counted.mixed:
            if len(bad.attempts) < STABLE:
                return None
        else:
            good = self._tried(search, self._history.good)
            if self._history.good not in self._names:
                return self._history.good
            if good is None or good.dropped:
                search.found = Bisected(
                    test=search.test,
                    why=f"it is unstable ({counted} on {bad.name}), and the good kernel, against "
                    "which to count, cannot be tested",
                )
                return ""
            if not _decided(good, bad):
                return None
            if _compared(good, bad) is not Decision.WORSE:
                search.found = Bisected(test=search.test, why=_unstable(good, bad))
                return ""
            on_good = counts(good.attempts)
            search.good_rate = on_good.rate if on_good.failed else RARE
        search.bad_rate = counted.rate
        return ""

    def _ended(self, search: _Search) -> None:
        """Record the result of git."""
        git = search.git
        if git.first_bad:
            parents = self._history.commit(git.first_bad).parents
            good = [each for each in parents if search.marks.get(each) is Says.GOOD]
            good += [each for each in parents if each == self._history.good]
            good += [each for each, said in search.marks.items() if said is Says.GOOD][::-1]
            search.pair = ([*good, self._history.good][0], git.first_bad)
        elif git.possible:
            names = [self._history.commit(each) for each in git.possible]
            search.found = Bisected(
                test=search.test,
                possible=tuple(f"{self._name(each.id)} {each.subject}" for each in names),
                why="kernels that cannot be tested are in the way: "
                + ", ".join(
                    self._name(each) for each, said in search.marks.items() if said is Says.SKIP
                ),
                log=git.log,
            )
        else:
            search.found = Bisected(test=search.test, why=git.stuck or "git has no next commit")

    def _confirm(self, search: _Search) -> str | None:
        """Compare the first bad kernel with the one before it; as :meth:`_needs`."""
        assert search.pair is not None  # noqa: S101  the caller's condition
        good, bad = search.pair
        if good not in self._names:
            return good
        on_good, on_bad = self._tried(search, good), self._tried(search, bad)
        pair = None
        if search.symptom is Symptom.TEST and not search.absent_is_good and on_good and on_bad:
            pair = on_good, on_bad
        said = self._says(search, good)
        if pair and not any(each.dropped for each in pair):
            if not all(each.complete for each in pair) or not _decided(*pair):
                return None
            failing = counts(pair[0].attempts)
            said = Says.BAD if failing.failed == failing.runs else Says.GOOD
        elif said is Says.OPEN:
            return None
        commit, confirmed = self._history.commit(bad), ""
        found = Bisected(
            test=search.test,
            first_bad=self._names[bad],
            last_good=self._names[good],
            title=commit.subject,
            author=commit.author,
            log=search.git.log,
        )
        if said is Says.BAD:
            why = f"it is bad on {self._names[good]} as well, which was said to be good"
            search.found = Bisected(test=search.test, why=why, log=search.git.log)
            return ""
        if said is Says.SKIP:
            why = f"{self._names[good]}, which was said to be good, cannot be tested"
            search.found = msgspec.structs.replace(found, why=why)
            return ""
        if pair and not any(each.dropped for each in pair):
            if _compared(*pair) is not Decision.WORSE:
                search.found = Bisected(test=search.test, why=_unstable(*pair), log=search.git.log)
                return ""
            confirmed = _told(*pair)
        search.found = msgspec.structs.replace(found, confirmed=confirmed)
        return ""

    def _name(self, commit: str) -> KernelName:
        return self._names.get(commit) or self._history.spec(commit).name

    def _tried(self, search: _Search, commit: str) -> Tried | None:
        name = self._names.get(commit)
        return None if name is None else self.reruns.at(search.test, name)

    def _ready(self, search: _Search, commit: str) -> Tried | None:
        """Return the test on a commit's kernel, if it can be run there once more."""
        tried = self._tried(search, commit)
        return tried if tried is not None and tried.complete and not tried.dropped else None

    def _says(self, search: _Search, commit: str) -> Says:
        kernel = self._names[commit]
        if search.symptom is Symptom.BUILD:
            return Says.BAD if kernel in self._failed else Says.GOOD
        if kernel in self._failed | self._untestable:
            return Says.SKIP
        if search.symptom is Symptom.BOOT:
            there = self.reruns.on(kernel)
            dropped = bool(there) and all(each.dropped for each in there)
            return Says.BAD if dropped else Says.GOOD if there else Says.SKIP
        tried = self._tried(search, commit)
        if tried is None:
            return Says.GOOD if search.absent_is_good else Says.SKIP
        if tried.dropped:
            return Says.SKIP
        if not tried.complete or tried.under_way:
            return Says.OPEN
        if search.absent_is_good and all(each.outcome is Outcome.SKIP for each in tried.attempts):
            return Says.GOOD
        return says(tried.attempts, search.good_rate, search.bad_rate or 1 - RARE)

    def wanted(self, name: str, tried: Sequence[Tried]) -> Sequence[Tried]:
        """Return where *name* is to be run once more; see :class:`harness.run.reruns.Policy`."""
        search = (self._searches or {}).get(name)
        if search is None or search.found:
            return []
        good = self._ready(search, self._history.good)
        bad = self._ready(search, self._history.bad)
        if search.bad_rate is None:
            if bad is None:
                return []
            if counts(bad.attempts).mixed:
                return _turn(good, bad)
            return [bad] if len(bad.attempts) + len(bad.under_way) < STABLE else []
        if search.pair is not None and not search.absent_is_good:
            last_good, first_bad = (self._ready(search, each) for each in search.pair)
            if last_good is not None and first_bad is not None:
                return _turn(last_good, first_bad)
        return [
            each
            for each in tried
            if not each.under_way
            and says(each.attempts, search.good_rate, search.bad_rate) is Says.OPEN
        ]


def _turn(good: Tried | None, bad: Tried) -> Sequence[Tried]:
    """Return which of the two is run next, until the counts decide."""
    if good is None or _decided(good, bad):
        return []
    return [good if good.begun <= bad.begun else bad]


def _reruns(tried: Tried) -> Counts:
    return counts(list(tried.reruns.values()))


def _decided(good: Tried, bad: Tried) -> bool:
    enough = min(len(good.reruns), len(bad.reruns)) >= MOST
    return enough or decided(_reruns(good), _reruns(bad))


def _compared(good: Tried, bad: Tried) -> Decision:
    return compare_rates(_reruns(good), _reruns(bad))


def _told(good: Tried, bad: Tried) -> str:
    return f"run again: {_reruns(good)} on {good.name}, {_reruns(bad)} on {bad.name}"


def _unstable(good: Tried, bad: Tried) -> str:
    return f"it is unstable: {_told(good, bad)}"


def _not_bad(tried: Tried) -> str:
    if tried.dropped:
        return f"its guest does not boot on {tried.name}"
    outcomes = ", ".join(dict.fromkeys(each.outcome for each in tried.attempts))
    return f"it does not fail on {tried.name}, the bad commit ({outcomes})"

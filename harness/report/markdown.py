# SPDX-License-Identifier: GPL-2.0-only
"""A summary in Markdown, as the pages of jobs and merge requests show it.

It is made for GitHub's flavour, which takes at most 1 MiB of it.  Foreign text stands in code spans
and fences that it cannot close, so nothing in it becomes a link, a mention or a tag.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.model.mutants import Mutants
from harness.model.results import Results, Test
from harness.outcome import Outcome
from harness.report.evidence import evidence, not_as_expected
from harness.report.findings import MUTANTS, Section, compared, figures, measured
from harness.report.kernels import subject
from harness.report.mutants import markdown_rows, words
from harness.report.text import count, count_outcomes, duration, known_as, one_line, tally
from harness.report.verdict import complaints_at_boot, verdict

_MOST_ROWS = 200
_MOST_DETAILS = 30
_MOST_LINES = 200
"""Lines of a section that the console has as well."""
_CELL = 300
"""Characters of a reason in a table."""
_LONGEST_RUN = re.compile(r"`+")


def render(results: Results, directory: str = "") -> bytes:
    """Return the summary as UTF-8; *directory* is the run's."""
    return ("\n".join(_lines(results, directory)) + "\n").encode()


def _lines(results: Results, directory: str) -> Iterator[str]:
    last = "".join(text for text, _ in verdict(results)[-1])
    yield f"## {'✅' if not results.exit_code else '❌'} {last}"
    yield ""
    named = " ".join(f"{what} {_code(name)}" for what, name in subject(results.kernel))
    yield named[:1].upper() + named[1:]
    for line in verdict(results)[:-1]:
        (word, _), (text, _) = line
        yield ""
        yield f"**{word.strip()}** {_code(text)}"
    for section in compared(results):
        yield from _told(section)
    news, known = not_as_expected(results)
    if news or known:
        yield from _table([*news, *known])
    for boot in complaints_at_boot(results):
        counts = results.outcome_at_boot(boot) not in (Outcome.PASS, Outcome.XFAIL)
        if counts and not results.excused_at_boot(boot):
            yield from ("", f"**The kernel, at boot:** {_code(boot.report.title)}")
    for test in news[:_MOST_DETAILS]:
        if test.outcome is not Outcome.NOTRUN:
            yield from _details(test, directory)
    if len(news) > _MOST_DETAILS:
        yield from ("", f"The report has {count(len(news) - _MOST_DETAILS, 'more test')}.")
    yield from _suites(results)
    for section in (*figures(results), *measured(results)):
        if section.title != MUTANTS:
            yield from _told(section)
    if results.mutants:
        yield from _mutants(results.mutants)
    for note in results.notes:
        yield from ("", f"Note: {_code(one_line(note, 1000))}")


def _told(section: Section) -> Iterator[str]:
    """Yield what the console says as well, line by line."""
    lines = ["".join(text for text, _ in line).rstrip() for line in section.lines]
    if len(lines) > _MOST_LINES:
        gone = len(lines) - _MOST_LINES
        lines[_MOST_LINES:] = [f"... {count(gone, 'more line')} in the console's report"]
    yield from ("", f"**{section.title}**", "")
    yield from _fenced(lines)


def _table(tests: list[Test]) -> Iterator[str]:
    yield from ("", "| outcome | test | why |", "|---|---|---|")
    for test in tests[:_MOST_ROWS]:
        yield f"| {test.outcome} | {_cell(test.name)} | {_cell(test.reason)} |"
    if len(tests) > _MOST_ROWS:
        yield f"| | {count(len(tests) - _MOST_ROWS, 'more test')} | |"


def _details(test: Test, directory: str) -> Iterator[str]:
    yield from ("", f"<details><summary>{test.outcome}: {_tag(test.name)}</summary>", "")
    if test.elsewhere:
        yield from (f"Verdict: {_code(test.elsewhere)}", "")
    for each in evidence(test):
        yield f"{_code(each.title)}"
        yield ""
        if each.lines:
            yield from _fenced(each.lines)
        if each.command:
            yield from ("The same again:", "", *_fenced([one_line(each.command, 4000)], "sh"))
    if test.rerun:
        yield from ("Run it again:", "", *_fenced([one_line(test.rerun, 4000)], "sh"))
    for path in (test.logs.kernel, test.logs.output, test.logs.build):
        if path:
            yield f"- {_code(f'{directory}/{path}' if directory else path)}"
    yield from ("", "</details>")


def _suites(results: Results) -> Iterator[str]:
    suites: dict[str, list[Test]] = {}
    for test in results.tests:
        suites.setdefault(test.suite, []).append(test)
    if not suites:
        return
    yield from ("", "| suite | tests | cases | time | known failures |", "|---|---|---|---|---|")
    for name, tests in list(suites.items())[:_MOST_ROWS]:
        cases = count_outcomes(case.outcome for test in tests for case in test.cases)
        seconds = sum(test.total_s or 0.0 for test in tests if not test.elsewhere)
        known = dict.fromkeys(
            known_as(test.reason) for test in tests if test.outcome is Outcome.XFAIL
        )
        named = ", ".join(each for each in known if each)
        yield (
            f"| {_cell(name)} | {tally(count_outcomes(test.outcome for test in tests))} "
            f"| {tally(cases)} | {duration(seconds)} | {_cell(named)} |"
        )


def _mutants(mutants: Mutants) -> Iterator[str]:
    yield from ("", f"**{words(mutants)}**")
    rows = list(markdown_rows(mutants))
    if rows:
        yield from ("", "| planted fault | where | change |", "|---|---|---|")
    for status, where, what in rows[:_MOST_ROWS]:
        yield f"| {status} | {_cell(where)} | {_cell(what)} |"
    if len(rows) > _MOST_ROWS:
        yield f"| | {len(rows) - _MOST_ROWS} more | |"


def _code(text: str) -> str:
    """Return *text* as a code span, which nothing in it can end."""
    line = one_line(text, 2000)
    if not line:
        return ""
    fence = "`" * (1 + max(map(len, _LONGEST_RUN.findall(line)), default=0))
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}"


def _cell(text: str) -> str:
    """Return *text* for a table, where a bar ends a cell even in a code span."""
    line = one_line(text, _CELL)
    return _code(line) if "|" not in line else f"<code>{_tag(line)}</code>"


def _tag(text: str) -> str:
    """Return *text* for the inside of a tag: what Markdown or HTML could read is a reference."""
    return re.sub(r"[^\w .,:/=+-]|_", lambda found: f"&#{ord(found[0])};", one_line(text, _CELL))


def _fenced(lines: list[str] | tuple[str, ...], language: str = "") -> Iterator[str]:
    runs = (run for line in lines for run in _LONGEST_RUN.findall(line))
    fence = "`" * max(3, 1 + max(map(len, runs), default=0))
    yield from (f"{fence}{language}", *lines, fence, "")

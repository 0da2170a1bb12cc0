# SPDX-License-Identifier: GPL-2.0-only
"""``harness b4-check``: what runs have shown of a patch, for b4."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import msgspec

from harness import series
from harness.cli.options import RunName, find_project, project_option
from harness.errors import ExitCode, UserError
from harness.foreign import told
from harness.model.results import Results
from harness.report import b4
from harness.report.b4 import Entry, Status
from harness.run import earlier, journal, rundir
from harness.run.job import read_results
from harness.series import OneMail
from harness.visible import defuse_json


@click.command(name="b4-check", short_help="Print for b4 the results of earlier runs for a patch.")
@project_option
@click.option(
    "--run",
    "wanted",
    type=RunName(),
    metavar="RUN",
    help="Use only this run: its directory, its name below runs/, or 'latest'.  [default: the "
    "newest of the runs with most results for the patch]",
)
@click.option(
    "--lines",
    "as_lines",
    is_flag=True,
    help="Print lines as checkpatch.pl does, for `b4 prep --check` and `b4 am`.",
)
def b4_check(project_file: Path | None, wanted: str | None, as_lines: bool) -> int:
    """Read a mail from standard input, and print the results of the project's runs for it.

    The mail is a patch or a cover letter, as b4 gives it to the commands of its checks.  A patch
    is identified by the lines that it changes, a series by the Message-ID of its cover letter.
    The command runs no tests: run `harness matrix` before.  An untested patch is a warning, and
    never a pass.

    \b
    In the kernel's repository (git config; docs/reports.md):
      b4.review-perpatch-check-cmd  "harness b4-check --project ~/mine/harness.toml"
      b4.review-series-check-cmd    "harness b4-check --project ~/mine/harness.toml"
      b4.prep-perpatch-check-cmd    "harness b4-check --lines --project ~/mine/harness.toml"

    Exit code 1 means that some result is missing or bad.
    """
    here = Path.cwd()
    runs = find_project(project_file, here).parent / rundir.RUNS
    mail = _mail(sys.stdin.buffer.read())
    places: Iterable[Path] = [rundir.find(wanted, here, runs)] if wanted else earlier.newest(runs)
    entries = _first(mail, places)
    if as_lines:
        for line in b4.lines(entries):
            click.echo(line)
    else:
        data = msgspec.json.format(msgspec.json.encode(entries), indent=2).decode()
        click.echo(defuse_json(data))
    good = all(each.status is Status.PASS for each in entries)
    return ExitCode.AS_EXPECTED if good else ExitCode.NOT_AS_EXPECTED


def _mail(data: bytes) -> OneMail:
    if not data.strip():
        raise UserError(
            "there is no mail on standard input",
            where="harness b4-check",
            hint="give it a patch: git format-patch --stdout -1 | harness b4-check",
        )
    with (
        told("the mail cannot be kept"),
        tempfile.NamedTemporaryFile(prefix="b4-", suffix=".eml") as file,
    ):
        file.write(data)
        file.flush()
        try:
            return series.read_mail(Path(file.name))
        except UserError as error:
            where = error.where.replace(file.name, "standard input")
            raise UserError(error.what, where=where, why=error.why, hint=error.hint) from None


def _first(mail: OneMail, places: Iterable[Path]) -> tuple[Entry, ...]:
    """Return what the newest run says of the patch alone, else of it among others."""
    among: tuple[Entry, ...] = ()
    for directory, results in _results(places):
        if mail.patch is None:
            found = b4.of_series(results, f"<{mail.message_id}>", str(directory))
            if found:
                return found
            continue
        found = b4.of_patch(results, mail.patch.content, str(directory))
        if found and found[0].tool != b4.TOOL:
            return found
        among = among or found
    advice = f"harness matrix --series {mail.message_id or 'SERIES'}"
    return among or (b4.not_tested(advice),)


def _results(places: Iterable[Path]) -> Iterator[tuple[Path, Results]]:
    for directory in places:
        if not journal.is_one(directory):
            continue
        try:
            yield directory, read_results(directory)
        except UserError:
            continue  # it has no plan, or is damaged: it says nothing of any patch

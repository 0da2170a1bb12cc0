# SPDX-License-Identifier: GPL-2.0-only
"""``harness ktap``: read one KTAP stream and say what it is worth."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO, BinaryIO, TextIO, cast

import click
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from harness.errors import ExitCode, UserError
from harness.foreign import told
from harness.ktap import Case, Parser, Report
from harness.outcome import Outcome
from harness.report import ktap_junit
from harness.report.terminal import Safe, Terminal
from harness.visible import defuse_json, visible

_CHUNK = 1 << 20
_STYLE = {
    Outcome.PASS: "green",
    Outcome.SKIP: "yellow",
    Outcome.XFAIL: "yellow",
    Outcome.XPASS: "magenta",
}


@click.command(short_help="Read KTAP output and give the verdict on it.")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--format",
    "form",
    type=click.Choice(["tree", "json", "junit"]),
    default="tree",
    show_default=True,
    help="How to print the report.",
)
@click.pass_context
def ktap(ctx: click.Context, file: Path, form: str) -> None:
    """Read the KTAP or TAP output in FILE (- for standard input) and print its results.

    Unlike most readers it loses no test: planned tests without a result are shown as notrun,
    results beyond the plan or given twice are errors, and a parent that reports ok over a failed
    test fails.

    \b
    Examples:
      ./guest_memfd_test | harness ktap -
      harness ktap console.log --format junit > results.xml
      harness ktap console.log --format json | jq '.collections[].cases[].path'

    Exit status: 0 when there is a result and none is worse than skip, XFAIL or TODO;
    1 otherwise (also for empty input, a short plan, a bail-out); 2 when FILE cannot be read.
    """
    report = _read(file)
    if form == "json":
        click.echo(defuse_json(json.dumps(report.to_dict(), indent=2)))
    elif form == "junit":
        name = "stdin" if str(file) == "-" else file.stem
        click.echo(ktap_junit.render(report, name), nl=False)
    else:
        _print_tree(report, sys.stdout)
    green = report.has_results and report.outcome.as_expected
    ctx.exit(ExitCode.AS_EXPECTED if green else ExitCode.NOT_AS_EXPECTED)


def _read(file: Path) -> Report:
    parser = Parser()
    with ExitStack() as stack:
        hint = "Name a file that holds a test's output, or - to read standard input."
        with told("The KTAP output cannot be read", file, kind=UserError, hint=hint):
            stream: BinaryIO = (
                sys.stdin.buffer if str(file) == "-" else stack.enter_context(file.open("rb"))
            )
            while data := stream.read(_CHUNK):
                parser.feed(data)
    return parser.close()


def _print_tree(report: Report, stream: TextIO) -> None:
    terminal = Terminal.of(stream)
    safe = Safe(stream)
    console = Console(
        file=cast(IO[str], safe),
        force_terminal=terminal.live,
        no_color=not terminal.colour,
        # Nothing is cut off: what is longer is folded.
        width=terminal.columns,
        highlight=False,
        markup=False,
        emoji=False,
    )
    tree = Tree(_headline(report))
    for collection in report.collections:
        branch = tree
        if len(report.collections) > 1:
            plan = "no plan" if collection.plan is None else f"1..{collection.plan}"
            branch = tree.add(
                _text(f"{collection.version or 'results'} (line {collection.line}, {plan})")
            )
        for case in collection.cases:
            _add(branch, case)
        if collection.skip_reason is not None:
            branch.add(_line(Outcome.SKIP, "everything", collection.skip_reason))
    console.print(tree)
    for diagnostic in report.diagnostics:
        style = "red" if diagnostic.kind.is_error else "dim"
        console.print(_text(f"line {diagnostic.line}: {diagnostic.kind}: {diagnostic.text}", style))
    safe.flush()


def _headline(report: Report) -> Text:
    if not report.has_results:
        return Text("no results", style="red")
    counts = ", ".join(f"{count} {o}" for o, count in sorted(report.counts().items()))
    return _line(report.outcome, counts or "no cases", report.bail_out or "")


def _add(tree: Tree, case: Case) -> None:
    branch = tree.add(_line(case.outcome, case.name, case.explanation))
    if not case.outcome.as_expected and case.output:
        branch.add(_text(case.output, "dim"))
    for child in case.children:
        _add(branch, child)


def _line(outcome: Outcome, name: str, why: str) -> Text:
    text = Text(f"{outcome.value:7}", style=_STYLE.get(outcome, "bold red"))
    text = Text.assemble(text, " ", _text(name))
    return text.append_text(_text(f"  ({why})", "dim")) if why else text


def _text(text: str, style: str = "") -> Text:
    return Text(visible(text), style=style, overflow="fold")

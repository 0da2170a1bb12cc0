# SPDX-License-Identifier: GPL-2.0-only
"""``harness help``: the documentation, in the terminal."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from harness.errors import UserError
from harness.report.terminal import Terminal
from harness.visible import visible

_DOCS = Path(__file__).parents[2] / "docs"
_COMMENT = "<!--"


class _Topic(click.ParamType[str]):
    name = "text"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the pages and commands that begin with *incomplete*."""
        group = ctx.parent.command if ctx.parent else None
        commands = group.list_commands(ctx) if isinstance(group, click.Group) else []
        names = dict.fromkeys([*(path.stem for path in sorted(_DOCS.glob("*.md"))), *commands])
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command(name="help", short_help="Show a page of the documentation.")
@click.argument("topic", required=False, type=_Topic())
@click.pass_context
def help_command(context: click.Context, topic: str | None) -> None:
    """Show the page TOPIC of the documentation, or the options of the command TOPIC.

    Without TOPIC it lists the pages.

    \b
    Examples:
      harness help
      harness help expectations
      harness help run
    """
    pages = {path.stem: path for path in sorted(_DOCS.glob("*.md"))}
    if topic is None:
        click.echo("Pages (harness help PAGE):")
        for name, path in pages.items():
            click.echo(f"  {name:<14} {_title(path)}")
        click.echo("\nOptions of a command: harness COMMAND --help")
        return
    if topic in pages:
        _show(pages[topic].read_text())
        return
    parent = context.parent
    assert parent is not None  # noqa: S101  it is a command of the group
    group = parent.command
    assert isinstance(group, click.Group)  # noqa: S101  the same
    command = group.get_command(parent, topic)
    if command is not None:
        with click.Context(command, info_name=topic, parent=parent) as mine:
            click.echo(command.get_help(mine))
        return
    known = list(dict.fromkeys([*pages, *group.list_commands(parent)]))
    near = difflib.get_close_matches(topic, known, n=3)
    raise UserError(
        f"there is no page '{visible(topic)}'",
        where="harness help",
        why=f"there are: {', '.join(pages)}" if pages else f"{_DOCS} is not there",
        hint=f"did you mean {' or '.join(near)}?" if near else "harness help lists them",
    )


def _title(page: Path) -> str:
    lines = page.read_text().splitlines()
    return next((line.removeprefix("# ") for line in lines if line.startswith("# ")), "")


def _show(text: str) -> None:
    """Print a page: set for the terminal where there is one, else as it is written."""
    lines = [line for line in text.splitlines() if not line.startswith(_COMMENT)]
    text = "\n".join(lines).strip("\n")
    if not Terminal.of(sys.stdout).live:
        click.echo(text)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    with console.pager(styles=Terminal.of(sys.stdout).colour):
        console.print(Markdown(text, hyperlinks=False))

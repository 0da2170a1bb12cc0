# SPDX-License-Identifier: GPL-2.0-only
"""``harness mcp``: the harness as a server of the Model Context Protocol, for agents."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click

from harness.cli.options import find_project, project_option
from harness.errors import UserError


@click.command(short_help="Serve runs and verdicts to an agent (MCP).")
@project_option
def mcp(project_file: Path | None) -> None:
    """Serve the Model Context Protocol on standard input and output.

    \b
    run            apply, build, boot, test; the verdict
    matrix         the same on the base and after each patch: who breaks what
    why            what shows how a test of a run ended
    rerun          one test of a run once more
    series_check   what each patch introduces
    shell_command  one command in a fresh guest of a run

    Each call is a command of this program, with the same errors and the same sandbox for what
    comes from strangers: an agent cannot say whom to trust.  Nothing is written but the cache and
    runs/.

    \b
    For Claude Code, for one:
      claude mcp add kernel -- harness mcp --project ~/mine/harness.toml
    """
    if importlib.util.find_spec("mcp") is None:
        raise UserError(
            "the Python SDK of MCP is not installed",
            where="harness mcp",
            hint="pip install 'mcp>=2.3' into the environment of the harness",
        )
    from harness.cli.mcp_tools import serve

    serve(find_project(project_file, Path.cwd()))

# SPDX-License-Identifier: GPL-2.0-only
"""The pages and schemas of ``docs/reference/``."""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from harness.cli import cli
from harness.model import results, spec
from harness.project import Project

DIRECTORY = Path(__file__).parents[2] / "docs" / "reference"
_HEAD = "<!-- SPDX-License-Identifier: GPL-2.0-only; written by: python -m tools.reference -->\n"
_CODE = re.compile(r"``([^`]+)``")
_WIDTH = 96


def pages() -> dict[str, str]:
    """Return every file of the reference by its name."""
    return {
        "cli.md": _commands(),
        "harness.schema.json": _schema(Project, "harness.toml"),
        "results.schema.json": _schema(results.Results, "results.json"),
    }


def _commands() -> str:
    context = click.Context(cli, info_name="harness", terminal_width=_WIDTH)
    parts = [
        _HEAD,
        "# Commands\n\n",
        "What `--help` says. All commands have the exit codes of the first one.\n",
    ]
    for path, command in _all(cli, context):
        level = "#" * (1 + len(path.split()))
        parts.append(f"\n{'##' if path == 'harness' else level} {path}\n\n```text\n")
        with click.Context(
            command, info_name=path, terminal_width=_WIDTH, help_option_names=["-h", "--help"]
        ) as mine:
            parts.append(command.get_help(mine).rstrip() + "\n```\n")
    return "".join(parts)


def _all(
    command: click.Command, context: click.Context, path: str = "harness"
) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None and not found.hidden:
                yield from _all(found, context, f"{path} {name}")


def _schema(root: type[msgspec.Struct], title: str) -> str:
    """Return the JSON Schema of *root*, with what the code says of each field."""
    (schema,), components = msgspec.json.schema_components([root], ref_template="#/$defs/{name}")
    modules = [sys.modules[root.__module__], spec]
    documented = {
        name: _documented(kind)
        for module in modules
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and issubclass(kind, msgspec.Struct) and kind is not msgspec.Struct
    }
    for name, component in components.items():
        for field, text in documented.get(name, {}).items():
            if field in component.get("properties", {}):
                component["properties"][field] = {
                    **component["properties"][field], "description": text
                }  # fmt: skip
    document: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **schema,
        "$defs": components,
    }
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return _CODE.sub(r"`\1`", text) + "\n"


def _documented(kind: type) -> dict[str, str]:
    """Return the text below each field in the source of the class *kind*, in one line."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)  # noqa: S101  the source of a class
    found: dict[str, str] = {}
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def write(directory: Path) -> None:
    """Write all of it into *directory*."""
    directory.mkdir(exist_ok=True)
    for name, text in pages().items():
        (directory / name).write_text(text)

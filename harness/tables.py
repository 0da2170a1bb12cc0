# SPDX-License-Identifier: GPL-2.0-only
"""TOML files decoded straight into frozen structures; mistakes told in the user's words.

A structure (msgspec, ``forbid_unknown_fields``) is the only description of a file's keys: their
types, bounds and defaults.  An error names file, key and what was expected there.
"""

from __future__ import annotations

import difflib
import re
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from harness.errors import UserError
from harness.foreign import of_os

T = TypeVar("T")


def read(path: Path, what: str) -> dict[str, Any]:
    """Return the tables of the TOML file *path*; *what* names it in errors ("the project file").

    Raises UserError where it cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise of_os(error, f"{what} cannot be read", path, kind=UserError) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{what} cannot be read", where=str(path), why=str(error)) from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{what} is not TOML", where=str(path), why=str(error)) from None
    except RecursionError:
        raise UserError(f"{what} is nested too deeply", where=str(path)) from None


def convert(value: object, shape: type[T], where: str, key: str = "") -> T:
    """Return *value*, at *key* of the file *where*, as a *shape*; raises UserError."""
    try:
        return msgspec.convert(value, shape)
    except RecursionError:
        raise UserError("the file is nested too deeply", where=where) from None
    except msgspec.ValidationError as error:
        # msgspec says, for example: "Expected `int`, got `str` - at `$.guest.cpus`".
        what, _, place = str(error).partition(" - at `$")
        inner = place.rstrip("`").lstrip(".")
    key = ".".join(part for part in (key, inner.replace("[...]", ".NAME")) if part)
    table = _at(shape, inner)
    unknown = re.search(r"unknown field `(.+)`", what)
    missing = re.search(r"missing required field `(.+)`", what)
    if missing:
        raise UserError(
            "a required key is missing",
            where=_place(where, key, missing[1]),
            hint=_doc(table, missing[1]),
        )
    if unknown:
        known = [field.encode_name for field in msgspec.structs.fields(table)]
        close = difflib.get_close_matches(unknown[1], known, n=1)
        raise UserError(
            "unknown key",
            where=_place(where, key, unknown[1]),
            why=f"expected one of: {', '.join(known)}",
            hint=f"did you mean '{close[0]}'?" if close else "remove it",
        )
    for ours, theirs in _TOML_WORDS.items():
        what = what.replace(f"`{theirs}`", ours)
    choices = typing.get_args(_field(shape, inner))
    if what.startswith("Invalid enum value") and choices:
        what += f", expected one of: {', '.join(str(choice) for choice in choices)}"
    raise UserError("wrong value", where=_place(where, key), why=what)


_TOML_WORDS = {
    "a string": "str",
    "an integer": "int",
    "a number": "float",
    "a table": "object",
    "an array": "array",
    "true or false": "bool",
    "a date without quotes (2030-01-31)": "date",
}


def _place(where: str, *keys: str) -> str:
    return ": ".join(part for part in (where, ".".join(key for key in keys if key)) if part)


def _field(shape: Any, path: str) -> Any:
    """Return the type that stands at the dotted *path* below *shape*, unwrapped."""
    for name in (part.split("[")[0] for part in path.split(".") if part):
        shape = _unwrapped(shape)
        if not (isinstance(shape, type) and issubclass(shape, msgspec.Struct)):
            break
        hints = typing.get_type_hints(shape)
        shape = hints.get(name, shape)
    return _unwrapped(shape)


def _unwrapped(shape: Any) -> Any:
    """Look through ``X | None``, ``tuple[X, ...]`` and ``dict[str, X]``."""
    while True:
        origin, arguments = typing.get_origin(shape), typing.get_args(shape)
        if origin in (typing.Union, types.UnionType):
            shape = next(each for each in arguments if each is not type(None))
        elif origin is tuple:
            shape = arguments[0]
        elif origin is dict:
            shape = arguments[1]
        else:
            return shape


def _at(shape: Any, path: str) -> type[msgspec.Struct]:
    found: type[msgspec.Struct] = _field(shape, path)
    return found


def _doc(table: type[msgspec.Struct], name: str) -> str:
    """Return what a structure says of a key in ``HINTS``, empty if nothing."""
    hints: dict[str, str] = getattr(table, "HINTS", {})
    return hints.get(name, "")

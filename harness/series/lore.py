# SPDX-License-Identifier: GPL-2.0-only
"""A thread of a mailing list, by message-id or URL: b4 fetches it, and only when it is asked for.

b4 is a program of its own, which knows where lists are archived; nothing here speaks to a network.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.parse import unquote

from harness.errors import MachineError, UserError
from harness.proc.environment import user
from harness.proc.process import find, run

_ID = re.compile(r"<?(?P<id>[^\s<>@/#-][^\s<>@/#]*@[\w.\[\]:-]+)>?(?:#(?P<pick>\d{1,4}))?")
# pathlib makes one slash of two.
_URL = re.compile(
    r"(?P<scheme>https?):/+(?P<rest>[^\s/]+/(?:[^\s#]*/)?(?P<id>[^\s/#]+(?:@|%40)[^\s/#]+)(?:/[^\s#]*)?)"
    r"(?:#(?P<pick>\d{1,4}))?"
)
_UNKNOWN = re.compile(
    r"(?:\b404\b|not known|not found|no such message|message-id .* is unknown)", re.I
)
_NETWORK = re.compile(
    r"HTTPS?ConnectionPool|resolv|Max retries|timed out|unreachable|refused", re.I
)
_LIMIT_S = 300


def is_asked(text: str) -> bool:
    """Return whether *text* is a message-id or the URL of one, and not the name of a file."""
    return not Path(text).exists() and bool(_ID.fullmatch(text) or _URL.fullmatch(text))


def message_id(text: str) -> str:
    """Return the message-id that *text* names."""
    found = _URL.fullmatch(text) or _ID.fullmatch(text)
    return unquote(found["id"]) if found else ""


def fetch(text: str, directory: Path) -> Path:
    """Save the thread of *text* in *directory* with b4; return the mbox, with ``#N`` as asked.

    Raises MachineError where b4 is not installed or the archive cannot be reached, UserError where
    the archive does not know the message.
    """
    url = _URL.fullmatch(text)
    found = url or _ID.fullmatch(text)
    if found is None:
        raise UserError("this is neither a message-id nor the URL of one", where=text)
    what = f"{url['scheme']}://{url['rest']}" if url else found["id"]
    done = run(
        [_program(), "mbox", "-o", str(directory), "-n", "thread", "--", what],
        cwd=directory,
        env=user(),
        limit_s=_LIMIT_S,
    )
    saved = sorted(directory.glob("thread*"))
    if done.ok and saved and saved[0].stat().st_size:
        return Path(f"{saved[0]}#{found['pick']}") if found["pick"] else saved[0]
    why = "\n".join(done.output.splitlines()[-6:]) or f"b4 ended with status {done.status}"
    if _UNKNOWN.search(done.output) and not _NETWORK.search(done.output):
        raise UserError(
            "the archive does not know this message",
            where=what,
            why=why,
            hint="look the message-id up on lore.kernel.org; a message takes minutes to get there",
        )
    raise MachineError(
        "b4 could not fetch the thread",
        where=what,
        why=why,
        hint="connect this machine to the archive, or save the thread elsewhere and name the file",
    )


def _program() -> str:
    beside = Path(sys.executable).with_name("b4")
    program = str(beside) if beside.is_file() else find("b4")
    if program is None:
        raise MachineError(
            "b4 is not installed",
            why="a series that is named by message-id or URL is fetched by b4",
            hint="pip install b4 (`make setup` installs it in .venv)",
        )
    return program

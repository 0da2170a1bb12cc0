# SPDX-License-Identifier: GPL-2.0-only
"""What programs need of a user space, and packing that much of the host's for a sealed guest.

A static program needs nothing.  One that is linked dynamically needs its loader and libraries; a
shell script needs its shell, and commands, for which busybox stands.  Other interpreters are whole
worlds of files: for these there is a guest with the host's file system.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterable
from pathlib import Path

from harness.errors import MachineError
from harness.process import find, run, which
from harness.store import digest, digest_file

SHELLS = frozenset({"sh", "bash"})
"""Interpreters that a sealed guest can have."""
_BUSYBOX = "busybox"
_NOT_ITS = frozenset({_BUSYBOX, "sh", "ash", "bash"})
"""A command that bash cannot find can be noticed, one that busybox's shells cannot find not."""
WRAPPERS = ".harness"
"""Below a suite's directory in the guest: what runs its scripts."""
_WRAPPER = """\
#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Runs a script of the suite.  What it calls and this guest lacks must not look like a pass.
cd "${{0%/*}}/../{directory}" || exit 127
HARNESS_LACKS=$(mktemp /tmp/lacks.XXXXXX) || exit 127
command_not_found_handle()
{{
	printf '%s\\n' "$1" >>"$HARNESS_LACKS"
	printf '%s: command not found\\n' "$1" >&2
	return 127
}}
export HARNESS_LACKS
export -f command_not_found_handle
{command}
status=$?
[ -s "$HARNESS_LACKS" ] || exit $status
lacks=
while read -r name; do
	case " $lacks " in *" $name "*) ;; *) lacks="$lacks $name" ;; esac
done <"$HARNESS_LACKS"
why="needs${{lacks}}, which a sealed guest does not have: run with --guest vng"
case $status in
0 | 4 | 127) printf '\nTAP version 13\n1..1\nok 1 commands # SKIP %s\n' "$why"; exit 4 ;;
*) printf '\n# it %s\n' "$why"; exit $status ;;
esac
"""


def interpreter(script: Path) -> str:
    """Return the name of what runs *script*, by its first line: ``sh``, ``bash``, ``python3``, …

    A script without such a line is run by the shell, as execvp(3) and the kernel's own runner do.
    """
    with script.open("rb") as file:
        first = file.readline(256).decode(errors="replace")
    words = first[2:].split() if first.startswith("#!") else []
    if words and words[0].endswith("/env"):
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return Path(words[0]).name if words else "sh"


def loader(program: Path) -> str:
    """Return the path of a program's dynamic loader; empty for a static program."""
    done = run(["readelf", "-lW", str(program)], limit_s=60)
    match = re.search(r"program interpreter: ([^\]]+)\]", done.output)
    return match[1] if match else ""


def identity() -> str:
    """Return a digest of what could be packed: what changes with the host's packages."""
    found = [find(name) for name in (_BUSYBOX, "bash")]
    return digest(*(digest_file(Path(path)) if path else "" for path in found))


def pack(root: Path, programs: Iterable[Path], scripts: Iterable[str]) -> None:
    """Fill *root* with what dynamic *programs* and scripts for these interpreters need.

    Raises MachineError where busybox is not there, or a library is not found.
    """
    wanted = list(programs)
    shells = set(scripts) & SHELLS
    if shells:
        busybox = find(_BUSYBOX)
        if busybox is None:
            raise MachineError(
                "a shell script needs busybox in its guest",
                where="busybox",
                hint="on Debian: apt install busybox-static",
            )
        _install(root, Path("bin/busybox"), Path(busybox))
        applets = run([busybox, "--list"], limit_s=60).output.split()
        for name in applets:
            if name not in _NOT_ITS:
                (root / "bin" / name).symlink_to(_BUSYBOX)
        (root / "usr").mkdir()
        (root / "usr/bin").symlink_to("../bin")
        (root / "sbin").symlink_to("bin")
        wanted.append(Path(busybox))
        bash = which("bash")
        _install(root, Path("bin/bash"), Path(bash))
        (root / "bin/sh").symlink_to("bash")
        wanted.append(Path(bash))
    for program in wanted:
        if start := loader(program):
            _install(root, Path(start.lstrip("/")), Path(start))
            for library in _libraries(start, program):
                _install(root, Path(str(library).lstrip("/")), library)


def _libraries(start: str, program: Path) -> list[Path]:
    """Ask the loader *start* itself what it would load for *program*, which is not run."""
    done = run([start, "--list", str(program)], limit_s=60)
    missing = re.findall(r"^\s*(\S+) => not found", done.output, re.MULTILINE)
    if not done.ok or missing:
        raise MachineError(
            "a library of a program is not there",
            where=str(program),
            why=", ".join(missing) or done.output.strip(),
        )
    return [Path(path) for path in re.findall(r"=> (/\S+)", done.output)]


def _install(root: Path, name: Path, source: Path) -> None:
    target = root / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def wrap(files: Path, path: str) -> str:
    """Write what runs the script *path* below *files*; return its path there.

    As the kernel's own runner it changes into the script's directory, and lets the interpreter read
    a script that is not executable.
    """
    script = files / path
    directory, _, name = path.rpartition("/")
    command = f"./{name}" if os.access(script, os.X_OK) else f"{interpreter(script)} ./{name}"
    wrapper = f"{WRAPPERS}/{path.replace('/', '.')}"
    (files / WRAPPERS).mkdir(exist_ok=True)
    text = _WRAPPER.format(
        directory=shlex.quote(directory) if directory else "",
        command=" ".join(map(shlex.quote, command.split(" ", 1))),
    )
    (files / wrapper).write_text(text)
    (files / wrapper).chmod(0o755)
    return wrapper

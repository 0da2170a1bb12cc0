# SPDX-License-Identifier: GPL-2.0-only
"""Packs the parts of the host's user space that programs need in a sealed guest.

A static program needs nothing.  A dynamically linked one needs its loader and libraries.  A shell
script needs its shell, and commands, which busybox provides.  Other interpreters need too many
files: their scripts run in a guest with the host's file system.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

from harness.digest import digest, digest_file
from harness.errors import MachineError
from harness.proc.process import find, run, which
from harness.proc.sandbox import Sandbox
from harness.suites.files import interpreter

GUEST_ROOT = "selftests"
"""Suites lie below ``/selftests/NAME`` in the guest."""
SHELLS = frozenset({"sh", "bash"})
"""Interpreters that a sealed guest can have."""
_BUSYBOX = "busybox"
_LONGEST = 255
"""Bytes of a file's name."""
_NOT_ITS = frozenset({_BUSYBOX, "sh", "ash", "bash"})
"""A command that bash cannot find can be noticed, one that busybox's shells cannot find not."""
WRAPPERS = ".harness"
"""Below a suite's directory in the guest: what runs its scripts."""
_MISSING = re.compile(
    r"^\s*(\S+) => not found|error while loading shared libraries: (\S+): cannot open",
    re.MULTILINE,
)
_SEARCHED = re.compile(r"(/usr)?/lib(64)?(/\w+-linux-gnu\w*)?")
"""Where a loader looks for libraries by itself."""
_LIBRARIES = re.compile(r"/(?:usr/)?lib(?:32|64|x32)?/")
_SHOWING = ("clear", "dircolors", "mesg", "reset", "resize", "setterm", "tabs", "tput", "tset")
_ASKING = ("infocmp", "stty", "toe", "tty")
"""Commands that change how text looks on a terminal, and that ask about one.  A test has none, so
what they do there cannot change what it finds out: without them it is as complete."""
_WRAPPER = """\
#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Runs a script of the suite.  What it calls and this guest lacks must not look like a pass.
cd "${{0%/*}}/../{directory}" || exit 127
HARNESS_LACKS=$(mktemp /tmp/lacks.XXXXXX) || exit 127
command_not_found_handle()
{{
	# There is no terminal: nothing can be shown in colours, and to ask for it fails.
	case $1 in {showing}) return 0 ;; {asking}) return 1 ;; esac
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


def loader(program: Path, sandbox: Sandbox | None = None) -> str:
    """Return the path of a program's dynamic loader; empty for a static program."""
    done = run(["readelf", "-lW", str(program)], limit_s=60, sandbox=sandbox)
    match = re.search(r"program interpreter: ([^\]]+)\]", done.output)
    return match[1] if match else ""


def identity() -> str:
    """Return a digest of the host's programs that may be packed."""
    found = [find(name) for name in (_BUSYBOX, "bash")]
    return digest(*(digest_file(Path(path)) if path else "" for path in found))


def pack_shell(root: Path) -> None:
    """Fill *root* with what shell scripts need: bash, and busybox with all its commands.

    Raises MachineError if one of the two is not installed.
    """
    busybox = find(_BUSYBOX)
    if busybox is None:
        raise MachineError(
            "a shell script needs busybox in its guest",
            where="busybox",
            hint="on Debian: apt install busybox-static",
        )
    bash = which("bash")
    _install(root, Path("bin/busybox"), Path(busybox))
    for name in run([busybox, "--list"], limit_s=60).output.split():
        if name not in _NOT_ITS:
            (root / "bin" / name).symlink_to(_BUSYBOX)
    (root / "usr").mkdir(exist_ok=True)
    (root / "usr/bin").symlink_to("../bin")
    (root / "sbin").symlink_to("bin")
    _install(root, Path("bin/bash"), Path(bash))
    (root / "bin/sh").symlink_to("bash")
    for program in (busybox, bash):
        if reason := pack_libraries(root, Path(program)):
            raise MachineError("a program for scripts cannot be packed", where=program, why=reason)


def pack_libraries(
    root: Path, program: Path, files: Path | None = None, sandbox: Sandbox | None = None
) -> str:
    """Fill *root* with the loader and the libraries of *program*; return why that cannot be.

    The loader itself finds the libraries, started in the program's directory as in the guest: so
    ``-rpath`` with ``$ORIGIN`` and with ``./`` counts.  A library in *files*, which is
    the suite's directory, is packed with the suite.

    The program names the loader, so a stranger's runs in the *sandbox*; of its output only
    files in the system's directories are used.
    """
    start = loader(program, sandbox)
    if not start:
        return ""
    if sandbox and not _is_system(start):
        return f"its loader is none of the system's: {start}"
    if not Path(start).is_file():
        return f"its loader is not on this machine: {start}"
    done = run([start, "--list", str(program)], cwd=program.parent, limit_s=60, sandbox=sandbox)
    missing = [name or other for name, other in _MISSING.findall(done.output)]
    if missing:
        return f"a shared library of it cannot be found: {', '.join(dict.fromkeys(missing))}"
    if not done.ok:
        return f"its shared libraries cannot be loaded: {done.output.strip().rpartition(': ')[2]}"
    _install(root, Path(start.lstrip("/")), Path(start))
    for name, path in re.findall(r"^\s*(\S+) => (\S+)", done.output, re.MULTILINE):
        library = Path(os.path.normpath(program.parent / path))
        if files and library.is_relative_to(files):
            continue
        if sandbox and not _is_system(str(library)):
            return f"a shared library of it is none of the system's: {library}"
        _install(root, Path(str(library).lstrip("/")), library)
        if not _SEARCHED.fullmatch(str(library.parent)):
            # Found by the host's list of directories, which a guest does not have.
            link = root / "usr/lib" / name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(library)
    return ""


def _is_system(path: str) -> bool:
    """Whether *path* is a loader or library that the distribution has installed."""
    real = Path(os.path.realpath(path))
    return bool(_LIBRARIES.match(os.path.normpath(path))) and bool(_LIBRARIES.match(str(real)))


def _install(root: Path, name: Path, source: Path) -> None:
    target = root / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def wrap(files: Path, path: str) -> str:
    """Write a wrapper that runs the script *path* below *files*; return the wrapper's path.

    Like the kernel's own runner it changes into the script's directory, and lets the interpreter
    read a script that is not executable.
    """
    script = files / path
    directory, _, name = path.rpartition("/")
    command = f"./{name}" if os.access(script, os.X_OK) else f"{interpreter(script)} ./{name}"
    wrapper = f"{WRAPPERS}/{path.replace('/', '.')}"
    if len(os.fsencode(path)) > _LONGEST:
        wrapper = f"{WRAPPERS}/{digest(path)}"
    (files / WRAPPERS).mkdir(exist_ok=True)
    text = _WRAPPER.format(
        directory=shlex.quote(directory) if directory else "",
        command=" ".join(map(shlex.quote, command.split(" ", 1))),
        showing="|".join(_SHOWING),
        asking="|".join(_ASKING),
    )
    (files / wrapper).write_text(text)
    (files / wrapper).chmod(0o755)
    return wrapper

# SPDX-License-Identifier: GPL-2.0-only
"""The tools that build the kernel, and the settings that keep their output reproducible."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import msgspec

from harness.digest import digest
from harness.errors import UserError
from harness.proc.environment import clean, harmless, search_path
from harness.proc.packages import install
from harness.proc.process import check, run

ARCH = "x86"
GCC = "gcc"


class Toolchain(msgspec.Struct, frozen=True):
    """Identity of the compiler and the binary utilities."""

    compiler: str
    """First line of what the compiler says to ``--version``."""
    linker: str
    """First line of ``ld --version``."""
    defaults: str
    """Digest of the commands that the compiler runs where it is given no options."""

    @property
    def identity(self) -> str:
        """One line that changes if the output of the tools may change."""
        return f"{self.compiler}; {self.linker}; {self.defaults[:12]}"


def identify(cc: str = GCC) -> Toolchain:
    """Ask the compiler *cc* and the linker who they are; raises MachineError without them."""
    return Toolchain(_first_line(cc), _first_line("ld"), _defaults(cc))


def check_compiler(cc: str) -> None:
    """Raise UserError where a user has named a compiler *cc* that there is not."""
    where = f"--cc {cc}, or cc of the project file"
    if not harmless(Path(cc)) or cc.startswith("-") or ("/" in cc and not cc.startswith("/")):
        raise UserError(
            "the compiler is named by one word, or by its absolute path",
            where=where,
            hint="to add options, put a script of that name on the PATH",
        )
    if shutil.which(cc, path=search_path()) is None:
        raise UserError(
            f"there is no compiler '{cc}'",
            where=where,
            why="no program of that name is on the PATH",
            hint=install(Path(cc).name),
        )


def _defaults(cc: str) -> str:
    """Return a digest of what *cc* does by itself: a wrapper of that name may add options."""
    argv = [cc, "-###", "-x", "c", "/dev/null", "-o", "/dev/null"]
    done = check(run(argv, limit_s=30), f"{cc} does not run")
    # Of its output the lines that begin with a space are commands, with names of temporary files.
    commands = (line for line in done.output.splitlines() if line.startswith(" "))
    return digest(*(re.sub(r"\S*/cc\w+\.\w+", "", line) for line in commands))


def _first_line(tool: str) -> str:
    done = check(run([tool, "--version"], limit_s=30), f"{tool} does not run")
    return done.output.splitlines()[0]


def jobs() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def environment(ccache_dir: Path, slot: Path) -> dict[str, str]:
    """Return the whole environment for make, so that only the input decides the output.

    The kernel embeds user, host, time and build number (``Documentation/kbuild/
    reproducible-builds.rst``); ccache finds objects of other slots because paths are relative to
    *slot* in its hash.
    """
    return clean() | {
        "KBUILD_BUILD_USER": "harness",
        "KBUILD_BUILD_HOST": "harness",
        "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
        "KBUILD_BUILD_VERSION": "1",
        "LOCALVERSION": "",
        "CCACHE_DIR": str(ccache_dir),
        "CCACHE_BASEDIR": str(slot),
        "CCACHE_NOHASHDIR": "1",
        # Without the directory ccache leaves out the path maps too, and would give objects in which
        # sources have the names of another mapping. Change it with them.
        "CCACHE_NAMESPACE": "names-of-the-tree-2",
        "CCACHE_MAXSIZE": "5G",
        # Taking dependencies from the compiler alone would be faster, but only a preprocessing of
        # its own shows ccache an .incbin, and the image is one: an old kernel in a new wrapping.
        "CCACHE_NODEPEND": "1",
    }


def make_arguments(source: Path, objects: Path, cc: str) -> list[str]:
    """Return the argv that every make call in a slot begins with; *cc* compiles."""
    # Debug information and __FILE__ must not name the slot, or two slots would differ.  ccache
    # makes paths relative to the object directory where it can, and leaves them as they are
    # where it must give up (.incbin), so both spellings of the source directory are mapped.
    relative = os.path.relpath(source, objects)
    # Sources are named as the tree names them, so that messages are the same wherever it lies; of
    # several maps that fit, gcc takes the last, and what is left for the first is the root itself.
    names = {
        str(source): "linux",
        relative: "linux",
        f"{source}/": "",
        f"{relative}/": "",
        str(objects): "linux-obj",
    }
    maps = " ".join(f"-ffile-prefix-map={path}={name}" for path, name in names.items())
    return [
        "make",
        "-C",
        str(source),
        f"O={objects}",
        f"ARCH={ARCH}",
        f"CC=ccache {cc}",
        f"KCFLAGS={maps}",
        f"KAFLAGS={maps}",
        f"-j{jobs()}",
    ]

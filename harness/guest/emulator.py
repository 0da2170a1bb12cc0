# SPDX-License-Identifier: GPL-2.0-only
"""What the installed QEMU is and can do, in its own words."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import MachineError
from harness.foreign import told
from harness.proc.process import capture, find

_LIMIT_S = 20.0
"""QEMU answers in 0.1 s, but the host may be busy."""
_VERSION = re.compile(r"version (\d+)\.(\d+)")


class SevFacts(msgspec.Struct, frozen=True):
    """What an SEV guest must be told about the host's processor, as QEMU found it out.

    ``cbitpos`` is the bit of a guest page-table entry that says that a page is encrypted;
    ``reduced_phys_bits`` is how many physical address bits encryption takes away.
    """

    cbitpos: int
    reduced_phys_bits: int


class Emulator(msgspec.Struct, frozen=True):
    """A QEMU program; everything is empty where there is none."""

    path: str = ""
    version: tuple[int, int] = (0, 0)
    text: str = ""
    """First line of ``--version``."""
    objects: frozenset[str] = frozenset()
    """Types that ``-object`` creates."""
    sev: SevFacts | None = None
    sev_trouble: str = ""
    """QEMU's words where it cannot say :class:`SevFacts`."""

    @property
    def installed(self) -> bool:
        """Whether there is such a program and it runs."""
        return self.version != (0, 0)


def examine(program: str, *, sev: bool = False) -> Emulator:
    """Ask QEMU for its version and objects, in about 0.2 s; with *sev* also for the C-bit.

    Returns an empty value where the program is missing, or does not say what it is.
    """
    path = find(program)
    if path is None:
        return Emulator()
    text = _output([path, "--version"])
    version = _VERSION.search(text)
    if version is None:
        return Emulator(path=path, text=text.split("\n")[0])
    facts, trouble = _ask_sev(path) if sev else (None, "")
    return Emulator(
        path=path,
        version=(int(version[1]), int(version[2])),
        text=text.split("\n")[0],
        objects=parse_objects(_output([path, "-object", "help"])),
        sev=facts,
        sev_trouble=trouble,
    )


def parse_objects(text: str) -> frozenset[str]:
    """Return the types in the output of ``-object help``, which are its indented lines."""
    return frozenset(line.strip() for line in text.splitlines() if line.startswith("  "))


def _output(argv: list[str], given: str = "") -> str:
    try:
        done = capture(argv, stdin=given.encode(), limit_s=_LIMIT_S)
    except (OSError, MachineError):
        return ""
    return (done.stdout or done.stderr).decode(errors="replace")


def _ask_sev(path: str) -> tuple[SevFacts | None, str]:
    commands = ("qmp_capabilities", "query-sev-capabilities", "quit")
    words = "".join(f'{{"execute": "{each}"}}\n' for each in commands)
    machine = ["-machine", "none", "-accel", "kvm", "-nodefaults", "-display", "none"]
    return parse_sev(_output([path, *machine, "-qmp", "stdio"], words))


def parse_sev(replies: str) -> tuple[SevFacts | None, str]:
    """Return the C-bit from QEMU's replies to ``query-sev-capabilities``, or its complaint."""
    said = ""
    for line in replies.splitlines():
        try:
            reply: Any = msgspec.json.decode(line)
            if "error" in reply:
                return None, str(reply["error"]["desc"])
            if "cbitpos" in reply.get("return", {}):
                answer = reply["return"]
                return SevFacts(int(answer["cbitpos"]), int(answer["reduced-phys-bits"])), ""
        except (msgspec.DecodeError, AttributeError, KeyError, TypeError, ValueError):
            said = said or line
    return None, said or "it gives no answer"


def identity(program: Path) -> str:
    """Return what changes when the program is replaced, without running it.

    Raises :class:`MachineError` when it is not there.
    """
    with told("QEMU cannot be read", program):
        real = program.resolve()
        status = real.stat()
    text = f"{real} {status.st_size} {status.st_mtime_ns}"
    return hashlib.sha256(text.encode()).hexdigest()

# SPDX-License-Identifier: GPL-2.0-only
"""Checks of programs and packages: what has to be installed, and what is."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from harness.doctor.model import Check
from harness.errors import MachineError
from harness.guest.capabilities import HostFacts
from harness.proc.packages import OF_PROGRAM, install
from harness.proc.process import capture, find

DISTRIBUTION = "kernel-selftest-harness"
PACKAGES_FILE = Path(__file__).parents[2] / "packages.txt"
_SETUP = "make setup"
_GROUP = "setup"
_OLDEST_PYTHON = (3, 11)
_OLDEST_QEMU = (7, 2)
"""The oldest version that this project is tested with; older ones may work."""
_BUILD = ("bc", "bison", "flex", "gcc", "ld", "make", "readelf", "rsync", "setpriv", "tar", "xz")
"""Programs for building and packing, in addition to git and QEMU."""
_OF_PACKAGE = {**OF_PROGRAM, "readelf": "binutils", "setpriv": "util-linux"}
_LIMIT_S = 20


def checks(
    root: Path, host_facts: HostFacts, packages_file: Path = PACKAGES_FILE
) -> Iterator[Check]:
    """Check what is installed on the machine whose files are below *root*."""
    yield _debian(root, packages_file)
    yield _python()
    yield _python_packages("python-packages", "", required=True)
    yield _build_tools()
    yield _program("compiler", "gcc", "programs and kernels are built with it", required=True)
    yield _program("git", "git", "source trees and series are kept in it", required=True)
    yield _program("ccache", "ccache", "without it kernels do not build", required=True)
    yield _qemu(host_facts)
    yield _python_packages("python-dev-packages", "dev", required=False)


def wanted_packages(text: str) -> list[str]:
    """Return the Debian packages in a list file: the first column of each row."""
    lines = (line.partition("#")[0].partition("|")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def installed_packages(status: str) -> set[str]:
    """Return the installed packages according to dpkg's status file."""
    found = set()
    for block in status.split("\n\n"):
        name = re.search(r"^Package: (\S+)$", block, re.M)
        if name and re.search(r"^Status: \S+ \S+ installed$", block, re.M):
            found.add(name[1])
    return found


def _debian(root: Path, packages_file: Path) -> Check:
    """Compare the project's list with dpkg's own file: dpkg-query might be missing."""

    def check(state: str, detail: str, do: str = "", *, required: bool = True) -> Check:
        return Check(
            name="debian-packages",
            group=_GROUP,
            state="yes" if state == "yes" else "no" if state == "no" else "unknown",
            required=required,
            detail=detail,
            do=do,
        )

    try:
        wanted = wanted_packages(packages_file.read_text())
    except FileNotFoundError:
        why = "only a checkout has the list (packages.txt); the rows below name what is missing"
        return check("unknown", why, required=False)
    except OSError as error:
        return check("unknown", f"packages.txt cannot be read: {error}", required=False)
    try:
        installed = installed_packages((root / "var/lib/dpkg/status").read_text(errors="replace"))
    except OSError:
        installed = set()
    if "dpkg" not in installed:
        return check(
            "unknown",
            "this is neither Debian nor Ubuntu: dpkg does not manage its packages",
            f"{_SETUP} names what is missing, and the packages of Fedora that have it",
            required=False,
        )
    missing = [name for name in wanted if name not in installed]
    if not missing:
        return check("yes", f"all {len(wanted)} of packages.txt are installed")
    return check(
        "no",
        f"{len(missing)} of {len(wanted)} are missing: {' '.join(missing)}",
        f"{_SETUP}, or apt-get install --no-install-recommends {' '.join(missing)}",
    )


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    new = sys.version_info[:2] >= _OLDEST_PYTHON
    return Check(
        name="python",
        group=_GROUP,
        state="yes" if new else "no",
        required=True,
        detail=f"Python {version}" + ("" if new else " is older than 3.11"),
        do="" if new else "make setup PYTHON=python3.11, or a later one",
    )


def _python_packages(name: str, extra: str, *, required: bool) -> Check:
    try:
        wanted = requirements(metadata.requires(DISTRIBUTION) or [], extra)
    except metadata.PackageNotFoundError:
        return Check(
            name=name,
            group=_GROUP,
            state="unknown",
            detail="the harness is not installed, it runs from its sources",
            do=_SETUP,
        )
    missing = []
    for package, oldest in wanted.items():
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            missing.append(package)
            continue
        if _numbers(version) < _numbers(oldest):
            missing.append(f"{package} {version} (older than {oldest})")
    return Check(
        name=name,
        group=_GROUP,
        state="no" if missing else "yes",
        required=required,
        detail=f"missing: {', '.join(missing)}" if missing else f"all {len(wanted)} are installed",
        do=_SETUP if missing else "",
    )


def requirements(lines: list[str], extra: str) -> dict[str, str]:
    """Return packages and their oldest versions from a distribution's metadata.

    *extra* selects the packages of one extra; empty selects those that are always needed.
    """
    found = {}
    for line in lines:
        text, _, marker = line.partition(";")
        of = re.search(r'extra == ["\'](\w+)["\']', marker)
        if (of[1] if of else "") != extra:
            continue
        match = re.match(r"\s*([\w.-]+)\s*(?:>=\s*([\d.]+))?", text)
        if match:
            found[match[1]] = match[2] or "0"
    return found


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _build_tools() -> Check:
    missing = [name for name in _BUILD if find(name) is None]
    packages = sorted({_OF_PACKAGE[name] for name in missing})
    return Check(
        name="build-tools",
        group=_GROUP,
        state="no" if missing else "yes",
        required=True,
        detail=f"missing: {', '.join(missing)}" if missing else ", ".join(_BUILD),
        do=install(*packages) if missing else "",
    )


def _program(name: str, program: str, use: str, *, required: bool) -> Check:
    path = find(program)
    said = _first_line(path) if path else ""
    package = _OF_PACKAGE[program]
    return Check(
        name=name,
        group=_GROUP,
        state="yes" if said else "no",
        required=required,
        detail=said or f"{program} {'does not run' if path else 'is not installed'}: {use}",
        do="" if said else install(package),
    )


def _first_line(path: str) -> str:
    try:
        done = capture([path, "--version"], limit_s=_LIMIT_S)
    except (OSError, MachineError):
        return ""
    return done.stdout.decode(errors="replace").split("\n")[0].strip() if done.ok else ""


def _qemu(host_facts: HostFacts) -> Check:
    emulator = host_facts.emulator
    if not emulator.installed:
        why = f"{emulator.path} does not print its version" if emulator.path else "not installed"
        detail, do = f"qemu-system-x86_64: {why}", install("qemu-system-x86")
        return Check(name="qemu", group=_GROUP, state="no", required=True, detail=detail, do=do)
    old = emulator.version < _OLDEST_QEMU
    return Check(
        name="qemu",
        group=_GROUP,
        state="yes",
        required=True,
        detail=emulator.text + (", older than the 7.2 that this is tested with" if old else ""),
    )

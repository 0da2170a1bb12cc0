# SPDX-License-Identifier: GPL-2.0-only
"""The harness itself, packed for another machine: only Python and QEMU have to be there.

The archive has this package and the libraries that a worker imports.  One of them, msgspec, is
compiled for one version of Python: where the other machine has another version than this one, its
wheel for that version is fetched with pip.
"""

from __future__ import annotations

import functools
import io
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from harness.context import Context
from harness.digest import digest, digest_file
from harness.errors import HarnessError, MachineError
from harness.proc import environment
from harness.proc.process import check, run

PURE = ("click", "filelock", "kconfiglib", "platformdirs", "qemu.qmp", "unidiff")
COMPILED = ("msgspec",)
"""What a worker imports; a test starts one with nothing else."""
ARCHIVE = "worker.tar.gz"
_RECIPE = "1"
_PIP_S = 180.0
_PACKAGE = Path(__file__).parents[1]
_START = b"""\
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness.cli import main
main()
"""


def archive(context: Context, soabi: str, platform: str) -> tuple[Path, str]:
    """Return the archive for a Python with this *soabi* on *platform*, and its name: a digest.

    *soabi* and *platform* are what that Python's ``sysconfig`` says.  Raises MachineError where a
    wheel is needed and not available.
    """
    made = key(soabi, platform)

    def build(out: Path) -> None:
        with tarfile.open(out / ARCHIVE, "x:gz", compresslevel=6) as tar:
            _add(tar, "start.py", _START)
            for path in _sources():
                _add(tar, f"harness/{path.relative_to(_PACKAGE)}", path.read_bytes())
            for name in PURE:
                for inside, data in _installed(name):
                    _add(tar, inside, data)
            for name in COMPILED:
                here = own() == (soabi, platform)
                files = _installed(name) if here else _wheel(name, soabi, platform, out)
                for inside, data in files:
                    _add(tar, inside, data)

    return context.obtain("worker", made, build) / ARCHIVE, made


def key(soabi: str, platform: str) -> str:
    """Return the name of the archive for a Python with this *soabi* on *platform*."""
    versions = [f"{name}=={metadata.version(name)}" for name in (*PURE, *COMPILED)]
    return digest(_RECIPE, soabi, platform, *versions, sources())


@functools.cache
def sources() -> str:
    """Return the digest of all files of the harness that this process has loaded code from."""
    return digest(*(f"{path.relative_to(_PACKAGE)} {digest_file(path)}" for path in _sources()))


def own() -> tuple[str, str]:
    """Return ``soabi`` and ``platform`` of the Python that runs this."""
    return sysconfig.get_config_var("SOABI") or "", sysconfig.get_platform()


def _sources() -> list[Path]:
    return sorted(
        path
        for path in _PACKAGE.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and "__pycache__" not in path.parts
    )


def _installed(name: str) -> Iterator[tuple[str, bytes]]:
    """Yield the modules of an installed distribution, as they lie on ``sys.path``."""
    for file in metadata.distribution(name).files or ():
        path = Path(str(file.locate()))
        if ".." in file.parts or file.suffix == ".pyc" or not path.is_file():
            continue
        yield str(file), path.read_bytes()


def _wheel(name: str, soabi: str, platform: str, work: Path) -> Iterator[tuple[str, bytes]]:
    """Yield what the wheel of *name* for another Python has, of the version that is here."""
    version = metadata.version(name)
    python = soabi.split("-")[1] if soabi.startswith("cpython-") else ""
    machine = platform.rpartition("-")[2].replace(".", "_")
    failed = MachineError(
        f"the host has another Python, and no {name} for it can be had",
        where=f"{soabi}, {platform}",
        hint=f'python = "..." in its table names a Python {sys.version_info.major}.'
        f"{sys.version_info.minor} there; or make pip work here, which fetches {name}=={version}",
    )
    if not python.isdecimal():
        raise failed
    argv = [sys.executable, "-I", "-m", "pip", "download", "--quiet", "--no-deps"]
    argv += ["--disable-pip-version-check", "--only-binary=:all:", "--dest", str(work)]
    argv += ["--python-version", python, "--implementation", "cp"]
    argv += ["--platform", f"manylinux2014_{machine}", "--platform", f"manylinux_2_17_{machine}"]
    argv += ["--platform", f"manylinux_2_28_{machine}", f"{name}=={version}"]
    try:
        check(run(argv, env=environment.user(), limit_s=_PIP_S), "pip has failed")
        (wheel,) = work.glob("*.whl")
    except (HarnessError, ValueError) as error:
        failed.why = getattr(error, "why", "") or str(error)
        raise failed from None
    with zipfile.ZipFile(wheel) as file:
        for inside in file.namelist():
            yield inside, file.read(inside)
    wheel.unlink()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    tar.addfile(member, io.BytesIO(data))

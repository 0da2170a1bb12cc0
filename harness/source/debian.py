# SPDX-License-Identifier: GPL-2.0-only
"""Kernel source from a Debian package: `debian:linux-source-6.1=6.1.176-1`.

`apt-get download` needs no root, and apt has checked the archive's signature and the file's
digest.  A version that is in the cache already needs neither apt nor a network.

A later release of Debian no longer has the package, but its archive does.  A private configuration
of apt, with lists in the cache, downloads it from there.  The image of a container often has no
lists at all; then those of its own archives are fetched into the cache.  Nothing on the machine
changes, and apt checks the signatures.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

from harness.context import Context
from harness.errors import MachineError, UserError
from harness.proc.environment import network
from harness.proc.git import git, must, object_id
from harness.proc.process import check, run
from harness.source.model import bad_spec
from harness.source.repository import import_once
from harness.source.tarball import decompressor, import_tarball

_SPEC = re.compile(r"debian:(?P<package>linux-source-[0-9][a-z0-9.+-]*)(?:=(?P<version>\S+))?\Z")
_VERSION = re.compile(
    r"(?!.*\.\.)[0-9][A-Za-z0-9.+:~-]*(?<!\.)(?<!\.lock)\Z"
)  # Debian policy 5.6.12
_UPDATE = "check the network; if the archive has newer versions: apt-get update (as root)"
_SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie"}
"""The release of Debian whose archive has `linux-source-X.Y`."""
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_ARCHIVE_FIELDS = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"

Options = tuple[str, ...]
"""Options of apt that name the lists to use; empty for the machine's own."""


class _Offers(NamedTuple):
    """The versions that can be downloaded."""

    versions: list[str]
    """Newest first; empty if no archive offers the package."""
    lists: Options = ()
    """The lists that offer them."""
    why: str = ""
    """apt's errors for the lists that could not be fetched."""


def resolve_debian(spec: str, repo: Path, context: Context) -> tuple[str, str, str | None]:
    """Return the ref, the description and the note of the package *spec*, importing it if needed.

    Raises UserError for a spec that is none, MachineError when no archive has the package or
    apt fails.
    """
    match = _SPEC.match(spec)
    if match is None or (match["version"] and not _VERSION.match(match["version"])):
        raise bad_spec(
            spec, "the form is debian:linux-source-X.Y or debian:linux-source-X.Y=VERSION"
        )
    package, wanted = match["package"], match["version"]
    version, note = wanted, None
    lists: Options = ()
    if wanted is None:
        version, note, lists = _newest(package, repo, context)
    elif object_id(repo, _ref(package, wanted)) is None:
        offers = _offers(package, context)
        lists = offers.lists
        if not offers.versions:
            raise _nowhere(package, spec, offers.why)
        if wanted not in offers.versions:
            version = offers.versions[0]
            note = f"{package} {wanted} is no longer in the archive; {version} is used instead"
    assert version is not None  # noqa: S101  it is the wanted one, or one that was found
    ref = _ref(package, version)
    import_once(
        repo,
        ref,
        lambda: _download_and_import(package, version, lists, spec, repo, ref, context),
        context,
    )
    return ref, f"Debian {package} {version}", note


def available(package: str, lists: Options = ()) -> list[str]:
    """Return the versions that apt's lists offer, newest first; empty if there are none.

    No network is used.  A machine without apt offers nothing.
    """
    try:
        done = run(["apt-cache", *lists, "madison", package], limit_s=60)
    except MachineError:
        return []
    rows = [line.split("|") for line in done.output.splitlines()]
    return list(dict.fromkeys(r[1].strip() for r in rows if len(r) == 3 and "Packages" in r[2]))


def _offers(package: str, context: Context) -> _Offers:
    """Return the versions that can be downloaded, and the lists that offer them.

    The machine's own lists come first.  If it has none, those of its archives are fetched.
    If they lack the package, the lists of the release of Debian that has it are fetched, from the
    same archive.
    """
    offered = available(package)
    if offered:
        return _Offers(offered)
    targets, failures = _targets(), []
    if not targets and shutil.which("apt-get"):
        lists = _private_lists(context.store.place("apt") / "own")
        failures += _update(lists, "apt-own", "Reading the lists of apt's archives", context)
        offered = available(package, lists)
        if offered:
            return _Offers(offered, lists)
        targets = _targets(lists)
    suite = _SUITES.get(package.removeprefix("linux-source-"))
    if suite is not None and _KEYRING.is_file():
        for archive in _archives(targets):
            lists = _lists_of(archive, suite, context.store.place("apt") / suite)
            failures += _update(lists, f"apt-{suite}", f"Reading Debian {suite}", context)
            # Older lists are good enough if there are no newer ones.
            offered = available(package, lists)
            if offered:
                return _Offers(offered, lists)
    return _Offers([], (), "\n".join(failures))


def _update(lists: Options, lock: str, what: str, context: Context) -> list[str]:
    """Fetch *lists*; return apt's errors, none if all were fetched."""
    with context.lock(lock), context.step(what) as step:
        # Without this option apt ignores a server that it cannot reach, and ends with 0.
        argv = ["apt-get", *lists, "-o", "APT::Update::Error-Mode=any", "update"]
        updated = run(argv, env=network(), limit_s=600)
        if updated.ok:
            return []
        step.result("apt-get update failed")
        return [_complaints(updated.output)]


def _complaints(output: str) -> str:
    """Return the errors in *output* of apt, without its progress; all of it if there are none."""
    lines = output.splitlines()
    return "\n".join([line for line in lines if line.startswith("E: ")] or lines[-15:])


def _targets(lists: Options = ()) -> list[list[str]]:
    """Return origin, label and URL of each archive that this machine's apt has *lists* of."""
    fields = ("--format", _ARCHIVE_FIELDS, "Identifier: Packages")
    try:
        done = run(["apt-get", *lists, "indextargets", *fields], limit_s=60)
    except MachineError:
        return []
    return [line.split("|", 2) for line in done.output.splitlines()] if done.ok else []


def _archives(targets: list[list[str]]) -> list[str]:
    """Return the URLs of the archives of Debian among *targets*."""
    # Debian's security archive has the label Debian-Security, and other suites.
    return list(dict.fromkeys(row[2] for row in targets if row[:2] == ["Debian", "Debian"]))


def _lists_of(archive: str, suite: str, place: Path) -> Options:
    """Return the options with which apt uses only *suite* of *archive*; lists go to *place*."""
    options = _private_lists(place)
    sources = place / "sources.list"
    sources.write_text(f"deb [signed-by={_KEYRING}] {archive} {suite} main\n")
    options += _set("Dir::Etc::SourceList", str(sources))
    return options + _set("Dir::Etc::SourceParts", "-")


def _private_lists(place: Path) -> Options:
    """Return the options with which apt keeps its lists in *place*, where no root is needed."""
    for name in ("lists/partial", "cache/archives/partial"):
        (place / name).mkdir(parents=True, exist_ok=True)
    return (
        *_set("Dir::State::Lists", str(place / "lists")),
        *_set("Dir::Cache", str(place / "cache")),
        *_set("Acquire::Languages", "none"),
        # The cache may be closed to apt's own user, to which it would change as root.
        *_set("APT::Sandbox::User", ""),
    )


def _set(key: str, value: str) -> Options:
    return ("-o", f"{key}={value}")


def _newest(package: str, repo: Path, context: Context) -> tuple[str, str | None, Options]:
    """Return the newest version that apt offers or, without apt, that is in the cache."""
    offers = _offers(package, context)
    if offers.versions:
        return offers.versions[0], None, offers.lists
    names = must(
        git(
            "for-each-ref",
            "--sort=-version:refname",
            "--format=%(refname)",
            f"refs/sources/debian/{package}/",
            repo=repo,
        ),
        "the cache's git repository cannot be read",
    ).text.splitlines()
    if not names:
        raise _nowhere(package, f"debian:{package}", offers.why)
    version = names[0].rsplit("/", 1)[1].replace("%7E", "~").replace("%3A", ":")
    return version, f"apt offers no {package}; {version} from the cache is used", ()


def _download_and_import(
    package: str,
    version: str,
    lists: Options,
    spec: str,
    repo: Path,
    ref: str,
    context: Context,
) -> None:
    with context.store.scratch("debian") as scratch:
        name = f"{package} {version}"
        with context.step(f"Downloading {name}") as step:

            def show(line: str) -> None:
                # dlstatus:1:80.0000:Retrieving file 1 of 1
                if line.startswith("dlstatus:"):
                    step.update(done=int(float(line.split(":")[2])), total=100)

            done = run(
                ["apt-get", *lists, "download", "-o", "APT::Status-Fd=1", f"{package}={version}"],
                cwd=scratch,
                env=network(),
                limit_s=3600,
                on_line=show,
            )
            if not done.ok:
                raise MachineError(
                    f"{name} could not be downloaded",
                    where=" ".join(done.argv),
                    why=_complaints(done.output),
                    hint=_UPDATE,
                )
        packages = list(scratch.glob("*.deb"))
        if len(packages) != 1:
            raise MachineError("apt-get download left no package", where=name, why=done.output)
        with context.step(f"Importing {name} into git") as step:
            step.update("unpacking")
            check(
                run(["dpkg-deb", "-x", str(packages[0]), str(scratch / "root")], limit_s=600),
                f"{name} could not be unpacked",
            )
            packages[0].unlink()
            for tarball in sorted((scratch / "root/usr/src").glob(f"{package}.tar*")):
                if decompressor(tarball):
                    import_tarball(tarball, repo, ref, spec, step)
                    return
        raise UserError(
            f"{name} has no kernel source",
            where=spec,
            why=f"there is no usr/src/{package}.tar.xz in it",
        )


def _ref(package: str, version: str) -> str:
    # "~" and ":" are the two characters of a Debian version that a ref may not have.
    quoted = version.replace("~", "%7E").replace(":", "%3A")
    return f"refs/sources/debian/{package}/{quoted}"


def _nowhere(package: str, spec: str, why: str) -> MachineError:
    return MachineError(
        f"apt offers no package {package}",
        where=spec,
        why=why
        or "its name is wrong, or apt's lists are empty, or this machine has no Debian archive",
        hint=_UPDATE,
    )

# SPDX-License-Identifier: GPL-2.0-only
"""A tarball from a URL, named by the SHA-256 of its bytes.

    https://cdn.kernel.org/pub/linux/kernel/v6.x/linux-6.1.176.tar.xz#sha256=aa1977...

A download with another digest is refused, whatever the server sends.  A tarball in the cache needs
no network.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from harness.context import Context
from harness.digest import digest_file
from harness.errors import MachineError
from harness.progress import Step
from harness.source.model import bad_spec
from harness.source.repository import import_once
from harness.source.tarball import decompressor, import_tarball

_DIGEST = re.compile(r"sha256=([0-9a-f]{64})\Z")
_SILENCE_S = 30.0
"""Seconds without data after which a download fails."""
_CHUNK = 1 << 18


def is_tarball_url(url: str) -> bool:
    """Return whether *url* is a web address whose path ends like a tarball's name."""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and decompressor(Path(parts.path)) is not None


def resolve_download(
    url: str, fragment: str, spec: str, repo: Path, context: Context
) -> tuple[str, str, str | None]:
    """Return the ref, the description and no note of the tarball at *url*, importing it if needed.

    *fragment* is the text after the "#".  Raises UserError if it has no SHA-256, MachineError if
    the server cannot be reached or sends something else.
    """
    match = _DIGEST.match(fragment)
    if match is None:
        raise bad_spec(
            spec, "a tarball's URL ends in #sha256= and 64 hex digits, as `sha256sum FILE` prints"
        )
    wanted = match[1]
    name = PurePosixPath(urlsplit(url).path).name
    ref = f"refs/sources/tarball/{wanted}"

    def build() -> None:
        with context.store.scratch("download") as scratch:
            file = scratch / name
            with context.step(f"Downloading {name}") as step:
                _fetch(url, file, step)
            found = digest_file(file)
            if found != wanted:
                raise MachineError(
                    f"{name} is not the requested file",
                    where=url,
                    why=f"its SHA-256 is {found}, not {wanted}",
                    hint="do not use it before you know why; the digest may be mistyped",
                )
            with context.step(f"Importing {name} into git") as step:
                import_tarball(file, repo, ref, spec, step)

    import_once(repo, ref, build, context)
    return ref, f"{name} from {urlsplit(url).hostname}, sha256 {wanted[:12]}", None


def _fetch(url: str, file: Path, step: Step) -> None:
    """Write what *url* returns to *file*; proxies of the environment are used."""
    # Loaded here, as each run would have to wait for them, and few download anything.
    import http.client
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=_SILENCE_S) as answer, file.open("wb") as out:  # noqa: S310  http(s) only, see is_tarball_url()
            length = answer.headers.get("Content-Length", "")
            total = int(length) if length.isdigit() else None
            done = 0
            while chunk := answer.read(_CHUNK):
                out.write(chunk)
                done += len(chunk)
                step.update(f"{done >> 20} MiB", done=done, total=total)
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        TimeoutError,
        ConnectionError,
    ) as error:
        raise MachineError(
            f"{file.name} could not be downloaded",
            where=url,
            why=str(getattr(error, "reason", "") or error or type(error).__name__),
            hint="check the network, or fetch the file yourself and name it: --source FILE",
        ) from error
    if total is not None and done != total:
        raise MachineError(
            f"the download of {file.name} was cut off",
            where=url,
            why=f"{done} of {total} bytes arrived",
            hint="try again",
        )

# SPDX-License-Identifier: GPL-2.0-only
"""How fast threads are read, and how much memory a large mailbox takes."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.errors import MachineError
from harness.model.spec import KernelSpec
from harness.proc.process import capture
from harness.progress import Progress
from harness.run.request import Request
from harness.series import Series
from tools.bench.figures import Figure
from tools.bench.measured import OneStage
from tools.bench.reader import Reading

SERIES = "v10"
THREADS = 1000
THREADS_A_MINUTE = 1000.0
MAILBOX_BYTES = 100 << 20
FLAT_RATIO = 1.5
"""How much more memory a mailbox of ten times the size may take: of each mail, headers are kept."""
_LIMIT_S = 1800.0


@dataclass(frozen=True)
class ReadingBench(OneStage):
    """Reads many threads, and a mailbox of much besides the series that is in it."""

    title = "reading threads"

    request: Request
    progress: Progress

    def _measure(self) -> tuple[Figure, ...]:
        posted = self.request.stack(KernelSpec(series=(SERIES,))).series[0]
        with tempfile.TemporaryDirectory(prefix="harness-bench-") as name:
            scratch = Path(name)
            files = list(_write_threads(posted, scratch))
            with self.progress.step(f"Reading {len(files)} threads"):
                many = _read(files)
            sizes = []
            for size in (MAILBOX_BYTES // 10, MAILBOX_BYTES):
                path = scratch / "large.mbox"
                _write_mailbox(posted, path, size)
                with self.progress.step(f"Reading a mailbox of {size >> 20} MiB"):
                    sizes.append(_read([path]))
        rate = 60 * many.threads / many.seconds
        small, large = sizes
        return (
            Figure(
                name="threads read in a minute of one processor",
                value=rate,
                unit="",
                bound=f">= {THREADS_A_MINUTE:g}",
                reached=rate >= THREADS_A_MINUTE,
                note=f"{many.patches} patches in {many.threads} threads",
            ),
            Figure(
                name="memory to read a mailbox of 100 MiB, against one of 10 MiB",
                value=large.kib / small.kib,
                unit="times as much",
                bound=f"<= {FLAT_RATIO:g}",
                reached=large.kib <= FLAT_RATIO * small.kib,
                note=f"{large.kib >> 10} MiB, {large.seconds:.1f} s",
            ),
        )


def _read(files: Sequence[Path]) -> Reading:
    """Read *files* in a process of its own."""
    done = capture(
        [sys.executable, "-m", "tools.bench.reader"],
        stdin="\n".join(map(str, files)).encode(),
        limit_s=_LIMIT_S,
    )
    if not done.ok:
        raise MachineError("threads cannot be read", why=done.stderr.decode(errors="replace"))
    return msgspec.json.decode(done.stdout, type=Reading)


def _write_threads(posted: Series, directory: Path) -> Iterator[Path]:
    """Write threads: of ten, one has the whole series and the others one patch; with replies."""
    for number in range(THREADS):
        patches = list(posted.patches)
        if number % 10:
            patches = [patches[number % len(patches)]]
        path = directory / f"{number:04}.mbox"
        with path.open("wb") as file:
            for place, patch in enumerate(patches, 1):
                name = f"{number}-{place}@example.org"
                subject = f"[PATCH {place}/{len(patches)}] {patch.subject}"
                first = f"{number}-1@example.org" if place > 1 else ""
                file.write(_mail(patch.data, subject, name, first))
                quoted = b"".join(b"> " + row for row in patch.data.splitlines(keepends=True))
                for reply in range(2):
                    head = b"Subject: x\n\n" + quoted + b"\nI have read this.\n"
                    file.write(_mail(head, f"Re: {subject}", f"{reply}-{name}", name))
        yield path


def _write_mailbox(posted: Series, path: Path, size: int) -> None:
    """Write a mailbox of about *size* bytes: the series, and between its patches other mail."""
    total, between = len(posted.patches), size // (len(posted.patches) + 1)
    talk = b"Subject: x\n\n" + b"Much is said of this on the list, and more below.\n" * 200
    with path.open("wb") as file:
        for place, patch in enumerate(posted.patches, 1):
            end = file.tell() + between
            while file.tell() < end:
                file.write(_mail(talk, "Re: something else", f"{file.tell()}@example.org", ""))
            name = "1-1@example.org" if place > 1 else ""
            subject = f"[PATCH {place}/{total}] {patch.subject}"
            file.write(_mail(patch.data, subject, f"1-{place}@example.org", name))


def _mail(data: bytes, subject: str, name: str, answers: str) -> bytes:
    """Return a patch's text as a mail of an mboxrd, with these headers."""
    text = data.partition(b"\n\n")[2].replace(b"\nFrom ", b"\n>From ")
    head = ["From mboxrd@z Thu Jan  1 00:00:00 1970", "From: A Developer <a@example.org>"]
    head += ["Date: Tue, 14 Nov 2023 22:13:20 +0000", f"Subject: {subject}"]
    head += [f"Message-ID: <{name}>", *([f"In-Reply-To: <{answers}>"] if answers else [])]
    return "\n".join(head).encode() + b"\n\n" + text + b"\n"

# SPDX-License-Identifier: GPL-2.0-only
"""Mails about patches of the fake kernel, and the many ways in which they are sent and kept."""

from __future__ import annotations

import base64
import bz2
import gzip
import lzma
import quopri
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

ADA = "Ada Example <ada@example.org>"
BOB = "Bob Other <bob@example.org>"
DAY = 86400.0
NO_DATE = "946684800 +0000 946684800 +0000"
"""Both dates of the commit of a mail without one, as git's format RAW_DATES has them."""
RAW_DATES = ("--date=raw", "--format=%ad %cd")
"""ISO dates would depend on git's version: Z or +00:00."""


def diff(number: int, new: str = "") -> str:
    """Return a diff of function *number* (3 to 9) of mm/memory.c."""
    return (
        "diff --git a/mm/memory.c b/mm/memory.c\n"
        "--- a/mm/memory.c\n"
        "+++ b/mm/memory.c\n"
        f"@@ -{5 * number + 3},7 +{5 * number + 3},7 @@\n"
        " \n"
        f" int memory_{number}(int a)\n"
        " {\n"
        f"-\treturn a + {number};\n"
        f"+\treturn a + {new or f'{number}{number}'};\n"
        " }\n"
        " \n"
        f" int memory_{number + 1}(int a)\n"
    )


class Letter(msgspec.Struct, frozen=True):
    """A mail that is not yet sent."""

    subject: str
    text: str
    sender: str = ADA
    message_id: str = ""
    answers: str = ""
    date: str = "Tue, 14 Nov 2023 22:13:20 +0000"
    headers: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    """What the mail that it answers to has answered to, the oldest first."""

    def bytes(self) -> bytes:
        """Return the mail in UTF-8, as it is."""
        rows = [f"From: {self.sender}"] if self.sender else []
        rows += [f"Date: {self.date}"] if self.date else []
        rows += [f"Message-ID: <{self.message_id}>"] if self.message_id else []
        if self.answers:
            above = " ".join(f"<{each}>" for each in (*self.references, self.answers))
            rows += [f"In-Reply-To: <{self.answers}>", f"References: {above}"]
        rows += [f"Subject: {self.subject}", *self.headers]
        return ("\n".join(rows) + "\n\n" + self.text).encode(errors="surrogateescape")


def patch(
    subject: str,
    number: int,
    *,
    message_id: str = "",
    answers: str = "",
    message: str = "Why.\n",
    new: str = "",
    sender: str = ADA,
    date: str = "Tue, 14 Nov 2023 22:13:20 +0000",
) -> Letter:
    """Return a mail with a patch of function *number*."""
    text = f"{message}\nSigned-off-by: {ADA}\n---\n{diff(number, new)}-- \n2.39.5\n\n"
    return Letter(subject, text, sender, message_id, answers, date)


FUNCTIONS = (3, 5, 9, 7, 8)


class Thread(msgspec.Struct, frozen=True):
    """A series as it is posted: a cover letter, and patches that answer to it."""

    prefix: str = "PATCH"
    """With what is behind the word: ``PATCH v3``."""
    total: int = 3
    name: str = "s"
    title: str = "mm: three changes"
    new: str = ""
    sender: str = ADA
    answers: str = ""
    cover: str | None = None
    """The cover letter's subject, where it is another."""
    with_ids: bool = True
    day: int = 14
    words: str = "change"
    skip: tuple[int, ...] = ()
    prefixes: dict[int, str] = msgspec.field(default_factory=dict)

    def letters(self) -> list[Letter]:
        """Return the mails, the cover letter first."""
        identity = f"{self.name}-0@example.org" if self.with_ids else ""
        date = f"Tue, {self.day} Nov 2023 22:13:20 +0000"
        subject = self.cover or f"[{self.prefix} 0/{self.total}] {self.title}"
        text = "About it.\n\n mm/memory.c | 6 +++---\n 1 file changed, 3 insertions(+)\n"
        mails = [Letter(subject, text, self.sender, identity, self.answers, date)]
        for number in range(1, self.total + 1):
            if number in self.skip:
                continue
            prefix = self.prefixes.get(number, self.prefix)
            function = FUNCTIONS[number - 1]
            mails.append(
                patch(
                    f"[{prefix} {number}/{self.total}] mm: {self.words} {function}",
                    function,
                    message_id=f"{self.name}-{number}@example.org" if self.with_ids else "",
                    answers=identity,
                    new=self.new,
                    sender=self.sender,
                    date=date,
                )
            )
        return mails


def reply(to: Letter, text: str = "Looks good.\n", sender: str = BOB, re_: str = "Re: ") -> Letter:
    """Return an answer to a mail."""
    subject = re_ + to.subject
    return Letter(subject, text, sender, f"re-{abs(hash(text))}-{to.message_id}", to.message_id)


def _escaped(data: bytes, pattern: bytes) -> bytes:
    head, blank, body = data.partition(b"\n\n")
    return head + blank + re.sub(pattern, rb">\1", body, flags=re.M)


def _counted(data: bytes) -> bytes:
    head, _, body = data.partition(b"\n\n")
    return head + b"\nContent-Length: %d\n\n" % len(body) + body


def mboxrd(mails: Sequence[bytes]) -> bytes:
    """As public-inbox writes it: each ``From `` line gets one more ``>``."""
    line = b"From mboxrd@z Thu Jan  1 00:00:00 1970\n"
    return b"".join(line + _escaped(mail, rb"^(>*From )") + b"\n" for mail in mails)


def mboxo(mails: Sequence[bytes]) -> bytes:
    """As old mail programs write it: only bare ``From `` lines get a ``>``."""
    line = b"From ada@example.org Tue Nov 14 22:13:20 2023\n"
    return b"".join(line + _escaped(mail, rb"^(From )") + b"\n" for mail in mails)


def mboxcl(mails: Sequence[bytes]) -> bytes:
    """With the length of the escaped text."""
    line = b"From ada@example.org Tue Nov 14 22:13:20 2023\n"
    return b"".join(line + _counted(_escaped(m, rb"^(From )")) + b"\n" for m in mails)


def mboxcl2(mails: Sequence[bytes]) -> bytes:
    """With the length, and nothing escaped."""
    line = b"From ada@example.org Tue Nov 14 22:13:20 2023\n"
    return b"".join(line + _counted(mail) + b"\n" for mail in mails)


MBOXES: dict[str, Callable[[Sequence[bytes]], bytes]] = {
    "mboxrd": mboxrd,
    "mboxo": mboxo,
    "mboxcl": mboxcl,
    "mboxcl2": mboxcl2,
}


def _keep_in_directory(mails: Sequence[bytes], path: Path) -> Path:
    path.mkdir()
    for number, mail in enumerate(mails):
        (path / f"{number}.eml").write_bytes(mail)
    return path


def _keep_in_maildir(mails: Sequence[bytes], path: Path) -> Path:
    for name in ("cur", "new", "tmp"):
        (path / name).mkdir(parents=True)
    for number, mail in enumerate(mails):
        seen = number % 2
        name = f"17957346{number:02}.M1P1Q{number}.host" + (":2,S" if seen else "")
        (path / ("cur" if seen else "new") / name).write_bytes(mail)
    return path


def _keep_in_file(pack: Callable[[bytes], bytes]) -> Callable[[Sequence[bytes], Path], Path]:
    def keep(mails: Sequence[bytes], path: Path) -> Path:
        path.write_bytes(pack(mboxrd(mails)))
        return path

    return keep


STORES: dict[str, Callable[[Sequence[bytes], Path], Path]] = {
    "directory": _keep_in_directory,
    "maildir": _keep_in_maildir,
    "mbox": _keep_in_file(lambda data: data),
    "gzip": _keep_in_file(gzip.compress),
    "xz": _keep_in_file(lzma.compress),
    "bzip2": _keep_in_file(bz2.compress),
    "utf-8 with a byte order mark": _keep_in_file(lambda data: b"\xef\xbb\xbf" + data),
    "utf-16": _keep_in_file(lambda data: data.decode().replace("\n", "\r\n").encode("utf-16")),
    "crlf": _keep_in_file(lambda data: data.replace(b"\n", b"\r\n")),
}


def _with(letter: Letter, kind: str, encoding: str, body: bytes) -> bytes:
    headers = (
        "MIME-Version: 1.0",
        f"Content-Type: {kind}",
        f"Content-Transfer-Encoding: {encoding}",
    )
    head = msgspec.structs.replace(letter, text="", headers=(*letter.headers, *headers)).bytes()
    return head + body


def _flowed(text: str) -> str:
    rows = []
    for row in text.split("\n"):
        stuffed = f" {row}" if row.startswith((" ", ">", "From ")) else row
        rows.append(stuffed if row == "-- " else stuffed.rstrip(" "))
    return "\n".join(rows)


def _attached(letter: Letter, kind: str, *, as_mail: bool) -> bytes:
    message, mark, rest = letter.text.partition("---\n")
    part = letter.bytes() if as_mail else rest.encode()
    if as_mail:
        part = b"From " + b"0" * 40 + b" Mon Sep 17 00:00:00 2001\n" + part
        message = "See the attachment.\n"
    del mark
    body = (
        b"--=_b\nContent-Type: text/plain; charset=utf-8\n\n"
        + message.encode()
        + b"\n--=_b\nContent-Type: "
        + kind.encode()
        + b'; name="a.patch"\nContent-Disposition: attachment; filename="a.patch"\n'
        + b"Content-Transfer-Encoding: base64\n\n"
        + base64.encodebytes(part)
        + b"\n--=_b--\n"
    )
    return _with(letter, 'multipart/mixed; boundary="=_b"', "7bit", body)


def _mixed(letter: Letter) -> bytes:
    body = (
        b'--=_b\nContent-Type: multipart/alternative; boundary="=_c"\n\n'
        b"--=_c\nContent-Type: text/plain; charset=utf-8\n"
        b"Content-Transfer-Encoding: quoted-printable\n\n"
        + quopri.encodestring(letter.text.encode())
        + b"\n--=_c\nContent-Type: text/html\n\n<pre>+++ b/x\n@@ -1 +1 @@</pre>\n--=_c--\n--=_b--\n"
    )
    return _with(letter, 'multipart/mixed; boundary="=_b"', "8bit", body)


SENDINGS: dict[str, Callable[[Letter], bytes]] = {
    "as it is": Letter.bytes,
    "8bit": lambda m: _with(m, "text/plain; charset=UTF-8", "8bit", m.text.encode()),
    "latin-1": lambda m: _with(
        m, "text/plain; charset=iso-8859-1", "8bit", m.text.encode("iso-8859-1")
    ),
    "quoted-printable": lambda m: _with(
        m, "text/plain; charset=utf-8", "quoted-printable", quopri.encodestring(m.text.encode())
    ),
    "quoted-printable, windows-1252": lambda m: _with(
        m,
        "text/plain; charset=windows-1252",
        "Quoted-Printable",
        quopri.encodestring(m.text.encode("windows-1252")),
    ),
    "base64": lambda m: _with(
        m, "text/plain; charset=utf-8", "base64", base64.encodebytes(m.text.encode())
    ),
    "base64, crlf": lambda m: _with(
        m,
        "text/plain; charset=utf-8",
        "BASE64",
        base64.encodebytes(m.text.replace("\n", "\r\n").encode()),
    ),
    "base64 without its padding": lambda m: _with(
        m, "text/plain; charset=utf-8", "base64", base64.encodebytes(m.text.encode()).rstrip(b"=\n")
    ),
    "base64 with blanks and blank lines": lambda m: _with(
        m,
        "text/plain; charset=utf-8",
        "base64",
        base64.encodebytes(m.text.encode()).replace(b"\n", b" \n\n", 2),
    ),
    "as it is, and declared as base64": lambda m: _with(
        m, "text/plain; charset=utf-8", "base64", m.text.encode()
    ),
    "base64 with a list's footer": lambda m: _with(
        m,
        "text/plain; charset=utf-8",
        "base64",
        base64.encodebytes(m.text.encode()) + b"\n___\na-list mailing list\n",
    ),
    "flowed": lambda m: _with(
        m, "text/plain; charset=utf-8; format=flowed", "8bit", _flowed(m.text).encode()
    ),
    "flowed, as it says, and is not": lambda m: _with(
        m, "text/plain; charset=utf-8; format=flowed", "8bit", m.text.encode()
    ),
    "a diff attached": lambda m: _attached(m, "text/x-patch", as_mail=False),
    "a mail attached": lambda m: _attached(m, "text/x-patch", as_mail=True),
    "attached as octets": lambda m: _attached(m, "application/octet-stream", as_mail=True),
    "alternatives": _mixed,
}

# SPDX-License-Identifier: GPL-2.0-only
"""The one map of foreign errors: what the machine did is told, and no fault is hidden."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import filelock
import msgspec
import pytest

from harness.errors import HarnessError, MachineError, UserError
from harness.foreign import in_output, of_os, told, translate
from harness.run.schedule import _first

pytestmark = pytest.mark.unit

WORDS = {
    errno.ENOSPC: "no space",
    errno.EDQUOT: "quota",
    errno.EFBIG: "larger than is allowed",
    errno.EROFS: "read-only",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.EMFILE: "too many files",
    errno.ENFILE: "too many files",
    errno.ENOMEM: "memory",
    errno.EAGAIN: "process",
    errno.EIO: "failed",
    errno.ENOENT: "does not exist",
    errno.ENOTDIR: "path",
    errno.ENAMETOOLONG: "too long",
    errno.ESTALE: "file system",
    errno.ENOLCK: "file system",
    errno.EPIPE: "pipe",
    errno.ENOKEY: "system call",
}


@pytest.mark.parametrize("number", WORDS, ids=errno.errorcode.get)
def test_what_the_operating_system_refuses_is_the_machines(number: int, tmp_path: Path) -> None:
    path = tmp_path / "below" / "file"
    found = translate(OSError(number, os.strerror(number), str(path)))
    assert isinstance(found, MachineError)
    assert WORDS[number] in found.what
    assert found.where == str(path)
    assert os.strerror(number) in found.why
    assert found.hint or number == errno.ENOKEY


def test_whose_a_directory_is_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o705)
    found = of_os(PermissionError(errno.EACCES, "Permission denied", f"{tmp_path}/a/b"))
    assert f"{tmp_path} belongs to " in found.why
    assert "mode 0705" in found.why


def test_a_current_directory_that_was_removed() -> None:
    found = translate(FileNotFoundError(errno.ENOENT, "No such file or directory"))
    assert found is not None
    assert found.where == "the current directory"


@pytest.mark.parametrize(
    ("kind", "number", "wanted", "what", "hint"),
    [
        (MachineError, errno.EDQUOT, MachineError, "the disk quota is used up", "HARNESS_CACHE"),
        # A full disk is not the user's fault, whoever has named the path.
        (UserError, errno.EDQUOT, MachineError, "the disk quota is used up", "HARNESS_CACHE"),
        (UserError, errno.ENOTDIR, UserError, "a path cannot be used", "name another"),
    ],
)
def test_a_room_says_what_it_was_doing(
    kind: type[HarnessError], number: int, wanted: type[HarnessError], what: str, hint: str
) -> None:
    with (
        pytest.raises(wanted) as caught,
        told("it cannot be written", "/there", kind=kind, hint="name another"),
    ):
        raise OSError(number, os.strerror(number))
    assert caught.value.what == f"it cannot be written: {what}"
    assert caught.value.where == "/there"
    assert hint in caught.value.hint


def undecodable() -> Exception:
    try:
        b"\xff".decode()
    except UnicodeDecodeError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (filelock.Timeout("/cache/locks/x.lock"), "lock"),
        (NotImplementedError("FileSystem does not appear to support flock"), "file system"),
        (msgspec.ValidationError("Expected `int`"), "has been changed"),
        (msgspec.DecodeError("JSON is malformed"), "has been changed"),
        (undecodable(), "UTF-8"),
        (subprocess.CalledProcessError(1, ["git", "gc"]), "program"),
        (subprocess.TimeoutExpired("git", 5), "program"),
        (MemoryError(), "memory"),
        (RuntimeError("Could not determine home directory."), "home directory"),
        (RuntimeError("can't start new thread"), "process"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_of_libraries(error: Exception, words: str) -> None:
    found = translate(error)
    assert isinstance(found, MachineError)
    assert words in found.what
    assert found.why or found.hint


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError(),
        KeyError("x"),
        OSError("without a number"),
        OSError(errno.EBADF, "Bad file descriptor"),
        RuntimeError("whatever"),
        NotImplementedError(),
        ExceptionGroup("", [KeyError("x")]),
    ],
    ids=lambda value: repr(value),
)
def test_a_fault_of_the_harness_is_none_of_the_machines(error: Exception) -> None:
    assert translate(error) is None


def test_a_group_is_told_by_what_it_holds() -> None:
    inner = MachineError("QEMU is gone")
    group = ExceptionGroup("", [ExceptionGroup("", [inner]), MachineError("the second")])
    assert translate(group) is inner
    assert _first(group) is inner
    fault = KeyError("x")
    assert _first(ExceptionGroup("", [inner, ExceptionGroup("", [fault])])) is fault


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE]
)
def test_what_a_program_says_of_the_machine(number: int) -> None:
    found = in_output(f"cc1: fatal error: a.o: {os.strerror(number)}\nmake: Error 1", "/obj")
    assert found is not None
    assert WORDS[number] in found.what
    assert in_output("a.c:1: error: expected ';'", "/obj") is None


def test_a_compiler_that_is_killed_for_the_size_of_its_file() -> None:
    found = in_output("make: *** [a.o] File size limit exceeded (core dumped)", "/obj")
    assert found is not None
    assert WORDS[errno.EFBIG] in found.what

# SPDX-License-Identifier: GPL-2.0-only
"""Makes programs write their standard output line by line, also into a pipe.

The C library writes a block at a time to a pipe.  fork() copies what waits in that block, and both
processes write it at their end: each result is reported twice.  The kernel's own runner sets line
buffers from outside, by preloading a library, which a static program does not take.  So each
program that gcc links gets a constructor that sets them, static or not; a program that sets
buffers of its own, later, has those.
"""

from __future__ import annotations

from pathlib import Path

from harness.proc.process import check, run

# Without headers, so that it compiles for 32 bits where their headers are not installed.
_SOURCE = """\
struct _IO_FILE;
extern struct _IO_FILE *stdout;
int setvbuf(struct _IO_FILE *, char *, int, unsigned long);

static void __attribute__((constructor)) write_by_line(void)
{
	setvbuf(stdout, 0, 1 /* _IOLBF */, 0);
}
"""
# Beside the C library's start files: so neither in a shared library nor where there is no library.
_SPECS = """\
*startfile:
+ %{!shared:%{!nodefaultlibs:%{!nolibc:%{m32:line-buffers-32.o%s;mx32:;:line-buffers.o%s}}}}

"""


def line_buffers(into: Path) -> list[str]:
    """Write the files for gcc to the new directory *into*; return the options for gcc."""
    into.mkdir()
    source = into / "line-buffers.c"
    source.write_text(_SOURCE)
    for bits, name in (("-m64", "line-buffers.o"), ("-m32", "line-buffers-32.o")):
        argv = ["gcc", bits, "-O2", "-fPIC", "-c", str(source), "-o", str(into / name)]
        check(run(argv, limit_s=60), "gcc does not compile")
    # Not "specs": gcc would read that by itself, in place of its own.
    (into / "line-buffers.specs").write_text(_SPECS)
    return [f"-B{into}", f"-specs={into / 'line-buffers.specs'}"]

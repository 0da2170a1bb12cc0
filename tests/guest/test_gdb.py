# SPDX-License-Identifier: GPL-2.0-only
"""What gdb is told to do for ``--until``, and how it is understood."""

from __future__ import annotations

import pytest

from harness.errors import UserError
from harness.guest import gdb
from harness.guest.gdb import Found, Until

pytestmark = pytest.mark.unit
WRITE = Until("write", "record.limit")
SAID = """@connect
0xffffffff8133ecde in virtqueue_get_buf_ctx ()
@search
Hardware watchpoint 1: -location *$at

Hardware watchpoint 1: -location *$at

Old value = 778333793
New value = 4096
replay_rename (name=..., length=20) at kernel/harness_replay.c:29
29\t\t\treplay_record.name[i] = name[i];
@before
$1 = 4096
@place
#0  replay_rename (length=20) at kernel/harness_replay.c:29
29\t\t\treplay_record.name[i] = name[i];
@code
=> 0xffffffff810c9d1e <replay_rename+14>:\tmov    %cl,-0x7e24cfa0(%rax)
@stack
#0  replay_rename (length=20) at kernel/harness_replay.c:29
#1  replay_write (file=0x1) at kernel/harness_replay.c:42
(More stack frames follow...)
@after
$2 = 4147
@end
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write record.limit", WRITE),
        ("  write   record.limit ", WRITE),
        ("write *(int *)0xffff", Until("write", "*(int *)0xffff")),
        ("call do_exit", Until("call", "do_exit")),
    ],
)
def test_what_is_looked_for_is_read(text: str, expected: Until) -> None:
    assert Until.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "write", "write ", "read x", "x", "write x\nshell rm", "writex"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="not said how far"):
        Until.parse(text)


def test_a_call_is_a_stop_at_the_first_instruction() -> None:
    assert Until("call", "do_exit").commands[0] == "break *do_exit"
    # What says where it is itself.
    assert (
        Until("call", "kernel/fork.c:kernel_clone")
        .commands[0]
        .endswith("break kernel/fork.c:kernel_clone")
    )
    assert Until("call", "*0xffff").commands[0] == "break *0xffff"


def test_what_gdb_says_is_understood() -> None:
    found = gdb.read(SAID, "", WRITE, 4711)
    assert found == Found(
        count=4711,
        code="0xffffffff810c9d1e <replay_rename+14>: mov %cl,-0x7e24cfa0(%rax)",
        stack=(
            "#0  replay_rename (length=20) at kernel/harness_replay.c:29",
            "#1  replay_write (file=0x1) at kernel/harness_replay.c:42",
        ),
        before="4096",
        after="4147",
    )


def test_frames_of_programs_are_left_out() -> None:
    for more in (
        "#2  0x0000000000483742 in ?? ()\n#3  0x0000000000483742 in ?? ()\n@after",
        "#2  0xff in entry_SYSCALL_64 () at x.S:121\n#3  0x1 in fixed_percpu_data ()\n@after",
    ):
        said = SAID.replace("(More stack frames follow...)\n@after", more)
        found = [line[:2] for line in gdb.read(said, "", WRITE, 1).stack]
        assert found == ["#0", "#1", "#2"][: 3 if "entry" in more else 2]
    # Where it stands in a program, that is all there is.
    alone = SAID.replace("#0  replay_rename (length=20)", "#0  0x4711 in ?? ()\n#1  x ()")
    assert gdb.read(alone, "", WRITE, 1).stack[0] == "#0  0x4711 in ?? ()"


def test_of_errors_what_is_wrong_is_told() -> None:
    errors = (
        "691\tarch/x86/include/asm/idtentry.h: No such file or directory.\n"
        "/tmp/x/commands:7: Error in sourced command file:\n"
        'No symbol "no_such" in current context.\n'
    )
    with pytest.raises(UserError, match="does not find the last write") as told:
        gdb.read("@connect\n@search\n", errors, WRITE, 0)
    assert told.value.why == 'No symbol "no_such" in current context.'


def test_a_value_that_is_never_written_is_told() -> None:
    said = "@connect\n@search\n\nNo more reverse-execution history.\n@before\n$1 = 3\n@end\n"
    with pytest.raises(UserError, match=r"no write of record\.limit"):
        gdb.read(said, "", WRITE, 0)


@pytest.mark.parametrize(
    ("errors", "hint"),
    [
        (
            '/t/commands:6: Error in sourced command file:\nNo symbol "record" in current context.',
            "",
        ),
        ("/t/c:6: Error in sourced command file:\n'record' has unknown type; cast it", "cast"),
    ],
)
def test_an_expression_that_names_nothing_is_told(errors: str, hint: str) -> None:
    with pytest.raises(UserError) as error:
        gdb.read("@connect\n@search\n", errors, WRITE, 0)
    assert error.value.why == errors.splitlines()[-1]
    assert hint in error.value.hint


def test_a_write_is_watched_where_it_is_at_the_end() -> None:
    lines = gdb.script("/t/gdb", WRITE).splitlines()
    assert lines.index("target remote /t/gdb") < lines.index("set $at = &(record.limit)")
    assert lines.index("watch -location *$at") < lines.index("reverse-continue")
    assert "break *do_exit" in gdb.script("/t/gdb", Until("call", "do_exit")).splitlines()

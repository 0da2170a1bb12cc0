# SPDX-License-Identifier: GPL-2.0-only
"""Which faults a piece of C gets."""

from __future__ import annotations

import pytest

from harness.mutants.plan import can_hold
from tests.mutants.code import SOURCE, changes, planned

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("if (a)\n\tg();", ["condition: a => !(a)", "call dropped: g(); => ;"]),
        ("if (!a)\n\tg();", ["condition: !a => a", "call dropped: g(); => ;"]),
        (
            "if (a < b)\n\tgoto out;",
            [
                "condition: a < b => a >= b",
                "boundary: a < b => a <= b",
                "jump dropped: goto out; => ;",
            ],
        ),
        (
            "if (a &&\n    b)\n\tbreak;",
            [
                "condition: a && b => !(a && b)",
                "condition: a && b => a",
                "condition: a && b => b",
                "jump dropped: break; => ;",
            ],
        ),
        ("x = a ? b : c;", ["assignment dropped: x = a ? b : c; => ;", "condition: a => !(a)"]),
        (
            "while (a > b)\n\tcontinue;",
            [
                "condition: a > b => 0",
                "boundary: a > b => a >= b",
                "condition: a > b => a <= b",
                "jump dropped: continue; => ;",
            ],
        ),
        ("while (1)\n\tg();", ["constant: 1 => 0", "call dropped: g(); => ;"]),
        ("return -ENOENT;", ["error code: -ENOENT => -EPERM", "error code: -ENOENT => 0"]),
        ("return -EPERM;", ["error code: -EPERM => -EINVAL", "error code: -EPERM => 0"]),
        ("return ERR_PTR(-EIO);", ["return value: return ERR_PTR(-EIO); => return 0;"]),
        ("return ret;", ["return value: return ret; => return 0;"]),
        ("return 0;", ["constant: return 0; => return 1;"]),
        (
            "x = 0x10UL;",
            ["assignment dropped: x = 0x10UL; => ;", "constant: x = 0x10UL => x = 0x11UL"],
        ),
        ("flags |= mask;", ["assignment dropped: flags |= mask; => ;",
                            "arithmetic: flags |= mask => flags &= mask"]),
        ("i++;", ["assignment dropped: i++; => ;", "arithmetic: i++ => i--"]),
        ("mutex_lock(&m);", ["lock dropped: mutex_lock(&m); => ;"]),
        ("fput(file);", ["reference dropped: fput(file); => ;"]),
        ("ops->done(x);", ["call dropped: ops->done(x); => ;"]),
        ("x = min(a, b);", ["assignment dropped: x = min(a, b); => ;",
                            "arithmetic: min(a, b) => max(a, b)"]),
        ("struct a b = { .c = d, .e = f };",
         ["initialiser dropped: .c = d => ", "initialiser dropped: .e = f => "]),
        ("list_for_each_entry(a, b, c)\n\tg(a);",
         ["loop dropped: list_for_each_entry(a, b, c) g(a); => ;", "call dropped: g(a); => ;"]),
    ],
)  # fmt: skip
def test_the_faults_of_a_statement(code: str, wanted: list[str]) -> None:
    found = changes(code)
    assert [each for each in found if each in wanted] == wanted
    if "ERR_PTR" not in code:
        assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize(
    "code",
    [
        'pr_warn("%d", 1 + 2);',
        "WARN_ON_ONCE(a < b);",
        "lockdep_assert_held(&m);",
        "cond_resched();",
        "BUILD_BUG_ON(sizeof(a) > 8);",
        ";",
        "int x;",
    ],
)
def test_what_only_talks_has_no_fault(code: str) -> None:
    assert changes(code) == []


def test_a_size_is_no_expression() -> None:
    assert changes("x = sizeof(a + 1);") == ["assignment dropped: x = sizeof(a + 1); => ;"]


def test_the_arguments_of_a_loop_that_is_a_macro_are_no_condition() -> None:
    found = changes("for_each_node(n) {\n\tif (n == 0)\n\t\tg(n + 1);\n}")
    assert not any("condition: n =>" in each for each in found)
    assert "condition: n == 0 => n != 0" in found
    assert "arithmetic: n + 1 => n - 1" in found


@pytest.mark.parametrize(
    ("returns", "wanted"),
    [
        ("int", ["return 0;"]),
        ("bool", ["return 0;", "return 1;"]),
        ("void", ["return;"]),
        ("struct page *", ["return (void *)0;"]),
    ],
)
def test_a_function_returns_at_once(returns: str, wanted: list[str]) -> None:
    source = f"static {returns} f(void)\n{{\n\tg();\n\th();\n}}\n".encode()
    early = [each for each in planned(source) if each.operator == "early return"]
    assert [each.text.strip() for each in early] == wanted


def test_a_bool_is_returned_either_way() -> None:
    assert changes("return g(x);", "bool") == [
        "return value: return g(x); => return 0;",
        "return value: return g(x); => return 1;",
    ]


def test_only_changed_lines_have_faults() -> None:
    lines = {each.line for each in planned(SOURCE, 17, 18)}
    assert lines == {17, 18}
    assert {each.line for each in planned(SOURCE, 1, 2)} == set()


def test_names_of_mutants_are_unique_and_independent_of_lines() -> None:
    found = planned(SOURCE)
    names = [each.name for each in found]
    assert len(set(names)) == len(names) > 50
    moved = planned(b"/* a comment */\n\n" + SOURCE)
    assert [each.name for each in moved] == names
    assert [each.line - 2 for each in moved] == [each.line for each in found]


def test_no_two_mutants_are_the_same_text() -> None:
    from harness.mutants.plan import applied

    texts = [applied(SOURCE, each) for each in planned(SOURCE)]
    assert len(set(texts)) == len(texts)
    assert SOURCE not in texts


def test_the_head_of_a_system_call_is_a_function() -> None:
    inside = {each.function for each in planned(SOURCE)}
    assert "tiny_call" in inside


def test_what_is_in_no_function_is_built_alone() -> None:
    alone = {each.before for each in planned(SOURCE) if each.alone}
    assert {".open = opened", ".close = opened"} <= alone
    assert any("bit < 8" in each for each in alone), alone
    # A static variable would be another one in a copy of the function.
    assert any(each.function == "counted" and each.alone for each in planned(SOURCE))
    assert not any(each.function == "bits" and each.alone for each in planned(SOURCE))


@pytest.mark.parametrize(
    ("path", "can"),
    [
        ("mm/memory.c", True),
        ("include/linux/mm.h", True),
        ("include/uapi/linux/kvm.h", False),
        ("arch/x86/include/uapi/asm/kvm.h", False),
        ("mm/Kconfig", False),
        ("arch/x86/entry/entry_64.S", False),
        ('mm/a".c', False),
        ("mm/a\\n.c", False),
        ("mm/\u00fc.c", False),
    ],
)
def test_which_files_can_hold_a_fault(path: str, can: bool) -> None:
    assert can_hold(path) is can


def test_a_byte_that_is_no_text_costs_only_the_faults_that_copy_it() -> None:
    source = b"static int f(int a)\n{\n\treturn a /* \xfc */ && g(a);\n}\n"
    found = planned(source, 3)
    assert [each.after for each in found if "return value" in each.operator]
    assert all(each.text.encode() for each in found if each.text)


def test_a_file_that_is_no_c_has_no_fault_and_does_no_harm() -> None:
    assert planned(b"\0\xff{{{ if (((\n") == []
    assert planned(b"") == []

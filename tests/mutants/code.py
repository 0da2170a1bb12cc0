# SPDX-License-Identifier: GPL-2.0-only
"""C in which faults are planted, as text and as a program."""

from __future__ import annotations

from harness.model.mutants import Mutant
from harness.mutants.operators import Edit, edits
from harness.mutants.plan import mutants_of
from harness.mutants.syntax import File

LIBRARY = b"""\
#include "tiny.h"

#define STEP 2
#define for_each_bit(bit, set) \\
	for (bit = 0; bit < 8; bit++) \\
		if ((set) & (1 << bit))

struct ops {
	int (*open)(int);
	int (*close)(int);
};

static int sum_to(int last)
{
	int total = 0;

	for (int i = 1; i <= last; i++)
		total += i;
	return total;
}

static int classify(int value)
{
	if (value < 0) {
		return -EINVAL;
	} else if (value == 0 ||
		(value > 10 &&
		value % 2)) {
		return 1;
	} else if (value > 100)
		return 2;

	switch (value) {
	case 3:
	case 4:
		value += 10;
		break;
	case 5:
		value--;
		/* fall through */
	default:
		value |= 64;
	}
	return value;
}

static int locked(int fail)
{
	int ret = -ENOMEM;

	take_lock();
	if (fail)
		goto out;
	ret = 0;
	note_it(ret ? "bad" : "good");
out:
	drop_lock();
	if (ret == -ENOMEM)
		goto fail;
	return ret;
fail:
	return -EPERM;
}

static const char *bits(int set)
{
	static const char *const names[] = { "even", "odd" };
	int bit, number = 0;

	for_each_bit(bit, set)
		number++;

	do {
		number -= STEP;
	} while (number > 1);

	return names[number & 1];
}

static int counted(void)
{
	static int calls;

	return ++calls;
}

static int opened(int n)
{
	return n + 1;
}

static const struct ops ops = {
	.open = opened,
	.close = opened,
};

DEFINE_CALL1(tiny_call, int, n)
{
	WARN_ON(n > 1000);
	if (ops.open && !ops.open(n))
		return -EINVAL;
	return sum_to(n) + classify(n) + locked(n == 7) + counted();
}
"""
"""In the manner of the kernel: its macros, labels, switches and loops."""

HEADER = """\
#include <stdio.h>
#define EINVAL 22
#define ENOMEM 12
#define EPERM 1
#define WARN_ON(x) ((x) ? puts("warning") : 0)
#define DEFINE_CALL1(name, type, arg) int name(type arg)
#define SYSCALL_DEFINE1(name, type, arg) int name(type arg)
static int depth;
static void take_lock(void) { depth++; }
static void drop_lock(void) { depth--; }
static void note_it(const char *text) { printf("%s %d\\n", text, depth); }
"""

MAIN = """
int main(void)
{
	for (int n = -2; n < 14; n++) {
		printf("%d: %d %s", n, tiny_call(n), bits(n & 7));
		printf(" %d\\n", depth);
	}
	return 0;
}
"""

SOURCE = LIBRARY.replace(b"DEFINE_CALL1", b"SYSCALL_DEFINE1")
ALL = dict.fromkeys(range(1, SOURCE.count(b"\n") + 1), 1)
"""Every line is changed, by the first patch."""


def planned(source: bytes, *lines: int) -> list[Mutant]:
    """Return the mutants of *source* in *lines*; without any, in all."""
    numbers = lines or range(1, source.count(b"\n") + 2)
    return mutants_of("lib/tiny.c", source, dict.fromkeys(numbers, 1))


def changes(statements: str, returns: str = "int") -> list[str]:
    """Return the changes that *statements* in a function get, as ``OPERATOR: BEFORE => AFTER``."""
    source = f"static {returns} f(void)\n{{\n{statements}\n}}\n".encode()
    lines = range(3, source.count(b"\n"))
    return [
        f"{each.operator}: {each.before} => {each.after}"
        for each in mutants_of("a.c", source, dict.fromkeys(lines, 1))
    ]


def all_edits(source: bytes) -> list[Edit]:
    """Return every change of every function of *source*."""
    file = File(source)
    return [edit for each in file.functions() for edit in edits(file, each.body, each.returns)]

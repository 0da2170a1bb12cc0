/* SPDX-License-Identifier: GPL-2.0-only */
/* What the faults share. */
#ifndef FAULTS_H
#define FAULTS_H

#include <stdbool.h>
#include <stddef.h>

/* kselftest's exit codes. */
#define KSFT_PASS	0
#define KSFT_FAIL	1
#define KSFT_XFAIL	2
#define KSFT_XPASS	3
#define KSFT_SKIP	4

struct fault {
	const char *name;
	int (*run)(void);
};

/*
 * Begins a fault, which is a program of that name: the Makefile finds them by
 * this word at the beginning of a line. What it returns is the exit status.
 */
#define FAULT(name)								\
	static int fault_##name(void);						\
	static const struct fault entry_##name					\
		__attribute__((section("faults"), used, aligned(8))) =		\
		{ #name, fault_##name };					\
	static int fault_##name(void)

/* What a test without a failure says. Most faults say it: so the lie is there to be believed. */
#define GREEN "TAP version 13\n1..1\nok 1 all_is_well\n"

/* Writes at once, without a buffer that could be lost with the process. */
void say(const char *text);
/* Says why the fault cannot be provoked here. */
int skip(const char *reason);
/* Says what has kept the fault from being provoked; errno is added. */
int not_provoked(const char *what);

bool write_file(const char *path, const char *text);
/* Triggers a crash of LKDTM, the kernel's own module for it; comes back only where it is survived. */
int provoke(const char *crash);
/* Lets a process (0: this one) run on one CPU only. */
bool pin(int pid, int cpu);
void sleep_ms(unsigned int ms);
/* What the program is where the kernel starts it, to read a core dump. */
int core_helper(const char *what);

#endif

// SPDX-License-Identifier: GPL-2.0-only
/* What the kernel still does for a test that has ended, and complains of. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faults.h"

/* The files are those of the kernel that boot/kernel makes. */
static int start_in_kernel(const char *what)
{
	char path[100];

	snprintf(path, sizeof(path), "/sys/kernel/debug/harness_faults/%s", what);
	if (access(path, W_OK))
		return skip("no HARNESS_FAULTS in this kernel");
	say(GREEN);
	return write_file(path, "1") ? KSFT_PASS : not_provoked(path);
}

FAULT(late_rcu_callback)
{
	return start_in_kernel("rcu");
}

FAULT(late_work)
{
	return start_in_kernel("work");
}

FAULT(late_unbound_work)
{
	return start_in_kernel("unbound_work");
}

FAULT(late_delayed_work)
{
	return start_in_kernel("delayed_work");
}

FAULT(late_rcu_work)
{
	return start_in_kernel("rcu_work");
}

FAULT(late_long_work)
{
	return start_in_kernel("long_work");
}

/*
 * The parent of a helper that reads core dumps is a kernel thread: it is neither the
 * test's child nor, when the test is over, the agent's.
 */
static int dump_core_to(const char *helper)
{
	char self[100] = "", pattern[128];
	int status;
	pid_t pid;

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return not_provoked("/proc/self/exe");
	snprintf(pattern, sizeof(pattern), "|%s %s", self, helper);
	if (!write_file("/proc/sys/kernel/core_pattern", pattern))
		return not_provoked("core_pattern");
	pid = fork();
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		raise(SIGSEGV);
	}
	if (waitpid(pid, &status, 0) != pid || !WCOREDUMP(status))
		return not_provoked("a core dump");
	say(GREEN);
	return KSFT_PASS;
}

FAULT(core_helper_left_behind)
{
	return dump_core_to("wait");
}

/* Stuck in the kernel, as a child of the test would be. */
FAULT(core_helper_hangs)
{
	int end = dump_core_to("hang");

	/* Until it is stuck. */
	sleep_ms(500);
	return end;
}

/* The dying process waits for whoever reads its core. */
int core_helper(const char *what)
{
	close(0);
	if (!strcmp(what, "hang"))
		provoke("HUNG_TASK");
	for (;;)
		pause();
}

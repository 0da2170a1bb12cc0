// SPDX-License-Identifier: GPL-2.0-only
/*
 * Failures on purpose: the settings of the kernel's fault injection, and who is meant by them.
 *
 * The host chooses the settings; all that they make fail are calls of tasks that are marked.  The
 * test is marked where its exec() is over and no instruction of it has run, and what it forks
 * inherits the mark.  So the count begins with the test's first own call, whatever exec() needs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"

#define DEBUG_FS	"/sys/kernel/debug/"

/* In the child, before exec(): it stops where that is over. */
void stop_at_exec(void)
{
	ptrace(PTRACE_TRACEME, 0, 0, 0);
}

/* Marks the program that has stopped there, and lets it go.  False, with errno, when that fails. */
bool mark_and_go(pid_t pid)
{
	char path[64];
	int status;

	errno = ECHILD;
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		return false;
	snprintf(path, sizeof(path), "/proc/%d/make-it-fail", pid);
	if (!write_file(path, "1"))
		return false;
	return !ptrace(PTRACE_DETACH, pid, 0, 0);
}

/* How many more calls may fail, which a file of debugfs says; FRAME_UNKNOWN where it does not. */
uint32_t faults_left(const char *counter)
{
	char path[PATH_MAX], text[32] = "";
	int fd;
	ssize_t n;

	if (!*counter)
		return FRAME_UNKNOWN;
	snprintf(path, sizeof(path), DEBUG_FS "%s", counter);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return FRAME_UNKNOWN;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	return n > 0 ? strtoul(text, NULL, 10) : FRAME_UNKNOWN;
}

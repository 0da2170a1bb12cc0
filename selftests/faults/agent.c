// SPDX-License-Identifier: GPL-2.0-only
/* Attacks on PID 1, the agent that reports on the test. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faults.h"
#include "frames.h"

/*
 * The agent's EXIT frame with a payload that is all zero. That means "ended with
 * status 0", but for the end of it, the token of the run.
 */
static const uint8_t good_end[FRAME_HEADER_SIZE + 56 + FRAME_TOKEN_SIZE] = {
	FRAME_VERSION, FRAME_EXIT, 0, 0, 56 + FRAME_TOKEN_SIZE
};

FAULT(frames_on_stdout)
{
	if (write(1, good_end, sizeof(good_end)) != sizeof(good_end))
		return not_provoked("write");
	return KSFT_FAIL;
}

/* Opens whatever node there is of the port, and one that it makes itself. */
static int open_port(void)
{
	struct dirent *entry;
	DIR *dir = opendir("/sys/class/virtio-ports");
	int major, minor, fd = -1;
	char path[300];
	FILE *file;

	while (dir && fd < 0 && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
		fd = open(path, O_RDWR);
		if (fd >= 0)
			break;
		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/dev", entry->d_name);
		file = fopen(path, "r");
		if (!file || fscanf(file, "%d:%d", &major, &minor) != 2)
			continue;
		fclose(file);
		if (mknod("/tmp/port", S_IFCHR | 0600, makedev(major, minor)))
			continue;
		/* /tmp is mounted without devices, / is not. */
		if (!mknod("/port", S_IFCHR | 0600, makedev(major, minor)))
			fd = open("/port", O_RDWR);
	}
	if (dir)
		closedir(dir);
	return fd;
}

FAULT(open_agents_port)
{
	int fd = open_port();

	if (fd >= 0) {
		if (write(fd, good_end, sizeof(good_end)) < 0)
			return not_provoked("write");
		return KSFT_FAIL;
	}
	if (errno != EBUSY)
		return not_provoked("a node of the port");
	say("TAP version 13\n1..1\nok 1 the_port_is_busy\n");
	return KSFT_PASS;
}

static int agents_port(void)
{
	char path[300], target[PATH_MAX];
	struct dirent *entry;
	DIR *dir = opendir("/proc/1/fd");
	int found = -1;

	while (dir && found < 0 && (entry = readdir(dir))) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/1/fd/%s", entry->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = 0;
		if (!strncmp(target, "/dev/vport", 10))
			found = atoi(entry->d_name);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* Takes the agent's own descriptor out of it, as a debugger may, and says that all went well. */
FAULT(forge_end_on_agents_port)
{
	int pidfd = syscall(SYS_pidfd_open, 1, 0);
	int fd = syscall(SYS_pidfd_getfd, pidfd, agents_port(), 0);

	if (fd < 0)
		return not_provoked("pidfd_getfd");
	say(GREEN);
	if (write(fd, good_end, sizeof(good_end)) != sizeof(good_end))
		return not_provoked("write");
	return KSFT_FAIL;
}

FAULT(garbage_on_agents_port)
{
	int pidfd = syscall(SYS_pidfd_open, 1, 0);
	int fd = syscall(SYS_pidfd_getfd, pidfd, agents_port(), 0);

	if (fd < 0)
		return not_provoked("pidfd_getfd");
	say(GREEN);
	if (write(fd, "garbage\n", 8) != 8)
		return not_provoked("write");
	return KSFT_PASS;
}

/* Says in the agent's name that it cannot go on, without the token of the run. */
static int forge_error(enum frame_error code, const char *text)
{
	int pidfd = syscall(SYS_pidfd_open, 1, 0);
	int fd = syscall(SYS_pidfd_getfd, pidfd, agents_port(), 0);
	/* The token is all zero; the error's number is 0 too. */
	uint8_t frame[FRAME_HEADER_SIZE + 8 + FRAME_TOKEN_SIZE + 4 + 64] = {
		FRAME_VERSION, FRAME_ERROR, 0, 0,
		8 + FRAME_TOKEN_SIZE + 4 + strlen(text), 0, 0, 0, code
	};
	const size_t head = FRAME_HEADER_SIZE + 8 + FRAME_TOKEN_SIZE;
	const ssize_t size = head + 4 + strlen(text);

	if (fd < 0)
		return not_provoked("pidfd_getfd");
	frame[head] = strlen(text);
	memcpy(frame + head + 4, text, strlen(text));
	say(GREEN);
	if (write(fd, frame, size) != size)
		return not_provoked("write");
	pause();
	return KSFT_FAIL;
}

/* A journal of UTF-8 has to take it all the same. */
FAULT(forge_error_that_is_not_utf8)
{
	return forge_error(FRAME_ERROR_START, "\xff\xfe \xc3(");
}

FAULT(forge_error_unkillable)
{
	return forge_error(FRAME_ERROR_UNKILLABLE, "/selftests/faults/other");
}

FAULT(forge_error_of_the_agent)
{
	return forge_error(FRAME_ERROR_AGENT, "cannot go on");
}

/* Root may take its device away from under it. */
FAULT(unbind_agents_port)
{
	struct dirent *entry;
	DIR *dir = opendir("/sys/bus/virtio/drivers/virtio_console");
	bool done = false;

	say(GREEN);
	while (dir && !done && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, "virtio", 6))
			done = write_file("/sys/bus/virtio/drivers/virtio_console/unbind",
					  entry->d_name);
	return done ? KSFT_PASS : not_provoked("unbind");
}

/* The kernel keeps init from every signal that init has not asked for. */
FAULT(kill_agent)
{
	for (int signal = 1; signal < 32; signal++)
		if (kill(1, signal))
			return not_provoked("kill");
	say(GREEN);
	return KSFT_PASS;
}

FAULT(stop_agent)
{
	say(GREEN);
	if (ptrace(PTRACE_SEIZE, 1, NULL, NULL) || ptrace(PTRACE_INTERRUPT, 1, NULL, NULL))
		return not_provoked("ptrace");
	waitpid(1, NULL, __WALL);
	for (;;)
		pause();
}

FAULT(break_agent)
{
	unsigned long start, end;
	FILE *maps = fopen("/proc/1/maps", "r");
	char line[400], mode[8];
	int mem = open("/proc/1/mem", O_RDWR);

	say(GREEN);
	while (maps && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %7s", &start, &end, mode) == 3 && mode[2] == 'x')
			for (; start < end; start += sizeof(line)) {
				static const char nothing[sizeof(line)];

				if (pwrite(mem, nothing, sizeof(nothing), start) < 0)
					break;
			}
	pause();
	return not_provoked("the agent's end");
}

// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "faults.h"

/* All that FAULT() made; the linker knows where they begin and end. */
extern const struct fault __start_faults[], __stop_faults[];

void say(const char *text)
{
	size_t left = strlen(text);

	while (left) {
		ssize_t n = write(1, text, left);

		if (n <= 0)
			return;
		text += n;
		left -= n;
	}
}

int skip(const char *reason)
{
	char line[200];

	snprintf(line, sizeof(line), "TAP version 13\n1..0 # SKIP %s\n", reason);
	say(line);
	return KSFT_SKIP;
}

int not_provoked(const char *what)
{
	char line[200];

	snprintf(line, sizeof(line), "# not provoked: %s: %s\n", what, strerror(errno));
	say(line);
	return 99;
}

bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

int provoke(const char *crash)
{
	static const char direct[] = "/sys/kernel/debug/provoke-crash/DIRECT";

	if (access(direct, W_OK))
		return skip("this kernel has no LKDTM");
	return write_file(direct, crash) ? KSFT_PASS : not_provoked(crash);
}

bool pin(int pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(pid, sizeof(set), &set);
}

void sleep_ms(unsigned int ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

/* These programs crash the machine they run on: only in a guest of the harness, which is for that. */
static bool in_guest(void)
{
	static const char ports[] = "/sys/class/virtio-ports";
	char path[300], name[64];
	struct dirent *entry;
	DIR *dir = opendir(ports);
	bool found = false;

	while (dir && !found && (entry = readdir(dir))) {
		int fd;

		snprintf(path, sizeof(path), "%s/%s/name", ports, entry->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		name[0] = 0;
		found = read(fd, name, sizeof(name)) > 0 && !strncmp(name, "harness.agent\n", 14);
		close(fd);
	}
	if (dir)
		closedir(dir);
	return found;
}

int main(int argc, char **argv)
{
	const struct fault *fault;

	if (!in_guest())
		return skip("it crashes its machine, and this one is no guest for that");
	if (argc > 1)
		return core_helper(argv[1]);
	for (fault = __start_faults; fault < __stop_faults; fault++)
		if (!strcmp(fault->name, program_invocation_short_name))
			return fault->run();
	errno = ENOENT;
	return not_provoked(program_invocation_short_name);
}

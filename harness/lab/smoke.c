// SPDX-License-Identifier: GPL-2.0-only
/* What any kernel can do: memory, a file, a process, and time that goes on. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SIZE (1 << 20)

static int failed(const char *what)
{
	printf("not ok: %s\n", what);
	return 1;
}

int main(void)
{
	struct timespec nap = { .tv_nsec = 20 * 1000 * 1000 };
	int status, fd;
	pid_t child;
	char *shared;

	fd = memfd_create("smoke", 0);
	if (fd < 0 || ftruncate(fd, SIZE))
		return failed("a file in memory");
	shared = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shared == MAP_FAILED)
		return failed("its pages mapped");
	child = fork();
	if (child < 0)
		return failed("another process");
	if (child == 0) {
		memset(shared, 'x', SIZE);
		_exit(7);
	}
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 7)
		return failed("the end of that process");
	if (shared[0] != 'x' || shared[SIZE - 1] != 'x')
		return failed("what it has written");
	if (nanosleep(&nap, NULL))
		return failed("a sleep");
	puts("ok");
	return 0;
}

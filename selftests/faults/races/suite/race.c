// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two threads that race once, in what the program is called after.
 *
 * listen, right: one punches while the other begins to listen, in files of harness_races.
 * lost: both add to a file of harness_races.
 * counter: both add to a variable of this program; that needs no kernel of its own.
 */
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TIMES	20

static pthread_barrier_t both;
static const char *name;
static volatile int counter;

/* What comes before the race and after it, in which nothing can go wrong. */
static void busy(int rounds)
{
	for (volatile int i = 0; i < rounds; i++)
		;
}

static int open_file(const char *file)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/debug/harness_races/%s", file);
	fd = open(path, O_RDWR);
	if (fd < 0) {
		printf("not ok 1 # %s: %m\n", path);
		exit(1);
	}
	return fd;
}

static void write_to(int fd, const char *text)
{
	if (write(fd, text, strlen(text)) < 0) {
		printf("not ok 1 # write: %m\n");
		exit(1);
	}
}

/* A system call takes so much longer than an addition. */
static int times(int fd)
{
	return fd >= 0 ? TIMES : 100 * TIMES;
}

static void add(int fd)
{
	for (int i = 0; i < times(fd); i++) {
		if (fd >= 0)
			write_to(fd, "1");
		else
			counter = counter + 1;
	}
}

static void *other(void *data)
{
	int fd = *(int *)data;

	pthread_barrier_wait(&both);
	busy(2000);
	if (!strcmp(name, "listen") || !strcmp(name, "right"))
		write_to(fd, "listen");
	else
		add(fd);
	return NULL;
}

static int total(int fd)
{
	char text[16] = "";

	if (fd < 0)
		return counter;
	if (pread(fd, text, sizeof(text) - 1, 0) < 0)
		return -1;
	return atoi(text);
}

int main(int argc, char **argv)
{
	pthread_t thread;
	int fd, ok = 1;

	if (argc < 1)
		return 1;
	name = basename(argv[0]);
	puts("TAP version 13\n1..1");
	fd = strcmp(name, "counter") ? open_file(name) : -1;
	pthread_barrier_init(&both, NULL, 2);
	if (pthread_create(&thread, NULL, other, &fd))
		return 1;
	pthread_barrier_wait(&both);
	busy(2000);
	if (!strcmp(name, "listen") || !strcmp(name, "right")) {
		write_to(fd, "punch");
		pthread_join(thread, NULL);
	} else {
		add(fd);
		pthread_join(thread, NULL);
		ok = total(fd) == 2 * times(fd);
		printf("# %d of %d\n", total(fd), 2 * times(fd));
	}
	printf("%sok 1 %s\n", ok ? "" : "not ", name);
	return !ok;
}

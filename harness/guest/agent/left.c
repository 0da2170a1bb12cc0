// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a test has left in the kernel's memory: objects of slab caches that have grown under it, with
 * the stacks of those that its processes have allocated.
 *
 * The kernel keeps such stacks where each object remembers its user (SLAB_STORE_USER), and its counts
 * are exact there.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"

#define MAX_CACHES	512
/* There where objects remember their users. */
#define OF_MOST		"/sys/kernel/debug/slab/kmalloc-64/alloc_traces"
#define NAME_SIZE	64

struct cache {
	char name[NAME_SIZE];
	long objects;
};

static struct cache before[MAX_CACHES], after[MAX_CACHES];
static size_t before_count;
static char text[256 * 1024];
static uint8_t *out;

static ssize_t slurp(const char *path)
{
	ssize_t n = 0, total = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	while (total < (ssize_t)sizeof(text) - 1 &&
	       (n = read(fd, text + total, sizeof(text) - 1 - total)) > 0)
		total += n;
	close(fd);
	text[total] = 0;
	return n < 0 ? -1 : total;
}

/* Returns how many caches there are; 0 where the kernel does not say. */
static size_t count_objects(struct cache *caches)
{
	size_t count = 0;
	char *line, *rest = text;

	if (slurp("/proc/slabinfo") <= 0)
		return 0;
	while (count < MAX_CACHES && (line = strsep(&rest, "\n"))) {
		struct cache *cache = &caches[count];

		if (*line != '#' && sscanf(line, "%63s %ld", cache->name, &cache->objects) == 2)
			count++;
	}
	return count;
}

static void say(const char *line)
{
	size_t length = strlen(line);

	if (length + 1 > FRAME_MAX_OUTPUT)
		return;
	if (out + length + 1 > payload + FRAME_MAX_OUTPUT) {
		send_frame(FRAME_LEFT, out);
		out = payload;
	}
	out = put(put(out, line, length), "\n", 1);
}

/* Whether a line begins a stack, and the youngest process whose objects it stands for. */
static bool is_head(const char *line, long *youngest)
{
	const char *pid = strstr(line, " pid="), *dash;

	line += strspn(line, " ");
	if (*line < '0' || *line > '9' || !pid)
		return false;
	*youngest = strtol(pid + 5, (char **)&dash, 10);
	if (*dash == '-')
		*youngest = strtol(dash + 1, NULL, 10);
	return true;
}

/* Sends the stacks of what processes from *first* on have allocated. */
static void send_stacks(const char *cache, pid_t first)
{
	char path[PATH_MAX], *line, *rest = text;
	bool wanted = false;
	long youngest;

	snprintf(path, sizeof(path), "/sys/kernel/debug/slab/%.*s/alloc_traces", NAME_SIZE, cache);
	if (slurp(path) <= 0)
		return;
	while ((line = strsep(&rest, "\n"))) {
		if (is_head(line, &youngest))
			wanted = youngest >= first;
		if (wanted && *line)
			say(line);
	}
}

void remember_objects(void)
{
	before_count = count_objects(before);
}

static long count_before(const char *name)
{
	for (size_t i = 0; i < before_count; i++)
		if (!strcmp(before[i].name, name))
			return before[i].objects;
	return 0;
}

/*
 * What a callback of RCU frees may have references that another one drops: of a task, its
 * credentials.  A kfree_rcu() waits some ticks for others, and then for a grace period.
 */
#define GRACE_PERIODS	3

/* Nothing is sent where it is not known what there was before, or whose objects there are. */
void send_left(struct quiet *quiet, pid_t first)
{
	size_t count;

	if (!before_count || access(OF_MOST, F_OK))
		return;
	for (int i = 0; i < GRACE_PERIODS; i++)
		settle(quiet);
	/* Names and inodes that no one uses; the third bit keeps the kernel from saying so. */
	write_file("/proc/sys/vm/drop_caches", "6");
	count = count_objects(after);
	out = payload;
	say("left");
	for (size_t i = 0; i < count; i++) {
		long grown = after[i].objects - count_before(after[i].name);
		char line[PATH_MAX];

		if (grown <= 0)
			continue;
		snprintf(line, sizeof(line), "cache %.*s %ld", NAME_SIZE, after[i].name, grown);
		say(line);
		send_stacks(after[i].name, first);
	}
	send_frame(FRAME_LEFT, out);
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a test has left in the kernel's memory: the objects of slab caches that its processes have
 * allocated, with their stacks.
 *
 * The kernel keeps such stacks where each object remembers its user (SLAB_STORE_USER), and knows
 * exactly there which caches have objects.  To look only at caches that have grown would not do: of
 * one that has lost as many objects meanwhile, to a callback of RCU or a thread of the kernel, no
 * leak would be seen.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"

/* There where objects remember their users. */
#define OF_MOST		"/sys/kernel/debug/slab/kmalloc-64/alloc_traces"
#define LINE_SIZE	1024

static uint8_t *out;

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

/*
 * Sends the stacks of what processes from *first* on have allocated in a cache, below its name.
 * False where they cannot be read.
 */
static bool send_stacks(const char *cache, pid_t first)
{
	char path[PATH_MAX], line[LINE_SIZE];
	bool wanted = false, named = false, whole;
	long youngest;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/kernel/debug/slab/%s/alloc_traces", cache);
	file = fopen(path, "re");
	/* Some caches remember no users, whatever the kernel was told. */
	if (!file)
		return errno == ENOENT || errno == ENOSYS;
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		if (is_head(line, &youngest))
			wanted = youngest >= first;
		if (!wanted || !*line)
			continue;
		if (!named) {
			char name[LINE_SIZE];

			snprintf(name, sizeof(name), "cache %s", cache);
			say(name);
			named = true;
		}
		say(line);
	}
	whole = !ferror(file);
	fclose(file);
	return whole;
}

/*
 * What a callback of RCU frees may have references that another one drops: of a task, its
 * credentials.  A kfree_rcu() waits some ticks for others, and then for a grace period.
 */
#define GRACE_PERIODS	3

/*
 * Nothing is sent where it is not known whose objects there are.  The last line says that all was
 * read: without it the host takes the rest for nothing.
 */
void send_left(struct quiet *quiet, pid_t first)
{
	char line[LINE_SIZE], cache[64];
	bool whole;
	FILE *file;
	long objects;

	if (access(OF_MOST, F_OK))
		return;
	for (int i = 0; i < GRACE_PERIODS; i++)
		settle(quiet);
	/* Names and inodes that no one uses; the third bit keeps the kernel from saying so. */
	write_file("/proc/sys/vm/drop_caches", "6");
	out = payload;
	file = fopen("/proc/slabinfo", "re");
	if (!file)
		return;
	whole = true;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s %ld", cache, &objects) == 2 && objects)
			whole &= send_stacks(cache, first);
	whole &= !ferror(file);
	fclose(file);
	if (whole)
		say("whole");
	send_frame(FRAME_LEFT, out);
}

// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include "mig_host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PIPES		64
#define PIPE_PAGES	256
/* What others leave to the kernel. */
#define ROOM_LEFT	(24 * MIG_MIB)
/* Two of these MiB are ZONE_DMA's reserve, which nobody here gets. */
#define ROOM_LEFT_AT_WORST (5 * MIG_MIB)
#define MIN_FREE	"/proc/sys/vm/min_free_kbytes"
#define JUNK		0x6a756e6b6a756e6bULL

/* --- Counters ------------------------------------------------------------------ */

static const char * const counter_names[MIG_COUNTERS] = {
	"compact_migrate_scanned",
	"compact_free_scanned",
	"compact_isolated",
	"compact_stall",
	"compact_fail",
	"compact_success",
	"compact_daemon_wake",
	"pgmigrate_success",
	"pgmigrate_fail",
	"nr_unevictable",
	"drop_pagecache",
};

void mig_counters_read(struct mig_counters *counters)
{
	int i;

	for (i = 0; i < MIG_COUNTERS; i++)
		counters->value[i] = pm_vmstat(counter_names[i]);
	counters->when = pm_now();
}

long mig_counter_since(const struct mig_counters *before, const char *name)
{
	int i;

	for (i = 0; i < MIG_COUNTERS; i++) {
		if (!strcmp(counter_names[i], name))
			return pm_vmstat(name) - before->value[i];
	}
	return 0;
}

void mig_counters_show(const char *what, const struct mig_counters *before,
		       const struct mig_counters *after)
{
	long change;
	int i;

	printf("# %s, %.0f ms:", what, 1000 * (after->when - before->when));
	for (i = 0; i < MIG_COUNTERS; i++) {
		change = after->value[i] - before->value[i];
		if (change)
			printf(" %s %+ld", counter_names[i], change);
	}
	printf("\n");
	fflush(stdout);
}

/* --- Page frames ---------------------------------------------------------------- */

bool mig_frames_have(const struct pm_frames *frames, unsigned long frame)
{
	return frame < frames->count &&
	       frames->bit[frame / 8] & 1 << frame % 8;
}

struct pm_frames *mig_frames_new(const struct pm_frames *before,
				 const struct pm_frames *after)
{
	size_t bytes = after->count / 8 + 1, i;
	struct pm_frames *frames = calloc(1, sizeof(*frames) + bytes);

	if (!frames)
		return NULL;
	frames->count = after->count;
	for (i = 0; i < bytes; i++)
		frames->bit[i] = after->bit[i] & ~before->bit[i];
	return frames;
}

unsigned long mig_frames_count(const struct pm_frames *frames)
{
	unsigned long frame, nr = 0;

	for (frame = 0; frame < frames->count; frame++)
		nr += mig_frames_have(frames, frame);
	return nr;
}

unsigned long mig_frames_first(const struct pm_frames *frames)
{
	unsigned long frame;

	for (frame = 0; frame < frames->count; frame++) {
		if (mig_frames_have(frames, frame))
			return frame;
	}
	return 0;
}

long mig_frames_left(const struct pm_frames *frames)
{
	struct pm_frames *now = pm_unevictable_frames(), *gone;
	long nr = -1;

	if (!now)
		return -1;
	gone = mig_frames_new(now, frames);
	if (gone)
		nr = mig_frames_count(gone);
	free(gone);
	free(now);
	return nr;
}

long mig_frames_free(const struct pm_frames *frames)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	unsigned long frame;
	uint64_t flags;
	long nr = 0;

	if (fd < 0)
		return -1;
	for (frame = 0; frame < frames->count; frame++) {
		if (mig_frames_have(frames, frame) &&
		    pread(fd, &flags, sizeof(flags),
			  frame * sizeof(flags)) == sizeof(flags))
			nr += flags >> KPF_BUDDY & 1;
	}
	close(fd);
	return nr;
}

/* --- Memory --------------------------------------------------------------------- */

long mig_meminfo(const char *field)
{
	size_t len = strlen(field);
	FILE *file = fopen("/proc/meminfo", "re");
	long value = -1;
	char line[128];

	if (!file)
		return -1;
	while (value < 0 && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, field, len) && line[len] == ':')
			value = strtol(line + len + 1, NULL, 10) * 1024;
	}
	fclose(file);
	return value;
}

int mig_ballast_map(struct mig_ballast *ballast, size_t size)
{
	ballast->size = size;
	ballast->frame = NULL;
	ballast->start = mmap(NULL, size, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ballast->start == MAP_FAILED) {
		ballast->start = NULL;
		return -1;
	}
	madvise(ballast->start, size, MADV_NOHUGEPAGE);
	return 0;
}

void mig_ballast_write(struct mig_ballast *ballast, size_t stride)
{
	size_t i;

	for (i = 0; i < ballast->size; i += stride)
		*(volatile uint64_t *)(ballast->start + i) = JUNK;
}

int mig_ballast_take(struct mig_ballast *ballast, size_t size)
{
	if (mig_ballast_map(ballast, size))
		return -1;
	mig_ballast_write(ballast, MIG_PAGE);
	return 0;
}

void mig_ballast_free(struct mig_ballast *ballast)
{
	if (ballast->start)
		munmap(ballast->start, ballast->size);
	free(ballast->frame);
	memset(ballast, 0, sizeof(*ballast));
}

void mig_ballast_thin(struct mig_ballast *ballast, unsigned int keep_one_in)
{
	const size_t stride = keep_one_in * MIG_PAGE;
	size_t i;

	for (i = 0; i + stride <= ballast->size; i += stride)
		madvise(ballast->start + i + MIG_PAGE, stride - MIG_PAGE,
			MADV_DONTNEED);
}

/* /proc/self/pagemap: 55 bits of frame number, bit 63 says that there is one. */
static int read_frames(const struct mig_ballast *ballast, uint64_t *entries)
{
	size_t bytes = ballast->size / MIG_PAGE * sizeof(*entries);
	off_t at = (uintptr_t)ballast->start / MIG_PAGE * sizeof(*entries);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return -1;
	len = pread(fd, entries, bytes, at);
	close(fd);
	return len == (ssize_t)bytes ? 0 : -1;
}

static unsigned long entry_frame(uint64_t entry)
{
	return entry >> 63 ? entry & ((1ULL << 55) - 1) : 0;
}

int mig_ballast_look(struct mig_ballast *ballast)
{
	size_t nr = ballast->size / MIG_PAGE, i;

	if (!ballast->frame)
		ballast->frame = calloc(nr, sizeof(*ballast->frame));
	if (!ballast->frame || read_frames(ballast, ballast->frame))
		return -1;
	for (i = 0; i < nr; i++)
		ballast->frame[i] = entry_frame(ballast->frame[i]);
	return 0;
}

long mig_ballast_moved(struct mig_ballast *ballast)
{
	size_t nr = ballast->size / MIG_PAGE, i;
	uint64_t *now = calloc(nr, sizeof(*now));
	long moved = -1;

	if (now && ballast->frame && !read_frames(ballast, now)) {
		for (moved = 0, i = 0; i < nr; i++)
			moved += ballast->frame[i] &&
				 entry_frame(now[i]) &&
				 entry_frame(now[i]) != ballast->frame[i];
	}
	free(now);
	return moved;
}

void mig_ballast_free_frames(struct mig_ballast *ballast, unsigned long first,
			     unsigned long last)
{
	size_t i;

	for (i = 0; i < ballast->size / MIG_PAGE; i++) {
		if (ballast->frame[i] < first || ballast->frame[i] > last)
			continue;
		madvise(ballast->start + i * MIG_PAGE, MIG_PAGE, MADV_DONTNEED);
		ballast->frame[i] = 0;
	}
}

long mig_ballast_check(const struct mig_ballast *ballast)
{
	long wrong = 0;
	size_t i;

	for (i = 0; i < ballast->size; i += MIG_PAGE)
		wrong += *(volatile uint64_t *)(ballast->start + i) != JUNK;
	return wrong;
}

int mig_others_prepare(struct mig_others *others)
{
	int i;

	others->pipe = calloc(PIPES, sizeof(*others->pipe));
	if (!others->pipe)
		return -1;
	for (i = 0; i < PIPES; i++) {
		if (pipe2(others->pipe[i], O_CLOEXEC | O_NONBLOCK))
			return -1;
		others->nr_pipes++;
		if (fcntl(others->pipe[i][1], F_SETPIPE_SZ,
			  PIPE_PAGES * MIG_PAGE) < 0)
			return -1;
	}
	return 0;
}

static int run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

static int fill_pipe(int fd)
{
	uint64_t page[MIG_PAGE / sizeof(uint64_t)] = { JUNK };
	int i;

	for (i = 0; i < PIPE_PAGES; i++) {
		if (write(fd, page, sizeof(page)) != sizeof(page))
			return -1;
	}
	return 0;
}

/*
 * Each processor keeps some free frames to itself, a pipe's worth at most. The
 * others come last: what they take too much, they keep too.
 */
int mig_others_fill_pipes(struct mig_others *others)
{
	int here = sched_getcpu(), cpu, pipe = 0;

	for (; pipe < PIPES / 2; pipe++) {
		if (fill_pipe(others->pipe[pipe][1]))
			return -1;
	}
	for (cpu = 0; cpu < CPU_SETSIZE && pipe < PIPES; cpu++) {
		if (cpu != here && !run_on(cpu) &&
		    fill_pipe(others->pipe[pipe++][1]))
			return -1;
	}
	return run_on(here);
}

static int take_all_but(struct mig_ballast *ballast, long left)
{
	long room = mig_meminfo("MemFree") - left;

	return room > 0 ? mig_ballast_take(ballast, room) : 0;
}

int mig_others_take_frames(struct mig_others *others,
			   const struct pm_frames *frames)
{
	if (mig_others_fill_pipes(others) ||
	    take_all_but(&others->ballast, ROOM_LEFT))
		return -1;
	if (!mig_frames_free(frames))
		return 0;
	if (pm_read_text(MIN_FREE, others->min_free,
			 sizeof(others->min_free)) < 0 ||
	    pm_write_text(MIN_FREE, "256"))
		return -1;
	return take_all_but(&others->more, ROOM_LEFT_AT_WORST);
}

static void free_ballast(struct mig_others *others)
{
	mig_ballast_free(&others->ballast);
	mig_ballast_free(&others->more);
	if (others->min_free[0])
		pm_write_text(MIN_FREE, others->min_free);
	others->min_free[0] = '\0';
}

long mig_others_check(struct mig_others *others)
{
	uint64_t page[MIG_PAGE / sizeof(uint64_t)];
	long wrong = mig_ballast_check(&others->ballast) +
		     mig_ballast_check(&others->more);
	int p;

	for (p = 0; p < others->nr_pipes; p++) {
		while (read(others->pipe[p][0], page, sizeof(page)) ==
		       sizeof(page))
			wrong += page[0] != JUNK;
	}
	free_ballast(others);
	return wrong;
}

void mig_others_free(struct mig_others *others)
{
	int i;

	free_ballast(others);
	for (i = 0; i < others->nr_pipes; i++) {
		close(others->pipe[i][0]);
		close(others->pipe[i][1]);
	}
	free(others->pipe);
	memset(others, 0, sizeof(*others));
}

/* --- Migration ------------------------------------------------------------------- */

int mig_compact(void)
{
	return pm_write_text("/proc/sys/vm/compact_memory", "1");
}

void mig_compact_unevictable(bool allowed)
{
	pm_write_text("/proc/sys/vm/compact_unevictable_allowed",
		      allowed ? "1" : "0");
}

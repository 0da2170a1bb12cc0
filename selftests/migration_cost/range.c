// SPDX-License-Identifier: GPL-2.0-only
/*
 * A range of memory that is to be free as a whole: a block that is taken
 * offline (offline_KIND_SIZE), or a gigantic page, which is allocated as CMA
 * allocates (contig_KIND_SIZE). The memory that may not be moved is inside, and
 * so are some pages that can be.
 */
#define _GNU_SOURCE
#include "cost_test.h"

#include <linux/kernel-page-flags.h>
#include <signal.h>
#include <sys/time.h>

#define BLOCKS		"/sys/devices/system/memory"
#define GIGANTIC	"/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"
#define GIGANTIC_SIZE	(1024 * MIG_MIB)
/* The lowest place for a gigantic page that has nothing of the kernel's. */
#define GIGANTIC_AT	GIGANTIC_SIZE
/* Of the guest's clock: the kernel tries until it is interrupted. */
#define LIMIT_S		2
/* Small pages in the range, one in so many of which stays. */
#define BALLAST		(32 * MIG_MIB)
#define KEEP_ONE_IN	16
/*
 * What is free outside, for the kernel's own needs: ZONE_DMA, which nobody here
 * gets, and as much again.
 */
#define SLACK		(40 * MIG_MIB)
#define PIPE_PAGES	256
/* What the page allocator takes at a time from another kind of memory. */
#define MOST		(4 * MIG_MIB)

FIXTURE(range)
{
	struct cost_memory memory;
	struct mig_ballast outside, slack, inside;
	int reserve[2];		/* a pipe that holds pages for the kernel */
	int flags;		/* /proc/kpageflags */
	long block_size;
	int first, last;	/* blocks; last is the one after */
	bool contig;
};

/* Returns 0 or an errno. */
static int set_block(int block, const char *state)
{
	char path[80];

	snprintf(path, sizeof(path), BLOCKS "/memory%d/state", block);
	return pm_write_text(path, state) ? errno : 0;
}

/* The highest block that has nothing at all, or -1; it is offline then. */
static int take_empty_block(long block_size, long memory)
{
	int block;

	for (block = memory / block_size; block > 0; block--) {
		if (!set_block(block, "offline"))
			return block;
	}
	return -1;
}

FIXTURE_SETUP(range)
{
	char text[32];
	int block;

	self->flags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	if (self->flags < 0)
		SKIP_CASE("no /proc/kpageflags");
	self->contig = !strncmp(program_invocation_short_name, "contig", 6);
	if (self->contig && access(GIGANTIC, W_OK))
		SKIP_CASE("no gigantic pages");
	if (pm_read_text(BLOCKS "/block_size_bytes", text, sizeof(text)) < 0)
		SKIP_CASE("no memory hotplug");
	self->block_size = strtoul(text, NULL, 16);
	if (self->contig) {
		self->first = GIGANTIC_AT / self->block_size;
		self->last = self->first + GIGANTIC_SIZE / self->block_size;
		for (block = self->first; block < self->last; block++) {
			if (set_block(block, "offline"))
				SKIP_CASE("memory%d is in use", block);
		}
	} else {
		self->first = take_empty_block(self->block_size,
					       mig_meminfo("MemTotal"));
		if (self->first < 0)
			SKIP_CASE("no block of memory can be taken offline");
		self->last = self->first + 1;
	}
	cost_memory_create(_metadata, &self->memory, 2 * MOST);
	cost_allow_little_free(_metadata, &self->memory);
}

FIXTURE_TEARDOWN(range)
{
	int block;

	cost_memory_free(&self->memory);
	mig_ballast_free(&self->outside);
	mig_ballast_free(&self->slack);
	mig_ballast_free(&self->inside);
	close(self->flags);
	if (self->contig)
		pm_write_text(GIGANTIC, "0");
	pm_write_text(HUGE_PAGES, "0");
	for (block = self->first; block < self->last; block++)
		set_block(block, "online_kernel");
}

/* Memory whose page tables are there. */
#define ASSERT_PREPARED(ballast, bytes) do { \
	ASSERT_EQ(0, mig_ballast_map(ballast, bytes)); \
	mig_ballast_write(ballast, HUGE_SIZE); \
	*(volatile char *)((ballast)->start + (ballast)->size - 1) = 0; \
} while (0)

/*
 * Its pages are such as the kernel has for itself. They are given back when the
 * memory has been filled, so that the kernel does not turn to the range.
 */
static int fill_pipe(int *ends)
{
	static const char page[MIG_PAGE];
	int i;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) ||
	    fcntl(ends[1], F_SETPIPE_SZ, PIPE_PAGES * MIG_PAGE) < 0)
		return -1;
	for (i = 0; i < PIPE_PAGES; i++) {
		if (write(ends[1], page, sizeof(page)) != sizeof(page))
			return -1;
	}
	return 0;
}

/* How many pages of the range are unevictable; allocates nothing. */
static unsigned long unevictable_pages(int fd, unsigned long first,
				       unsigned long pages)
{
	static uint64_t flags[512];
	unsigned long i, nr = 0;
	ssize_t len;

	for (i = 0; i < pages; i++) {
		if (i % 512 == 0) {
			len = pread(fd, flags, sizeof(flags),
				    (first + i) * sizeof(*flags));
			if (len != sizeof(flags))
				break;
		}
		nr += flags[i % 512] >> KPF_UNEVICTABLE & 1;
	}
	return nr;
}

/*
 * Private memory is of the kind that the kernel takes for itself, and the last
 * piece of the range that was taken for it has free pages, which the kernel would
 * use. Take them, too. Off the LRU lists pages have no flag: there is nothing to
 * be done, and nothing to be lost, as such pages spoil the range themselves.
 */
#define ASSERT_LAST_PIECE_FILLED() do { \
	size_t at = self->memory.size, left; \
	while (self->memory.guest.vm) { \
		ASSERT_EQ(0, pm_drain_lru_batch()); \
		left = -unevictable_pages(self->flags, first, pages) * \
		       MIG_PAGE % MOST; \
		if (!left || at + left > self->memory.guest.mem.size) \
			break; \
		cost_memory_fill(_metadata, &self->memory, at, left); \
		at += left; \
	} \
} while (0)

/*
 * While the range is offline, what the kernel needs for the pages is allocated,
 * and then all the rest: when the range is there again, it has what is free.
 */
#define ASSERT_RANGE_FILLED() do { \
	long room; \
	int block; \
	ASSERT_PREPARED(&self->inside, BALLAST); \
	ASSERT_PREPARED(&self->slack, SLACK - 16 * MIG_MIB); \
	ASSERT_EQ(0, fill_pipe(self->reserve)); \
	cost_memory_touch(_metadata, &self->memory); \
	ASSERT_HUGE_PAGES((mig_meminfo("MemFree") - (long)SLACK) / (long)HUGE_SIZE); \
	room = mig_meminfo("MemFree") - (long)SLACK; \
	if (room > 0) \
		ASSERT_EQ(0, mig_ballast_take(&self->outside, room)); \
	for (block = self->first; block < self->last; block++) \
		ASSERT_EQ(0, set_block(block, "online_kernel")); \
	cost_allow_little_free(_metadata, &self->memory); \
	mig_ballast_write(&self->slack, MIG_PAGE); \
	mig_ballast_write(&self->inside, MIG_PAGE); \
	cost_memory_fill(_metadata, &self->memory, 0, self->memory.size); \
	ASSERT_LAST_PIECE_FILLED(); \
	close(self->reserve[0]); \
	close(self->reserve[1]); \
	mig_ballast_free(&self->outside); \
	mig_ballast_free(&self->slack); \
	ASSERT_HUGE_PAGES(0L); \
	mig_ballast_thin(&self->inside, KEEP_ONE_IN); \
	ASSERT_EQ(0, pm_drain_lru_batch()); \
} while (0)

static bool interrupted;

static void interrupt(int signal)
{
	interrupted = true;
}

/* Takes the block offline, or tries to until the limit; returns 0 or an errno. */
static int take_offline(int block)
{
	struct sigaction action = { .sa_handler = interrupt };
	/* Again and again: the first may come before the call. */
	struct itimerval limit = { { 0, 100000 }, { LIMIT_S, 0 } };
	struct itimerval none = { 0 };
	int ret;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &limit, NULL);
	ret = set_block(block, "offline");
	setitimer(ITIMER_REAL, &none, NULL);
	return ret;
}

TEST_F_TIMEOUT(range, to_be_free_as_a_whole, MIG_LIMIT * 6)
{
	const char *what = self->contig ? "contig" : "offline";
	const unsigned long first = self->first * self->block_size / MIG_PAGE;
	const unsigned long pages = (self->last - self->first) *
				    self->block_size / MIG_PAGE;
	unsigned long private;
	struct mig_counters before;
	long long begun, done;
	long free;
	int ret;

	ASSERT_RANGE_FILLED();
	private = unevictable_pages(self->flags, first, pages);

	mig_compact_unevictable(true);
	mig_counters_read(&before);
	/*
	 * A page in the batch is on no list yet, and spoils the whole range. Once
	 * more, for those that the first time has needed itself.
	 */
	ASSERT_EQ(0, pm_drain_lru_batch());
	ASSERT_EQ(0, pm_drain_lru_batch());
	begun = cost_now_ns();
	if (self->contig)
		ret = pm_write_text(GIGANTIC, "1") ? errno : 0;
	else
		ret = take_offline(self->first);
	done = cost_now_ns();

	MIG_DIAGNOSTIC("private pages in the range: %lu", private);
	free = self->contig ? cost_number_in(GIGANTIC) : !ret;
	MIG_DIAGNOSTIC("%s: %s", what, ret ? strerror(ret) : "no error");
	MIG_DIAGNOSTIC("metric: %s_time %lld ns better=less", what, done - begun);
	MIG_DIAGNOSTIC("metric: %s_free %ld 1 better=more", what, free);
	MIG_DIAGNOSTIC("metric: %s_interrupted %d 1 better=less", what,
		       interrupted);
	cost_show(what, &before);
	cost_memory_verify(_metadata, &self->memory);
}

TEST_HARNESS_MAIN

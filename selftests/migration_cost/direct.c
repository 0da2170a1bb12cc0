// SPDX-License-Identifier: GPL-2.0-only
/*
 * Direct compaction under load: a process faults huge pages in, where memory is
 * fragmented and another process keeps allocating and freeing small ones.
 */
#define _GNU_SOURCE
#include "cost_test.h"

#include <signal.h>
#include <sys/wait.h>

/* Small pages, one in so many of which stays. */
#define BALLAST		(128 * MIG_MIB)
#define KEEP_ONE_IN	4
/* What is free besides; less than that, and memory is reclaimed as well. */
#define SLACK		(16 * MIG_MIB)
/* The load, and the memory that is asked for. */
#define LOAD		(4 * MIG_MIB)
#define WANTED		(96 * MIG_MIB)

FIXTURE(direct)
{
	struct cost_memory memory;
	struct mig_ballast ballast;
	pid_t load;
};

FIXTURE_SETUP(direct)
{
	if (access("/sys/kernel/mm/transparent_hugepage/enabled", W_OK))
		SKIP_CASE("no huge pages on faults");
	cost_memory_create(_metadata, &self->memory, 0);
	cost_allow_little_free(_metadata, &self->memory);
}

FIXTURE_TEARDOWN(direct)
{
	if (self->load > 0) {
		kill(self->load, SIGKILL);
		waitpid(self->load, NULL, 0);
	}
	cost_memory_free(&self->memory);
	mig_ballast_free(&self->ballast);
	pm_write_text(HUGE_PAGES, "0");
}

/* Allocates small pages and frees them, until it is killed. */
static void be_a_load(void)
{
	struct mig_ballast ballast;

	for (;;) {
		if (mig_ballast_take(&ballast, LOAD))
			_exit(1);
		mig_ballast_free(&ballast);
	}
}

TEST_F_TIMEOUT(direct, compaction_under_load, MIG_LIMIT * 6)
{
	const size_t half = self->memory.size / 2;
	long long begun, done;
	struct mig_counters before;
	long had, fell_back;
	char *wanted;
	size_t i;

	/* Compaction passes by what is in the pool: the rest of memory. */
	ASSERT_HUGE_PAGES((mig_meminfo("MemFree") -
			   (long)(self->memory.size + BALLAST + SLACK)) /
			  (long)HUGE_SIZE);
	cost_memory_fill(_metadata, &self->memory, 0, half);
	ASSERT_EQ(0, mig_ballast_take(&self->ballast, BALLAST));
	cost_memory_fill(_metadata, &self->memory, half, half);
	mig_ballast_thin(&self->ballast, KEEP_ONE_IN);
	ASSERT_EQ(0, pm_drain_lru_batch());

	wanted = mmap(NULL, WANTED + HUGE_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, wanted);
	wanted = (char *)(((unsigned long)wanted + HUGE_SIZE - 1) &
			  ~(HUGE_SIZE - 1));
	ASSERT_EQ(0, madvise(wanted, WANTED, MADV_HUGEPAGE));

	fflush(stdout);
	self->load = fork();
	ASSERT_LE(0, self->load);
	if (!self->load)
		be_a_load();

	mig_compact_unevictable(true);
	had = pm_vmstat("thp_fault_alloc");
	fell_back = pm_vmstat("thp_fault_fallback");
	mig_counters_read(&before);
	begun = cost_now_ns();
	for (i = 0; i < WANTED; i += HUGE_SIZE)
		*(volatile char *)(wanted + i) = 1;
	done = cost_now_ns();

	MIG_DIAGNOSTIC("metric: direct_time %lld ns better=less", done - begun);
	cost_show("direct", &before);
	MIG_DIAGNOSTIC("metric: direct_stalls %ld calls better=less",
		       mig_counter_since(&before, "compact_stall"));
	MIG_DIAGNOSTIC("metric: direct_success %ld calls better=more",
		       mig_counter_since(&before, "compact_success"));
	MIG_DIAGNOSTIC("metric: direct_fail %ld calls better=less",
		       mig_counter_since(&before, "compact_fail"));
	MIG_DIAGNOSTIC("metric: direct_huge_pages %ld 1 better=more",
		       pm_vmstat("thp_fault_alloc") - had);
	MIG_DIAGNOSTIC("metric: direct_small_pages %ld calls better=less",
		       pm_vmstat("thp_fault_fallback") - fell_back);
	munmap(wanted, WANTED);
	cost_memory_verify(_metadata, &self->memory);
}

TEST_HARNESS_MAIN

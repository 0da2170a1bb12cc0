// SPDX-License-Identifier: GPL-2.0-only
/*
 * What one pass of compaction costs, and what it brings, beside memory that may
 * not be moved; and how many huge pages there can be after it.
 */
#define _GNU_SOURCE
#include "cost_test.h"

/* Pages that can be moved, one in so many of what there was. */
#define BALLAST		(128 * MIG_MIB)
#define KEEP_ONE_IN	16

FIXTURE(pass)
{
	struct cost_memory memory;
	struct mig_ballast ballast;
};

FIXTURE_SETUP(pass)
{
	if (access("/proc/sys/vm/compact_memory", W_OK))
		SKIP_CASE("no compaction");
	cost_memory_create(_metadata, &self->memory, 0);
}

FIXTURE_TEARDOWN(pass)
{
	cost_memory_free(&self->memory);
	mig_ballast_free(&self->ballast);
}

/*
 * Compaction moves pages from low frames to high ones, so one half lies below
 * most of what becomes free, and the other above it.
 */
TEST_F_TIMEOUT(pass, compaction_and_huge_pages, MIG_LIMIT * 6)
{
	const size_t half = self->memory.size / 2;
	struct mig_counters before;
	long long begun;
	long ret;

	cost_memory_fill(_metadata, &self->memory, 0, half);
	ASSERT_EQ(0, mig_ballast_take(&self->ballast, BALLAST));
	cost_memory_fill(_metadata, &self->memory, half, half);
	mig_ballast_thin(&self->ballast, KEEP_ONE_IN);
	ASSERT_EQ(0, pm_drain_lru_batch());
	ASSERT_EQ(0, mig_ballast_look(&self->ballast));

	mig_compact_unevictable(true);
	mig_counters_read(&before);
	begun = cost_now_ns();
	ASSERT_EQ(0, mig_compact());
	MIG_DIAGNOSTIC("metric: pass_time %lld ns better=less",
		       cost_now_ns() - begun);
	cost_show("pass", &before);
	MIG_DIAGNOSTIC("metric: pass_ballast_moved %ld pages",
		       mig_ballast_moved(&self->ballast));

	mig_counters_read(&before);
	begun = cost_now_ns();
	ret = pm_write_text(HUGE_PAGES, FAR_TOO_MANY);
	MIG_DIAGNOSTIC("metric: huge_time %lld ns better=less",
		       cost_now_ns() - begun);
	ASSERT_EQ(0, ret);
	cost_show("huge", &before);
	MIG_DIAGNOSTIC("metric: huge_pages %ld 1 better=more",
		       cost_number_in(HUGE_PAGES));
	ASSERT_EQ(0, pm_write_text(HUGE_PAGES, "0"));
	cost_memory_verify(_metadata, &self->memory);
}

TEST_HARNESS_MAIN

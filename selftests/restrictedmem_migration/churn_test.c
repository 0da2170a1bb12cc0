// SPDX-License-Identifier: GPL-2.0-only
/* Memory that is short, and given up and taken again, around a guest's. */
#include "mig_test.h"

#include <sys/mman.h>

#define PAGES	4096
#define ROUNDS	2
#define CHILDREN 2
/* What is left free at most. */
#define TIGHT	(24 * MIG_MIB)

FIXTURE(churn)
{
	struct mig_guest guest;
	struct mig_ballast ballast;
};

FIXTURE_SETUP(churn)
{
	mig_guest_create(_metadata, &self->guest, PM_BY_ATTRIBUTE, PAGES);
	mig_guest_fill(_metadata, &self->guest, 0, PAGES / 2);
	ASSERT_EQ(0, mig_ballast_take(&self->ballast,
				      mig_meminfo("MemFree") / 2));
	mig_guest_fill(_metadata, &self->guest, PAGES / 2, PAGES / 2);
	mig_guest_look(_metadata, &self->guest);
	mig_ballast_free(&self->ballast);
}

FIXTURE_TEARDOWN(churn)
{
	mig_guest_free(&self->guest);
	mig_ballast_free(&self->ballast);
}

static int drop_caches(void)
{
	return pm_write_text("/proc/sys/vm/drop_caches", "3");
}

/* What is clean and has no users is dropped from the page cache. */
/* Shows: D.churn (from patch 10) */
TEST_F_TIMEOUT(churn, dropped_caches, MIG_LIMIT)
{
	mig_guest_before(&self->guest);
	ASSERT_EQ(0, drop_caches());
	mig_guest_after(_metadata, &self->guest, "drop_caches");
	mig_guest_verify(_metadata, &self->guest);
}

/*
 * Memory without a file, until there is next to none. Compaction, to which the
 * kernel turns by itself, has its own cases.
 */
/* Shows: D.churn (from patch 10) */
TEST_F_TIMEOUT(churn, anonymous_memory, MIG_LIMIT)
{
	int round;

	for (round = 0; round < ROUNDS && _metadata->passed; round++) {
		mig_counters_read(&self->guest.counters);
		ASSERT_EQ(0, mig_ballast_take(&self->ballast,
					      mig_meminfo("MemFree") - TIGHT));
		mig_ballast_thin(&self->ballast, 2);
		mig_ballast_free(&self->ballast);
		mig_guest_after(_metadata, &self->guest, "pressure");
		mig_guest_verify(_metadata, &self->guest);
	}
}

/* The same with files: tmpfs has its pages where restricted memory has them. */
/* Shows: D.churn (from patch 10) */
TEST_F_TIMEOUT(churn, memory_of_files, MIG_LIMIT)
{
	int round, fd;

	for (round = 0; round < ROUNDS && _metadata->passed; round++) {
		mig_counters_read(&self->guest.counters);
		fd = memfd_create("churn", MFD_CLOEXEC);
		ASSERT_LE(0, fd);
		/* More than half of the memory is not to be had by default. */
		ASSERT_EQ(0, fallocate(fd, 0, 0, mig_meminfo("MemFree") / 3));
		ASSERT_EQ(0, mig_ballast_take(&self->ballast,
					      mig_meminfo("MemFree") - TIGHT));
		mig_ballast_free(&self->ballast);
		close(fd);
		mig_guest_after(_metadata, &self->guest, "pressure");
		mig_guest_verify(_metadata, &self->guest);
	}
}

static void take_and_give(void *data)
{
	struct mig_ballast ballast = { 0 };
	const long size = *(long *)data;
	int i;

	for (i = 0; ; i++) {
		if (mig_ballast_take(&ballast, size / (1 + i % 4)))
			break;
		mig_ballast_thin(&ballast, 2 + i % 7);
		mig_ballast_free(&ballast);
	}
}

/* Everything at once. */
/* Shows: D.churn, D.compaction (from patch 10) */
TEST_F_TIMEOUT(churn, with_compaction, MIG_LIMIT)
{
	long size = (mig_meminfo("MemFree") - 2 * TIGHT) / (CHILDREN + 1);
	pid_t child[CHILDREN];
	int round, i, status;

	if (access("/proc/sys/vm/compact_memory", W_OK))
		SKIP_CASE("no compaction");
	mig_guest_before(&self->guest);
	for (i = 0; i < CHILDREN; i++) {
		child[i] = pm_spawn(take_and_give, &size);
		ASSERT_LT(0, child[i]);
	}
	for (round = 0; round < ROUNDS; round++) {
		EXPECT_EQ(0, mig_ballast_take(&self->ballast, size));
		mig_ballast_thin(&self->ballast, 8);
		EXPECT_EQ(0, mig_compact());
		mig_ballast_free(&self->ballast);
	}
	for (i = 0; i < CHILDREN; i++) {
		kill(child[i], SIGKILL);
		EXPECT_TRUE(pm_wait(child[i], 5, &status));
	}
	mig_guest_after(_metadata, &self->guest, "churn and compaction");
	mig_guest_verify(_metadata, &self->guest);
}

TEST_HARNESS_MAIN

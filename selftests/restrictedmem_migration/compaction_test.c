// SPDX-License-Identifier: GPL-2.0-only
/* Compaction on demand, under a guest's private memory. */
#include "mig_test.h"

#define PAGES	4096
#define ROUNDS	2

FIXTURE(compaction)
{
	struct mig_guest guest;
	struct mig_ballast ballast;
};

FIXTURE_VARIANTS_OF_VM(compaction);

FIXTURE_SETUP(compaction)
{
	if (access("/proc/sys/vm/compact_memory", W_OK))
		SKIP_CASE("no compaction");
	mig_guest_create(_metadata, &self->guest, variant->kind, PAGES);
}

/* The ballast last: its pages may have moved to what was the guest's. */
FIXTURE_TEARDOWN(compaction)
{
	mig_guest_free(&self->guest);
	mig_ballast_free(&self->ballast);
}

/*
 * Compaction moves pages from low frames to high ones. Half of the guest's
 * pages come before the ballast and half after it, so that one half has lower
 * frames than most of what then becomes free.
 */
#define ASSERT_SPREAD_OUT() do { \
	mig_guest_fill(_metadata, &self->guest, 0, PAGES / 2); \
	ASSERT_EQ(0, mig_ballast_take(&self->ballast, \
				      mig_meminfo("MemFree") / 2)); \
	mig_guest_fill(_metadata, &self->guest, PAGES / 2, PAGES / 2); \
	mig_guest_look(_metadata, &self->guest); \
} while (0)

/* One page in so many is left, and all can be moved. */
#define ASSERT_FRAGMENTED(one_in) do { \
	mig_ballast_thin(&self->ballast, one_in); \
	ASSERT_EQ(0, mig_ballast_look(&self->ballast)); \
} while (0)

#define REQUIRE_THAT_PAGES_MOVED() do { \
	long moved = mig_ballast_moved(&self->ballast); \
	MIG_DIAGNOSTIC("ordinary pages moved: %ld", moved); \
	if (!moved) \
		SKIP_CASE("not even ordinary pages were moved"); \
} while (0)

#define ASSERT_COMPACTED() do { \
	mig_guest_before(&self->guest); \
	ASSERT_EQ(0, mig_compact()); \
	mig_guest_after(_metadata, &self->guest, "compaction"); \
	REQUIRE_THAT_PAGES_MOVED(); \
} while (0)

/* Shows: D.compaction (from patch 10) */
TEST_F_TIMEOUT(compaction, pages_in_use, MIG_LIMIT)
{
	ASSERT_SPREAD_OUT();
	ASSERT_FRAGMENTED(16);
	ASSERT_COMPACTED();
	mig_guest_verify(_metadata, &self->guest);
}

/* Shows: D.compaction (from patch 10) */
TEST_F_TIMEOUT(compaction, again_and_again, MIG_LIMIT)
{
	int round;

	ASSERT_SPREAD_OUT();
	for (round = 0; round < ROUNDS && _metadata->passed; round++) {
		ASSERT_FRAGMENTED(8);
		ASSERT_COMPACTED();
		mig_guest_verify(_metadata, &self->guest);
		mig_guest_look(_metadata, &self->guest);
		mig_ballast_free(&self->ballast);
		ASSERT_EQ(0, mig_ballast_take(&self->ballast,
					      mig_meminfo("MemFree") / 2));
	}
}

/* The guest gets to its pages only afterwards. */
/* Shows: D.compaction (from patch 10) */
TEST_F_TIMEOUT(compaction, pages_not_in_use_yet, MIG_LIMIT)
{
	ASSERT_EQ(0, fallocate(self->guest.mem.fd, 0, 0, self->guest.mem.size));
	mig_guest_look(_metadata, &self->guest);
	ASSERT_EQ(0, mig_ballast_take(&self->ballast,
				      mig_meminfo("MemFree") / 2));
	ASSERT_FRAGMENTED(16);
	ASSERT_COMPACTED();
	mig_guest_fill(_metadata, &self->guest, 0, PAGES);
	mig_guest_look(_metadata, &self->guest);
	mig_guest_verify(_metadata, &self->guest);
}

/* The guest's memory is shared meanwhile, and its private data stays behind. */
/* Shows: D.compaction (from patch 10) */
TEST_F_TIMEOUT(compaction, pages_not_in_use_any_more, MIG_LIMIT)
{
	struct mig_guest *guest = &self->guest;

	ASSERT_SPREAD_OUT();
	ASSERT_EQ(0, pm_set_shared(guest->vm->fd, guest->mem.gpa,
				   guest->mem.size));
	ASSERT_FRAGMENTED(16);
	ASSERT_COMPACTED();
	ASSERT_EQ(0, pm_set_private(guest->vm->fd, guest->mem.gpa,
				    guest->mem.size));
	EXPECT_VALUE(0, pm_check(guest->vm, guest->mem.gpa, guest->mem.size,
				 PM_PRIVATE, guest->pattern));
	mig_guest_look(_metadata, guest);
	mig_guest_verify(_metadata, guest);
}

TEST_HARNESS_MAIN

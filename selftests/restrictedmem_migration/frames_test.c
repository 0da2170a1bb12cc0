// SPDX-License-Identifier: GPL-2.0-only
/*
 * Restricted pages that nobody uses, in their page frames. No KVM is needed:
 * they are told from others by being unevictable.
 */
#include "pm_test.h"

#include "mig_host.h"

#define PAGES	4096

FIXTURE(frames)
{
	int fd;
	struct pm_frames *restricted;
	struct mig_ballast ballast;
};

/*
 * Half of the pages are allocated before the ballast and half after it, and
 * each half is more than the kernel sets aside at a time for pages of the
 * kind: so one half has lower frames. What is left of the ballast are ordinary
 * pages all over the memory: that some of them move shows that pages do.
 */
FIXTURE(frames)
{
	long ordinary;		/* ordinary pages that were moved */
	long moved;		/* restricted ones */
	long refused;		/* pages that migration would not move */
};

FIXTURE_SETUP(frames)
{
	struct pm_frames *frames;
	long probe;

	probe = pm_memfd_restricted();
	if (probe < 0)
		SKIP_CASE("no memfd_restricted()");
	close(probe);
	if (access("/proc/sys/vm/compact_memory", W_OK))
		SKIP_CASE("no compaction");
	frames = pm_unevictable_frames();
	if (!frames)
		SKIP_CASE("no /proc/kpageflags");
	free(frames);
	ASSERT_EQ(0, pm_bind_to_this_cpu());
	self->ordinary = self->moved = self->refused = 0;
}

FIXTURE_TEARDOWN(frames)
{
}

/*
 * Ballast, restricted pages, more ballast, which is then full of holes. That
 * some of its pages move shows that pages do.
 */
#define COMPACT_WITH_PAGES_IN_PLACE(round) do { \
	const size_t low = mig_meminfo("MemFree") / (ROUNDS + 2) * (round); \
	struct mig_ballast below, above; \
	struct pm_frames *none, *all, *restricted; \
	struct mig_counters before, after; \
	int fd = pm_memfd_restricted(); \
	ASSERT_LE(0, fd); \
	ASSERT_EQ(0, mig_ballast_take(&below, low + MIG_MIB)); \
	ASSERT_EQ(0, pm_drain_lru_batch()); \
	none = pm_unevictable_frames(); \
	ASSERT_EQ(0, fallocate(fd, 0, 0, PAGES * MIG_PAGE)); \
	ASSERT_EQ(0, pm_drain_lru_batch()); \
	all = pm_unevictable_frames(); \
	restricted = mig_frames_new(none, all); \
	ASSERT_EQ(PAGES, mig_frames_count(restricted)); \
	ASSERT_EQ(0, mig_ballast_take(&above, mig_meminfo("MemFree") / 2)); \
	mig_ballast_thin(&below, 16); \
	mig_ballast_thin(&above, 16); \
	ASSERT_EQ(0, mig_ballast_look(&above)); \
	ASSERT_EQ(0, mig_ballast_look(&below)); \
	mig_counters_read(&before); \
	ASSERT_EQ(0, mig_compact()); \
	mig_counters_read(&after); \
	mig_counters_show("compaction", &before, &after); \
	self->ordinary += mig_ballast_moved(&below) + \
			  mig_ballast_moved(&above); \
	self->moved += mig_frames_left(restricted); \
	self->refused += mig_counter_since(&before, "pgmigrate_fail"); \
	mig_ballast_free(&below); \
	mig_ballast_free(&above); \
	free(none); \
	free(all); \
	free(restricted); \
	close(fd); \
} while (0)

#define COMPACT_UNTIL(what) do { \
	int round; \
	for (round = 0; round < ROUNDS && !(what); round++) \
		COMPACT_WITH_PAGES_IN_PLACE(round); \
	printf("# moved: %ld ordinary pages, %ld restricted, %ld refused\n", \
	       self->ordinary, self->moved, self->refused); \
	fflush(stdout); \
	if (!self->ordinary) \
		SKIP_CASE("not even ordinary pages were moved"); \
} while (0)

/* Shows: D.stay (from patch 3) */
TEST_F(frames, stay_in_compaction)
{
	COMPACT_UNTIL(self->moved);
	EXPECT_EQ(0, self->moved);
}

/* To isolate them and then to find that they cannot be moved costs time. */
/* Shows: D.passed-over (from patch 3) */
TEST_F(frames, are_passed_over_by_compaction)
{
	struct mig_counters before, after;
	long tried;

	mig_counters_read(&before);
	ASSERT_EQ(0, mig_compact());
	mig_counters_read(&after);
	mig_counters_show("compaction", &before, &after);
	REQUIRE_THAT_PAGES_MOVED();
	tried = mig_frames_left(self->restricted) +
		mig_counter_since(&before, "pgmigrate_fail");
	EXPECT_GT(PAGES / 16, tried);
}

TEST_HARNESS_MAIN

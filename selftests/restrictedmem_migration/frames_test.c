// SPDX-License-Identifier: GPL-2.0-only
/*
 * Restricted pages that nobody uses, in their page frames. No KVM is needed:
 * they are told from others by being unevictable.
 */
#include "pm_test.h"

#include "mig_host.h"

#include <sys/mman.h>

#define PAGES	4096
#define ONE_IN	16
#define TRIES	8

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
FIXTURE_SETUP(frames)
{
	const __u64 half = PAGES / 2 * MIG_PAGE;
	struct pm_frames *before, *after;
	long probe;

	probe = pm_memfd_restricted();
	if (probe < 0)
		SKIP_CASE("no memfd_restricted()");
	self->fd = probe;
	if (access("/proc/sys/vm/compact_memory", W_OK))
		SKIP_CASE("no compaction");
	ASSERT_EQ(0, pm_bind_to_this_cpu());
	ASSERT_EQ(0, pm_drain_lru_batch());
	before = pm_unevictable_frames();
	if (!before)
		SKIP_CASE("no /proc/kpageflags");

	ASSERT_EQ(0, fallocate(self->fd, 0, 0, half));
	ASSERT_EQ(0, mig_ballast_take(&self->ballast, mig_meminfo("MemFree") / 2));
	ASSERT_EQ(0, fallocate(self->fd, 0, half, half));
	ASSERT_EQ(0, pm_drain_lru_batch());
	after = pm_unevictable_frames();
	self->restricted = mig_frames_new(before, after);
	free(before);
	free(after);
	ASSERT_EQ(PAGES, mig_frames_count(self->restricted));
}

FIXTURE_TEARDOWN(frames)
{
	mig_ballast_free(&self->ballast);
	free(self->restricted);
	close(self->fd);
}

/*
 * Compacts until half of the ordinary pages have moved: a compaction ends early
 * when one page finds no new place. What has stayed gets other places then.
 * Returns how many have moved in the end, or -1. Locked pages are unevictable.
 */
static long compact(struct mig_ballast *ballast, bool locked)
{
	const long held = ballast->size / MIG_PAGE / ONE_IN;
	const size_t size = ballast->size;
	long moved = 0;
	int i;

	for (i = 0; i < TRIES && moved < held / 2; i++) {
		if (i) {
			mig_ballast_free(ballast);
			if (mig_ballast_take(ballast, size))
				return -1;
		}
		mig_ballast_thin(ballast, ONE_IN);
		/* What is not there is not to be brought back. */
		if (locked && (mlock2(ballast->start, size, MLOCK_ONFAULT) ||
			       pm_drain_lru_batch()))
			return -1;
		if (mig_ballast_look(ballast) || mig_compact())
			return -1;
		moved = mig_ballast_moved(ballast);
		printf("# ordinary pages moved: %ld of %ld\n", moved, held);
		fflush(stdout);
	}
	return moved;
}

/*
 * They stay, and compaction does not even try: to isolate pages and then to find
 * that they cannot be moved costs time.
 */
/* Shows: D.stay, D.passed-over (from patch 3) */
TEST_F_TIMEOUT(frames, are_passed_over_by_compaction, MIG_LIMIT)
{
	struct mig_counters before, after;
	long moved, left;

	mig_counters_read(&before);
	moved = compact(&self->ballast, false);
	mig_counters_read(&after);
	mig_counters_show("compaction", &before, &after);
	ASSERT_LE(0, moved);
	if (!moved)
		SKIP_CASE("not even ordinary pages were moved");
	left = mig_frames_left(self->restricted);
	EXPECT_EQ(0, left);
	EXPECT_GT(PAGES / 16, left + mig_counter_since(&before, "pgmigrate_fail"));
}

/* Of an unevictable page compaction asks whether it has to stay. */
/* Shows: D.locked (from patch 3) */
TEST_F_TIMEOUT(frames, that_are_locked_by_mlock_are_moved, MIG_LIMIT)
{
	const long half = self->ballast.size / MIG_PAGE / ONE_IN / 2;

	EXPECT_LE(half, compact(&self->ballast, true));
}

TEST_HARNESS_MAIN

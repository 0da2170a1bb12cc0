// SPDX-License-Identifier: GPL-2.0-only
/* Memory that is to be taken out of use while guests have private data there. */
#include "mig_test.h"

#include <signal.h>
#include <sys/time.h>

/* Without an end the kernel tries to move what does not move. */
#define LIMIT_S	3
#define MOST_BLOCKS 256

/* --- Single pages --------------------------------------------------------------- */

#define FEW	64
#define SOFT	"/sys/devices/system/memory/soft_offline_page"

FIXTURE(page)
{
	struct mig_guest guest;
};

FIXTURE_SETUP(page)
{
	if (access(SOFT, W_OK))
		SKIP_CASE("no soft offlining");
	mig_guest_create(_metadata, &self->guest, PM_BY_ATTRIBUTE, FEW);
}

FIXTURE_TEARDOWN(page)
{
	mig_guest_free(&self->guest);
}

/* Either nothing happens to the page or the guest does not notice. */
#define ASSERT_TAKEN_OFFLINE_UNNOTICED() do { \
	char text[32]; \
	int ret; \
	mig_guest_look(_metadata, &self->guest); \
	snprintf(text, sizeof(text), "%#lx", \
		 mig_frames_first(self->guest.frames) * MIG_PAGE); \
	mig_guest_before(&self->guest); \
	ret = pm_write_text(SOFT, text) ? errno : 0; \
	mig_guest_after(_metadata, &self->guest, "soft offlining"); \
	MIG_DIAGNOSTIC("soft offlining: %s", ret ? strerror(ret) : "done"); \
	mig_guest_verify(_metadata, &self->guest); \
} while (0)

/* Shows: D.offline (from patch 10) */
TEST_F_TIMEOUT(page, of_a_guest, MIG_LIMIT)
{
	mig_guest_fill(_metadata, &self->guest, 0, FEW);
	ASSERT_TAKEN_OFFLINE_UNNOTICED();
}

/* The kernel takes these for pages with data, and so tries to move it. */
/* Shows: D.offline (from patch 10) */
TEST_F_TIMEOUT(page, of_a_guest_allocated_beforehand, MIG_LIMIT)
{
	ASSERT_EQ(0, fallocate(self->guest.mem.fd, 0, 0, self->guest.mem.size));
	mig_guest_fill(_metadata, &self->guest, 0, FEW);
	ASSERT_TAKEN_OFFLINE_UNNOTICED();
}

/* --- Blocks of memory ------------------------------------------------------------ */

#define PAGES	4096
/* A node of the page cache has so many pages, of the guest's tables some more. */
#define NODE	64

FIXTURE(block)
{
	struct mig_guest guest;
	struct mig_ballast ballast;
	unsigned long pages;		/* of a block */
	int usable;			/* number of a block that can be offline */
};

static bool interrupted;

static void interrupt(int signal)
{
	interrupted = true;
}

/* Returns 0 or an errno; EINTR if it was tried until the limit. */
static int set_block(int block, const char *state)
{
	struct sigaction action = { .sa_handler = interrupt };
	/* Again and again: the first may come before the call. */
	struct itimerval limit = { { 0, 100000 }, { LIMIT_S, 0 } }, none = { 0 };
	char path[80];
	int ret;

	snprintf(path, sizeof(path), "/sys/devices/system/memory/memory%d/state",
		 block);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &limit, NULL);
	ret = pm_write_text(path, state) ? errno : 0;
	setitimer(ITIMER_REAL, &none, NULL);
	return ret;
}

/* One that has none of the kernel's own memory; from the top, or -1. */
static int usable_block(void)
{
	int block;

	for (block = MOST_BLOCKS - 1; block > 0; block--) {
		if (set_block(block, "offline"))
			continue;
		if (!set_block(block, "online"))
			return block;
	}
	return -1;
}

/*
 * First all that comes with the pages, in the guest's tables and in those of
 * the file, then the pages themselves, when there is next to no memory but in
 * the block: what the kernel cannot move is elsewhere.
 */
FIXTURE_SETUP(block)
{
	const __u64 gpa = PM_GPA;
	char text[32];
	__u64 i;

	if (pm_read_text("/sys/devices/system/memory/block_size_bytes", text,
			 sizeof(text)) < 0)
		SKIP_CASE("no memory hotplug");
	self->pages = strtoul(text, NULL, 16) / MIG_PAGE;
	mig_guest_create(_metadata, &self->guest, PM_BY_ATTRIBUTE, PAGES);
	for (i = 0; i < PAGES; i += NODE)
		ASSERT_END(PM_DONE, pm_write(self->guest.vm, gpa + i * PM_PAGE,
					     PM_PRIVATE, 0));
	self->usable = usable_block();
	if (self->usable < 0)
		SKIP_CASE("no block of memory can be taken offline");

	/* Others hold some, to give it back to the kernel's own needs. */
	ASSERT_EQ(0, mig_others_fill_pipes(&self->guest.others));
	ASSERT_EQ(0, mig_ballast_take(&self->ballast, mig_meminfo("MemFree") -
				      12 * MIG_MIB));
	ASSERT_EQ(0, mig_ballast_look(&self->ballast));
	mig_ballast_free_frames(&self->ballast, self->usable * self->pages,
				(self->usable + 1) * self->pages - 1);
	mig_guest_fill(_metadata, &self->guest, 0, PAGES);
	ASSERT_EQ(0, mig_others_check(&self->guest.others));
	mig_ballast_free(&self->ballast);
	mig_guest_look(_metadata, &self->guest);
}

FIXTURE_TEARDOWN(block)
{
	mig_guest_free(&self->guest);
	mig_ballast_free(&self->ballast);
}

/* Shows: D.offline (from patch 10) */
TEST_F_TIMEOUT(block, with_pages_of_a_guest, MIG_LIMIT)
{
	unsigned long first = self->usable * self->pages, i, inside = 0;
	int ret;

	for (i = first; i < first + self->pages; i++)
		inside += mig_frames_have(self->guest.frames, i);
	if (!inside)
		SKIP_CASE("the guest got no memory of the block");

	mig_guest_before(&self->guest);
	interrupted = false;
	ret = set_block(self->usable, "offline");
	mig_guest_after(_metadata, &self->guest, "offlining");
	MIG_DIAGNOSTIC("memory%d with %lu private pages: %s", self->usable,
		       inside, ret ? strerror(ret) : "offline");
	if (ret && !interrupted)
		SKIP_CASE("the block has some of the kernel's memory by now");
	mig_guest_verify(_metadata, &self->guest);
	if (!ret)
		EXPECT_EQ(0, set_block(self->usable, "online"));
}

/* --- Memory that is set aside for what moves --------------------------------------- */

#define SOME	1024

FIXTURE(zone)
{
	int fd;
	unsigned long pages;		/* of a block */
	int block;			/* which is all of ZONE_MOVABLE */
	struct mig_ballast ballast;
};

FIXTURE_SETUP(zone)
{
	char text[32];
	long probe;

	self->block = -1;
	self->fd = -1;
	probe = pm_memfd_restricted();
	if (probe < 0)
		SKIP_CASE("no memfd_restricted()");
	self->fd = probe;
	if (pm_read_text("/sys/devices/system/memory/block_size_bytes", text,
			 sizeof(text)) < 0)
		SKIP_CASE("no memory hotplug");
	self->pages = strtoul(text, NULL, 16) / MIG_PAGE;
	ASSERT_EQ(0, pm_bind_to_this_cpu());
	self->block = usable_block();
	if (self->block < 0 || set_block(self->block, "offline"))
		SKIP_CASE("no block of memory can be taken offline");
	ASSERT_EQ(0, set_block(self->block, "online_movable"));
}

FIXTURE_TEARDOWN(zone)
{
	close(self->fd);
	mig_ballast_free(&self->ballast);
	if (self->block >= 0 && !set_block(self->block, "offline"))
		set_block(self->block, "online");
}

/*
 * What can move is taken from there first. What cannot would keep the block from
 * being taken offline, which the zone is there for.
 */
/* Shows: D.zone (from patch 3) */
TEST_F_TIMEOUT(zone, of_what_moves_has_no_restricted_pages, MIG_LIMIT)
{
	unsigned long first = self->block * self->pages, i, ordinary = 0, inside = 0;
	struct pm_frames *before, *after, *restricted;

	ASSERT_EQ(0, mig_ballast_take(&self->ballast, SOME * MIG_PAGE));
	ASSERT_EQ(0, mig_ballast_look(&self->ballast));
	for (i = 0; i < SOME; i++)
		ordinary += self->ballast.frame[i] >= first &&
			    self->ballast.frame[i] < first + self->pages;
	if (!ordinary)
		SKIP_CASE("not even ordinary pages are there");

	ASSERT_EQ(0, pm_drain_lru_batch());
	before = pm_unevictable_frames();
	if (!before)
		SKIP_CASE("no /proc/kpageflags");
	ASSERT_EQ(0, fallocate(self->fd, 0, 0, SOME * MIG_PAGE));
	ASSERT_EQ(0, pm_drain_lru_batch());
	after = pm_unevictable_frames();
	restricted = mig_frames_new(before, after);
	free(before);
	free(after);
	EXPECT_EQ(SOME, mig_frames_count(restricted));
	for (i = first; i < first + self->pages; i++)
		inside += mig_frames_have(restricted, i);
	free(restricted);
	MIG_DIAGNOSTIC("pages in ZONE_MOVABLE: %lu of %d ordinary ones, %lu of %d restricted ones",
		       ordinary, SOME, inside, SOME);
	EXPECT_EQ(0, inside);
}

TEST_HARNESS_MAIN

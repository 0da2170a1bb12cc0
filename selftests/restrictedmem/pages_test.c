// SPDX-License-Identifier: GPL-2.0-only
/*
 * The pages behind a restricted file: unevictable, never swapped, charged.
 *
 * A case about the end of a state skips if the state never began, which is
 * another case's failure.
 */
#include "restrictedmem.h"

#include <fcntl.h>
#include <linux/falloc.h>

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

/* Enough to stand out from what else the kernel does meanwhile. */
#define MANY 2048

/* What per-CPU batches and caches of the kernel may hide or add, in pages. */
#define SLACK 256

/*
 * Pages on the unevictable list. It holds those of an initramfs, too, so only
 * differences say something.
 */
static long unevictable_pages(void)
{
	if (drain_lru_batch())
		return -1;
	return vmstat_field("nr_unevictable");
}

FIXTURE(unevictable)
{
	int fd;
	off_t length;
	long before;
};

FIXTURE_SETUP(unevictable)
{
	ASSERT_NEW_FILE(self->fd);
	self->length = MANY * page_size();
	ASSERT_EQ(0, sysret(ftruncate(self->fd, self->length)));
	ASSERT_EQ(0, bind_to_this_cpu());
	self->before = unevictable_pages();
	if (self->before < 0) {
		close(self->fd);
		SKIP_CASE("cannot read nr_unevictable: %s", strerror(errno));
	}
	ASSERT_EQ(0, sysret(fallocate(self->fd, 0, 0, self->length)));
}

FIXTURE_TEARDOWN(unevictable)
{
	close(self->fd);
}

/* Shows: B1.unevictable (from patch 3) */
TEST_F(unevictable, count_rises_on_fallocate)
{
	long after = unevictable_pages();

	EXPECT_LE(self->before + MANY, after);
	EXPECT_GE(self->before + MANY + SLACK, after);
}

/* Shows: B1.unevictable (from patch 3) */
TEST_F(unevictable, count_falls_on_punch)
{
	if (unevictable_pages() < self->before + MANY)
		SKIP_CASE("the pages were not unevictable to begin with");
	ASSERT_EQ(0, sysret(fallocate(self->fd, PUNCH, 0, self->length)));
	EXPECT_GE(self->before + SLACK, unevictable_pages());
}

/* Shows: B1.unevictable (from patch 3) */
TEST_F(unevictable, count_falls_on_last_close)
{
	if (unevictable_pages() < self->before + MANY)
		SKIP_CASE("the pages were not unevictable to begin with");
	ASSERT_EQ(0, close(self->fd));
	EXPECT_GE(self->before + SLACK, unevictable_pages());
}

/* Root asks for everything that is clean to be dropped, on every list. */
/* Shows: B1.no-swap (from patch 3) */
TEST_F(unevictable, drop_caches_drops_none)
{
	long full = tmpfs_pages();

	ASSERT_EQ(0, write_text("/proc/sys/vm/drop_caches", "3"));
	EXPECT_LE(full, tmpfs_pages() + SLACK);
}

FIXTURE(charge)
{
	int fd;
	off_t length;
	long slack;
	struct memory_cgroup cg;
};

FIXTURE_SETUP(charge)
{
	const char *missing;

	REQUIRE_RESTRICTEDMEM();
	missing = memory_cgroup_create(&self->cg);
	if (missing)
		SKIP_CASE("%s", missing);
	self->length = MANY * page_size();
	self->slack = SLACK * page_size();
	self->fd = memfd_restricted(0);
	if (self->fd < 0 || ftruncate(self->fd, self->length) ||
	    bind_to_this_cpu() || memory_cgroup_enter(&self->cg)) {
		memory_cgroup_destroy(&self->cg);
		ASSERT_TRUE(false)
			TH_LOG("set-up: %s", strerror(errno));
	}
}

FIXTURE_TEARDOWN(charge)
{
	close(self->fd);
	memory_cgroup_destroy(&self->cg);
}

/* Shows: B1.memcg (from patch 3) */
TEST_F(charge, allocator_pays_on_fallocate)
{
	long before = memory_cgroup_read(&self->cg, "memory.current");

	ASSERT_LE(0, before);
	ASSERT_EQ(0, sysret(fallocate(self->fd, 0, 0, self->length)));
	EXPECT_LE(before + self->length - self->slack,
		  memory_cgroup_read(&self->cg, "memory.current"));
}

/* tmpfs charges by folio, so what was charged shows when it is given back. */
/* Shows: B1.memcg (from patch 3) */
TEST_F(charge, is_dropped_on_punch)
{
	long full;

	ASSERT_EQ(0, sysret(fallocate(self->fd, 0, 0, self->length)));
	full = memory_cgroup_read(&self->cg, "memory.current");
	if (full < self->length - self->slack)
		SKIP_CASE("the pages were not charged to begin with");
	ASSERT_EQ(0, sysret(fallocate(self->fd, PUNCH, 0, self->length)));
	EXPECT_GE(full - self->length + self->slack,
		  memory_cgroup_read(&self->cg, "memory.current"));
}

/* Shows: B1.memcg (from patch 3) */
TEST_F(charge, is_dropped_on_last_close)
{
	long full;

	ASSERT_EQ(0, sysret(fallocate(self->fd, 0, 0, self->length)));
	full = memory_cgroup_read(&self->cg, "memory.current");
	if (full < self->length - self->slack)
		SKIP_CASE("the pages were not charged to begin with");
	ASSERT_EQ(0, close(self->fd));
	EXPECT_GE(full - self->length + self->slack,
		  memory_cgroup_read(&self->cg, "memory.current"));
}

FIXTURE(reclaim)
{
	struct memory_cgroup cg;
	struct ram_swap swap;
	off_t length;
};

/*
 * Reclaim is asked for in a cgroup, so that it falls on the file under test
 * and on nothing else. That it works here is shown with an ordinary memfd.
 */
FIXTURE_SETUP(reclaim)
{
	const char *missing;
	long swapped = 0;
	int fd, tries;

	REQUIRE_RESTRICTEDMEM();
	missing = memory_cgroup_create(&self->cg);
	if (missing)
		SKIP_CASE("%s", missing);
	self->length = MANY * page_size();
	missing = ram_swap_on(&self->swap, 4 * self->length);
	if (missing)
		goto skip;

	missing = "an ordinary memfd is not swapped out on demand here";
	fd = memfd_create("selftest", MFD_CLOEXEC);
	if (fd < 0 || bind_to_this_cpu() || memory_cgroup_enter(&self->cg) ||
	    fallocate(fd, 0, 0, self->length))
		goto skip_swap;
	for (tries = 0; tries < 10 && swapped < self->length / 2; tries++) {
		memory_cgroup_reclaim(&self->cg, self->length);
		swapped = memory_cgroup_read(&self->cg, "memory.swap.current");
	}
	close(fd);
	if (swapped >= self->length / 2)
		return;
skip_swap:
	ram_swap_off(&self->swap);
skip:
	memory_cgroup_destroy(&self->cg);
	SKIP_CASE("%s", missing);
}

FIXTURE_TEARDOWN(reclaim)
{
	ram_swap_off(&self->swap);
	memory_cgroup_destroy(&self->cg);
}

/* Shows: B1.no-swap (from patch 3) */
TEST_F(reclaim, leaves_the_pages_where_they_are)
{
	int tries, fd = memfd_restricted(0);
	long before, charge;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, sysret(ftruncate(fd, self->length)));
	ASSERT_EQ(0, sysret(fallocate(fd, 0, 0, self->length)));
	charge = memory_cgroup_read(&self->cg, "memory.current");
	if (charge < self->length - SLACK * page_size())
		SKIP_CASE("the pages were not charged to begin with");
	before = memory_cgroup_read(&self->cg, "memory.swap.current");
	for (tries = 0; tries < 3; tries++)
		memory_cgroup_reclaim(&self->cg, self->length);
	/* The case's own few pages may go. */
	EXPECT_GE(before + SLACK * page_size(),
		  memory_cgroup_read(&self->cg, "memory.swap.current"))
		TH_LOG("restricted pages were swapped out");
	charge = memory_cgroup_read(&self->cg, "memory.current");
	EXPECT_LE(self->length - SLACK * page_size(), charge)
		TH_LOG("restricted pages were reclaimed");
	close(fd);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * fallocate(2): allocation goes through to tmpfs as it is, punching holes
 * wants whole pages, everything else is refused.
 */
#include "restrictedmem.h"

#include <fcntl.h>
#include <linux/falloc.h>

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

/* Enough to stand out from what else the kernel does with tmpfs meanwhile. */
#define MANY 512

FIXTURE(fallocate)
{
	int fd;
	off_t page;
};

FIXTURE_SETUP(fallocate)
{
	ASSERT_NEW_FILE(self->fd);
	self->page = page_size();
	ASSERT_EQ(0, sysret(ftruncate(self->fd, 8 * self->page)));
}

FIXTURE_TEARDOWN(fallocate)
{
	close(self->fd);
}

/* Shows: B1.allocate (from patch 3) */
TEST_F(fallocate, mode_0_is_accepted)
{
	EXPECT_EQ(0, sysret(fallocate(self->fd, 0, 0, 4 * self->page)));
}

/* Shows: B1.allocate (from patch 3) */
TEST_F(fallocate, mode_0_has_no_alignment_rule)
{
	EXPECT_EQ(0, sysret(fallocate(self->fd, 0, 1, self->page)));
}

/* Shows: B1.allocate (from patch 3) */
TEST_F(fallocate, keep_size_is_accepted)
{
	EXPECT_EQ(0, sysret(fallocate(self->fd, FALLOC_FL_KEEP_SIZE, 0,
				      4 * self->page)));
}

/* Shows: B1.allocate (from patch 3) */
TEST_F(fallocate, keep_size_has_no_alignment_rule)
{
	EXPECT_EQ(0, sysret(fallocate(self->fd, FALLOC_FL_KEEP_SIZE, 1,
				      self->page)));
}

/* Shows: B1.punch (from patch 3) */
TEST_F(fallocate, punch_of_whole_pages_is_accepted)
{
	ASSERT_EQ(0, sysret(fallocate(self->fd, 0, 0, 4 * self->page)));
	EXPECT_EQ(0, sysret(fallocate(self->fd, PUNCH, self->page,
				      2 * self->page)));
}

/* Shows: B1.punch (from patch 3) */
TEST_F(fallocate, punch_where_nothing_is_is_accepted)
{
	EXPECT_EQ(0, sysret(fallocate(self->fd, PUNCH, 0, self->page)));
}

/* Shows: B1.punch (from patch 3) */
TEST_F(fallocate, punch_past_the_end_is_accepted)
{
	EXPECT_EQ(0, sysret(fallocate(self->fd, PUNCH, 8 * self->page,
				      self->page)));
}

/* Shows: B1.punch (from patch 3) */
TEST_F(fallocate, punch_without_keep_size_is_eopnotsupp)
{
	EXPECT_EQ(-EOPNOTSUPP, sysret(fallocate(self->fd, FALLOC_FL_PUNCH_HOLE,
						0, self->page)));
}

/* Shows: B1.punch (from patch 3) */
TEST_F(fallocate, punch_at_unaligned_offset_is_einval)
{
	EXPECT_EQ(-EINVAL, sysret(fallocate(self->fd, PUNCH, 1, self->page)));
	EXPECT_EQ(-EINVAL, sysret(fallocate(self->fd, PUNCH, self->page - 1,
					    self->page)));
}

/* Each waits for the one before. */
/* Shows: B1.punch (from patch 3) */
TEST_F(fallocate, punch_can_be_repeated)
{
	EXPECT_EQ(0, sysret(fallocate(self->fd, PUNCH, 0, self->page)));
	EXPECT_EQ(0, sysret(fallocate(self->fd, PUNCH, 0, self->page)));
}

/* Shows: B1.punch (from patch 3) */
TEST_F(fallocate, punch_of_unaligned_length_is_einval)
{
	EXPECT_EQ(-EINVAL, sysret(fallocate(self->fd, PUNCH, 0, 1)));
	EXPECT_EQ(-EINVAL, sysret(fallocate(self->fd, PUNCH, self->page,
					    self->page + 1)));
}

/* Both are odd and the end is not: a test of the end alone would pass it. */
/* Shows: B1.punch (from patch 3) */
TEST_F(fallocate, punch_with_only_the_end_aligned_is_einval)
{
	EXPECT_EQ(-EINVAL, sysret(fallocate(self->fd, PUNCH, 1,
					    self->page - 1)));
}

FIXTURE(without_size)
{
	int fd;
	off_t page;
};

FIXTURE_SETUP(without_size)
{
	ASSERT_NEW_FILE(self->fd);
	self->page = page_size();
}

FIXTURE_TEARDOWN(without_size)
{
	close(self->fd);
}

/* Shows: B1.allocate (from patch 3) */
TEST_F(without_size, mode_0_is_accepted)
{
	EXPECT_EQ(0, sysret(fallocate(self->fd, 0, 0, self->page)));
}

/* Shows: B1.allocate (from patch 3) */
TEST_F(without_size, keep_size_is_accepted)
{
	EXPECT_EQ(0, sysret(fallocate(self->fd, FALLOC_FL_KEEP_SIZE, 0,
				      self->page)));
}

/* The size that fallocate() gives is the one that cannot be changed. */
/* Shows: B1.allocate, B1.size-once (from patch 3) */
TEST_F(without_size, mode_0_sets_it_for_good)
{
	if (fallocate(self->fd, 0, 0, self->page))
		SKIP_CASE("nothing could be allocated to begin with");
	EXPECT_EQ(-EPERM, sysret(ftruncate(self->fd, 2 * self->page)));
}

FIXTURE(unsupported)
{
	int fd;
};

FIXTURE_VARIANT(unsupported)
{
	int mode;
};

FIXTURE_VARIANT_ADD(unsupported, zero_range)
{
	.mode = FALLOC_FL_ZERO_RANGE,
};

FIXTURE_VARIANT_ADD(unsupported, zero_range_keep_size)
{
	.mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
};

FIXTURE_VARIANT_ADD(unsupported, collapse_range)
{
	.mode = FALLOC_FL_COLLAPSE_RANGE,
};

FIXTURE_VARIANT_ADD(unsupported, insert_range)
{
	.mode = FALLOC_FL_INSERT_RANGE,
};

FIXTURE_VARIANT_ADD(unsupported, unshare_range)
{
	.mode = FALLOC_FL_UNSHARE_RANGE,
};

FIXTURE_SETUP(unsupported)
{
	ASSERT_NEW_FILE(self->fd);
	ASSERT_EQ(0, sysret(ftruncate(self->fd, 4 * page_size())));
}

FIXTURE_TEARDOWN(unsupported)
{
	close(self->fd);
}

/* Shows: B1.modes (from patch 3) */
TEST_F(unsupported, is_eopnotsupp)
{
	EXPECT_EQ(-EOPNOTSUPP, sysret(fallocate(self->fd, variant->mode,
						0, page_size())));
}

FIXTURE(memory)
{
	int fd;
	off_t length;
	long before;
};

FIXTURE_SETUP(memory)
{
	ASSERT_NEW_FILE(self->fd);
	self->length = MANY * page_size();
	ASSERT_EQ(0, sysret(ftruncate(self->fd, self->length)));
	self->before = tmpfs_pages();
	if (self->before < 0) {
		close(self->fd);
		SKIP_CASE("no /proc/vmstat or not root");
	}
}

FIXTURE_TEARDOWN(memory)
{
	close(self->fd);
}

/* Shows: B1.allocate (from patch 3) */
TEST_F(memory, mode_0_allocates)
{
	ASSERT_EQ(0, sysret(fallocate(self->fd, 0, 0, self->length)));
	EXPECT_LE(self->before + MANY, tmpfs_pages());
}

/* Shows: B1.allocate (from patch 3) */
TEST_F(memory, keep_size_allocates)
{
	ASSERT_EQ(0, sysret(fallocate(self->fd, FALLOC_FL_KEEP_SIZE, 0,
				      self->length)));
	EXPECT_LE(self->before + MANY, tmpfs_pages());
}

/* Shows: B1.past-eof, B1.allocate (from patch 3) */
TEST_F(memory, keep_size_allocates_past_the_end)
{
	ASSERT_EQ(0, sysret(fallocate(self->fd, FALLOC_FL_KEEP_SIZE,
				      self->length, self->length)));
	EXPECT_LE(self->before + MANY, tmpfs_pages());
}

/* Shows: B1.free, B1.punch (from patch 3) */
TEST_F(memory, punch_frees)
{
	long full;

	ASSERT_EQ(0, sysret(fallocate(self->fd, 0, 0, self->length)));
	full = tmpfs_pages();
	if (full < self->before + MANY)
		SKIP_CASE("no memory was allocated to begin with");
	ASSERT_EQ(0, sysret(fallocate(self->fd, PUNCH, 0, self->length)));
	EXPECT_GE(full - MANY, tmpfs_pages());
}

/* Shows: B1.free (from patch 3) */
TEST_F(memory, last_close_frees)
{
	long full;

	ASSERT_EQ(0, sysret(fallocate(self->fd, 0, 0, self->length)));
	full = tmpfs_pages();
	if (full < self->before + MANY)
		SKIP_CASE("no memory was allocated to begin with");
	ASSERT_EQ(0, close(self->fd));
	EXPECT_GE(full - MANY, tmpfs_pages());
}

TEST_HARNESS_MAIN

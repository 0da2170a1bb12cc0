// SPDX-License-Identifier: GPL-2.0-only
/* ftruncate(2) sets the size of a restricted file once, to whole pages. */
#include "restrictedmem.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

FIXTURE(size)
{
	int fd;
	off_t page;
};

FIXTURE_SETUP(size)
{
	ASSERT_NEW_FILE(self->fd);
	self->page = page_size();
}

FIXTURE_TEARDOWN(size)
{
	close(self->fd);
}

/* Shows: B1.size (from patch 3) */
TEST_F(size, aligned_is_accepted)
{
	EXPECT_EQ(0, sysret(ftruncate(self->fd, self->page)));
}

/* Shows: B1.size (from patch 3) */
TEST_F(size, beyond_2g_is_accepted)
{
	long ret = sysret(ftruncate(self->fd, (1L << 31) + self->page));

	/* Whether a size costs memory is the subject of another case. */
	if (ret == -ENOMEM)
		SKIP_CASE("not enough memory for a size beyond 2G");
	EXPECT_EQ(0, ret);
}

/* Shows: B1.size (from patch 3) */
TEST_F(size, unaligned_is_einval)
{
	/* Refused sizes leave the file without one, so each is a first. */
	EXPECT_EQ(-EINVAL, sysret(ftruncate(self->fd, 1)));
	EXPECT_EQ(-EINVAL, sysret(ftruncate(self->fd, self->page - 1)));
	EXPECT_EQ(-EINVAL, sysret(ftruncate(self->fd, self->page + 1)));
	EXPECT_EQ(-EINVAL, sysret(ftruncate(self->fd, self->page / 2)));
}

/* Shows: B1.size (from patch 3) */
TEST_F(size, zero_does_not_count_as_a_size)
{
	ASSERT_EQ(0, sysret(ftruncate(self->fd, 0)));
	EXPECT_EQ(0, sysret(ftruncate(self->fd, self->page)));
}

/* What tmpfs refuses, the caller is told; and the file is left without a size. */
/* Shows: B1.size (from patch 3) */
TEST_F(size, beyond_the_limit_of_the_process_is_efbig)
{
	struct rlimit old, less;

	ASSERT_EQ(0, getrlimit(RLIMIT_FSIZE, &old));
	less = old;
	less.rlim_cur = self->page;
	signal(SIGXFSZ, SIG_IGN);
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &less));
	EXPECT_EQ(-EFBIG, sysret(ftruncate(self->fd, 2 * self->page)));
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &old));
	EXPECT_EQ(0, sysret(ftruncate(self->fd, 2 * self->page)));
}

/* The size is a promise of address space, not of memory. */
/* A file that cannot be read has no bytes that wait for a reader. */
/* Shows: B1.rw (from patch 3) */
TEST_F(size, offers_nothing_to_read)
{
	int bytes = -1;

	ASSERT_EQ(0, sysret(ftruncate(self->fd, 2 * self->page)));
	ASSERT_EQ(0, sysret(ioctl(self->fd, FIONREAD, &bytes)));
	EXPECT_EQ(0, bytes);
}

/* Shows: B1.no-reserve (from patch 3) */
TEST_F(size, reserves_no_memory)
{
	const long gib = 1 << 20;
	long before, after;

	before = meminfo_field("Committed_AS");
	if (before < 0)
		SKIP_CASE("no /proc/meminfo or not root");
	ASSERT_EQ(0, sysret(ftruncate(self->fd, gib * 1024)));
	after = meminfo_field("Committed_AS");
	EXPECT_GT(before + gib / 2, after);
}

/* Pages may be in use past the end, and nobody would be told. */
/* Shows: Cf (from patch 3) */
TEST_F(size, zero_keeps_pages_past_the_end)
{
	const long many = 512;
	long before = tmpfs_pages();

	if (before < 0)
		SKIP_CASE("no /proc/vmstat or not root");
	if (fallocate(self->fd, FALLOC_FL_KEEP_SIZE, 0, many * self->page) ||
	    tmpfs_pages() < before + many)
		SKIP_CASE("no memory was allocated to begin with");
	ASSERT_EQ(0, sysret(ftruncate(self->fd, 0)));
	EXPECT_LE(before + many, tmpfs_pages());
}

FIXTURE(size_once)
{
	int fd;
	off_t page;
};

FIXTURE_SETUP(size_once)
{
	ASSERT_NEW_FILE(self->fd);
	self->page = page_size();
	ASSERT_EQ(0, sysret(ftruncate(self->fd, 4 * self->page)));
}

FIXTURE_TEARDOWN(size_once)
{
	close(self->fd);
}

/* Shows: B1.size-once (from patch 3) */
TEST_F(size_once, larger_is_eperm)
{
	EXPECT_EQ(-EPERM, sysret(ftruncate(self->fd, 8 * self->page)));
}

/* Shows: B1.size-once (from patch 3) */
TEST_F(size_once, smaller_is_eperm)
{
	EXPECT_EQ(-EPERM, sysret(ftruncate(self->fd, self->page)));
}

/* Shows: B1.size-once (from patch 3) */
TEST_F(size_once, same_is_eperm)
{
	EXPECT_EQ(-EPERM, sysret(ftruncate(self->fd, 4 * self->page)));
}

/* Shows: B1.size-once (from patch 3) */
TEST_F(size_once, zero_is_eperm)
{
	EXPECT_EQ(-EPERM, sysret(ftruncate(self->fd, 0)));
}

/* Both rules are broken; that the size is set is the one to report. */
/* Shows: B1.size-once (from patch 3) */
TEST_F(size_once, unaligned_is_eperm_not_einval)
{
	EXPECT_EQ(-EPERM, sysret(ftruncate(self->fd, self->page + 1)));
}

/* truncate(2) comes to the same inode without the descriptor. */
/* Shows: B1.size-once (from patch 3) */
TEST_F(size_once, by_path_is_eperm)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	if (access("/proc/self/fd", F_OK))
		SKIP_CASE("/proc is not mounted");
	EXPECT_EQ(-EPERM, sysret(truncate(path, 8 * self->page)));
}

TEST_HARNESS_MAIN

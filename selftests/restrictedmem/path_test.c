// SPDX-License-Identifier: GPL-2.0-only
/*
 * An O_PATH descriptor keeps the inode of a restricted file but not the file.
 * What belongs to the inode has to last as long as that: a kernel that frees it
 * with the file goes on to use it when the inode is asked.
 *
 * This looks at the memory. To ask the inode could take such a kernel down, so
 * that cases which do are in fstat_test.
 */
#include "restrictedmem.h"

#include <fcntl.h>

#define MANY 512

FIXTURE(path)
{
	int fd;
	int path_fd;
	long before;
};

FIXTURE_SETUP(path)
{
	char path[64];

	if (access("/proc/self/fd", F_OK))
		SKIP_CASE("/proc is not mounted");
	ASSERT_NEW_FILE(self->fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	self->path_fd = open(path, O_PATH);
	ASSERT_LE(0, self->path_fd);
	self->before = tmpfs_pages();
	if (self->before < 0)
		SKIP_CASE("no /proc/vmstat or not root");
	if (fallocate(self->fd, 0, 0, MANY * page_size()) ||
	    tmpfs_pages() < self->before + MANY)
		SKIP_CASE("no memory was allocated to begin with");
	ASSERT_EQ(0, close(self->fd));
}

FIXTURE_TEARDOWN(path)
{
	close(self->path_fd);
}

/* Shows: Cg (from patch 3) */
TEST_F(path, keeps_the_memory)
{
	EXPECT_LE(self->before + MANY, tmpfs_pages());
}

/* Shows: Cg, B1.free (from patch 3) */
TEST_F(path, last_close_frees_the_memory)
{
	long full = tmpfs_pages();

	if (full < self->before + MANY)
		SKIP_CASE("the memory was not kept to begin with");
	ASSERT_EQ(0, close(self->path_fd));
	EXPECT_GE(full - MANY, tmpfs_pages());
}

TEST_HARNESS_MAIN

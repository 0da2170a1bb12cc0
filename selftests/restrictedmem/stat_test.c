// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a restricted file tells about itself, other than by fstat(2): that is a
 * program of its own.
 */
#include "restrictedmem.h"

#include <fcntl.h>
#include <sys/vfs.h>

FIXTURE(identity)
{
	int fd;
};

FIXTURE_SETUP(identity)
{
	ASSERT_NEW_FILE(self->fd);
}

FIXTURE_TEARDOWN(identity)
{
	close(self->fd);
}

/* Shows: B1.identity (from patch 3) */
TEST_F(identity, file_system_type_is_restrictedmem_magic)
{
	struct statfs fs;

	ASSERT_EQ(0, sysret(fstatfs(self->fd, &fs)));
	EXPECT_EQ(RESTRICTEDMEM_MAGIC, fs.f_type);
}

/* Shows: B1.identity (from patch 3) */
TEST_F(identity, link_name_is_restrictedmem_deleted)
{
	char path[64], name[PATH_MAX] = "";

	if (access("/proc/self/fd", F_OK))
		SKIP_CASE("/proc is not mounted");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	ASSERT_LT(0, readlink(path, name, sizeof(name) - 1));
	EXPECT_STREQ("/restrictedmem (deleted)", name);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/* What a restricted file tells about itself. */
#include "restrictedmem.h"

#include <fcntl.h>
#include <sys/stat.h>
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

TEST_F(identity, file_system_type_is_restrictedmem_magic)
{
	struct statfs fs;

	ASSERT_EQ(0, sysret(fstatfs(self->fd, &fs)));
	EXPECT_EQ(RESTRICTEDMEM_MAGIC, fs.f_type);
}

TEST_F(identity, link_name_is_restrictedmem_deleted)
{
	char path[64], name[PATH_MAX] = "";

	if (access("/proc/self/fd", F_OK))
		SKIP_CASE("/proc is not mounted");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	ASSERT_LT(0, readlink(path, name, sizeof(name) - 1));
	EXPECT_STREQ("/restrictedmem (deleted)", name);
}

TEST_F(identity, is_a_regular_file)
{
	struct stat st;

	ASSERT_EQ(0, sysret(fstat(self->fd, &st)));
	EXPECT_TRUE(S_ISREG(st.st_mode));
}

FIXTURE(stat)
{
	int fd;
	off_t page;
};

FIXTURE_SETUP(stat)
{
	ASSERT_NEW_FILE(self->fd);
	self->page = page_size();
}

FIXTURE_TEARDOWN(stat)
{
	close(self->fd);
}

TEST_F(stat, new_file_is_empty)
{
	EXPECT_EQ(0, file_size(self->fd));
}

/* The size is that of the hidden tmpfs file, of which nothing else is seen. */
TEST_F(stat, shows_size_from_ftruncate)
{
	ASSERT_EQ(0, sysret(ftruncate(self->fd, 3 * self->page)));
	EXPECT_EQ(3 * self->page, file_size(self->fd));
}

TEST_F(stat, shows_size_from_fallocate)
{
	ASSERT_EQ(0, sysret(fallocate(self->fd, 0, 0, 3 * self->page)));
	EXPECT_EQ(3 * self->page, file_size(self->fd));
}

TEST_F(stat, refused_size_is_not_shown)
{
	if (!ftruncate(self->fd, self->page + 1))
		SKIP_CASE("an unaligned size was not refused to begin with");
	EXPECT_EQ(0, file_size(self->fd));
}

TEST_F(stat, shows_allocated_blocks)
{
	struct stat st;

	ASSERT_EQ(0, sysret(ftruncate(self->fd, 3 * self->page)));
	ASSERT_EQ(0, sysret(fallocate(self->fd, FALLOC_FL_KEEP_SIZE, 0,
				      3 * self->page)));
	ASSERT_EQ(0, sysret(fstat(self->fd, &st)));
	/* With huge pages tmpfs may have taken more. */
	EXPECT_LE(3 * self->page / 512, st.st_blocks);
}

/* Such a descriptor keeps the inode, but not the file, from going away. */
TEST_F(stat, outlives_last_close_by_o_path)
{
	char path[64];
	int fd;

	ASSERT_EQ(0, sysret(ftruncate(self->fd, 3 * self->page)));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	if (access("/proc/self/fd", F_OK))
		SKIP_CASE("/proc is not mounted");
	fd = open(path, O_PATH);
	ASSERT_LE(0, fd);
	if (file_size(fd) != 3 * self->page)
		SKIP_CASE("fstat() does not show the size to begin with");
	ASSERT_EQ(0, close(self->fd));
	EXPECT_EQ(3 * self->page, file_size(fd));
	close(fd);
}

/*
 * The preferred block size follows the policy for huge pages in tmpfs. To read
 * the policy the kernel needs tmpfs's own inode: with the outer one, fstat()
 * oopses wherever huge pages are configured.
 */
#define POLICY "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

FIXTURE(block_size)
{
	int fd;
	char policy[16];
	long huge;
};

FIXTURE_SETUP(block_size)
{
	char text[128], *start, *end;

	ASSERT_NEW_FILE(self->fd);
	if (read_text(POLICY, text, sizeof(text)) < 0) {
		close(self->fd);
		SKIP_CASE("no huge pages in tmpfs in this kernel");
	}
	/* The one in force is in brackets. */
	start = strchr(text, '[');
	end = strchr(text, ']');
	ASSERT_TRUE(start && end && end - start < (long)sizeof(self->policy));
	*end = '\0';
	strcpy(self->policy, start + 1);

	ASSERT_LT(0, read_text("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size",
			       text, sizeof(text)));
	self->huge = strtol(text, NULL, 10);
	if (write_text(POLICY, self->policy)) {
		close(self->fd);
		SKIP_CASE("cannot set the policy for huge pages (not root?)");
	}
}

FIXTURE_TEARDOWN(block_size)
{
	EXPECT_EQ(0, write_text(POLICY, self->policy));
	close(self->fd);
}

TEST_F(block_size, is_a_page_under_policy_never)
{
	struct stat st;

	ASSERT_EQ(0, write_text(POLICY, "never"));
	ASSERT_EQ(0, sysret(fstat(self->fd, &st)));
	EXPECT_EQ(page_size(), st.st_blksize);
}

TEST_F(block_size, is_a_huge_page_under_policy_always)
{
	struct stat st;

	ASSERT_EQ(0, write_text(POLICY, "always"));
	ASSERT_EQ(0, sysret(fstat(self->fd, &st)));
	EXPECT_EQ(self->huge, st.st_blksize);
}

TEST_HARNESS_MAIN

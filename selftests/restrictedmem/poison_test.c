// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory errors in page cache pages make the kernel look for the restricted
 * file that owns them. Ordinary tmpfs pages have none: the search must come
 * back empty-handed instead of following a null pointer, be there restricted
 * files or not. A kernel that oopses there keeps the locks that it holds, and
 * no later case could come to an end.
 *
 * Each case costs the machine one page until it is booted again.
 */
#include "restrictedmem.h"

#include <fcntl.h>
#include <sys/vfs.h>

FIXTURE(poison)
{
	int fd;
	char *page;
	char name[32];
};

/*
 * With a name the file outlives the case. Without one, a case that oopses while
 * the page is locked would wait for that lock in its last close.
 */
FIXTURE_SETUP(poison)
{
	struct statfs fs;

	REQUIRE_RESTRICTEDMEM();
	if (geteuid())
		SKIP_CASE("not root");
	if (kernel_has_oopsed())
		SKIP_CASE("the kernel has oopsed, and may still hold what it held");
	/* An invalid length, so that this only tells whether there is such advice. */
	if (madvise(NULL, 0, MADV_HWPOISON))
		SKIP_CASE("no MADV_HWPOISON in this kernel");
	strcpy(self->name, "/dev/shm/restrictedmem.XXXXXX");
	self->fd = mkostemp(self->name, O_CLOEXEC);
	if (self->fd < 0)
		SKIP_CASE("no writable tmpfs at /dev/shm");
	ASSERT_EQ(0, fstatfs(self->fd, &fs));
	if (fs.f_type != TMPFS_MAGIC) {
		unlink(self->name);
		SKIP_CASE("/dev/shm is not tmpfs");
	}
	ASSERT_EQ(0, ftruncate(self->fd, page_size()));
	self->page = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
			  MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->page);
}

FIXTURE_TEARDOWN(poison)
{
	unlink(self->name);
	munmap(self->page, page_size());
	close(self->fd);
}

/* Poisons the page, and takes the kernel's word for it from the file's data. */
#define EXPECT_POISONED() do { \
	char byte; \
	ASSERT_EQ(0, sysret(madvise(self->page, page_size(), \
				    MADV_HWPOISON))); \
	EXPECT_EQ(-EIO, sysret(pread(self->fd, &byte, 1, 0))); \
} while (0)

/* Shows: C1 (from patch 3) */
TEST_F(poison, clean_tmpfs_page)
{
	ASSERT_EQ(0, *self->page);
	EXPECT_POISONED();
}

/* Shows: C1 (from patch 3) */
TEST_F(poison, dirty_tmpfs_page)
{
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
	EXPECT_POISONED();
}

/* Shows: C1 (from patch 3) */
TEST_F(poison, tmpfs_page_while_a_restricted_file_is_open)
{
	int restricted = memfd_restricted(0);

	ASSERT_LE(0, restricted);
	ASSERT_EQ(0, sysret(ftruncate(restricted, page_size())));
	ASSERT_EQ(0, sysret(fallocate(restricted, 0, 0, page_size())));
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
	EXPECT_POISONED();
	close(restricted);
}

TEST_HARNESS_MAIN

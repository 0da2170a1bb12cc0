// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory errors in page cache pages make the kernel look for the restricted
 * file that owns them. Ordinary tmpfs pages have none: the search must come
 * back empty-handed instead of following a null pointer, be there restricted
 * files or not. An oops leaves the case hanging with the page locked, if it
 * does not end the kernel.
 *
 * Each case costs the machine one page until it is booted again.
 */
#include "restrictedmem.h"

#include <fcntl.h>

FIXTURE(poison)
{
	int fd;
	char *page;
};

FIXTURE_SETUP(poison)
{
	REQUIRE_RESTRICTEDMEM();
	if (geteuid())
		SKIP_CASE("not root");
	/* An invalid length, so that this only tells whether there is such advice. */
	if (madvise(NULL, 0, MADV_HWPOISON))
		SKIP_CASE("no MADV_HWPOISON in this kernel");
	self->fd = memfd_create("selftest", MFD_CLOEXEC);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ftruncate(self->fd, page_size()));
	self->page = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
			  MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->page);
}

FIXTURE_TEARDOWN(poison)
{
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

TEST_F(poison, clean_tmpfs_page)
{
	ASSERT_EQ(0, *self->page);
	EXPECT_POISONED();
}

TEST_F(poison, dirty_tmpfs_page)
{
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
	EXPECT_POISONED();
}

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

#define CORRUPT_PFN "/sys/kernel/debug/hwpoison/corrupt-pfn"

FIXTURE(poison_restricted)
{
	int fd;
	struct memory_cgroup cg;
};

FIXTURE_SETUP(poison_restricted)
{
	const char *missing;

	REQUIRE_RESTRICTEDMEM();
	if (access(CORRUPT_PFN, W_OK))
		SKIP_CASE("no memory errors by page frame in this kernel");
	missing = memory_cgroup_create(&self->cg);
	if (missing)
		SKIP_CASE("%s", missing);
	self->fd = memfd_restricted(0);
	if (self->fd < 0 || ftruncate(self->fd, page_size()) ||
	    bind_to_this_cpu() || memory_cgroup_enter(&self->cg)) {
		memory_cgroup_destroy(&self->cg);
		ASSERT_TRUE(false)
			TH_LOG("set-up: %s", strerror(errno));
	}
}

FIXTURE_TEARDOWN(poison_restricted)
{
	close(self->fd);
	memory_cgroup_destroy(&self->cg);
}

/*
 * With an owner, but nobody who wants to know. The page cannot be named by an
 * address; a cgroup of its own finds it, and no one else's, by its charge.
 */
TEST_F(poison_restricted, page_that_nobody_uses)
{
	unsigned long pfn;
	char text[32];

	ASSERT_EQ(0, sysret(fallocate(self->fd, 0, 0, page_size())));
	ASSERT_EQ(0, drain_lru_batch());
	pfn = memory_cgroup_unevictable_pfn(&self->cg);
	if (!pfn)
		SKIP_CASE("cannot find the page in /proc/kpagecgroup");
	snprintf(text, sizeof(text), "%#lx", pfn);
	EXPECT_EQ(0, write_text(CORRUPT_PFN, text))
		TH_LOG("memory error in page frame %s: %s", text,
		       strerror(errno));
}

TEST_HARNESS_MAIN

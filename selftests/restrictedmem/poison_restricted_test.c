// SPDX-License-Identifier: GPL-2.0-only
/*
 * A memory error in a page of a restricted file: with an owner, but nobody who
 * wants to know.
 *
 * The page cannot be named by an address; a cgroup of its own finds it, and no
 * one else's, by its charge. It is lost to the machine until the next boot.
 */
#include "restrictedmem.h"

#include <fcntl.h>

#define CORRUPT_PFN "/sys/kernel/debug/hwpoison/corrupt-pfn"
#define PAGES 64

/*
 * A process that keeps what this one has open until it is killed. If the kernel
 * oopses under the caller, whose last close would be one of the page it had
 * locked, that close waits here instead, and the case comes to an end.
 */
static pid_t hold_open(void)
{
	pid_t pid = fork();
	int fd;

	if (pid)
		return pid;
	/* Whoever reads what the test says waits until all have closed these. */
	for (fd = 0; fd < 3; fd++)
		close(fd);
	for (;;)
		pause();
}

FIXTURE(poison_restricted)
{
	int fd;
	pid_t holder;
	struct memory_cgroup cg;
};

FIXTURE_SETUP(poison_restricted)
{
	const char *missing;

	REQUIRE_RESTRICTEDMEM();
	if (kernel_has_oopsed())
		SKIP_CASE("the kernel has oopsed, and may still hold what it held");
	if (access(CORRUPT_PFN, W_OK))
		SKIP_CASE("no memory errors by page frame in this kernel");
	missing = memory_cgroup_create(&self->cg);
	if (missing)
		SKIP_CASE("%s", missing);
	self->fd = memfd_restricted(0);
	self->holder = -1;
	if (self->fd >= 0)
		self->holder = hold_open();
	if (self->holder < 0 || ftruncate(self->fd, PAGES * page_size()) ||
	    bind_to_this_cpu() || memory_cgroup_enter(&self->cg)) {
		memory_cgroup_destroy(&self->cg);
		ASSERT_TRUE(false)
			TH_LOG("set-up: %s", strerror(errno));
	}
}

static void close_all(FIXTURE_DATA(poison_restricted) *self)
{
	if (self->fd < 0)
		return;
	kill(self->holder, SIGKILL);
	waitpid(self->holder, NULL, 0);
	close(self->fd);
	self->fd = -1;
}

FIXTURE_TEARDOWN(poison_restricted)
{
	close_all(self);
	memory_cgroup_destroy(&self->cg);
}

/* Returns the page frame of the only page of the file, as text, or NULL. */
static const char *allocate_one(struct __test_metadata *_metadata,
				FIXTURE_DATA(poison_restricted) *self)
{
	static char text[32];
	unsigned long pfn;

	ASSERT_EQ(0, sysret(fallocate(self->fd, 0, 0, page_size())));
	ASSERT_EQ(0, drain_lru_batch());
	pfn = memory_cgroup_unevictable_pfn(&self->cg);
	snprintf(text, sizeof(text), "%#lx", pfn);
	return pfn ? text : NULL;
}

/* Shows: C1 (from patch 3) */
TEST_F(poison_restricted, page_that_nobody_uses)
{
	const char *pfn = allocate_one(_metadata, self);

	if (!pfn)
		SKIP_CASE("cannot find the page in /proc/kpagecgroup");
	EXPECT_EQ(0, write_text(CORRUPT_PFN, pfn))
		TH_LOG("memory error in page frame %s: %s", pfn,
		       strerror(errno));
}

/* Whoever was told of the error must not hold the file for ever. */
/* Shows: B1.free (from patch 3) */
TEST_F(poison_restricted, file_with_a_failed_page_is_freed)
{
	const char *pfn = allocate_one(_metadata, self);
	int tries;

	if (!pfn)
		SKIP_CASE("cannot find the page in /proc/kpagecgroup");
	ASSERT_EQ(0, sysret(fallocate(self->fd, 0, 0, PAGES * page_size())));
	ASSERT_EQ(0, drain_lru_batch());
	ASSERT_EQ(0, write_text(CORRUPT_PFN, pfn));
	ASSERT_NE(0, memory_cgroup_unevictable_pfn(&self->cg));

	close_all(self);
	for (tries = 0; tries < 20; tries++) {
		if (!memory_cgroup_unevictable_pfn(&self->cg))
			break;
		usleep(100000);
	}
	EXPECT_GT(20, tries)
		TH_LOG("pages of the closed file are still there");
}

TEST_HARNESS_MAIN

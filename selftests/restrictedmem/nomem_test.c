// SPDX-License-Identifier: GPL-2.0-only
/*
 * memfd_restricted(2) where there is no memory for one of the things that it
 * allocates: it has several, so the kernel is made to refuse one after another.
 */
#include "restrictedmem.h"

#include <fcntl.h>

#define FAILSLAB "/sys/kernel/debug/failslab/"
#define STEP 64
#define MOST 65536	/* bytes; a file takes some 3000 */

FIXTURE(no_memory)
{
	int space;
	int switch_on;
	int lowest;
};

FIXTURE_SETUP(no_memory)
{
	int fd;

	REQUIRE_RESTRICTEDMEM();
	self->space = open(FAILSLAB "space", O_WRONLY);
	self->switch_on = open("/proc/self/make-it-fail", O_WRONLY);
	if (self->space < 0 || self->switch_on < 0)
		SKIP_CASE("no way to make allocations fail (CONFIG_FAILSLAB, root)");
	ASSERT_EQ(0, write_text(FAILSLAB "ignore-gfp-wait", "N"));
	ASSERT_EQ(0, write_text(FAILSLAB "task-filter", "Y"));
	ASSERT_EQ(0, write_text(FAILSLAB "verbose", "0"));
	ASSERT_EQ(0, write_text(FAILSLAB "interval", "1"));
	ASSERT_EQ(0, write_text(FAILSLAB "times", "-1"));
	ASSERT_EQ(0, write_text(FAILSLAB "probability", "100"));
	fd = memfd_restricted(0);
	ASSERT_LE(0, fd);
	self->lowest = fd;
	close(fd);
}

FIXTURE_TEARDOWN(no_memory)
{
	write_text(FAILSLAB "probability", "0");
	close(self->switch_on);
	close(self->space);
}

/* The call, with so many bytes of slab objects before all allocations fail. */
static long create_with(int space, int switch_on, int bytes)
{
	char text[16];
	int len = sprintf(text, "%d", bytes);
	long ret;

	if (write(space, text, len) != len || pwrite(switch_on, "1", 1, 0) != 1)
		return -EIO;
	ret = sysret(memfd_restricted(0));
	if (pwrite(switch_on, "0", 1, 0) != 1)
		return -EIO;
	return ret;
}

/* Shows: B1.no-memory (from patch 3) */
TEST_F(no_memory, is_told_and_takes_no_descriptor)
{
	int bytes, refused = 0;
	long ret;

	for (bytes = 0; bytes < MOST; bytes += STEP) {
		ret = create_with(self->space, self->switch_on, bytes);
		if (ret >= 0) {
			close(ret);
			break;
		}
		refused++;
		/* tmpfs says so where it has no inode. */
		if (ret != -ENOSPC)
			ASSERT_EQ(-ENOMEM, ret)
				TH_LOG("with %d bytes", bytes);
		ret = memfd_restricted(0);
		ASSERT_EQ(self->lowest, ret)
			TH_LOG("with %d bytes", bytes);
		close(ret);
	}
	EXPECT_LT(0, refused);
	EXPECT_GT(MOST, bytes);
}

/*
 * One allocation fails and all others do not: no later failure hides what was
 * made of it.
 */
/* Shows: B1.no-memory (from patch 3) */
TEST_F(no_memory, is_told_of_a_single_allocation)
{
	int nth, refused = 0, control = open("/proc/self/fail-nth", O_RDWR);
	char text[16] = "0";
	long lowest, ret;

	if (control < 0)
		SKIP_CASE("no /proc/self/fail-nth");
	lowest = memfd_restricted(0);
	ASSERT_LE(0, lowest);
	close(lowest);
	for (nth = 1; nth < 200; nth++) {
		sprintf(text, "%d", nth);
		ASSERT_LT(0, pwrite(control, text, strlen(text), 0));
		ret = sysret(memfd_restricted(0));
		memset(text, 0, sizeof(text));
		ASSERT_LT(0, pread(control, text, sizeof(text) - 1, 0));
		ASSERT_EQ(1, pwrite(control, "0", 1, 0));
		if (ret < 0) {
			refused++;
			if (ret != -ENOSPC)
				ASSERT_EQ(-ENOMEM, ret)
					TH_LOG("allocation %d", nth);
			ret = memfd_restricted(0);
		}
		/* Either way it is a file like any other. */
		ASSERT_EQ(lowest, ret)
			TH_LOG("allocation %d", nth);
		EXPECT_EQ(0, sysret(ftruncate(ret, page_size())));
		close(ret);
		/* So many are left where the call makes fewer than that. */
		if (atoi(text))
			break;
	}
	EXPECT_LT(0, refused);
	EXPECT_GT(200, nth);
	close(control);
}

/* Shows: B1.no-memory (from patch 3) */
TEST_F(no_memory, leaves_nothing_behind)
{
	const int times = 200;
	const long most = 64;	/* KiB: so many of the smallest inode are more */
	long before, grown;
	long ret = -ENOMEM;

	/* What is allocated once stays. */
	for (int bytes = 0; bytes < MOST && ret < 0; bytes += STEP)
		ret = create_with(self->space, self->switch_on, bytes);
	ASSERT_LE(0, ret);
	close(ret);
	ret = -ENOMEM;
	for (int bytes = 0; bytes < MOST; bytes += STEP) {
		before = meminfo_field("SUnreclaim");
		if (before < 0)
			SKIP_CASE("no /proc/meminfo or not root");
		before += meminfo_field("SReclaimable");
		for (int i = 0; i < times; i++) {
			ret = create_with(self->space, self->switch_on, bytes);
			if (ret >= 0)
				close(ret);
		}
		/* Inodes and files are freed a grace period later. */
		for (int tries = 0; tries < 100; tries++) {
			grown = meminfo_field("SUnreclaim") +
				meminfo_field("SReclaimable") - before;
			if (grown < most)
				break;
			usleep(20000);
		}
		EXPECT_GT(most, grown)
			TH_LOG("with %d bytes", bytes);
		if (ret >= 0)
			break;
	}
	EXPECT_LE(0, ret);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/* memfd_restricted(2) itself: the number, the flags, the descriptor. */
#include "restrictedmem.h"

#include <fcntl.h>
#include <sys/resource.h>

FIXTURE(uapi)
{
	const char *missing;
};

FIXTURE_SETUP(uapi)
{
	REQUIRE_RESTRICTEDMEM();
}

FIXTURE_TEARDOWN(uapi)
{
}

/* Shows: B1.number (from patch 3) */
TEST_F(uapi, headers_name_number_451)
{
	EXPECT_TRUE(TREE_NAMES_NUMBER);
	EXPECT_EQ(451, __NR_memfd_restricted);
}

/* Shows: B1.number (from patch 3) */
TEST_F(uapi, headers_name_magic_0x5245534d)
{
	EXPECT_TRUE(TREE_NAMES_MAGIC);
	EXPECT_EQ(0x5245534d, RESTRICTEDMEM_MAGIC);
}

#ifdef __x86_64__
/* The 32-bit table has the same number; its entry is open to 64-bit code. */
/* Shows: B1.number (from patch 3) */
TEST_F(uapi, ia32_table_has_number_451)
{
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		long ret = 451;

		asm volatile("int $0x80" : "+a" (ret)
			     : "b" (0L), "c" (0L), "d" (0L), "S" (0L), "D" (0L)
			     : "r8", "r9", "r10", "r11", "memory");
		_exit((int)ret < 0 ? -(int)ret : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV)
		SKIP_CASE("no 32-bit system calls in this kernel");
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status))
		TH_LOG("32-bit call 451: %s", strerror(WEXITSTATUS(status)));
}
#endif

FIXTURE(create)
{
	int fd;
};

FIXTURE_SETUP(create)
{
	ASSERT_NEW_FILE(self->fd);
}

FIXTURE_TEARDOWN(create)
{
	close(self->fd);
}

/* The set-up is the test: no flags, one new descriptor. */
/* Shows: B1.flags, B1.fd (from patch 3) */
TEST_F(create, no_flags_is_accepted)
{
	EXPECT_LE(0, fcntl(self->fd, F_GETFD));
}

/* Shows: B1.flags (from patch 3) */
TEST_F(create, any_flag_bit_is_einval)
{
	unsigned int bit;
	long ret;

	for (bit = 0; bit < 32; bit++) {
		ret = sysret(memfd_restricted(1U << bit));
		EXPECT_EQ(-EINVAL, ret)
			TH_LOG("flag bit %u", bit);
		if (ret >= 0)
			close(ret);
	}
}

/* Shows: B1.fd (from patch 3) */
TEST_F(create, descriptor_is_read_write)
{
	int flags = fcntl(self->fd, F_GETFL);

	ASSERT_LE(0, flags);
	EXPECT_EQ(O_RDWR, flags & O_ACCMODE);
}

/* Shows: B1.fd (from patch 3) */
TEST_F(create, descriptor_stays_open_over_exec)
{
	EXPECT_EQ(0, fcntl(self->fd, F_GETFD));
}

/* The size of a file is set once, so a shared one would refuse the second. */
/* Shows: B1.fd (from patch 3) */
TEST_F(create, each_call_makes_a_file_of_its_own)
{
	int other = memfd_restricted(0);

	ASSERT_LE(0, other);
	EXPECT_EQ(0, sysret(ftruncate(self->fd, page_size())));
	EXPECT_EQ(0, sysret(ftruncate(other, 2 * page_size())));
	close(other);
}

/* Shows: B1.fd (from patch 3) */
TEST_F(create, no_free_descriptor_is_emfile)
{
	struct rlimit limit, none = { 0 };

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
	none.rlim_max = limit.rlim_max;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	EXPECT_EQ(-EMFILE, sysret(memfd_restricted(0)));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
}

/* Shows: B1.fd (from patch 3) */
TEST_F(create, descriptor_can_be_0)
{
	int saved = fcntl(0, F_DUPFD, 3);

	ASSERT_LE(0, saved);
	ASSERT_EQ(0, close(0));
	EXPECT_EQ(0, sysret(memfd_restricted(0)));
	EXPECT_LE(0, fcntl(0, F_GETFD));
	ASSERT_EQ(0, dup2(saved, 0));
	close(saved);
}

static bool make_and_close(int count)
{
	int fd;

	while (count--) {
		fd = memfd_restricted(0);
		if (fd < 0)
			return false;
		close(fd);
	}
	return true;
}

/* Inodes and files are freed a grace period later: the least in half a second. */
static long settled(void)
{
	long now, least = meminfo_field("SUnreclaim");
	int tries;

	for (tries = 0; tries < 25; tries++) {
		usleep(20000);
		now = meminfo_field("SUnreclaim");
		if (now < least)
			least = now;
	}
	return least;
}

/* What describes a file takes no page of its memory, but it is memory, too. */
/* Shows: B1.free (from patch 3) */
TEST_F(create, closing_frees_the_state)
{
	const int many = 4000;
	const long most = many * 48 / 1024;	/* KiB, and less than a struct of each */
	long before, grown;

	ASSERT_TRUE(make_and_close(500));
	before = settled();
	if (before < 0)
		SKIP_CASE("no /proc/meminfo or not root");
	ASSERT_TRUE(make_and_close(many));
	for (int tries = 0; tries < 10; tries++) {
		grown = settled() - before;
		if (grown < most)
			break;
	}
	EXPECT_GT(most, grown);
}

TEST_HARNESS_MAIN

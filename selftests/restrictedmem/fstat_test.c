// SPDX-License-Identifier: GPL-2.0-only
/*
 * fstat(2) on a restricted file. Size, blocks and block size are those of the
 * hidden tmpfs file, all else is the file's own.
 *
 * A kernel that asks tmpfs about the wrong inode of the two oopses in every one
 * of these cases, wherever huge pages are configured. That is why no other
 * program calls fstat(). Or it waits for a lock that is none, for ever: what
 * lies before the inode decides. So that the end is not a matter of luck, the
 * machine is reset then.
 */
#include "restrictedmem.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

#define LONGEST_MS 5000

static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/*
 * Whether fstat() comes to an end, if only that of who called it. Who waits for
 * the lock does so with interrupts off, and takes all with it that has a timer
 * on its processor: it has to have another one than who looks on.
 */
static bool fstat_ends(int fd)
{
	struct stat st;
	cpu_set_t all;
	bool ended;
	pid_t pid;

	sched_getaffinity(0, sizeof(all), &all);
	stay_on(0);
	pid = fork();
	if (!pid) {
		stay_on(1);
		_exit(fstat(fd, &st) ? 1 : 0);
	}
	ended = pid < 0;
	for (int ms = 0; !ended && ms < LONGEST_MS; ms++) {
		ended = waitpid(pid, NULL, WNOHANG);
		usleep(1000);
	}
	sched_setaffinity(0, sizeof(all), &all);
	return ended;
}

/* Without asking the other processors, as reboot(2) would: one does not answer. */
static void reset(void)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY);

	if (fd >= 0 && write(fd, "b", 1) < 0)
		perror("/proc/sysrq-trigger");
	reboot(RB_AUTOBOOT);
}

/* A new file, or the end of this machine: see above. */
#define ASSERT_NEW_FILE_FOR_FSTAT(fd) do {	\
	ASSERT_NEW_FILE(fd);			\
	if (!fstat_ends(fd))			\
		reset();			\
} while (0)

FIXTURE(stat)
{
	int fd;
	off_t page;
};

FIXTURE_SETUP(stat)
{
	ASSERT_NEW_FILE_FOR_FSTAT(self->fd);
	self->page = page_size();
}

FIXTURE_TEARDOWN(stat)
{
	close(self->fd);
}

/* Shows: C4 (from patch 3) */
TEST_F(stat, is_a_regular_file)
{
	struct stat st;

	ASSERT_EQ(0, sysret(fstat(self->fd, &st)));
	EXPECT_TRUE(S_ISREG(st.st_mode));
}

/* Shows: C4 (from patch 3) */
TEST_F(stat, shows_mode_from_fchmod)
{
	struct stat st;

	ASSERT_EQ(0, sysret(fchmod(self->fd, 0640)));
	ASSERT_EQ(0, sysret(fstat(self->fd, &st)));
	EXPECT_EQ(0640, st.st_mode & 07777);
}

/* The mode is none of what is set once. */
/* Shows: C4 (from patch 3) */
TEST_F(stat, shows_mode_of_a_file_with_a_size)
{
	struct stat st;

	ASSERT_EQ(0, sysret(ftruncate(self->fd, self->page)));
	ASSERT_EQ(0, sysret(fchmod(self->fd, 0640)));
	ASSERT_EQ(0, sysret(fstat(self->fd, &st)));
	EXPECT_EQ(0640, st.st_mode & 07777);
	EXPECT_EQ(self->page, st.st_size);
}

static bool later(struct timespec one, struct timespec other)
{
	return other.tv_sec > one.tv_sec ||
	       (other.tv_sec == one.tv_sec && other.tv_nsec > one.tv_nsec);
}

/* Shows: C4 (from patch 3) */
TEST_F(stat, shows_when_memory_was_allocated)
{
	struct stat before, after;

	ASSERT_EQ(0, sysret(fstat(self->fd, &before)));
	usleep(20000);		/* more than a tick */
	ASSERT_EQ(0, sysret(fallocate(self->fd, 0, 0, self->page)));
	ASSERT_EQ(0, sysret(fstat(self->fd, &after)));
	EXPECT_TRUE(later(before.st_mtim, after.st_mtim));
	EXPECT_TRUE(later(before.st_ctim, after.st_ctim));
}

/* Shows: C4 (from patch 3) */
TEST_F(stat, refused_allocation_changes_no_time)
{
	struct stat before, after;

	ASSERT_EQ(0, sysret(fstat(self->fd, &before)));
	usleep(20000);
	ASSERT_NE(0, fallocate(self->fd, PUNCH, 1, 1));
	ASSERT_EQ(0, sysret(fstat(self->fd, &after)));
	EXPECT_FALSE(later(before.st_mtim, after.st_mtim));
	EXPECT_FALSE(later(before.st_ctim, after.st_ctim));
}

/* Shows: C4 (from patch 3) */
TEST_F(stat, new_file_is_empty)
{
	EXPECT_EQ(0, file_size(self->fd));
}

/* Shows: C4 (from patch 3) */
TEST_F(stat, shows_size_from_ftruncate)
{
	ASSERT_EQ(0, sysret(ftruncate(self->fd, 3 * self->page)));
	EXPECT_EQ(3 * self->page, file_size(self->fd));
}

/* Shows: C4 (from patch 3) */
TEST_F(stat, shows_size_from_fallocate)
{
	ASSERT_EQ(0, sysret(fallocate(self->fd, 0, 0, 3 * self->page)));
	EXPECT_EQ(3 * self->page, file_size(self->fd));
}

/* Shows: C4 (from patch 3) */
TEST_F(stat, refused_size_is_not_shown)
{
	if (!ftruncate(self->fd, self->page + 1))
		SKIP_CASE("an unaligned size was not refused to begin with");
	EXPECT_EQ(0, file_size(self->fd));
}

/* Shows: C4 (from patch 3) */
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
/* Shows: Cg, C4 (from patch 3) */
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

/* If the state went with the file, this may set the size of another one. */
/* Shows: Cg (from patch 3) */
TEST_F(stat, size_is_set_for_good_after_the_last_close)
{
	char path[64];
	int fd, other;

	ASSERT_EQ(0, sysret(ftruncate(self->fd, self->page)));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	if (access("/proc/self/fd", F_OK))
		SKIP_CASE("/proc is not mounted");
	fd = open(path, O_PATH);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, close(self->fd));
	other = memfd_restricted(0);
	ASSERT_LE(0, other);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	EXPECT_EQ(-EPERM, sysret(truncate(path, 2 * self->page)));
	EXPECT_EQ(0, sysret(ftruncate(other, self->page)));
	close(other);
	close(fd);
}

FIXTURE(resulting_size)
{
	int fd;
	off_t page;
};

FIXTURE_SETUP(resulting_size)
{
	ASSERT_NEW_FILE_FOR_FSTAT(self->fd);
	self->page = page_size();
	ASSERT_EQ(0, sysret(ftruncate(self->fd, 2 * self->page)));
	if (file_size(self->fd) != 2 * self->page) {
		close(self->fd);
		SKIP_CASE("fstat() does not show the size to begin with");
	}
}

FIXTURE_TEARDOWN(resulting_size)
{
	close(self->fd);
}

/* Shows: C4, B1.allocate (from patch 3) */
TEST_F(resulting_size, mode_0_grows_what_ftruncate_fixed)
{
	ASSERT_EQ(0, sysret(fallocate(self->fd, 0, 0, 4 * self->page)));
	EXPECT_EQ(4 * self->page, file_size(self->fd));
}

/* Shows: C4, B1.allocate (from patch 3) */
TEST_F(resulting_size, mode_0_can_leave_it_unaligned)
{
	ASSERT_EQ(0, sysret(fallocate(self->fd, 0, 1, 2 * self->page)));
	EXPECT_EQ(2 * self->page + 1, file_size(self->fd));
}

/* Shows: C4, B1.allocate (from patch 3) */
TEST_F(resulting_size, keep_size_keeps_it)
{
	ASSERT_EQ(0, sysret(fallocate(self->fd, FALLOC_FL_KEEP_SIZE, 0,
				      4 * self->page)));
	EXPECT_EQ(2 * self->page, file_size(self->fd));
}

/* Shows: C4, B1.punch (from patch 3) */
TEST_F(resulting_size, punch_keeps_it)
{
	ASSERT_EQ(0, sysret(fallocate(self->fd, PUNCH, 0, 2 * self->page)));
	EXPECT_EQ(2 * self->page, file_size(self->fd));
}

/* The preferred block size follows the policy for huge pages in tmpfs. */
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

	ASSERT_NEW_FILE_FOR_FSTAT(self->fd);
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

/* Shows: C4 (from patch 3) */
TEST_F(block_size, is_a_page_under_policy_never)
{
	struct stat st;

	ASSERT_EQ(0, write_text(POLICY, "never"));
	ASSERT_EQ(0, sysret(fstat(self->fd, &st)));
	EXPECT_EQ(page_size(), st.st_blksize);
}

/* Shows: C4 (from patch 3) */
TEST_F(block_size, is_a_huge_page_under_policy_always)
{
	struct stat st;

	ASSERT_EQ(0, write_text(POLICY, "always"));
	ASSERT_EQ(0, sysret(fstat(self->fd, &st)));
	EXPECT_EQ(self->huge, st.st_blksize);
}

TEST_HARNESS_MAIN

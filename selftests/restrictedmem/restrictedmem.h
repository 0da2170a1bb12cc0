/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every program of this suite needs: the call, its constants, and the
 * decision whether the running kernel has it.
 *
 * Constants come from the headers of the kernel tree (KHDR_INCLUDES), which
 * the Makefile insists on. Only the two below have a fallback, so that the
 * suite also builds in a tree without the call and then reports SKIP. The
 * fallback is remembered: with a kernel that has the call, a tree that does
 * not name it fails create_test's uapi cases.
 */
#ifndef SELFTESTS_RESTRICTEDMEM_H
#define SELFTESTS_RESTRICTEDMEM_H

/* The harness of 6.1 is not clean under -Wextra. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include "../kselftest_harness.h"
#pragma GCC diagnostic pop

#include <asm/unistd.h>
#include <linux/magic.h>

#include "util.h"

#ifdef __NR_memfd_restricted
#define TREE_NAMES_NUMBER 1
#else
#define TREE_NAMES_NUMBER 0
/*
 * A number private to trees that carry the series: later mainline kernels
 * gave it to cachestat(2). restrictedmem_missing() tells the two apart.
 */
#define __NR_memfd_restricted 451
#endif

#ifdef RESTRICTEDMEM_MAGIC
#define TREE_NAMES_MAGIC 1
#else
#define TREE_NAMES_MAGIC 0
#define RESTRICTEDMEM_MAGIC 0x5245534d
#endif

/* The unused arguments are zero: another owner of the number must not see junk. */
static inline int memfd_restricted(unsigned int flags)
{
	return syscall(__NR_memfd_restricted, flags, 0UL, 0UL, 0UL, 0UL, 0UL);
}

/*
 * NULL if the running kernel has memfd_restricted(), else why not.
 *
 * All flag bits set is an argument that neither owner of the number accepts:
 * memfd_restricted() refuses the flags, cachestat() looks up descriptor -1
 * before anything else and says EBADF, which memfd_restricted(), having no
 * descriptor among its arguments, cannot say. Any other answer, success
 * included, means that the call is here, and leaves the verdict to the cases.
 */
static inline const char *restrictedmem_missing(void)
{
	int fd = memfd_restricted(~0U);

	if (fd >= 0) {
		close(fd);
		return NULL;
	}
	if (errno == ENOSYS)
		return "memfd_restricted() is not in this kernel";
	if (errno == EBADF)
		return "this kernel gave the number of memfd_restricted() to another call";
	return NULL;
}

/*
 * SKIP() with "return" in FIXTURE_SETUP() of 6.1 reports a skip but still runs
 * the case, so leave the way a failed ASSERT does.
 */
#define SKIP_CASE(...) SKIP(longjmp(_metadata->env, 1), __VA_ARGS__)

#define REQUIRE_RESTRICTEDMEM() do { \
	const char *missing = restrictedmem_missing(); \
	if (missing) \
		SKIP_CASE("%s", missing); \
} while (0)

/* For set-up only: a new file, or the end of the case. */
#define ASSERT_NEW_FILE(fd) do { \
	REQUIRE_RESTRICTEDMEM(); \
	(fd) = memfd_restricted(0); \
	ASSERT_LE(0, fd) \
		TH_LOG("memfd_restricted(0): %s", strerror(errno)); \
} while (0)

#endif

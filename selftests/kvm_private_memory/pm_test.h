/* SPDX-License-Identifier: GPL-2.0-only */
/* The harness, and what most programs of this suite do with it. */
#ifndef KVM_PRIVATE_MEMORY_PM_TEST_H
#define KVM_PRIVATE_MEMORY_PM_TEST_H

#include "../kselftest_harness.h"

#include <fcntl.h>

#include "pm_host.h"
#include "pm_util.h"

/*
 * SKIP() with "return" in FIXTURE_SETUP() of 6.1 reports a skip but still runs
 * the case, so leave the way a failed ASSERT does.
 */
#define SKIP_CASE(...) SKIP(longjmp(_metadata->env, 1), __VA_ARGS__)

#define REQUIRE(kind) do { \
	const char *missing = pm_missing(kind); \
	if (missing) \
		SKIP_CASE("%s", missing); \
} while (0)

/* How the guest's last command ended. The exit is evaluated once. */
#define EXPECT_END(expected, seen) do { \
	struct pm_exit __end = (seen); \
	EXPECT_EQ(expected, __end.end) \
		TH_LOG("guest: %s", pm_exit_text(&__end)); \
} while (0)

#define ASSERT_END(expected, seen) do { \
	struct pm_exit __end = (seen); \
	ASSERT_EQ(expected, __end.end) \
		TH_LOG("guest: %s", pm_exit_text(&__end)); \
} while (0)

/* The guest did it, and this is what it read or counted. */
#define EXPECT_VALUE(expected, seen) do { \
	struct pm_exit __end = (seen); \
	EXPECT_EQ(PM_DONE, __end.end) \
		TH_LOG("guest: %s", pm_exit_text(&__end)); \
	if (__end.end == PM_DONE) { \
		EXPECT_EQ((uint64_t)(expected), __end.value); \
	} \
} while (0)

/* The guest's access was of this kind, of this page, and of the other kind of memory. */
#define EXPECT_FAULT(expected_flags, expected_gpa, seen) do { \
	struct pm_exit __end = (seen); \
	EXPECT_EQ(PM_FAULT, __end.end) \
		TH_LOG("guest: %s", pm_exit_text(&__end)); \
	if (__end.end == PM_FAULT) { \
		EXPECT_EQ((uint64_t)(expected_flags), __end.fault.flags); \
		EXPECT_EQ((uint64_t)(expected_gpa), __end.fault.gpa); \
		EXPECT_EQ(PM_PAGE, __end.fault.size); \
		EXPECT_EQ(0, __end.error); \
	} \
} while (0)

/*
 * Both kinds of VM with private memory: KVM maps the memory of a guest that
 * chooses through other code than that of one that does not.
 */
#define FIXTURE_VARIANTS_OF_VM(fixture) \
	FIXTURE_VARIANT(fixture) { \
		enum pm_kind kind; \
	}; \
	FIXTURE_VARIANT_ADD(fixture, by_attribute) { \
		.kind = PM_BY_ATTRIBUTE, \
	}; \
	FIXTURE_VARIANT_ADD(fixture, by_bit) { \
		.kind = PM_BY_BIT, \
	}

#endif

// SPDX-License-Identifier: GPL-2.0-only
/* Attributes are taken away from all of the address space at once. */
#include "pm_range.h"

#include <sys/ioctl.h>

/* Shows: Cd (from patch 2) */
TEST(huge_range_is_cleared)
{
	int vm, there;

	REQUIRE(PM_ORDINARY);
	vm = pm_bare_vm(PM_ORDINARY);
	there = ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_MEMORY_ATTRIBUTES) > 0;
	close(vm);
	if (!there)
		SKIP_CASE("no memory attributes in this kernel");
	if (pm_range_last_cpu() < 1)
		SKIP_CASE("one processor only");
	EXPECT_TAME_CALL(PM_ORDINARY, -PM_PAGE, 0);
}

TEST_HARNESS_MAIN

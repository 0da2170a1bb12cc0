// SPDX-License-Identifier: GPL-2.0-only
/* More memory is made private than there are attributes to be stored. */
#include "pm_range.h"

/* Shows: Cd (from patch 10) */
TEST(huge_range_is_made_private)
{
	REQUIRE(PM_BY_ATTRIBUTE);
	if (pm_range_last_cpu() < 1)
		SKIP_CASE("one processor only");
	EXPECT_TAME_CALL(PM_BY_ATTRIBUTE, 1ULL << 42,
			 KVM_MEMORY_ATTRIBUTE_PRIVATE);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/* More memory is made private than there are attributes to be stored. */
#include "pm_range.h"

FIXTURE(huge_private_range)
{
	int vm;
	struct pm_range *range;
};

FIXTURE_SETUP(huge_private_range)
{
	REQUIRE(PM_BY_ATTRIBUTE);
	self->vm = pm_bare_vm(PM_BY_ATTRIBUTE);
	self->range = pm_range_create(self->vm, 1ULL << 42,
				      KVM_MEMORY_ATTRIBUTE_PRIVATE);
}

FIXTURE_TEARDOWN(huge_private_range)
{
	close(self->vm);
}

/* Shows: Cd (from patch 10) */
TEST_F(huge_private_range, shares_the_processor)
{
	EXPECT_SHARED_PROCESSOR(self->range);
}

/* Shows: Cd (from patch 10) */
TEST_F(huge_private_range, can_be_stopped)
{
	EXPECT_STOPPABLE(self->range);
}

TEST_HARNESS_MAIN

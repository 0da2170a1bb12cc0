// SPDX-License-Identifier: GPL-2.0-only
/* Attributes are taken away from all of the address space at once. */
#include "pm_range.h"

#include <sys/ioctl.h>

FIXTURE(huge_range)
{
	int vm;
	struct pm_range *range;
};

FIXTURE_SETUP(huge_range)
{
	REQUIRE(PM_ORDINARY);
	self->vm = pm_bare_vm(PM_ORDINARY);
	if (ioctl(self->vm, KVM_CHECK_EXTENSION, KVM_CAP_MEMORY_ATTRIBUTES) <= 0) {
		close(self->vm);
		SKIP_CASE("no memory attributes in this kernel");
	}
	self->range = pm_range_create(self->vm, -PM_PAGE, 0);
}

FIXTURE_TEARDOWN(huge_range)
{
	close(self->vm);
}

/* Shows: Cd (from patch 2) */
TEST_F(huge_range, shares_the_processor)
{
	EXPECT_SHARED_PROCESSOR(self->range);
}

/* Shows: Cd (from patch 2) */
TEST_F(huge_range, can_be_stopped)
{
	EXPECT_STOPPABLE(self->range);
}

TEST_HARNESS_MAIN

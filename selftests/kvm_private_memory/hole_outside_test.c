// SPDX-License-Identifier: GPL-2.0-only
/* Holes that are punched into other parts of a file than a slot has. */
#include "pm_test.h"

#define PAGES	16
#define PATTERN	0xc3c3c3c300000000

/* Larger than the slot's address, and no multiple of 4M. */
#define OFFSET	(2 * PM_GPA + PM_2M)

FIXTURE(hole_outside)
{
	struct pm_vm *vm;
	struct pm_memory mem;
	__u64 mapped;
};

FIXTURE_VARIANTS_OF_VM(hole_outside);

FIXTURE_SETUP(hole_outside)
{
	REQUIRE(variant->kind);
	self->vm = pm_vm_create(variant->kind, 1);
	pm_memory_create(&self->mem, PM_GPA, PAGES * PM_PAGE);
	self->mem.offset = OFFSET;
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->mem.gpa,
				    self->mem.size));
	ASSERT_END(PM_DONE, pm_fill(self->vm, self->mem.gpa, self->mem.size,
				    PM_PRIVATE, PATTERN));
	self->mapped = pm_stat(self->vm, "pages_4k");
}

FIXTURE_TEARDOWN(hole_outside)
{
	pm_vm_free(self->vm);
	pm_memory_destroy(&self->mem);
}

#define EXPECT_UNTOUCHED() do { \
	EXPECT_EQ(self->mapped, pm_stat(self->vm, "pages_4k")); \
	EXPECT_VALUE(0, pm_check(self->vm, self->mem.gpa, self->mem.size, \
				 PM_PRIVATE, PATTERN)); \
} while (0)

/* Shows: C7 (from patch 10) */
TEST_F(hole_outside, at_the_start_of_the_file)
{
	ASSERT_EQ(0, pm_punch(self->mem.fd, 0, PAGES * PM_PAGE));
	EXPECT_UNTOUCHED();
}

/* Shows: C7 (from patch 10) */
TEST_F(hole_outside, right_before_the_slot)
{
	ASSERT_EQ(0, pm_punch(self->mem.fd, OFFSET - PM_2M, PM_2M));
	EXPECT_UNTOUCHED();
}

/* Shows: C7 (from patch 10) */
TEST_F(hole_outside, right_after_the_slot)
{
	ASSERT_EQ(0, pm_punch(self->mem.fd, OFFSET + PAGES * PM_PAGE, PM_2M));
	EXPECT_UNTOUCHED();
}

/* Shows: C7 (from patch 10) */
TEST_F(hole_outside, far_after_the_slot)
{
	ASSERT_EQ(0, pm_punch(self->mem.fd, 1ULL << 62, PM_2M));
	EXPECT_UNTOUCHED();
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/* KVM_SET_MEMORY_ATTRIBUTES when memory runs out half-way. */
#include "pm_test.h"

#define SIZE	(8 * PM_2M)

FIXTURE(partial)
{
	struct pm_vm *vm;
	struct pm_memory mem;
};

FIXTURE_SETUP(partial)
{
	REQUIRE(PM_BY_BIT);
	if (!pm_can_fail_allocations())
		SKIP_CASE("no fault injection for slab objects in this kernel");
	self->vm = pm_vm_create(PM_BY_BIT, 1);
	pm_memory_create(&self->mem, PM_GPA, SIZE);
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
}

FIXTURE_TEARDOWN(partial)
{
	pm_vm_free(self->vm);
	pm_memory_destroy(&self->mem);
}

/* Shows: B2.partial, B2.write-back (from patch 10) */
TEST_F(partial, tells_what_is_left_and_keeps_what_is_done)
{
	const __u64 start = self->mem.gpa;
	struct kvm_memory_attributes a = {
		.address = start,
		.size = SIZE,
		.attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE,
	};
	int ret;

	/* Some dozens of nodes of half a KiB; all of it takes many more. */
	ASSERT_EQ(0, pm_fail_allocations(20000));
	ret = pm_attributes_call(self->vm->fd, &a);
	pm_stop_failing_allocations();

	ASSERT_EQ(0, ret);
	EXPECT_LT(start, a.address);
	EXPECT_LT(0, a.size);
	EXPECT_EQ(start + SIZE, a.address + a.size);
	EXPECT_EQ(0, a.address % PM_PAGE);
	EXPECT_EQ(KVM_MEMORY_ATTRIBUTE_PRIVATE, a.attributes);

	/* The last that is done, and the first that is not. */
	EXPECT_END(PM_DONE, pm_read(self->vm, start, PM_PRIVATE));
	EXPECT_END(PM_DONE, pm_read(self->vm, a.address - PM_PAGE, PM_PRIVATE));
	EXPECT_END(PM_DONE, pm_read(self->vm, a.address, PM_SHARED));

	/* It will do as the next argument. */
	ASSERT_EQ(0, pm_attributes_call(self->vm->fd, &a));
	EXPECT_EQ(start + SIZE, a.address);
	EXPECT_EQ(0, a.size);
	EXPECT_END(PM_DONE, pm_read(self->vm, start + SIZE - PM_PAGE,
				    PM_PRIVATE));
}

/* Shows: B2.partial (from patch 10) */
TEST_F(partial, may_do_nothing)
{
	struct kvm_memory_attributes a = {
		.address = self->mem.gpa,
		.size = SIZE,
		.attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE,
	};
	int ret;

	ASSERT_EQ(0, pm_fail_allocations(0));
	ret = pm_attributes_call(self->vm->fd, &a);
	pm_stop_failing_allocations();

	ASSERT_EQ(0, ret);
	EXPECT_EQ(self->mem.gpa, a.address);
	EXPECT_EQ(SIZE, a.size);
	EXPECT_END(PM_DONE, pm_read(self->vm, self->mem.gpa, PM_SHARED));
}

TEST_HARNESS_MAIN

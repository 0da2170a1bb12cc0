// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages of 1G: a conversion is to be noted for these as well. Needs a guest that
 * has one to spare.
 */
#include "pm_test.h"

#define PATTERN		0x5a5a5a5a00000000

FIXTURE(gigantic)
{
	struct pm_vm *vm;
	struct pm_memory mem;
};

FIXTURE_VARIANTS_OF_VM(gigantic);

FIXTURE_SETUP(gigantic)
{
	REQUIRE(variant->kind);
	if (pm_hugepages_reserve(PM_1G, 1))
		SKIP_CASE("no memory for a page of 1G");
	self->vm = pm_vm_create(variant->kind, 1);
	pm_memory_create(&self->mem, PM_GPA, PM_1G);
	munmap(self->mem.hva, self->mem.size);
	self->mem.hva = pm_hugepages_map(PM_1G, 1);
	ASSERT_NE(MAP_FAILED, self->mem.hva);
	/* To clear it takes longer than a vCPU is given. */
	*(volatile __u64 *)self->mem.hva = 0;
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
	/* Else no case could tell one kernel from another. */
	ASSERT_END(PM_DONE, pm_read(self->vm, self->mem.gpa, PM_SHARED));
	if (pm_stat(self->vm, "pages_1g") != 1) {
		pm_vm_free(self->vm);
		pm_memory_destroy(&self->mem);
		pm_hugepages_release(PM_1G, 1);
		SKIP_CASE("KVM maps nothing by pages of 1G here");
	}
}

FIXTURE_TEARDOWN(gigantic)
{
	pm_vm_free(self->vm);
	pm_memory_destroy(&self->mem);
	pm_hugepages_release(PM_1G, 1);
}

/* Shows: C8, B4.mixed (from patch 10) */
TEST_F_TIMEOUT(gigantic, conversion_of_a_part_takes_the_page_away, 60)
{
	const __u64 gpa = self->mem.gpa;

	*(__u64 *)self->mem.hva = PATTERN;
	ASSERT_EQ(0, pm_set_private(self->vm->fd, gpa, PM_PAGE));
	EXPECT_EQ(0, pm_stat(self->vm, "pages_1g"));
	ASSERT_END(PM_DONE, pm_read(self->vm, gpa + PM_2M, PM_SHARED));
	EXPECT_EQ(0, pm_stat(self->vm, "pages_1g"));
	EXPECT_EQ(1, pm_stat(self->vm, "pages_2m"));
	ASSERT_END(PM_DONE, pm_read(self->vm, gpa + PM_PAGE, PM_SHARED));
	EXPECT_EQ(1, pm_stat(self->vm, "pages_2m"));
	EXPECT_VALUE(0, pm_read(self->vm, gpa, PM_PRIVATE));
}

/* Shows: C8, B4.mixed (from patch 10) */
TEST_F_TIMEOUT(gigantic, page_comes_back_with_uniformity, 60)
{
	const __u64 gpa = self->mem.gpa;

	ASSERT_EQ(0, pm_set_private(self->vm->fd, gpa, PM_PAGE));
	ASSERT_EQ(0, pm_set_shared(self->vm->fd, gpa, PM_PAGE));
	ASSERT_EQ(0, pm_set_shared(self->vm->fd, gpa, PM_1G));
	ASSERT_END(PM_DONE, pm_read(self->vm, gpa + PM_2M, PM_SHARED));
	EXPECT_EQ(1, pm_stat(self->vm, "pages_1g"));
}

TEST_HARNESS_MAIN

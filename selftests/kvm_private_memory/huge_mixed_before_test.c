// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attributes need no slot: when one is made, its huge pages may be mixed
 * already.
 */
#include "pm_test.h"

#define HUGE_PAGES	2
#define PATTERN		0x5a5a5a5a00000000

FIXTURE(mixed_before)
{
	struct pm_vm *vm;
	struct pm_memory mem;
	__u64 gpa, private;
};

FIXTURE_VARIANTS_OF_VM(mixed_before);

FIXTURE_SETUP(mixed_before)
{
	unsigned int page;

	REQUIRE(variant->kind);
	if (pm_hugepages_reserve(PM_2M, HUGE_PAGES))
		SKIP_CASE("no memory for huge pages");
	self->vm = pm_vm_create(variant->kind, 1);
	pm_memory_create(&self->mem, PM_GPA, HUGE_PAGES * PM_2M);
	munmap(self->mem.hva, self->mem.size);
	self->mem.hva = pm_hugepages_map(PM_2M, HUGE_PAGES);
	ASSERT_NE(MAP_FAILED, self->mem.hva);
	for (page = 0; page < HUGE_PAGES * 512; page++)
		*(__u64 *)(self->mem.hva + page * PM_PAGE) = PATTERN + page;
	self->gpa = self->mem.gpa;
	self->private = self->gpa + 7 * PM_PAGE;
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->private, PM_PAGE));
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
}

FIXTURE_TEARDOWN(mixed_before)
{
	pm_vm_free(self->vm);
	pm_memory_destroy(&self->mem);
	pm_hugepages_release(PM_2M, HUGE_PAGES);
}

/* Shows: C9, B4.mixed (from patch 10) */
TEST_F(mixed_before, mixed_page_is_not_mapped_by_a_huge_one)
{
	EXPECT_VALUE(PATTERN, pm_read(self->vm, self->gpa, PM_SHARED));
	EXPECT_EQ(0, pm_stat(self->vm, "pages_2m"));
}

/* Shows: C9, B4.isolated (from patch 10) */
TEST_F(mixed_before, private_page_is_not_the_hosts)
{
	struct pm_exit exit;

	EXPECT_VALUE(PATTERN, pm_read(self->vm, self->gpa, PM_SHARED));
	exit = pm_read(self->vm, self->private, PM_PRIVATE);
	ASSERT_EQ(PM_DONE, exit.end)
		TH_LOG("guest: %s", pm_exit_text(&exit));
	EXPECT_NE(PATTERN + 7, exit.value);
}

/* Shows: B4.mixed (from patch 10) */
TEST_F(mixed_before, page_beside_it_is_mapped_by_a_huge_one)
{
	EXPECT_VALUE(PATTERN + 512,
		     pm_read(self->vm, self->gpa + PM_2M, PM_SHARED));
	EXPECT_EQ(1, pm_stat(self->vm, "pages_2m"));
}

/* Shows: C9, B4.mixed (from patch 10) */
TEST_F(mixed_before, page_can_become_uniform)
{
	ASSERT_EQ(0, pm_set_shared(self->vm->fd, self->private, PM_PAGE));
	EXPECT_VALUE(PATTERN, pm_read(self->vm, self->gpa, PM_SHARED));
	EXPECT_EQ(1, pm_stat(self->vm, "pages_2m"));
	EXPECT_VALUE(PATTERN + 7, pm_read(self->vm, self->private, PM_SHARED));
}

TEST_HARNESS_MAIN

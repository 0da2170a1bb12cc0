// SPDX-License-Identifier: GPL-2.0-only
/*
 * Slots whose backings have huge pages and are not aligned like the gfn. KVM may
 * map nothing by a huge page there, as the guest's would begin within one of the
 * host's. What it compares must not be both backings at once: one of them can
 * have the bits that the other lacks.
 */
#include "pm_test.h"

#include <sys/mman.h>

#define HUGE_PAGES	3
#define SIZE		((HUGE_PAGES - 1) * PM_2M)
#define PATTERN		0x5a5a5a5a00000000

FIXTURE(unaligned)
{
	struct pm_vm *vm;
	struct pm_memory mem;
	void *huge;
	char policy[16];
};

FIXTURE_VARIANTS_OF_VM(unaligned);

/* Leaves the slot to the cases. */
FIXTURE_SETUP(unaligned)
{
	REQUIRE(variant->kind);
	if (pm_shmem_policy("always", self->policy, sizeof(self->policy)))
		SKIP_CASE("no huge pages in tmpfs in this kernel");
	if (pm_hugepages_reserve(PM_2M, HUGE_PAGES)) {
		pm_shmem_policy(self->policy, NULL, 0);
		SKIP_CASE("no memory for huge pages");
	}
	self->vm = pm_vm_create(variant->kind, 1);
	pm_memory_create(&self->mem, PM_GPA, SIZE);
	munmap(self->mem.hva, self->mem.size);
	self->huge = pm_hugepages_map(PM_2M, HUGE_PAGES);
	ASSERT_NE(MAP_FAILED, self->huge);
}

FIXTURE_TEARDOWN(unaligned)
{
	pm_vm_free(self->vm);
	self->mem.hva = NULL;
	pm_memory_destroy(&self->mem);
	munmap(self->huge, HUGE_PAGES * PM_2M);
	pm_hugepages_release(PM_2M, HUGE_PAGES);
	pm_shmem_policy(self->policy, NULL, 0);
}

/* So many small pages past the border of a huge page. */
#define ASSERT_SLOT(gfn, address, file) do { \
	self->mem.gpa = PM_GPA + (gfn) * PM_PAGE; \
	self->mem.hva = self->huge + (address) * PM_PAGE; \
	self->mem.offset = (file) * PM_PAGE; \
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem)); \
} while (0)

#define EXPECT_PRIVATE_PAGES_ARE_ITS_OWN() do { \
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->mem.gpa, SIZE)); \
	ASSERT_END(PM_DONE, pm_fill(self->vm, self->mem.gpa, SIZE, PM_PRIVATE, \
				    PATTERN)); \
	EXPECT_EQ(0, pm_stat(self->vm, "pages_2m")); \
	EXPECT_VALUE(0, pm_check(self->vm, self->mem.gpa, SIZE, PM_PRIVATE, \
				 PATTERN)); \
} while (0)

#define EXPECT_SHARED_PAGES_ARE_THE_HOSTS() do { \
	unsigned long wrong = 0, page; \
	ASSERT_END(PM_DONE, pm_fill(self->vm, self->mem.gpa, SIZE, PM_SHARED, \
				    PATTERN)); \
	EXPECT_EQ(0, pm_stat(self->vm, "pages_2m")); \
	for (page = 0; page < SIZE / PM_PAGE; page++) \
		wrong += *(__u64 *)(self->mem.hva + page * PM_PAGE) != \
			 PATTERN + page; \
	EXPECT_EQ(0, wrong); \
} while (0)

/* Shows: Cm (from patch 10) */
TEST_F(unaligned, offset_has_not_the_bits_of_gfn_and_address)
{
	ASSERT_SLOT(1, 1, 0);
	EXPECT_PRIVATE_PAGES_ARE_ITS_OWN();
}

/* Shows: Cm (from patch 10) */
TEST_F(unaligned, address_has_not_the_bits_of_gfn_and_offset)
{
	ASSERT_SLOT(1, 0, 1);
	EXPECT_SHARED_PAGES_ARE_THE_HOSTS();
}

/* Shows: Cm (from patch 10) */
TEST_F(unaligned, address_and_offset_have_one_half_each)
{
	ASSERT_SLOT(3, 2, 1);
	EXPECT_SHARED_PAGES_ARE_THE_HOSTS();
	EXPECT_PRIVATE_PAGES_ARE_ITS_OWN();
}

/* Shows: Cm, B4.mixed (from patch 10) */
TEST_F(unaligned, memory_that_is_aligned_is_mapped_by_huge_pages)
{
	ASSERT_SLOT(512, 512, 512);
	ASSERT_END(PM_DONE, pm_fill(self->vm, self->mem.gpa, SIZE, PM_SHARED,
				    PATTERN));
	EXPECT_EQ(2, pm_stat(self->vm, "pages_2m"));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->mem.gpa, SIZE));
	ASSERT_END(PM_DONE, pm_fill(self->vm, self->mem.gpa, SIZE, PM_PRIVATE,
				    PATTERN));
	EXPECT_EQ(2, pm_stat(self->vm, "pages_2m"));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Huge pages of which some parts are shared and others private. Either backing
 * has huge pages here; KVM may use one only where all of it is of one kind.
 */
#include "pm_test.h"

#define HUGE_PAGES	3
#define PATTERN		0x5a5a5a5a00000000
#define SECRET		0xc3c3c3c3c3c3c3c3

FIXTURE(huge)
{
	struct pm_vm *vm;
	struct pm_memory mem;
	char policy[16];
	bool reserved;
	__u64 gpa, size;
};

FIXTURE_VARIANTS_OF_VM(huge);

/* Leaves the slot to the cases. */
FIXTURE_SETUP(huge)
{
	REQUIRE(variant->kind);
	if (pm_shmem_policy("always", self->policy, sizeof(self->policy)))
		SKIP_CASE("no huge pages in tmpfs in this kernel");
	if (pm_hugepages_reserve(PM_2M, HUGE_PAGES)) {
		pm_shmem_policy(self->policy, NULL, 0);
		SKIP_CASE("no memory for huge pages");
	}
	self->vm = pm_vm_create(variant->kind, 1);
	pm_memory_create(&self->mem, PM_GPA, HUGE_PAGES * PM_2M);
	munmap(self->mem.hva, self->mem.size);
	self->mem.hva = pm_hugepages_map(PM_2M, HUGE_PAGES);
	ASSERT_NE(MAP_FAILED, self->mem.hva);
	self->gpa = self->mem.gpa;
	self->size = self->mem.size;
}

FIXTURE_TEARDOWN(huge)
{
	pm_vm_free(self->vm);
	pm_memory_destroy(&self->mem);
	pm_hugepages_release(PM_2M, HUGE_PAGES);
	pm_shmem_policy(self->policy, NULL, 0);
}

#define ASSERT_SLOT() \
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem))

/* The guest reads all of a huge page but for its first 4K page. */
#define TOUCH(number, view) \
	ASSERT_END(PM_DONE, \
		   pm_check(self->vm, self->gpa + (number) * PM_2M + PM_PAGE, \
			    PM_2M - PM_PAGE, view, 0))

#define EXPECT_HUGE(expected) \
	EXPECT_EQ(expected, (int)pm_stat(self->vm, "pages_2m"))

/* Shows: B4.mixed (from patch 10) */
TEST_F(huge, uniform_shared_memory_is_mapped_by_huge_pages)
{
	ASSERT_SLOT();
	TOUCH(0, PM_SHARED);
	TOUCH(1, PM_SHARED);
	TOUCH(2, PM_SHARED);
	EXPECT_HUGE(3);
}

/* Shows: B4.mixed (from patch 10) */
TEST_F(huge, uniform_private_memory_is_mapped_by_huge_pages)
{
	ASSERT_SLOT();
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, self->size));
	TOUCH(0, PM_PRIVATE);
	TOUCH(1, PM_PRIVATE);
	TOUCH(2, PM_PRIVATE);
	EXPECT_HUGE(3);
}

/* Shows: B4.mixed (from patch 10) */
TEST_F(huge, conversion_of_a_part_takes_the_huge_page_away)
{
	ASSERT_SLOT();
	TOUCH(0, PM_SHARED);
	TOUCH(1, PM_SHARED);
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, PM_PAGE));
	EXPECT_HUGE(1);
	TOUCH(0, PM_SHARED);
	TOUCH(1, PM_SHARED);
	EXPECT_HUGE(1);
}

/* Shows: B4.mixed (from patch 10) */
TEST_F(huge, conversion_of_a_part_of_private_memory_takes_it_away)
{
	ASSERT_SLOT();
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, self->size));
	TOUCH(0, PM_PRIVATE);
	TOUCH(1, PM_PRIVATE);
	ASSERT_EQ(0, pm_set_shared(self->vm->fd, self->gpa, PM_PAGE));
	TOUCH(0, PM_PRIVATE);
	TOUCH(1, PM_PRIVATE);
	EXPECT_HUGE(1);
}

/* Shows: B4.mixed (from patch 10) */
TEST_F(huge, huge_page_comes_back_with_uniformity)
{
	ASSERT_SLOT();
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, PM_PAGE));
	TOUCH(0, PM_SHARED);
	EXPECT_HUGE(0);
	ASSERT_EQ(0, pm_set_shared(self->vm->fd, self->gpa, PM_PAGE));
	/* What is mapped already need not be mapped anew. */
	ASSERT_EQ(0, pm_set_shared(self->vm->fd, self->gpa, PM_2M));
	TOUCH(0, PM_SHARED);
	EXPECT_HUGE(1);
}

/* Shows: B4.mixed (from patch 10) */
TEST_F(huge, huge_page_of_the_other_kind_after_conversion_in_two_steps)
{
	ASSERT_SLOT();
	TOUCH(0, PM_SHARED);
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, PM_2M / 2));
	EXPECT_HUGE(0);
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa + PM_2M / 2,
				    PM_2M / 2));
	TOUCH(0, PM_PRIVATE);
	EXPECT_HUGE(1);
}

/* A range from within the first huge page to within the last. */
/* Shows: B4.mixed (from patch 10) */
TEST_F(huge, only_the_ends_of_a_range_are_mixed)
{
	const __u64 half = PM_2M / 2;

	ASSERT_SLOT();
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa + half, 2 * PM_2M));
	ASSERT_END(PM_DONE, pm_read(self->vm, self->gpa, PM_SHARED));
	ASSERT_END(PM_DONE, pm_read(self->vm, self->gpa + half, PM_PRIVATE));
	EXPECT_HUGE(0);
	TOUCH(1, PM_PRIVATE);
	EXPECT_HUGE(1);
	ASSERT_END(PM_DONE, pm_read(self->vm, self->gpa + 2 * PM_2M, PM_PRIVATE));
	ASSERT_END(PM_DONE, pm_read(self->vm, self->gpa + 2 * PM_2M + half,
				    PM_SHARED));
	EXPECT_HUGE(1);
}

/* Shows: B4.mixed, B4.isolated (from patch 10) */
TEST_F(huge, private_page_in_a_shared_huge_page_is_not_the_hosts)
{
	__u64 *host = self->mem.hva;

	ASSERT_SLOT();
	host[0] = PATTERN;
	TOUCH(0, PM_SHARED);
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, PM_PAGE));
	TOUCH(0, PM_SHARED);
	ASSERT_END(PM_DONE, pm_write(self->vm, self->gpa, PM_PRIVATE, SECRET));
	TOUCH(0, PM_SHARED);
	EXPECT_EQ(PATTERN, host[0]);
	EXPECT_VALUE(SECRET, pm_read(self->vm, self->gpa, PM_PRIVATE));
}

/* Shows: B4.mixed (from patch 10) */
TEST_F(huge, private_backing_at_an_offset_that_no_huge_page_has)
{
	/* Both are as aligned as 4K pages are, which no huge mapping is. */
	self->mem.offset = PM_PAGE;
	self->mem.gpa += PM_PAGE;
	self->mem.hva += PM_PAGE;
	self->mem.size -= PM_2M;
	ASSERT_SLOT();
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->mem.gpa,
				    self->mem.size));
	ASSERT_END(PM_DONE, pm_fill(self->vm, self->mem.gpa, self->mem.size,
				    PM_PRIVATE, PATTERN));
	EXPECT_VALUE(0, pm_check(self->vm, self->mem.gpa, self->mem.size,
				 PM_PRIVATE, PATTERN));
	self->mem.hva -= PM_PAGE;
	self->mem.size += PM_2M;
}

/* The guest comes to the huge page by another page than its first. */
/* Shows: Co (from patch 10) */
TEST_F(huge, allocation_leaves_what_is_in_use)
{
	ASSERT_SLOT();
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, self->size));
	ASSERT_END(PM_DONE, pm_fill(self->vm, self->gpa + PM_PAGE,
				    PM_2M - PM_PAGE, PM_PRIVATE, PATTERN));
	EXPECT_HUGE(1);
	ASSERT_EQ(0, fallocate(self->mem.fd, 0, 0, self->size));
	EXPECT_VALUE(0, pm_check(self->vm, self->gpa + PM_PAGE,
				 PM_2M - PM_PAGE, PM_PRIVATE, PATTERN));
}

/* No size was set: all of it is past the end of the file. */
/* Shows: Ci, B4.punch (from patch 10) */
TEST_F(huge, hole_in_a_private_huge_page)
{
	ASSERT_SLOT();
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, self->size));
	ASSERT_END(PM_DONE, pm_fill(self->vm, self->gpa, 2 * PM_2M, PM_PRIVATE,
				    PATTERN));
	EXPECT_HUGE(2);
	ASSERT_EQ(0, pm_punch(self->mem.fd, PM_PAGE, PM_PAGE));
	EXPECT_HUGE(1);
	EXPECT_VALUE(PATTERN, pm_read(self->vm, self->gpa, PM_PRIVATE));
	EXPECT_VALUE(0, pm_check(self->vm, self->gpa + 2 * PM_PAGE,
				 2 * PM_2M - 2 * PM_PAGE, PM_PRIVATE,
				 PATTERN + 2));
}

/* A slot without private memory, and huge pages of the host behind it. */
FIXTURE(logged)
{
	struct pm_vm *vm;
	void *host;
};

FIXTURE_VARIANTS_OF_VM(logged);

FIXTURE_SETUP(logged)
{
	REQUIRE(variant->kind);
	if (pm_hugepages_reserve(PM_2M, 1))
		SKIP_CASE("no memory for huge pages");
	self->vm = pm_vm_create(variant->kind, 1);
	self->host = pm_hugepages_map(PM_2M, 1);
	ASSERT_NE(MAP_FAILED, self->host);
}

FIXTURE_TEARDOWN(logged)
{
	pm_vm_free(self->vm);
	munmap(self->host, PM_2M);
	pm_hugepages_release(PM_2M, 1);
}

#define ASSERT_LOGGED(flags) \
	ASSERT_EQ(0, pm_slot_shared(self->vm->fd, PM_SLOT, flags, PM_GPA, \
				    PM_2M, self->host))

#define WRITE_SECOND_PAGE(value) \
	ASSERT_END(PM_DONE, pm_write(self->vm, PM_GPA + PM_PAGE, PM_SHARED, \
				     value))

/* Shows: B4.mixed (from patch 10) */
TEST_F(logged, huge_page_comes_back_with_the_end_of_dirty_logging)
{
	ASSERT_LOGGED(0);
	WRITE_SECOND_PAGE(1);
	EXPECT_HUGE(1);
	ASSERT_LOGGED(KVM_MEM_LOG_DIRTY_PAGES);
	WRITE_SECOND_PAGE(2);
	EXPECT_HUGE(0);
	ASSERT_LOGGED(0);
	WRITE_SECOND_PAGE(3);
	EXPECT_HUGE(1);
}

/* It is the first page by which KVM asks how large a mapping could be. */
/* Shows: B4.mixed, Cn (from patch 10) */
TEST_F(logged, mixed_page_stays_small_with_the_end_of_dirty_logging)
{
	ASSERT_EQ(0, pm_set_private(self->vm->fd, PM_GPA, PM_PAGE));
	ASSERT_LOGGED(KVM_MEM_LOG_DIRTY_PAGES);
	WRITE_SECOND_PAGE(1);
	ASSERT_LOGGED(0);
	WRITE_SECOND_PAGE(2);
	EXPECT_HUGE(0);
}

TEST_HARNESS_MAIN

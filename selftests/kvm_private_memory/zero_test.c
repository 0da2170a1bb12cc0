// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a guest reads of a private page that it has not written: zeroes, and
 * nothing that the page held when it was someone else's. Memory that was
 * written and freed lies ready to be found: that of another guest, as pages go
 * first to who has use for the same kind; for huge pages the host's.
 */
#include "pm_test.h"

#define PAGES	512
#define DIRTY	(160UL << 20)
#define OTHER	(24UL << 20)

FIXTURE(zero)
{
	struct pm_vm *vm;
	struct pm_memory mem;
};

FIXTURE_VARIANTS_OF_VM(zero);

FIXTURE_SETUP(zero)
{
	struct pm_memory other;

	REQUIRE(variant->kind);
	self->vm = pm_vm_create(variant->kind, 1);
	pm_memory_create(&self->mem, PM_GPA, PAGES * PM_PAGE);
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->mem.gpa,
				    self->mem.size));
	pm_memory_create(&other, PM_GPA + PM_1G, OTHER);
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT + 1, 0, &other));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, other.gpa, other.size));
	ASSERT_END(PM_DONE, pm_fill(self->vm, other.gpa, other.size, PM_PRIVATE,
				    0x5ec2e75ec2e70000));
	ASSERT_EQ(0, pm_slot_delete(self->vm->fd, PM_SLOT + 1));
	pm_memory_destroy(&other);
}

FIXTURE_TEARDOWN(zero)
{
	pm_vm_free(self->vm);
	pm_memory_destroy(&self->mem);
}

#define EXPECT_ZERO() \
	EXPECT_VALUE(0, pm_count_nonzero(self->vm, self->mem.gpa, \
					 self->mem.size, PM_PRIVATE))

/* Shows: Ca (from patch 10) */
TEST_F(zero, first_read)
{
	EXPECT_ZERO();
}

/* Shows: Ca (from patch 10) */
TEST_F(zero, first_read_of_allocated_memory)
{
	ASSERT_EQ(0, fallocate(self->mem.fd, 0, 0, self->mem.size));
	EXPECT_ZERO();
}

/* Shows: Ca, B4.punch (from patch 10) */
TEST_F(zero, first_read_after_a_punch)
{
	ASSERT_END(PM_DONE, pm_fill(self->vm, self->mem.gpa, self->mem.size,
				    PM_PRIVATE, 1));
	ASSERT_EQ(0, pm_punch(self->mem.fd, 0, self->mem.size));
	EXPECT_ZERO();
}

/* Shows: Ca (from patch 10) */
TEST_F(zero, rest_of_a_page_after_the_first_write)
{
	/* One word a page is written, which is not zero. */
	ASSERT_END(PM_DONE, pm_fill(self->vm, self->mem.gpa, self->mem.size,
				    PM_PRIVATE, 1));
	EXPECT_VALUE(PAGES, pm_count_nonzero(self->vm, self->mem.gpa,
					     self->mem.size, PM_PRIVATE));
}

/* Shows: Ca (from patch 10) */
TEST_F(zero, first_read_of_a_huge_page)
{
	char policy[16];

	if (pm_shmem_policy("always", policy, sizeof(policy)))
		SKIP_CASE("no huge pages in tmpfs in this kernel");
	EXPECT_EQ(0, pm_dirty_free_memory(DIRTY));
	EXPECT_ZERO();
	EXPECT_EQ(0, pm_shmem_policy(policy, NULL, 0));
}

TEST_HARNESS_MAIN

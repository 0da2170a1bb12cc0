// SPDX-License-Identifier: GPL-2.0-only
/*
 * Private memory and drop_caches. That a guest has written to its pages, or maps
 * them at all, is not known to those who look for clean pages of files. A page
 * that is freed while a guest has it becomes someone else's.
 */
#include "pm_test.h"

#define PAGES	64
#define PATTERN	0xc3c3c3c300000000

FIXTURE(drop_caches)
{
	struct pm_vm *vm;
	struct pm_memory mem;
};

FIXTURE_VARIANTS_OF_VM(drop_caches);

FIXTURE_SETUP(drop_caches)
{
	REQUIRE(variant->kind);
	self->vm = pm_vm_create(variant->kind, 1);
	pm_memory_create(&self->mem, PM_GPA, PAGES * PM_PAGE);
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->mem.gpa,
				    self->mem.size));
	ASSERT_END(PM_DONE, pm_fill(self->vm, self->mem.gpa, self->mem.size,
				    PM_PRIVATE, PATTERN));
}

FIXTURE_TEARDOWN(drop_caches)
{
	pm_vm_free(self->vm);
	pm_memory_destroy(&self->mem);
}

/* Shows: Ch (from patch 10) */
TEST_F(drop_caches, leaves_memory_that_a_guest_has_written)
{
	long before = pm_vmstat("nr_shmem");

	ASSERT_EQ(0, pm_write_text("/proc/sys/vm/drop_caches", "1"));
	EXPECT_LE(before - PAGES / 2, pm_vmstat("nr_shmem"))
		pm_reset("pages that the guest has mapped were freed");
	EXPECT_VALUE(0, pm_check(self->vm, self->mem.gpa, self->mem.size,
				 PM_PRIVATE, PATTERN));
}

/* A conversion, back and forth, takes away the mappings and not the contents. */
/* Shows: Ch (from patch 10) */
TEST_F(drop_caches, leaves_memory_that_no_guest_maps)
{
	ASSERT_EQ(0, pm_set_shared(self->vm->fd, self->mem.gpa, self->mem.size));
	ASSERT_EQ(0, pm_write_text("/proc/sys/vm/drop_caches", "1"));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->mem.gpa,
				    self->mem.size));
	EXPECT_VALUE(0, pm_check(self->vm, self->mem.gpa, self->mem.size,
				 PM_PRIVATE, PATTERN));
}

TEST_HARNESS_MAIN

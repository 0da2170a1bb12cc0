// SPDX-License-Identifier: GPL-2.0-only
/*
 * Private pages that cannot be had. To try for ever is no answer: user space
 * never hears of it, and the processor is busy.
 */
#include "pm_test.h"

#define PAGES	16

FIXTURE(error)
{
	struct pm_vm *vm;
	struct pm_memory mem;
};

FIXTURE_VARIANTS_OF_VM(error);

/* No file has pages there: tmpfs says EFBIG. */
FIXTURE_SETUP(error)
{
	REQUIRE(variant->kind);
	self->vm = pm_vm_create(variant->kind, 1);
	pm_memory_create(&self->mem, PM_GPA, PAGES * PM_PAGE);
	self->mem.offset = (1ULL << 63) + 16 * PM_PAGE;
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->mem.gpa,
				    self->mem.size));
}

FIXTURE_TEARDOWN(error)
{
	pm_vm_free(self->vm);
	pm_memory_destroy(&self->mem);
}

/* Shows: Cb (from patch 10) */
TEST_F(error, page_beyond_all_files_ends_kvm_run)
{
	struct pm_exit exit = pm_read(self->vm, self->mem.gpa, PM_PRIVATE);

	EXPECT_EQ(PM_FAILED, exit.end)
		TH_LOG("guest: %s", pm_exit_text(&exit));
	EXPECT_EQ(EFBIG, exit.error);
}

/* Shows: Cb (from patch 10) */
TEST_F(error, guest_runs_on_when_the_page_is_shared)
{
	EXPECT_NE(PM_DONE, pm_write(self->vm, self->mem.gpa, PM_PRIVATE, 7).end);
	ASSERT_EQ(0, pm_set_shared(self->vm->fd, self->mem.gpa, PM_PAGE));
	EXPECT_END(PM_DONE, pm_write(self->vm, self->mem.gpa, PM_SHARED, 9));
	EXPECT_EQ(9, *(__u64 *)self->mem.hva);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * A private slot is modified by a call without KVM_MEM_PRIVATE. A kernel that
 * takes it for a change of flags frees a slot that the file still knows.
 */
#include "pm_test.h"

#define PAGES	16
#define PATTERN	0xc3c3c3c300000000

FIXTURE(modify)
{
	struct pm_vm *vm;
	struct pm_memory mem;
};

FIXTURE_VARIANTS_OF_VM(modify);

FIXTURE_SETUP(modify)
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

FIXTURE_TEARDOWN(modify)
{
	pm_vm_free(self->vm);
	pm_memory_destroy(&self->mem);
}

#define MODIFY(flags, gpa, size) \
	pm_slot_shared(self->vm->fd, PM_SLOT, flags, gpa, size, self->mem.hva)

#define EXPECT_REFUSED(call) do { \
	int __refused = call; \
	EXPECT_EQ(-EINVAL, __refused) \
		pm_reset("a slot in use was freed"); \
} while (0)

/* Shows: Cc (from patch 10) */
TEST_F_TIMEOUT(modify, flags, 10)
{
	EXPECT_REFUSED(MODIFY(0, self->mem.gpa, self->mem.size));
}

/* Shows: Cc (from patch 10) */
TEST_F_TIMEOUT(modify, flags_with_dirty_logging, 10)
{
	EXPECT_REFUSED(MODIFY(KVM_MEM_LOG_DIRTY_PAGES, self->mem.gpa,
			      self->mem.size));
}

/* Shows: Cc (from patch 10) */
TEST_F_TIMEOUT(modify, place, 10)
{
	EXPECT_REFUSED(MODIFY(0, self->mem.gpa + PM_1G, self->mem.size));
}

/* Shows: B3.modify (from patch 10) */
TEST_F_TIMEOUT(modify, size, 10)
{
	EXPECT_EQ(-EINVAL, MODIFY(0, self->mem.gpa, self->mem.size / 2));
}

/* Shows: Cc (from patch 10) */
TEST_F_TIMEOUT(modify, slot_is_as_before, 10)
{
	__u64 mapped;

	EXPECT_REFUSED(MODIFY(0, self->mem.gpa, self->mem.size));
	EXPECT_VALUE(0, pm_check(self->vm, self->mem.gpa, self->mem.size,
				 PM_PRIVATE, PATTERN));
	mapped = pm_stat(self->vm, "pages_4k");
	ASSERT_EQ(0, pm_punch(self->mem.fd, 0, 2 * PM_PAGE));
	EXPECT_EQ(mapped - 2, pm_stat(self->vm, "pages_4k"));
}

TEST_HARNESS_MAIN

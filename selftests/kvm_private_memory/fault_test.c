// SPDX-License-Identifier: GPL-2.0-only
/* KVM_EXIT_MEMORY_FAULT: when, what it says, and what comes after it. */
#include "pm_test.h"

#include <sys/mman.h>

#define FLAG_PRIVATE	KVM_MEMORY_EXIT_FLAG_PRIVATE
#define PAGES		16

/* The guest chooses: only so can it choose what the attributes do not say. */
FIXTURE(mismatch)
{
	struct pm_vm *vm;
	struct pm_memory mem;
	__u64 gpa;
};

FIXTURE_SETUP(mismatch)
{
	REQUIRE(PM_BY_BIT);
	self->vm = pm_vm_create(PM_BY_BIT, 1);
	pm_memory_create(&self->mem, PM_GPA, PAGES * PM_PAGE);
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
	self->gpa = self->mem.gpa + 2 * PM_PAGE;
}

FIXTURE_TEARDOWN(mismatch)
{
	pm_vm_free(self->vm);
	pm_memory_destroy(&self->mem);
}

/* Shows: B4.exit, B4.exit-private (from patch 10) */
TEST_F(mismatch, private_access_to_shared_memory_exits_with_the_flag)
{
	EXPECT_FAULT(FLAG_PRIVATE, self->gpa,
		     pm_read(self->vm, self->gpa, PM_PRIVATE));
	EXPECT_FAULT(FLAG_PRIVATE, self->gpa,
		     pm_write(self->vm, self->gpa, PM_PRIVATE, 1));
}

/* Shows: B4.exit, B4.exit-shared (from patch 10) */
TEST_F(mismatch, shared_access_to_private_memory_exits_without_flags)
{
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, PM_PAGE));
	EXPECT_FAULT(0, self->gpa, pm_read(self->vm, self->gpa, PM_SHARED));
	EXPECT_FAULT(0, self->gpa, pm_write(self->vm, self->gpa, PM_SHARED, 1));
}

/* Shows: B4.exit (from patch 10) */
TEST_F(mismatch, access_that_fits_does_not_exit)
{
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, PM_PAGE));
	EXPECT_END(PM_DONE, pm_write(self->vm, self->gpa, PM_PRIVATE, 1));
	EXPECT_END(PM_DONE, pm_write(self->vm, self->gpa + PM_PAGE, PM_SHARED, 1));
	EXPECT_END(PM_DONE, pm_write(self->vm, self->gpa - PM_PAGE, PM_SHARED, 1));
}

/* Shows: B4.exit (from patch 10) */
TEST_F(mismatch, gpa_is_that_of_the_page)
{
	__u64 last = self->mem.gpa + self->mem.size - PM_PAGE;

	EXPECT_FAULT(FLAG_PRIVATE, self->gpa,
		     pm_read(self->vm, self->gpa + 0x128, PM_PRIVATE));
	EXPECT_FAULT(FLAG_PRIVATE, self->gpa,
		     pm_read(self->vm, self->gpa + PM_PAGE - 8, PM_PRIVATE));
	EXPECT_FAULT(FLAG_PRIVATE, last,
		     pm_read(self->vm, last + PM_PAGE - 8, PM_PRIVATE));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, last, PM_PAGE));
	EXPECT_FAULT(0, last, pm_read(self->vm, last + 0x128, PM_SHARED));
}

/* Shows: B4.exit, B4.convert (from patch 10) */
TEST_F(mismatch, memory_in_use_exits_after_conversion)
{
	ASSERT_END(PM_DONE, pm_write(self->vm, self->gpa, PM_SHARED, 1));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, PM_PAGE));
	EXPECT_FAULT(0, self->gpa, pm_read(self->vm, self->gpa, PM_SHARED));
	ASSERT_END(PM_DONE, pm_write(self->vm, self->gpa, PM_PRIVATE, 2));
	ASSERT_EQ(0, pm_set_shared(self->vm->fd, self->gpa, PM_PAGE));
	EXPECT_FAULT(FLAG_PRIVATE, self->gpa,
		     pm_read(self->vm, self->gpa, PM_PRIVATE));
}

/* Shows: B4.retry (from patch 10) */
TEST_F(mismatch, exits_again_while_nothing_changes)
{
	EXPECT_FAULT(FLAG_PRIVATE, self->gpa,
		     pm_add(self->vm, self->gpa, PM_PRIVATE, 1));
	EXPECT_FAULT(FLAG_PRIVATE, self->gpa, pm_resume(self->vm));
	EXPECT_FAULT(FLAG_PRIVATE, self->gpa, pm_resume(self->vm));
}

/* Shows: B4.retry (from patch 10) */
TEST_F(mismatch, access_is_done_once_after_conversion_to_private)
{
	EXPECT_FAULT(FLAG_PRIVATE, self->gpa,
		     pm_add(self->vm, self->gpa, PM_PRIVATE, 7));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, PM_PAGE));
	/* Not yet, and not twice: the page may have held anything. */
	EXPECT_END(PM_DONE, pm_resume(self->vm));
	ASSERT_END(PM_DONE, pm_write(self->vm, self->gpa, PM_PRIVATE, 100));
	ASSERT_EQ(0, pm_set_shared(self->vm->fd, self->gpa, PM_PAGE));
	EXPECT_END(PM_FAULT, pm_add(self->vm, self->gpa, PM_PRIVATE, 7));
	EXPECT_END(PM_FAULT, pm_resume(self->vm));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, PM_PAGE));
	EXPECT_END(PM_DONE, pm_resume(self->vm));
	EXPECT_VALUE(107, pm_read(self->vm, self->gpa, PM_PRIVATE));
}

/* Shows: B4.retry (from patch 10) */
TEST_F(mismatch, access_is_done_once_after_conversion_to_shared)
{
	__u64 *shared = self->mem.hva + 2 * PM_PAGE;

	*shared = 100;
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, PM_PAGE));
	EXPECT_END(PM_FAULT, pm_add(self->vm, self->gpa, PM_SHARED, 7));
	EXPECT_EQ(100, *shared);
	ASSERT_EQ(0, pm_set_shared(self->vm->fd, self->gpa, PM_PAGE));
	EXPECT_END(PM_DONE, pm_resume(self->vm));
	EXPECT_EQ(107, *shared);
}

FIXTURE(no_private_slot)
{
	struct pm_vm *vm;
	struct pm_memory mem;
};

FIXTURE_VARIANTS_OF_VM(no_private_slot);

FIXTURE_SETUP(no_private_slot)
{
	REQUIRE(variant->kind);
	self->vm = pm_vm_create(variant->kind, 1);
	pm_memory_create(&self->mem, PM_GPA, PAGES * PM_PAGE);
}

FIXTURE_TEARDOWN(no_private_slot)
{
	pm_vm_free(self->vm);
	pm_memory_destroy(&self->mem);
}

/* Shows: B4.no-private-slot, C14 (from patch 10) */
TEST_F(no_private_slot, private_access_to_a_shared_slot_exits_with_the_flag)
{
	const __u64 gpa = self->mem.gpa + PM_PAGE;
	__u64 *shared = self->mem.hva + PM_PAGE;

	ASSERT_EQ(0, pm_slot_shared(self->vm->fd, PM_SLOT, 0, self->mem.gpa,
				    self->mem.size, self->mem.hva));
	*shared = 100;
	ASSERT_END(PM_DONE, pm_read(self->vm, gpa, PM_PRIVATE));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, gpa, PM_PAGE));
	EXPECT_FAULT(FLAG_PRIVATE, gpa, pm_add(self->vm, gpa, PM_PRIVATE, 7));
	EXPECT_FAULT(FLAG_PRIVATE, gpa, pm_resume(self->vm));
	EXPECT_EQ(100, *shared);
	ASSERT_EQ(0, pm_set_shared(self->vm->fd, gpa, PM_PAGE));
	EXPECT_END(PM_DONE, pm_resume(self->vm));
	EXPECT_EQ(107, *shared);
}

/* Shows: B4.no-private-slot (from patch 10) */
TEST_F(no_private_slot, private_access_outside_slots_exits_with_the_flag)
{
	const __u64 gpa = self->mem.gpa + PM_PAGE;

	ASSERT_EQ(0, pm_set_private(self->vm->fd, gpa, PM_PAGE));
	EXPECT_FAULT(FLAG_PRIVATE, gpa, pm_read(self->vm, gpa, PM_PRIVATE));
	ASSERT_EQ(0, pm_set_shared(self->vm->fd, gpa, PM_PAGE));
	EXPECT_END(PM_MMIO, pm_read(self->vm, gpa, PM_PRIVATE));
}

/* KVM remembers which pages have no slot, so as not to look again. */
/* Shows: Ck (from patch 10) */
TEST_F(no_private_slot, private_access_to_what_was_mmio_exits_with_the_flag)
{
	const __u64 gpa = self->mem.gpa + PM_PAGE;

	EXPECT_END(PM_MMIO, pm_read(self->vm, gpa, PM_PRIVATE));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, gpa, PM_PAGE));
	EXPECT_FAULT(FLAG_PRIVATE, gpa, pm_read(self->vm, gpa, PM_PRIVATE));
}

/* Shows: B4.no-private-slot (from patch 10) */
TEST_F(no_private_slot, private_access_after_the_slot_is_deleted)
{
	const __u64 gpa = self->mem.gpa + PM_PAGE;

	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, gpa, PM_PAGE));
	ASSERT_END(PM_DONE, pm_write(self->vm, gpa, PM_PRIVATE, 1));
	ASSERT_EQ(0, pm_slot_delete(self->vm->fd, PM_SLOT));
	EXPECT_FAULT(FLAG_PRIVATE, gpa, pm_read(self->vm, gpa, PM_PRIVATE));
}

/* The host has one huge page behind a slot that has no private memory. */
FIXTURE(huge_shared_slot)
{
	struct pm_vm *vm;
	__u64 *host, *shared;
	__u64 gpa;		/* the private page, to which *shared belongs */
};

FIXTURE_VARIANTS_OF_VM(huge_shared_slot);

FIXTURE_SETUP(huge_shared_slot)
{
	REQUIRE(variant->kind);
	if (pm_hugepages_reserve(PM_2M, 1))
		SKIP_CASE("no memory for huge pages");
	self->vm = pm_vm_create(variant->kind, 1);
	self->host = pm_hugepages_map(PM_2M, 1);
	ASSERT_NE(MAP_FAILED, self->host);
	self->gpa = PM_GPA + PM_PAGE;
	self->shared = self->host + PM_PAGE / sizeof(*self->host);
	*self->shared = 100;
}

FIXTURE_TEARDOWN(huge_shared_slot)
{
	pm_vm_free(self->vm);
	munmap(self->host, PM_2M);
	pm_hugepages_release(PM_2M, 1);
}

#define ASSERT_HUGE_SLOT() \
	ASSERT_EQ(0, pm_slot_shared(self->vm->fd, PM_SLOT, 0, PM_GPA, PM_2M, \
				    self->host))

/* Shows: B4.no-private-slot, C14, Cn (from patch 10) */
TEST_F(huge_shared_slot, private_access_exits_with_the_flag)
{
	ASSERT_HUGE_SLOT();
	ASSERT_END(PM_DONE, pm_read(self->vm, PM_GPA, PM_PRIVATE));
	EXPECT_EQ(1, pm_stat(self->vm, "pages_2m"));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, PM_PAGE));
	/* The page beside it brings back a mapping, but of itself alone. */
	ASSERT_END(PM_DONE, pm_read(self->vm, PM_GPA, PM_PRIVATE));
	EXPECT_EQ(0, pm_stat(self->vm, "pages_2m"));
	EXPECT_FAULT(FLAG_PRIVATE, self->gpa,
		     pm_add(self->vm, self->gpa, PM_PRIVATE, 7));
	EXPECT_FAULT(FLAG_PRIVATE, self->gpa, pm_resume(self->vm));
	EXPECT_EQ(100, *self->shared);
	ASSERT_EQ(0, pm_set_shared(self->vm->fd, self->gpa, PM_PAGE));
	EXPECT_END(PM_DONE, pm_resume(self->vm));
	EXPECT_EQ(107, *self->shared);
}

/* Shows: B4.no-private-slot, C14, Cn, C9 (from patch 10) */
TEST_F(huge_shared_slot, private_access_to_a_later_slot_exits_with_the_flag)
{
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, PM_PAGE));
	ASSERT_HUGE_SLOT();
	ASSERT_END(PM_DONE, pm_read(self->vm, PM_GPA, PM_PRIVATE));
	EXPECT_EQ(0, pm_stat(self->vm, "pages_2m"));
	EXPECT_FAULT(FLAG_PRIVATE, self->gpa,
		     pm_add(self->vm, self->gpa, PM_PRIVATE, 7));
	EXPECT_EQ(100, *self->shared);
}

/* Shows: B4.mixed (from patch 10) */
TEST_F(huge_shared_slot, memory_is_mapped_whole_when_all_of_it_is_shared)
{
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, PM_PAGE));
	ASSERT_HUGE_SLOT();
	ASSERT_EQ(0, pm_set_private(self->vm->fd, PM_GPA, PM_PAGE));
	ASSERT_EQ(0, pm_set_shared(self->vm->fd, PM_GPA, PM_2M));
	ASSERT_END(PM_DONE, pm_read(self->vm, PM_GPA, PM_PRIVATE));
	EXPECT_EQ(1, pm_stat(self->vm, "pages_2m"));
	EXPECT_VALUE(100, pm_read(self->vm, self->gpa, PM_PRIVATE));
}

FIXTURE(readonly)
{
	struct pm_vm *vm;
	struct pm_memory mem;
	__u64 gpa;
};

FIXTURE_VARIANTS_OF_VM(readonly);

/* Who shall read something must have written it while he could. */
FIXTURE_SETUP(readonly)
{
	REQUIRE(variant->kind);
	self->vm = pm_vm_create(variant->kind, 1);
	pm_memory_create(&self->mem, PM_GPA, PAGES * PM_PAGE);
	self->gpa = self->mem.gpa + 2 * PM_PAGE;
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, PM_PAGE));
	ASSERT_END(PM_DONE, pm_write(self->vm, self->gpa, PM_PRIVATE, 100));
	ASSERT_EQ(0, pm_slot_delete(self->vm->fd, PM_SLOT));
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, KVM_MEM_READONLY,
				   &self->mem));
}

FIXTURE_TEARDOWN(readonly)
{
	pm_vm_free(self->vm);
	pm_memory_destroy(&self->mem);
}

/* Shows: B4.readonly (from patch 10) */
TEST_F(readonly, private_page_can_be_read)
{
	EXPECT_VALUE(100, pm_read(self->vm, self->gpa, PM_PRIVATE));
}

/* Shows: B4.readonly (from patch 10) */
TEST_F(readonly, private_page_keeps_its_contents)
{
	struct pm_exit exit = pm_write(self->vm, self->gpa, PM_PRIVATE, 1);

	EXPECT_NE(PM_DONE, exit.end);
	ASSERT_EQ(0, pm_slot_delete(self->vm->fd, PM_SLOT));
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
	EXPECT_VALUE(100, pm_read(self->vm, self->gpa, PM_PRIVATE));
}

/* Shows: B4.readonly (from patch 10) */
TEST_F(readonly, private_page_that_was_read_keeps_its_contents)
{
	struct pm_exit exit;

	ASSERT_END(PM_DONE, pm_read(self->vm, self->gpa, PM_PRIVATE));
	exit = pm_write(self->vm, self->gpa, PM_PRIVATE, 1);
	EXPECT_NE(PM_DONE, exit.end);
	EXPECT_VALUE(100, pm_read(self->vm, self->gpa, PM_PRIVATE));
}

/* Shows: Cj (from patch 10) */
TEST_F(readonly, write_to_a_private_page_ends_kvm_run)
{
	struct pm_exit exit = pm_write(self->vm, self->gpa, PM_PRIVATE, 1);

	EXPECT_NE(PM_STUCK, exit.end)
		TH_LOG("guest: %s", pm_exit_text(&exit));
}

TEST_HARNESS_MAIN

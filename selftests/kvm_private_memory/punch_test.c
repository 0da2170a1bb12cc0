// SPDX-License-Identifier: GPL-2.0-only
/*
 * Holes that are punched into memory in use. What the guest reads afterwards is
 * zero_test's; here it is the mappings.
 */
#define LARGE		(16UL << 20)
#define SMALL		(4UL << 20)
#define RUNNING_SIZE	(LARGE + SMALL)
#include "pm_running.h"

#define PAGES	16
#define PATTERN	0xc3c3c3c300000000

FIXTURE(punch)
{
	struct pm_vm *vm;
	struct pm_memory mem;
	__u64 gpa, size;
};

FIXTURE_VARIANTS_OF_VM(punch);

/* All of the memory is private and mapped, save that no slot has it at first. */
FIXTURE_SETUP(punch)
{
	REQUIRE(variant->kind);
	self->vm = pm_vm_create(variant->kind, 1);
	pm_memory_create(&self->mem, PM_GPA, PAGES * PM_PAGE);
	self->gpa = self->mem.gpa;
	self->size = self->mem.size;
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, 2 * self->size));
}

FIXTURE_TEARDOWN(punch)
{
	pm_vm_free(self->vm);
	pm_memory_destroy(&self->mem);
}

#define ASSERT_MAPPED() do { \
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem)); \
	ASSERT_END(PM_DONE, pm_fill(self->vm, self->gpa, self->size, \
				    PM_PRIVATE, PATTERN)); \
} while (0)

/* Shows: B4.punch (from patch 10) */
TEST_F(punch, zaps_the_pages_of_the_hole)
{
	__u64 before;

	ASSERT_MAPPED();
	before = pm_stat(self->vm, "pages_4k");
	ASSERT_EQ(0, pm_punch(self->mem.fd, 4 * PM_PAGE, 3 * PM_PAGE));
	EXPECT_EQ(before - 3, pm_stat(self->vm, "pages_4k"));
	/* A hole in the hole has no mapping to lose. */
	ASSERT_EQ(0, pm_punch(self->mem.fd, 4 * PM_PAGE, PM_PAGE));
	EXPECT_EQ(before - 3, pm_stat(self->vm, "pages_4k"));
}

/* Shows: B4.punch (from patch 10) */
TEST_F(punch, zaps_everything)
{
	__u64 before;

	ASSERT_MAPPED();
	before = pm_stat(self->vm, "pages_4k");
	ASSERT_EQ(0, pm_punch(self->mem.fd, 0, self->size));
	EXPECT_EQ(before - PAGES, pm_stat(self->vm, "pages_4k"));
}

/* Shows: B4.punch (from patch 10) */
TEST_F(punch, leaves_the_pages_beside_it)
{
	ASSERT_MAPPED();
	ASSERT_EQ(0, pm_punch(self->mem.fd, 4 * PM_PAGE, 3 * PM_PAGE));
	EXPECT_VALUE(0, pm_check(self->vm, self->gpa, 4 * PM_PAGE, PM_PRIVATE,
				 PATTERN));
	EXPECT_VALUE(0, pm_check(self->vm, self->gpa + 7 * PM_PAGE,
				 9 * PM_PAGE, PM_PRIVATE, PATTERN + 7));
}

/* Shows: B4.punch (from patch 10) */
TEST_F(punch, memory_can_be_used_again)
{
	int round;

	ASSERT_MAPPED();
	for (round = 0; round < 8; round++) {
		ASSERT_EQ(0, pm_punch(self->mem.fd, 0, self->size));
		ASSERT_END(PM_DONE, pm_fill(self->vm, self->gpa, self->size,
					    PM_PRIVATE, PATTERN + round));
		EXPECT_VALUE(0, pm_check(self->vm, self->gpa, self->size,
					 PM_PRIVATE, PATTERN + round));
	}
}

/* Shows: B4.punch (from patch 10) */
TEST_F(punch, slot_with_an_offset)
{
	const __u64 offset = 6 * PM_PAGE;
	__u64 before;

	self->mem.offset = offset;
	ASSERT_MAPPED();
	before = pm_stat(self->vm, "pages_4k");
	ASSERT_EQ(0, pm_punch(self->mem.fd, offset + 2 * PM_PAGE, PM_PAGE));
	EXPECT_EQ(before - 1, pm_stat(self->vm, "pages_4k"));
	EXPECT_VALUE(0, pm_check(self->vm, self->gpa, 2 * PM_PAGE, PM_PRIVATE,
				 PATTERN));
	EXPECT_VALUE(0, pm_check(self->vm, self->gpa + 3 * PM_PAGE,
				 (PAGES - 3) * PM_PAGE, PM_PRIVATE, PATTERN + 3));
}

/* Shows: B4.punch (from patch 10) */
TEST_F(punch, hole_that_begins_before_the_slot)
{
	__u64 before;

	self->mem.offset = 8 * PM_PAGE;
	ASSERT_MAPPED();
	before = pm_stat(self->vm, "pages_4k");
	ASSERT_EQ(0, pm_punch(self->mem.fd, 0, 10 * PM_PAGE));
	EXPECT_EQ(before - 2, pm_stat(self->vm, "pages_4k"));
	EXPECT_VALUE(0, pm_check(self->vm, self->gpa + 2 * PM_PAGE,
				 (PAGES - 2) * PM_PAGE, PM_PRIVATE, PATTERN + 2));
}

/* Shows: B4.punch (from patch 10) */
TEST_F(punch, hole_that_ends_after_the_slot)
{
	__u64 before;

	ASSERT_MAPPED();
	before = pm_stat(self->vm, "pages_4k");
	ASSERT_EQ(0, pm_punch(self->mem.fd, (PAGES - 1) * PM_PAGE, PM_2M));
	EXPECT_EQ(before - 1, pm_stat(self->vm, "pages_4k"));
	EXPECT_VALUE(0, pm_check(self->vm, self->gpa, (PAGES - 1) * PM_PAGE,
				 PM_PRIVATE, PATTERN));
}

/* Shows: B4.punch, B4.many (from patch 10) */
TEST_F(punch, hole_over_two_slots)
{
	struct pm_memory second = self->mem;
	__u64 before;

	ASSERT_MAPPED();
	second.gpa += second.size;
	second.offset += second.size;
	second.hva += second.size;
	second.size = PM_2M / 2;
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT + 1, 0, &second));
	ASSERT_END(PM_DONE, pm_fill(self->vm, second.gpa, 4 * PM_PAGE,
				    PM_PRIVATE, PATTERN));
	before = pm_stat(self->vm, "pages_4k");
	ASSERT_EQ(0, pm_punch(self->mem.fd, (PAGES - 1) * PM_PAGE, 2 * PM_PAGE));
	EXPECT_EQ(before - 2, pm_stat(self->vm, "pages_4k"));
	EXPECT_VALUE(0, pm_check(self->vm, second.gpa + PM_PAGE, 3 * PM_PAGE,
				 PM_PRIVATE, PATTERN + 1));
}

/* Shows: B4.punch (from patch 10) */
TEST_F(punch, shared_memory_is_not_in_the_hole)
{
	ASSERT_MAPPED();
	ASSERT_EQ(0, pm_set_shared(self->vm->fd, self->gpa, self->size));
	ASSERT_END(PM_DONE, pm_fill(self->vm, self->gpa, self->size, PM_SHARED,
				    PATTERN + 1000));
	ASSERT_EQ(0, pm_punch(self->mem.fd, 0, self->size));
	EXPECT_VALUE(0, pm_check(self->vm, self->gpa, self->size, PM_SHARED,
				 PATTERN + 1000));
}

#define TAKEN		4

/*
 * Takes what has just been freed, as others do, and writes the value there. It
 * must not unmap anything: that interrupts all threads of the process.
 */
static void take_pages(int round, uint64_t value)
{
	static volatile uint64_t pages[ROUNDS][TAKEN][PM_PAGE / sizeof(uint64_t)];
	int i;

	for (i = 0; i < TAKEN; i++)
		pages[round][i][0] = value;
}

/* Shows: B4.punch (from patch 10) */
TEST_F(running, guest_loses_the_page_at_once)
{
	uint64_t value;
	int round;

	for (round = 0; round < ROUNDS; round++) {
		value = PATTERN + 0x10000 * round;
		EXPECT_NO_LATE_READ(value, {
			ASSERT_EQ(0, pm_punch(self->mem.fd, 0, PM_PAGE));
			take_pages(round, value);
		}, PM_DONE);
	}
}

/* KVM complains if it maps a page while it does not know where the hole is. */
/* Shows: B4.punch (from patch 10) */
TEST_F(running, pages_beside_a_long_hole_are_mapped)
{
	__u64 before = pm_stat(self->vm, "pages_4k");

	ASSERT_EQ(0, fallocate(self->mem.fd, 0, 0, LARGE));
	pm_prepare_hammer(self->vm, 1, self->mem.gpa + LARGE, SMALL, PM_PRIVATE,
			  PATTERN);
	ASSERT_EQ(0, pm_start(&self->runner, self->vm, 1));
	while (pm_stat(self->vm, "pages_4k") < before + 8 && !self->runner.over)
		usleep(100);
	ASSERT_EQ(0, pm_punch(self->mem.fd, 0, LARGE));
	EXPECT_VALUE(0, pm_join(&self->runner));
}

TEST_HARNESS_MAIN

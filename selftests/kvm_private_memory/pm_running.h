/* SPDX-License-Identifier: GPL-2.0-only */
/* What memory that is taken away is to a vCPU that runs meanwhile. */
#ifndef KVM_PRIVATE_MEMORY_PM_RUNNING_H
#define KVM_PRIVATE_MEMORY_PM_RUNNING_H

#include "pm_test.h"

#define ROUNDS	12

FIXTURE(running)
{
	struct pm_vm *vm;
	struct pm_memory mem;
	struct pm_runner runner;
};

FIXTURE_VARIANTS_OF_VM(running);

/* RUNNING_SIZE bytes, all of them private. */
FIXTURE_SETUP(running)
{
	REQUIRE(variant->kind);
	self->vm = pm_vm_create(variant->kind, 2);
	pm_memory_create(&self->mem, PM_GPA, RUNNING_SIZE);
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->mem.gpa, self->mem.size));
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
}

FIXTURE_TEARDOWN(running)
{
	pm_vm_free(self->vm);
	pm_memory_destroy(&self->mem);
}

/*
 * Has a vCPU read the value in the first page, again and again, while the
 * statement takes the page away. The processor of the vCPU has the page in its
 * TLB until KVM interrupts it: no read that begins later may find the value.
 */
#define EXPECT_NO_LATE_READ(value, statement, expected_end) do { \
	struct pm_exit __exit; \
	ASSERT_END(PM_DONE, pm_write(self->vm, self->mem.gpa, PM_PRIVATE, \
				     value)); \
	pm_prepare_count_late(self->vm, 1, self->mem.gpa, PM_PRIVATE, value); \
	ASSERT_EQ(0, pm_start(&self->runner, self->vm, 1)); \
	pm_await_rounds(&self->runner, 2); \
	statement; \
	pm_say_gone(self->vm, 1); \
	pm_await_rounds(&self->runner, 2); \
	__exit = pm_join(&self->runner); \
	ASSERT_EQ(0, pm_late(self->vm, 1)); \
	ASSERT_EQ(expected_end, __exit.end) \
		TH_LOG("guest: %s", pm_exit_text(&__exit)); \
} while (0)

#endif

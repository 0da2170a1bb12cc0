/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What happens to a VM while a hole is punched into its memory. A slot that
 * comes or goes meanwhile is told of both ends of the punch or of neither: of
 * one only, vCPUs would wait for an end that never comes, or KVM would count
 * what never began.
 */
#ifndef KVM_PRIVATE_MEMORY_PM_RACE_H
#define KVM_PRIVATE_MEMORY_PM_RACE_H

#include "pm_test.h"

#include <pthread.h>

#define SIZE	(24UL << 20)
#define ROUNDS	10

FIXTURE(race)
{
	struct pm_vm *vm;
	struct pm_memory mem;
};

FIXTURE_VARIANTS_OF_VM(race);

FIXTURE_SETUP(race)
{
	REQUIRE(variant->kind);
	self->vm = pm_vm_create(variant->kind, 1);
	pm_memory_create(&self->mem, PM_GPA, SIZE);
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->mem.gpa, SIZE));
}

FIXTURE_TEARDOWN(race)
{
	pm_vm_free(self->vm);
	pm_memory_destroy(&self->mem);
}

struct punch {
	int fd;
	volatile bool begins, ends;
};

static void *punch(void *data)
{
	struct punch *p = data;

	p->begins = true;
	pm_punch(p->fd, 0, SIZE);
	p->ends = true;
	return NULL;
}

/* Allocates, punches, and does what there is to do while that goes on. */
#define WHILE_PUNCHING(statement) do { \
	struct punch p = { .fd = self->mem.fd }; \
	pthread_t thread; \
	ASSERT_EQ(0, fallocate(self->mem.fd, 0, 0, SIZE)); \
	ASSERT_EQ(0, pthread_create(&thread, NULL, punch, &p)); \
	while (!p.begins) \
		; \
	usleep(1000 + 1000 * round); \
	during += !p.ends; \
	statement; \
	ASSERT_EQ(0, pthread_join(thread, NULL)); \
} while (0)

#define ADD_SLOT() \
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem))
#define DELETE_SLOT() \
	ASSERT_EQ(0, pm_slot_delete(self->vm->fd, PM_SLOT))

#endif

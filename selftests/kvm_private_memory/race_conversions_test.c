// SPDX-License-Identifier: GPL-2.0-only
/*
 * Conversions by several threads, beside memory that a guest has in use. All
 * of it is in the same huge pages, whose state each conversion looks at.
 */
#include "pm_test.h"

#include <pthread.h>

#define SIZE		(2 * PM_2M)
#define PATTERN		0xc3c3c3c300000000
#define SECONDS		3

FIXTURE(race)
{
	struct pm_vm *vm;
	struct pm_memory mem;
};

FIXTURE_VARIANTS_OF_VM(race);

/* In the middle, over the border of the huge pages. */
#define USED_OFFSET	(PM_2M - 8 * PM_PAGE)
#define USED_SIZE	(16 * PM_PAGE)

FIXTURE_SETUP(race)
{
	REQUIRE(variant->kind);
	self->vm = pm_vm_create(variant->kind, 2);
	pm_memory_create(&self->mem, PM_GPA, SIZE);
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
}

FIXTURE_TEARDOWN(race)
{
	pm_vm_free(self->vm);
	pm_memory_destroy(&self->mem);
}

struct converter {
	int vm;
	uint64_t gpa, size;
	double end;
	int rounds, failed;
};

/* Ends with all of it private. */
static void *convert(void *data)
{
	struct converter *c = data;
	uint64_t step = PM_PAGE * (1 + c->rounds % 7), at;

	while (pm_now() < c->end) {
		c->failed |= pm_set_private(c->vm, c->gpa, c->size);
		for (at = 0; at + step <= c->size; at += 3 * step)
			c->failed |= pm_set_shared(c->vm, c->gpa + at, step);
		c->rounds++;
	}
	c->failed |= pm_set_private(c->vm, c->gpa, c->size);
	return NULL;
}

static void *hammer(void *data)
{
	static struct pm_exit exit;

	exit = pm_run(data, 1, SECONDS + PM_LIMIT_S);
	return &exit;
}

#define RACE(view) do { \
	struct converter c[2] = { \
		{ self->vm->fd, self->mem.gpa, USED_OFFSET, \
		  pm_now() + SECONDS, 0, 0 }, \
		{ self->vm->fd, self->mem.gpa + USED_OFFSET + USED_SIZE, \
		  SIZE - USED_OFFSET - USED_SIZE, pm_now() + SECONDS, 0, 0 }, \
	}; \
	struct pm_exit *exit; \
	pthread_t thread[3]; \
	int i; \
	pm_prepare_hammer(self->vm, 1, self->mem.gpa + USED_OFFSET, USED_SIZE, \
			  view, PATTERN); \
	ASSERT_EQ(0, pthread_create(&thread[2], NULL, hammer, self->vm)); \
	for (i = 0; i < 2; i++) \
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, convert, &c[i])); \
	for (i = 0; i < 2; i++) \
		ASSERT_EQ(0, pthread_join(thread[i], NULL)); \
	pm_stop(self->vm, 1); \
	ASSERT_EQ(0, pthread_join(thread[2], (void **)&exit)); \
	EXPECT_EQ(PM_DONE, exit->end) \
		TH_LOG("guest: %s", pm_exit_text(exit)); \
	EXPECT_EQ(0, exit->value); \
	TH_LOG("%lu rounds of the guest, %d and %d of the converters", \
	       pm_rounds(self->vm, 1), c[0].rounds, c[1].rounds); \
	for (i = 0; i < 2; i++) { \
		EXPECT_EQ(0, c[i].failed); \
		EXPECT_END(PM_DONE, pm_fill(self->vm, c[i].gpa, c[i].size, \
					    PM_PRIVATE, PATTERN)); \
		EXPECT_VALUE(0, pm_check(self->vm, c[i].gpa, c[i].size, \
					 PM_PRIVATE, PATTERN)); \
	} \
} while (0)

/* Shows: Ce, B4.convert (from patch 10) */
TEST_F(race, guest_uses_private_memory)
{
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->mem.gpa + USED_OFFSET,
				    USED_SIZE));
	RACE(PM_PRIVATE);
}

/* Shows: Ce, B4.convert (from patch 10) */
TEST_F(race, guest_uses_shared_memory)
{
	RACE(PM_SHARED);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attributes of a huge page are looked at while those of memory far away come
 * and go. With what is far away the array of attributes grows by some levels
 * and shrinks again, and who walks down from its top at that moment is told to
 * start over. There is no vCPU in this.
 */
#include "pm_test.h"

#include <pthread.h>

#define SECONDS	3

struct setter {
	int vm;
	uint64_t gpa;
	double end;
	int rounds, failed;
};

static void *set(void *data)
{
	struct setter *s = data;

	while (pm_now() < s->end && !s->failed) {
		s->failed = pm_set_private(s->vm, s->gpa, PM_PAGE) ?:
			    pm_set_shared(s->vm, s->gpa, PM_PAGE);
		s->rounds++;
	}
	return NULL;
}

/* Shows: Ce (from patch 10) */
TEST(huge_page_is_looked_at_while_the_array_shrinks)
{
	struct pm_memory mem;
	struct setter near = { .gpa = 5 * PM_PAGE }, far = { .gpa = 1ULL << 45 };
	pthread_t thread;

	REQUIRE(PM_BY_ATTRIBUTE);
	near.vm = far.vm = pm_bare_vm(PM_BY_ATTRIBUTE);
	near.end = far.end = pm_now() + SECONDS;
	pm_memory_create(&mem, 0, PM_2M);
	ASSERT_EQ(0, pm_memory_add(near.vm, PM_SLOT, 0, &mem));
	/* Stays, so that the array shrinks to this and not to nothing. */
	ASSERT_EQ(0, pm_set_private(near.vm, 0, PM_PAGE));

	ASSERT_EQ(0, pthread_create(&thread, NULL, set, &far));
	set(&near);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, near.failed);
	EXPECT_EQ(0, far.failed);
	TH_LOG("%d rounds near, %d far", near.rounds, far.rounds);
	pm_memory_destroy(&mem);
	close(near.vm);
}

TEST_HARNESS_MAIN

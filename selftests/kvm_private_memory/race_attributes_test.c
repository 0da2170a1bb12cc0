// SPDX-License-Identifier: GPL-2.0-only
/*
 * A huge page's attributes are looked at while the first page of it becomes the
 * only one with any. The array of attributes then needs no table, and who had
 * begun to read the table is told to start over. There is no vCPU in this.
 */
#include "pm_test.h"

#include <pthread.h>

#define SECONDS	6

struct setter {
	int vm;
	uint64_t gpa;
	bool toggles;
	double end;
	int rounds, failed;
};

static void *set(void *data)
{
	struct setter *s = data;

	while (!s->failed) {
		if (s->toggles)
			s->failed = pm_set_private(s->vm, s->gpa, PM_PAGE);
		s->failed |= pm_set_shared(s->vm, s->gpa, PM_PAGE);
		if (++s->rounds % 64 == 0 && pm_now() > s->end)
			break;
	}
	return NULL;
}

/* Shows: Ce (from patch 10) */
TEST(huge_page_is_looked_at_while_the_array_shrinks)
{
	struct pm_memory mem;
	struct setter looks = { .gpa = 5 * PM_PAGE };
	struct setter shrinks = { .gpa = 6 * PM_PAGE, .toggles = true };
	pthread_t thread;

	REQUIRE(PM_BY_ATTRIBUTE);
	looks.vm = shrinks.vm = pm_bare_vm(PM_BY_ATTRIBUTE);
	looks.end = shrinks.end = pm_now() + SECONDS;
	pm_memory_create(&mem, 0, PM_2M);
	ASSERT_EQ(0, pm_memory_add(looks.vm, PM_SLOT, 0, &mem));
	/* The one that stays: to clear another ends the look right here. */
	ASSERT_EQ(0, pm_set_private(looks.vm, 0, PM_PAGE));

	ASSERT_EQ(0, pthread_create(&thread, NULL, set, &shrinks));
	set(&looks);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, looks.failed);
	EXPECT_EQ(0, shrinks.failed);
	TH_LOG("%d looks, %d times smaller", looks.rounds, shrinks.rounds);
	pm_memory_destroy(&mem);
	close(looks.vm);
}

TEST_HARNESS_MAIN

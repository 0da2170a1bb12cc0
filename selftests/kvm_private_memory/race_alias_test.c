// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two slots with one user address. When the memory at the address is replaced by
 * other memory, the guest has to lose the old one in both slots, also where it
 * accesses a slot while the replacement goes on.
 */
#define _GNU_SOURCE
#include "pm_test.h"

#include <pthread.h>
#include <sys/mman.h>

/* To unmap all of this takes long, and the pages of the slots go last. */
#define REGION		(16UL << 20)
#define PAGES		16
#define SIZE		(PAGES * PM_PAGE)
#define ROUNDS		24

FIXTURE(alias)
{
	struct pm_vm *vm;
	void *region, *hva;	/* the slots' hva is in the region */
	int fd[2];		/* the memory that is there, in turns */
};

FIXTURE_VARIANTS_OF_VM(alias);

static uint64_t pattern(int turn)
{
	return 0x5a5a5a5a00000000 + 0x10000 * turn;
}

static void *map(void *where, int fd)
{
	return mmap(where, REGION, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_POPULATE | (where ? MAP_FIXED : 0), fd, 0);
}

FIXTURE_SETUP(alias)
{
	int turn, page;

	REQUIRE(variant->kind);
	for (turn = 1; turn >= 0; turn--) {
		self->fd[turn] = memfd_create("alias", MFD_CLOEXEC);
		ASSERT_LE(0, self->fd[turn]);
		ASSERT_EQ(0, fallocate(self->fd[turn], 0, 0, REGION));
		self->region = map(self->region, self->fd[turn]);
		ASSERT_NE(MAP_FAILED, self->region);
		self->hva = self->region + REGION - SIZE;
		for (page = 0; page < PAGES; page++)
			*(__u64 *)(self->hva + page * PM_PAGE) =
				pattern(turn) + page;
	}

	self->vm = pm_vm_create(variant->kind, 2);
	ASSERT_EQ(0, pm_slot_shared(self->vm->fd, PM_SLOT, 0, PM_GPA, SIZE,
				    self->hva));
	ASSERT_EQ(0, pm_slot_shared(self->vm->fd, PM_SLOT + 1, 0, PM_GPA + SIZE,
				    SIZE, self->hva));
}

FIXTURE_TEARDOWN(alias)
{
	pm_vm_free(self->vm);
	munmap(self->region, REGION);
	close(self->fd[0]);
	close(self->fd[1]);
}

static void *watch(void *data)
{
	static struct pm_exit exit;

	exit = pm_run(data, 1, PM_LIMIT_S);
	return &exit;
}

/* Shows: Cl (from patch 10) */
TEST_F(alias, no_slot_keeps_memory_that_was_replaced)
{
	unsigned long stale = 0;
	struct pm_exit *exit;
	pthread_t thread;
	int round, slot;

	for (round = 1; round <= ROUNDS && !stale; round++) {
		pm_prepare_watch(self->vm, 1, PM_GPA, 2 * SIZE, PM_SHARED);
		ASSERT_EQ(0, pthread_create(&thread, NULL, watch, self->vm));
		while (pm_rounds(self->vm, 1) < 2)
			usleep(100);
		ASSERT_EQ(self->region, map(self->region, self->fd[round % 2]));
		pm_stop(self->vm, 1);
		ASSERT_EQ(0, pthread_join(thread, (void **)&exit));
		ASSERT_EQ(PM_DONE, exit->end)
			TH_LOG("guest: %s", pm_exit_text(exit));

		for (slot = 0; slot < 2; slot++) {
			struct pm_exit seen = pm_check(self->vm,
						       PM_GPA + slot * SIZE, SIZE,
						       PM_SHARED,
						       pattern(round % 2));

			ASSERT_EQ(PM_DONE, seen.end)
				TH_LOG("guest: %s", pm_exit_text(&seen));
			stale += seen.value;
		}
	}
	EXPECT_EQ(0, stale)
		TH_LOG("the guest keeps %lu pages of %d after %d rounds",
		       stale, 2 * PAGES, round - 1);
}

TEST_HARNESS_MAIN

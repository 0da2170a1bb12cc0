// SPDX-License-Identifier: GPL-2.0-only
/* A slot is deleted, or used, while a hole is punched. */
#include "pm_race.h"

/* Shows: C5, B4.punch (from patch 10) */
TEST_F(race, guest_runs)
{
	int round, during = 0;

	ADD_SLOT();
	for (round = 0; round < ROUNDS; round++) {
		WHILE_PUNCHING(EXPECT_END(PM_DONE,
					  pm_fill(self->vm, self->mem.gpa,
						  64 * PM_PAGE, PM_PRIVATE, 1)));
	}
	TH_LOG("%d of %d runs began during a punch", during, ROUNDS);
}

/* Shows: C5 (from patch 10) */
TEST_F(race, slot_is_deleted)
{
	int round, during = 0;

	for (round = 0; round < ROUNDS; round++) {
		ADD_SLOT();
		WHILE_PUNCHING(DELETE_SLOT());
	}
	TH_LOG("%d of %d deletions began during a punch", during, ROUNDS);
	ADD_SLOT();
	EXPECT_END(PM_DONE, pm_fill(self->vm, self->mem.gpa, 16 * PM_PAGE,
				    PM_PRIVATE, 1));
}

TEST_HARNESS_MAIN

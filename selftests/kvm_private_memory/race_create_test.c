// SPDX-License-Identifier: GPL-2.0-only
/* A slot is made while a hole is punched. */
#include "pm_race.h"

/* Shows: C5 (from patch 10) */
TEST_F_TIMEOUT(race, slot_is_made, 20)
{
	int round, during = 0;

	for (round = 0; round < ROUNDS; round++) {
		WHILE_PUNCHING(ADD_SLOT());
		EXPECT_END(PM_DONE, pm_fill(self->vm, self->mem.gpa,
					    16 * PM_PAGE, PM_PRIVATE, 1));
		DELETE_SLOT();
	}
	TH_LOG("%d of %d slots were made during a punch", during, ROUNDS);
}

TEST_HARNESS_MAIN

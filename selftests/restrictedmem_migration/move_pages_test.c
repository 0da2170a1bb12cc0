// SPDX-License-Identifier: GPL-2.0-only
/*
 * The system calls that move memory go by address, and restricted memory has
 * none. What they do to other memory is numa_test's.
 */
#include "mig_test.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#define PAGES	256

FIXTURE(move_pages)
{
	struct mig_guest guest;
};

FIXTURE_SETUP(move_pages)
{
	mig_guest_create(_metadata, &self->guest, PM_BY_ATTRIBUTE, PAGES);
	mig_guest_fill(_metadata, &self->guest, 0, PAGES);
	mig_guest_look(_metadata, &self->guest);
}

FIXTURE_TEARDOWN(move_pages)
{
	mig_guest_free(&self->guest);
}

/* Not by the slot's address either, where the memory's shared part would be. */
/* Shows: D.move-pages (from patch 10) */
TEST_F_TIMEOUT(move_pages, private_memory_has_no_address, MIG_LIMIT)
{
	void *pages[PAGES], *mapped;
	int nodes[PAGES], status[PAGES], i, found = 0;
	long ret;

	mapped = mmap(NULL, self->guest.mem.size, PROT_READ, MAP_SHARED,
		      self->guest.mem.fd, 0);
	EXPECT_EQ(MAP_FAILED, mapped);
	for (i = 0; i < PAGES; i++) {
		pages[i] = self->guest.mem.hva + i * PM_PAGE;
		nodes[i] = 0;
		status[i] = 1;
	}
	mig_guest_before(&self->guest);
	ret = syscall(__NR_move_pages, 0, PAGES, pages, nodes, status, 0);
	if (ret && errno == ENOSYS)
		SKIP_CASE("no move_pages(2)");
	EXPECT_EQ(0, ret);
	mig_guest_after(_metadata, &self->guest, "move_pages");
	for (i = 0; i < PAGES; i++)
		found += status[i] >= 0;
	EXPECT_EQ(0, found);
	mig_guest_verify(_metadata, &self->guest);
}

TEST_HARNESS_MAIN

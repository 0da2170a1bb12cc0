// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory of a process that moves between nodes, while its guest's private
 * memory does not.
 */
#include "mig_test.h"

#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define PAGES	256
#define MOST_NODES 64

/* The nodes that have memory: "0", "0-1", "0,2", ... */
static unsigned long nodes_with_memory(void)
{
	unsigned long nodes = 0, first, last;
	char text[128], *p = text;

	if (pm_read_text("/sys/devices/system/node/has_memory", text,
			 sizeof(text)) < 0)
		return 0;
	while (*p) {
		first = last = strtoul(p, &p, 10);
		if (*p == '-')
			last = strtoul(p + 1, &p, 10);
		for (; first <= last && first < MOST_NODES; first++)
			nodes |= 1UL << first;
		if (*p == ',')
			p++;
		else
			break;
	}
	return nodes;
}

FIXTURE(numa)
{
	struct mig_guest guest;
	unsigned long nodes;
};

FIXTURE_SETUP(numa)
{
	self->nodes = nodes_with_memory();
	if (!(self->nodes & (self->nodes - 1)))
		SKIP_CASE("one NUMA node only");
	mig_guest_create(_metadata, &self->guest, PM_BY_ATTRIBUTE, PAGES);
	mig_guest_fill(_metadata, &self->guest, 0, PAGES);
	mig_guest_look(_metadata, &self->guest);
}

FIXTURE_TEARDOWN(numa)
{
	mig_guest_free(&self->guest);
}

/* Shows: D.move-pages (from patch 10) */
TEST_F_TIMEOUT(numa, move_pages_of_shared_memory, MIG_LIMIT)
{
	int first = __builtin_ctzl(self->nodes), i, other;
	void *pages[PAGES];
	int nodes[PAGES], status[PAGES];

	other = __builtin_ctzl(self->nodes & ~(1UL << first));
	for (i = 0; i < PAGES; i++) {
		pages[i] = self->guest.mem.hva + i * PM_PAGE;
		*(volatile char *)pages[i] = 1;
		nodes[i] = i & 1 ? other : first;
	}
	mig_guest_before(&self->guest);
	EXPECT_EQ(0, syscall(__NR_move_pages, 0, PAGES, pages, nodes, status,
			     0));
	mig_guest_after(_metadata, &self->guest, "move_pages");
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(nodes[i], status[i]);
	EXPECT_LT(0, mig_counter_since(&self->guest.counters, "pgmigrate_success"));
	mig_guest_verify(_metadata, &self->guest);
}

/* Shows: D.move-pages (from patch 10) */
TEST_F_TIMEOUT(numa, migrate_pages_of_the_process, MIG_LIMIT)
{
	unsigned long from = self->nodes & -self->nodes, to = self->nodes & ~from;
	int round;

	for (round = 0; round < 2; round++) {
		mig_guest_before(&self->guest);
		EXPECT_LE(0, syscall(__NR_migrate_pages, 0, MOST_NODES,
				     round ? &to : &from, round ? &from : &to));
		mig_guest_after(_metadata, &self->guest, "migrate_pages");
		/*
		 * The process may have got all its memory on the nodes that
		 * it is moved to first; back from there something has to move.
		 */
		if (round)
			EXPECT_LT(0, mig_counter_since(&self->guest.counters,
						       "pgmigrate_success"));
		mig_guest_verify(_metadata, &self->guest);
		mig_guest_look(_metadata, &self->guest);
	}
}

/* Shows: D.move-pages (from patch 10) */
TEST_F_TIMEOUT(numa, mbind_of_shared_memory, MIG_LIMIT)
{
	unsigned long node;

	memset(self->guest.mem.hva, 1, self->guest.mem.size);
	mig_guest_before(&self->guest);
	for (node = 1; node && node <= self->nodes; node <<= 1) {
		if (node & self->nodes)
			EXPECT_EQ(0, syscall(__NR_mbind, self->guest.mem.hva,
					     self->guest.mem.size, MPOL_BIND,
					     &node, MOST_NODES,
					     MPOL_MF_MOVE | MPOL_MF_STRICT));
	}
	mig_guest_after(_metadata, &self->guest, "mbind");
	EXPECT_LT(0, mig_counter_since(&self->guest.counters, "pgmigrate_success"));
	mig_guest_verify(_metadata, &self->guest);
}

TEST_HARNESS_MAIN

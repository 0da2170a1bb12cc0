/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory that may not be moved, and what a program says of a measure. The name
 * of a program is MEASURE_KIND_SIZE: private_64 is 64 MiB of a guest's private
 * memory, mlocked_64 as much of a memfd that is locked, none nothing.
 */
#ifndef MIGRATION_COST_COST_TEST_H
#define MIGRATION_COST_COST_TEST_H

#include "mig_test.h"

#include <sys/mman.h>
#include <time.h>

#define HUGE_SIZE	(2 * MIG_MIB)
#define HUGE_PAGES	"/proc/sys/vm/nr_hugepages"
#define FAR_TOO_MANY	"100000"
#define MIN_FREE	"/proc/sys/vm/min_free_kbytes"

/* A node of the page cache has so many pages, of a guest's tables more. */
#define NODE		(64 * MIG_PAGE)

struct cost_memory {
	struct mig_guest guest;
	char *locked;
	size_t size;
	char min_free[32];	/* the setting before, if it was changed */
};

static inline size_t cost_size_in_name(const char *kind)
{
	const char *found = strstr(program_invocation_short_name, kind);

	return found ? atol(found + strlen(kind)) * MIG_MIB : 0;
}

/* All of the memory, and none of it allocated; a guest gets some to spare. */
static inline void cost_memory_create(struct __test_metadata *_metadata,
				      struct cost_memory *memory, size_t spare)
{
	size_t private = cost_size_in_name("private_");
	size_t locked = cost_size_in_name("mlocked_");
	int fd;

	memory->size = private + locked;
	if (private) {
		mig_guest_create(_metadata, &memory->guest, PM_BY_ATTRIBUTE,
				 (private + spare) / PM_PAGE);
		return;
	}
	mig_compact_unevictable(false);
	ASSERT_EQ(0, pm_bind_to_this_cpu());
	if (!locked)
		return;
	fd = memfd_create("locked", 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, locked));
	memory->locked = mmap(NULL, locked, PROT_READ | PROT_WRITE, MAP_SHARED,
			      fd, 0);
	ASSERT_NE(MAP_FAILED, memory->locked);
	close(fd);
}

static inline void cost_memory_free(struct cost_memory *memory)
{
	if (memory->guest.vm)
		mig_guest_free(&memory->guest);
	if (memory->locked)
		munmap(memory->locked, memory->size);
	if (memory->min_free[0])
		pm_write_text(MIN_FREE, memory->min_free);
	mig_compact_unevictable(true);
}

/*
 * For memory that is filled up: with huge pages, much of it has to be free. When
 * a block comes or goes, the kernel sets that anew.
 */
static inline void cost_allow_little_free(struct __test_metadata *_metadata,
					  struct cost_memory *memory)
{
	if (!memory->min_free[0])
		ASSERT_LT(0, pm_read_text(MIN_FREE, memory->min_free,
					  sizeof(memory->min_free)));
	ASSERT_EQ(0, pm_write_text(MIN_FREE, "8192"));
}

/* Allocates a part of it: the guest writes to it, or it is locked. */
static inline void cost_memory_fill(struct __test_metadata *_metadata,
				    struct cost_memory *memory, size_t from,
				    size_t bytes)
{
	if (memory->guest.vm && bytes)
		mig_guest_fill(_metadata, &memory->guest, from / PM_PAGE,
			       bytes / PM_PAGE);
	else if (memory->locked && bytes)
		ASSERT_EQ(0, mlock(memory->locked + from, bytes));
}

/* One page in so many, so that all the tables are there. */
static inline void cost_memory_touch(struct __test_metadata *_metadata,
				     struct cost_memory *memory)
{
	size_t at, end = memory->guest.vm ? memory->guest.mem.size :
					    memory->size;

	for (at = 0; at < end; at += NODE)
		cost_memory_fill(_metadata, memory, at, MIG_PAGE);
}

/*
 * Does a guest still use the pages that are in its file? It writes to the first
 * of them and to the last, and looks when KVM has mapped them anew.
 */
static inline void cost_memory_verify(struct __test_metadata *_metadata,
				      struct cost_memory *memory)
{
	const struct mig_guest *guest = &memory->guest;
	const size_t part = 8 * MIG_MIB;
	const __u64 pattern = 0xfeed000000000000;
	const __u64 ends[] = { 0, memory->size - part };
	int i;

	if (!guest->vm)
		return;
	for (i = 0; i < 2; i++) {
		__u64 gpa = guest->mem.gpa + ends[i];

		ASSERT_END(PM_DONE, pm_fill(guest->vm, gpa, part, PM_PRIVATE,
					    pattern));
		ASSERT_EQ(0, pm_set_shared(guest->vm->fd, gpa, part));
		ASSERT_EQ(0, pm_set_private(guest->vm->fd, gpa, part));
		EXPECT_VALUE(0, pm_check(guest->vm, gpa, part, PM_PRIVATE,
					 pattern));
	}
}

static inline long long cost_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* So many huge pages in the pool, which nobody moves; or as many as there can be. */
#define ASSERT_HUGE_PAGES(number) do { \
	char __text[32]; \
	snprintf(__text, sizeof(__text), "%ld", (long)(number)); \
	ASSERT_EQ(0, pm_write_text(HUGE_PAGES, __text)); \
} while (0)

static inline long cost_number_in(const char *path)
{
	char text[32];

	return pm_read_text(path, text, sizeof(text)) < 0 ? -1 : atol(text);
}

/* What migration did since, as metrics of one measure. */
static inline void cost_show(const char *what, const struct mig_counters *before)
{
	static const struct {
		const char *counter, *name;
	} all[] = {
		{ "compact_migrate_scanned", "scanned" },
		{ "compact_free_scanned", "free_scanned" },
		{ "compact_isolated", "isolated" },
		{ "pgmigrate_success", "migrated" },
		{ "pgmigrate_fail", "refused" },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		MIG_DIAGNOSTIC("metric: %s_%s %ld pages", what, all[i].name,
			       mig_counter_since(before, all[i].counter));
}

#endif

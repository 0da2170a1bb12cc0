/* SPDX-License-Identifier: GPL-2.0-only */
/* A guest with a pattern in its private memory, and whether it keeps it. */
#ifndef RESTRICTEDMEM_MIGRATION_MIG_TEST_H
#define RESTRICTEDMEM_MIGRATION_MIG_TEST_H

#include "pm_test.h"

#include "mig_host.h"

struct mig_guest {
	struct pm_vm *vm;
	struct pm_memory mem;
	struct mig_others others;
	struct pm_frames *before;	/* unevictable ones, without the guest's */
	struct pm_frames *frames;	/* of the private pages */
	struct mig_counters counters;
	__u64 pattern;
};

#define MIG_DIAGNOSTIC(...) do { \
	printf("# " __VA_ARGS__); \
	printf("\n"); \
	fflush(stdout); \
} while (0)

/* The VM and its memory, all of it private and none of it allocated. */
static inline void mig_guest_create(struct __test_metadata *_metadata,
				    struct mig_guest *guest, enum pm_kind kind,
				    __u64 pages)
{
	REQUIRE(kind);
	/* Nothing but what a case does is to move anything. */
	mig_compact_unevictable(false);
	ASSERT_EQ(0, pm_bind_to_this_cpu());
	ASSERT_EQ(0, mig_others_prepare(&guest->others));
	guest->pattern = 0xd00d000000000000;
	guest->vm = pm_vm_create(kind, 1);
	pm_memory_create(&guest->mem, PM_GPA, pages * PM_PAGE);
	ASSERT_EQ(0, pm_set_private(guest->vm->fd, guest->mem.gpa,
				    guest->mem.size));
	ASSERT_EQ(0, pm_memory_add(guest->vm->fd, PM_SLOT, 0, &guest->mem));
	ASSERT_EQ(0, pm_drain_lru_batch());
	guest->before = pm_unevictable_frames();
	if (!guest->before)
		SKIP_CASE("no /proc/kpageflags");
}

static inline void mig_guest_free(struct mig_guest *guest)
{
	/*
	 * The VM before the others: KVM leaves marks in the frames that it has
	 * mapped, which harm nobody who only holds data in them.
	 */
	pm_vm_free(guest->vm);
	pm_memory_destroy(&guest->mem);
	mig_others_free(&guest->others);
	free(guest->before);
	free(guest->frames);
	mig_compact_unevictable(true);
}

/* The guest writes its pattern to some of its pages. */
static inline void mig_guest_fill(struct __test_metadata *_metadata,
				  struct mig_guest *guest, __u64 first,
				  __u64 pages)
{
	ASSERT_END(PM_DONE, pm_fill(guest->vm, guest->mem.gpa + first * PM_PAGE,
				    pages * PM_PAGE, PM_PRIVATE,
				    guest->pattern + first));
}

/* The frames of the private pages are those that have become unevictable. */
static inline void mig_guest_look(struct __test_metadata *_metadata,
				  struct mig_guest *guest)
{
	struct pm_frames *now;

	ASSERT_EQ(0, pm_drain_lru_batch());
	now = pm_unevictable_frames();
	ASSERT_NE(NULL, now);
	free(guest->frames);
	guest->frames = mig_frames_new(guest->before, now);
	free(now);
	ASSERT_NE(NULL, guest->frames);
	ASSERT_EQ(guest->mem.size / PM_PAGE, mig_frames_count(guest->frames));
}

/* What is done to the memory is done between these two. */
static inline void mig_guest_before(struct mig_guest *guest)
{
	mig_counters_read(&guest->counters);
	mig_compact_unevictable(true);
}

/*
 * Others take the frames that became free, before the kernel does for its own
 * purposes: a guest that still has them would destroy more than this process.
 */
static inline void mig_guest_after(struct __test_metadata *_metadata,
				   struct mig_guest *guest, const char *what)
{
	const double done = pm_now();
	struct mig_counters now;
	long unused;

	mig_compact_unevictable(false);
	ASSERT_EQ(0, mig_others_take_frames(&guest->others, guest->frames));
	mig_counters_read(&now);
	now.when = done;
	mig_counters_show(what, &guest->counters, &now);
	unused = mig_frames_free(guest->frames);
	if (unused)
		MIG_DIAGNOSTIC("frames that nobody has taken: %ld", unused);
}

/*
 * Does the guest read what it wrote? What it writes now: does none of that go
 * to others, and is it still there when KVM has mapped the memory anew, which
 * it does after a conversion to shared memory and back?
 */
static inline void mig_guest_verify(struct __test_metadata *_metadata,
				    struct mig_guest *guest)
{
	const __u64 gpa = guest->mem.gpa, size = guest->mem.size;
	long left, others, nr = size / PM_PAGE;
	struct pm_exit old, new;

	left = mig_frames_left(guest->frames);
	old = pm_check(guest->vm, gpa, size, PM_PRIVATE, guest->pattern);

	guest->pattern += 0x100000000;
	ASSERT_END(PM_DONE, pm_fill(guest->vm, gpa, size, PM_PRIVATE,
				    guest->pattern));
	ASSERT_EQ(0, pm_set_shared(guest->vm->fd, gpa, size));
	ASSERT_EQ(0, pm_set_private(guest->vm->fd, gpa, size));
	new = pm_check(guest->vm, gpa, size, PM_PRIVATE, guest->pattern);
	/* Not before: KVM marks the frames that it has mapped as dirty. */
	others = mig_others_check(&guest->others);

	MIG_DIAGNOSTIC("private pages: %ld, of these %ld gone from their frames, %lu read wrong, %ld written to others, %lu writes lost",
		       nr, left, (unsigned long)old.value, others,
		       (unsigned long)new.value);
	EXPECT_END(PM_DONE, old);
	EXPECT_EQ(0, old.value)
		TH_LOG("the guest reads what it has not written");
	EXPECT_EQ(0, others)
		TH_LOG("the guest writes to memory that is not its own");
	EXPECT_END(PM_DONE, new);
	EXPECT_EQ(0, new.value)
		TH_LOG("what the guest wrote is gone");
}

#endif

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory errors in private pages. The guest must not go on to use the page as
 * if nothing had happened, and user space must hear what did happen.
 *
 * Each case costs the machine one page until it is booted again.
 */
#include "pm_test.h"

#define PAGES	4
#define PATTERN	0xc3c3c3c300000000

#ifndef EHWPOISON
#define EHWPOISON 133
#endif

FIXTURE(poison)
{
	struct pm_vm *vm;
	struct pm_memory mem;
	struct pm_frames *before;
	unsigned long frame;		/* that has failed */
	__u64 gpa;
};

FIXTURE_VARIANTS_OF_VM(poison);

FIXTURE_SETUP(poison)
{
	REQUIRE(variant->kind);
	if (!pm_can_poison())
		SKIP_CASE("no memory errors by page frame in this kernel");
	ASSERT_EQ(0, pm_bind_to_this_cpu());
	self->vm = pm_vm_create(variant->kind, 1);
	pm_memory_create(&self->mem, PM_GPA, PAGES * PM_PAGE);
	self->gpa = self->mem.gpa + PM_PAGE;
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->mem.gpa,
				    self->mem.size));
	ASSERT_EQ(0, pm_drain_lru_batch());
	self->before = pm_unevictable_frames();
	if (!self->before)
		SKIP_CASE("cannot find page frames in /proc/kpageflags");
}

static void free_guest(FIXTURE_DATA(poison) *self)
{
	pm_vm_free(self->vm);
	self->vm = NULL;
	pm_memory_destroy(&self->mem);
}

FIXTURE_TEARDOWN(poison)
{
	if (self->vm)
		free_guest(self);
	free(self->before);
}

/* The page that has become unevictable since the set-up is ours. */
#define POISON() do { \
	struct pm_frames *after; \
	ASSERT_EQ(0, pm_drain_lru_batch()); \
	after = pm_unevictable_frames(); \
	self->frame = pm_new_frame(self->before, after); \
	free(after); \
	if (!self->frame) \
		SKIP_CASE("cannot find the page in /proc/kpageflags"); \
	ASSERT_EQ(0, pm_poison(self->frame)) \
		TH_LOG("memory error in page frame %#lx: %s", self->frame, \
		       strerror(errno)); \
} while (0)

#define EXPECT_POISONED(seen) do { \
	struct pm_exit __exit = (seen); \
	EXPECT_EQ(PM_FAILED, __exit.end) \
		TH_LOG("guest: %s", pm_exit_text(&__exit)); \
	EXPECT_EQ(EHWPOISON, __exit.error); \
} while (0)

/* Shows: C2, C11 (from patch 10) */
TEST_F_TIMEOUT(poison, page_in_use, 10)
{
	ASSERT_END(PM_DONE, pm_write(self->vm, self->gpa, PM_PRIVATE, PATTERN));
	POISON();
	EXPECT_POISONED(pm_read(self->vm, self->gpa, PM_PRIVATE));
	EXPECT_POISONED(pm_write(self->vm, self->gpa, PM_PRIVATE, 0));
}

/* Shows: C11 (from patch 10) */
TEST_F_TIMEOUT(poison, page_that_no_guest_has_used, 10)
{
	ASSERT_EQ(0, fallocate(self->mem.fd, 0, PM_PAGE, PM_PAGE));
	POISON();
	EXPECT_POISONED(pm_read(self->vm, self->gpa, PM_PRIVATE));
}

/* Shows: C2, C11 (from patch 10) */
TEST_F_TIMEOUT(poison, pages_beside_it_are_fine, 10)
{
	ASSERT_END(PM_DONE, pm_write(self->vm, self->gpa, PM_PRIVATE, PATTERN));
	POISON();
	EXPECT_END(PM_DONE, pm_write(self->vm, self->gpa + PM_PAGE, PM_PRIVATE,
				     PATTERN));
	EXPECT_VALUE(PATTERN, pm_read(self->vm, self->gpa + PM_PAGE, PM_PRIVATE));
}

/* Shows: C2, C11 (from patch 10) */
TEST_F_TIMEOUT(poison, hole_and_new_page_in_its_place, 10)
{
	ASSERT_END(PM_DONE, pm_write(self->vm, self->gpa, PM_PRIVATE, PATTERN));
	POISON();
	ASSERT_EQ(0, pm_punch(self->mem.fd, PM_PAGE, PM_PAGE));
	EXPECT_END(PM_DONE, pm_write(self->vm, self->gpa, PM_PRIVATE, 1));
	EXPECT_VALUE(1, pm_read(self->vm, self->gpa, PM_PRIVATE));
}

/* The kernel takes back the error of a page only where nobody else holds it. */
/* Shows: C11 (from patch 10) */
TEST_F_TIMEOUT(poison, page_is_held_by_nobody_in_the_end, 10)
{
	ASSERT_END(PM_DONE, pm_write(self->vm, self->gpa, PM_PRIVATE, PATTERN));
	POISON();
	EXPECT_POISONED(pm_read(self->vm, self->gpa, PM_PRIVATE));
	free_guest(self);
	if (!pm_can_unpoison())
		SKIP_CASE("memory errors cannot be taken back");
	EXPECT_EQ(0, pm_unpoison(self->frame))
		TH_LOG("page frame %#lx: %s", self->frame, strerror(errno));
}

TEST_HARNESS_MAIN

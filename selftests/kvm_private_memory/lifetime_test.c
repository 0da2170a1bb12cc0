// SPDX-License-Identifier: GPL-2.0-only
/* Who keeps private memory alive, and when it goes. */
#include "pm_test.h"

#define PAGES	1024L
#define PATTERN	0xc3c3c3c300000000

/* Pages of other owners that may come and go during a case. */
#define NOISE	128

FIXTURE(lifetime)
{
	struct pm_vm *vm;
	struct pm_memory mem;
	long before;
};

FIXTURE_VARIANTS_OF_VM(lifetime);

/* The memory is private, in a slot, and written. */
FIXTURE_SETUP(lifetime)
{
	REQUIRE(variant->kind);
	self->vm = pm_vm_create(variant->kind, 1);
	pm_memory_create(&self->mem, PM_GPA, PAGES * PM_PAGE);
	self->before = pm_vmstat("nr_shmem");
	ASSERT_LE(0, self->before);
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->mem.gpa,
				    self->mem.size));
	ASSERT_END(PM_DONE, pm_fill(self->vm, self->mem.gpa, self->mem.size,
				    PM_PRIVATE, PATTERN));
}

FIXTURE_TEARDOWN(lifetime)
{
	pm_vm_free(self->vm);
	pm_memory_destroy(&self->mem);
}

static void close_fd(struct pm_memory *mem)
{
	close(mem->fd);
	mem->fd = -1;
}

#define EXPECT_THERE() \
	EXPECT_LE(self->before + PAGES - NOISE, pm_vmstat("nr_shmem"))

/* Within two seconds: the last reference may be dropped by someone else. */
#define EXPECT_GONE() do { \
	double end = pm_now() + 2; \
	while (pm_vmstat("nr_shmem") > self->before + NOISE && pm_now() < end) \
		usleep(20000); \
	EXPECT_GE(self->before + NOISE, pm_vmstat("nr_shmem")); \
} while (0)

#define EXPECT_CONTENTS() \
	EXPECT_VALUE(0, pm_check(self->vm, self->mem.gpa, self->mem.size, \
				 PM_PRIVATE, PATTERN))

/* Shows: B3.file-kept (from patch 10) */
TEST_F(lifetime, slot_keeps_the_memory)
{
	close_fd(&self->mem);
	EXPECT_THERE();
	EXPECT_CONTENTS();
}

/* Shows: B3.file-kept (from patch 10) */
TEST_F(lifetime, slot_allocates_after_the_descriptor_is_closed)
{
	struct pm_memory mem;

	pm_memory_create(&mem, PM_GPA + PM_1G, 16 * PM_PAGE);
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT + 1, 0, &mem));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, mem.gpa, mem.size));
	close_fd(&mem);
	EXPECT_END(PM_DONE, pm_fill(self->vm, mem.gpa, mem.size, PM_PRIVATE, 1));
	EXPECT_VALUE(0, pm_check(self->vm, mem.gpa, mem.size, PM_PRIVATE, 1));
}

/* Shows: B4.lifetime (from patch 10) */
TEST_F(lifetime, descriptor_keeps_the_memory)
{
	ASSERT_EQ(0, pm_slot_delete(self->vm->fd, PM_SLOT));
	EXPECT_THERE();
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
	EXPECT_CONTENTS();
}

/* Shows: B4.lifetime (from patch 10) */
TEST_F(lifetime, descriptor_keeps_the_memory_for_another_vm)
{
	pm_vm_free(self->vm);
	EXPECT_THERE();
	self->vm = pm_vm_create(variant->kind, 1);
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->mem.gpa,
				    self->mem.size));
	EXPECT_CONTENTS();
}

/* Shows: B4.lifetime (from patch 10) */
TEST_F(lifetime, memory_goes_with_slot_and_descriptor)
{
	ASSERT_EQ(0, pm_slot_delete(self->vm->fd, PM_SLOT));
	close_fd(&self->mem);
	EXPECT_GONE();
}

/* Shows: B4.lifetime (from patch 10) */
TEST_F(lifetime, memory_goes_with_descriptor_and_slot)
{
	close_fd(&self->mem);
	EXPECT_THERE();
	ASSERT_EQ(0, pm_slot_delete(self->vm->fd, PM_SLOT));
	EXPECT_GONE();
}

/* Shows: B4.lifetime (from patch 10) */
TEST_F(lifetime, memory_goes_with_the_vm)
{
	close_fd(&self->mem);
	pm_vm_free(self->vm);
	self->vm = NULL;
	EXPECT_GONE();
}

/* Shows: B4.lifetime, B4.punch (from patch 10) */
TEST_F(lifetime, memory_goes_with_a_punch)
{
	ASSERT_EQ(0, pm_punch(self->mem.fd, 0, self->mem.size));
	EXPECT_GONE();
}

/* Shows: B4.lifetime (from patch 10) */
TEST_F(lifetime, conversion_frees_nothing)
{
	ASSERT_EQ(0, pm_set_shared(self->vm->fd, self->mem.gpa, self->mem.size));
	EXPECT_THERE();
}

/* Shows: B1.past-eof (from patch 10) */
TEST_F(lifetime, size_of_the_file_bounds_nothing)
{
	struct pm_memory mem;

	pm_memory_create(&mem, PM_GPA + PM_1G, 16 * PM_PAGE);
	ASSERT_EQ(0, ftruncate(mem.fd, 2 * PM_PAGE));
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT + 1, 0, &mem));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, mem.gpa, mem.size));
	EXPECT_END(PM_DONE, pm_fill(self->vm, mem.gpa, mem.size, PM_PRIVATE, 1));
	EXPECT_VALUE(0, pm_check(self->vm, mem.gpa, mem.size, PM_PRIVATE, 1));
	pm_memory_destroy(&mem);
}

/* Shows: B4.many (from patch 10) */
TEST_F(lifetime, vms_with_parts_of_one_file)
{
	struct pm_vm *other = pm_vm_create(variant->kind, 1);
	struct pm_memory part = self->mem;

	part.offset += part.size;
	ASSERT_EQ(0, pm_memory_add(other->fd, PM_SLOT, 0, &part));
	ASSERT_EQ(0, pm_set_private(other->fd, part.gpa, part.size));
	ASSERT_END(PM_DONE, pm_fill(other, part.gpa, part.size, PM_PRIVATE,
				    PATTERN + 5000));
	EXPECT_CONTENTS();

	/* A hole is the matter of the VM whose part it is in. */
	ASSERT_EQ(0, pm_punch(self->mem.fd, part.offset, PM_2M / 2));
	EXPECT_CONTENTS();
	EXPECT_VALUE(0, pm_check(other, part.gpa + PM_2M / 2,
				 part.size - PM_2M / 2, PM_PRIVATE,
				 PATTERN + 5000 + 256));

	/* The file goes with neither of them alone. */
	close_fd(&self->mem);
	pm_vm_free(other);
	EXPECT_CONTENTS();
}

/* Shows: B4.many (from patch 10) */
TEST_F(lifetime, slots_with_parts_of_one_file)
{
	struct pm_memory part = self->mem;

	part.gpa += PM_1G;
	part.offset += part.size;
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT + 1, 0, &part));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, part.gpa, part.size));
	ASSERT_END(PM_DONE, pm_fill(self->vm, part.gpa, part.size, PM_PRIVATE,
				    PATTERN + 5000));
	EXPECT_CONTENTS();
	close_fd(&self->mem);
	ASSERT_EQ(0, pm_slot_delete(self->vm->fd, PM_SLOT));
	EXPECT_VALUE(0, pm_check(self->vm, part.gpa, part.size, PM_PRIVATE,
				 PATTERN + 5000));
}

TEST_HARNESS_MAIN

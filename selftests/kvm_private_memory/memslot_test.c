// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_SET_USER_MEMORY_REGION with KVM_MEM_PRIVATE: what is accepted, and what
 * is read of the argument.
 */
#include "pm_test.h"

#include <sys/ioctl.h>

static void *anonymous(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* A struct of this size that ends where nothing can be read any more. */
static void *at_end_of_page(size_t size)
{
	char *pages = anonymous(2 * PM_PAGE);

	mprotect(pages + PM_PAGE, PM_PAGE, PROT_NONE);
	return pages + PM_PAGE - size;
}

/* Pages of other owners that may come and go during a case. */
#define NOISE	128

/* Within two seconds: the last reference may be dropped by someone else. */
#define EXPECT_GONE(counter, before) do { \
	double end = pm_now() + 2; \
	while (pm_vmstat(counter) > (before) + NOISE && pm_now() < end) \
		usleep(20000); \
	EXPECT_GE((before) + NOISE, pm_vmstat(counter)); \
} while (0)

FIXTURE(ordinary)
{
	int vm;
	void *hva;
};

FIXTURE_SETUP(ordinary)
{
	REQUIRE(PM_ORDINARY);
	self->vm = pm_bare_vm(PM_ORDINARY);
	self->hva = anonymous(PM_2M);
	ASSERT_NE(MAP_FAILED, self->hva);
}

FIXTURE_TEARDOWN(ordinary)
{
	munmap(self->hva, PM_2M);
	close(self->vm);
}

/* Shows: B3.unsupported (from patch 0) */
TEST_F(ordinary, private_flag_is_einval)
{
	struct pm_memory mem = {
		.gpa = PM_GPA,
		.size = PM_2M,
		.hva = self->hva,
		.fd = pm_memfd_restricted(),
	};

	/* Where there is no such file, no file will do either. */
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT, 0, &mem));
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT, KVM_MEM_READONLY,
					 &mem));
	close(mem.fd);
}

/* Shows: B3.pads (from patch 0) */
TEST_F(ordinary, without_the_flag_32_bytes_are_read)
{
	struct kvm_userspace_memory_region *region =
		at_end_of_page(sizeof(*region));

	region->slot = PM_SLOT;
	region->guest_phys_addr = PM_GPA;
	region->memory_size = PM_2M;
	region->userspace_addr = (uintptr_t)self->hva;
	EXPECT_EQ(0, pm_region_call(self->vm, region));
	region->memory_size = 0;
	EXPECT_EQ(0, pm_region_call(self->vm, region));
}

FIXTURE(slot)
{
	int vm;
	struct pm_memory mem;
};

FIXTURE_SETUP(slot)
{
	REQUIRE(PM_BY_ATTRIBUTE);
	self->vm = pm_bare_vm(PM_BY_ATTRIBUTE);
	pm_memory_create(&self->mem, PM_GPA, 2 * PM_2M);
}

FIXTURE_TEARDOWN(slot)
{
	close(self->vm);
	pm_memory_destroy(&self->mem);
}

/* Shows: B3.delete (from patch 10) */
TEST_F(slot, is_created_and_deleted)
{
	ASSERT_EQ(0, pm_memory_add(self->vm, PM_SLOT, 0, &self->mem));
	ASSERT_EQ(0, pm_slot_delete(self->vm, PM_SLOT));
	/* It is gone: neither can it be deleted twice, nor is its place taken. */
	EXPECT_EQ(-EINVAL, pm_slot_delete(self->vm, PM_SLOT));
	EXPECT_EQ(0, pm_memory_add(self->vm, PM_SLOT + 1, 0, &self->mem));
}

/* Shows: B3.delete (from patch 10) */
TEST_F(slot, is_deleted_with_the_flag_too)
{
	struct pm_memory none = self->mem;

	none.size = 0;
	ASSERT_EQ(0, pm_memory_add(self->vm, PM_SLOT, 0, &self->mem));
	EXPECT_EQ(0, pm_memory_add(self->vm, PM_SLOT, 0, &none));
	EXPECT_EQ(0, pm_memory_add(self->vm, PM_SLOT, 0, &self->mem));
}

/* Shows: B3.fd (from patch 10) */
TEST_F(slot, descriptor_that_is_none_is_einval)
{
	struct pm_memory mem = self->mem;

	mem.fd = -1;
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT, 0, &mem));
	mem.fd = 1000;
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT, 0, &mem));
}

/* Shows: B3.fd (from patch 10) */
TEST_F(slot, other_file_is_einval)
{
	struct pm_memory mem = self->mem;

	mem.fd = memfd_create("selftest", MFD_CLOEXEC);
	ASSERT_LE(0, mem.fd);
	ASSERT_EQ(0, ftruncate(mem.fd, mem.size));
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT, 0, &mem));
	close(mem.fd);

	mem.fd = open("/dev/zero", O_RDWR);
	ASSERT_LE(0, mem.fd);
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT, 0, &mem));
	close(mem.fd);

	mem.fd = self->vm;
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT, 0, &mem));
}

/* Shows: B3.fd, B4.lifetime (from patch 10) */
TEST_F(slot, other_file_goes_with_its_descriptor)
{
	long before = pm_vmstat("nr_shmem");
	struct pm_memory mem = self->mem;

	mem.fd = memfd_create("selftest", MFD_CLOEXEC);
	ASSERT_LE(0, mem.fd);
	ASSERT_EQ(0, fallocate(mem.fd, 0, 0, mem.size));
	EXPECT_LT(before + NOISE, pm_vmstat("nr_shmem"));
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT, 0, &mem));
	close(mem.fd);
	EXPECT_GONE("nr_shmem", before);
}

/* Shows: B3.fd (from patch 10) */
TEST_F(slot, refused_file_leaves_no_slot)
{
	struct pm_memory mem = self->mem;

	mem.fd = -1;
	ASSERT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT, 0, &mem));
	EXPECT_EQ(-EINVAL, pm_slot_delete(self->vm, PM_SLOT));
	EXPECT_EQ(0, pm_memory_add(self->vm, PM_SLOT, 0, &self->mem));
}

/* Shows: B3.offset (from patch 10) */
TEST_F(slot, unaligned_offset_is_einval)
{
	self->mem.offset = 1;
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT, 0, &self->mem));
	self->mem.offset = PM_PAGE + PM_PAGE / 2;
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT, 0, &self->mem));
}

/* Shows: B3.offset (from patch 10) */
TEST_F(slot, offset_that_wraps_is_einval)
{
	self->mem.offset = -PM_2M;
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT, 0, &self->mem));
}

/* Shows: B3.offset (from patch 10) */
TEST_F(slot, aligned_offset_is_accepted)
{
	self->mem.offset = 5 * PM_2M;
	EXPECT_EQ(0, pm_memory_add(self->vm, PM_SLOT, 0, &self->mem));
}

/* Shows: B3.modify (from patch 10) */
TEST_F(slot, modification_with_the_flag_is_einval)
{
	struct pm_memory other = self->mem;

	ASSERT_EQ(0, pm_memory_add(self->vm, PM_SLOT, 0, &self->mem));
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT, 0, &self->mem));
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT,
					 KVM_MEM_LOG_DIRTY_PAGES, &self->mem));
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT, KVM_MEM_READONLY,
					 &self->mem));
	other.gpa += PM_1G;
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT, 0, &other));
	other = self->mem;
	other.size /= 2;
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT, 0, &other));
	other = self->mem;
	other.offset += 4 * PM_2M;
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT, 0, &other));
}

/* Shows: B3.modify (from patch 10) */
TEST_F(slot, shared_slot_does_not_become_private)
{
	ASSERT_EQ(0, pm_slot_shared(self->vm, PM_SLOT, 0, self->mem.gpa,
				    self->mem.size, self->mem.hva));
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT, 0, &self->mem));
}

/* Shows: B3.combine (from patch 10) */
TEST_F(slot, readonly_can_be_combined)
{
	EXPECT_EQ(0, pm_memory_add(self->vm, PM_SLOT, KVM_MEM_READONLY,
				   &self->mem));
}

/* Shows: B3.pads (from patch 10) */
TEST_F(slot, pads_are_not_looked_at)
{
	struct kvm_userspace_memory_region_ext region = {
		.region = {
			.slot = PM_SLOT,
			.flags = KVM_MEM_PRIVATE,
			.guest_phys_addr = self->mem.gpa,
			.memory_size = self->mem.size,
			.userspace_addr = (uintptr_t)self->mem.hva,
		},
		.restricted_fd = self->mem.fd,
		.pad1 = ~0U,
	};

	memset(region.pad2, 0xff, sizeof(region.pad2));
	EXPECT_EQ(0, pm_region_call(self->vm, &region));
}

/* Shows: B3.pads (from patch 10) */
TEST_F(slot, with_the_flag_160_bytes_are_read)
{
	struct kvm_userspace_memory_region_ext region = {
		.region = {
			.slot = PM_SLOT,
			.flags = KVM_MEM_PRIVATE,
			.guest_phys_addr = self->mem.gpa,
			.memory_size = self->mem.size,
			.userspace_addr = (uintptr_t)self->mem.hva,
		},
		.restricted_fd = self->mem.fd,
	};
	void *whole = at_end_of_page(sizeof(region));
	void *part = at_end_of_page(sizeof(region) - sizeof(region.pad2[0]));

	memcpy(part, &region, sizeof(region) - sizeof(region.pad2[0]));
	EXPECT_EQ(-EFAULT, pm_region_call(self->vm, part));
	memcpy(whole, &region, sizeof(region));
	EXPECT_EQ(0, pm_region_call(self->vm, whole));
}

/* Shows: B3.pads (from patch 10) */
TEST_F(slot, without_the_flag_32_bytes_are_read)
{
	struct kvm_userspace_memory_region *region =
		at_end_of_page(sizeof(*region));

	region->slot = PM_SLOT;
	region->guest_phys_addr = self->mem.gpa;
	region->memory_size = self->mem.size;
	region->userspace_addr = (uintptr_t)self->mem.hva;
	EXPECT_EQ(0, pm_region_call(self->vm, region));
}

/* Shows: B4.many (from patch 10) */
TEST_F(slot, parts_of_one_file_in_several_slots_and_vms)
{
	int vm = pm_bare_vm(PM_BY_ATTRIBUTE);
	struct pm_memory part = self->mem;

	ASSERT_EQ(0, pm_memory_add(self->vm, PM_SLOT, 0, &part));
	part.gpa += part.size;
	part.offset += part.size;
	EXPECT_EQ(0, pm_memory_add(self->vm, PM_SLOT + 1, 0, &part));
	part.gpa = self->mem.gpa;
	part.offset += part.size;
	EXPECT_EQ(0, pm_memory_add(vm, PM_SLOT, 0, &part));
	close(vm);
}

/* Shows: B4.many (from patch 10) */
TEST_F(slot, part_right_before_that_of_another_slot)
{
	struct pm_memory part = self->mem;

	part.offset = part.size;
	ASSERT_EQ(0, pm_memory_add(self->vm, PM_SLOT, 0, &part));
	part.gpa += PM_1G;
	part.offset = 0;
	EXPECT_EQ(0, pm_memory_add(self->vm, PM_SLOT + 1, 0, &part));
}

/* Shows: C6 (from patch 10) */
TEST_F(slot, part_of_another_slot_is_einval)
{
	struct pm_memory part = self->mem;

	ASSERT_EQ(0, pm_memory_add(self->vm, PM_SLOT, 0, &self->mem));
	part.gpa += PM_1G;
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT + 1, 0, &part))
		TH_LOG("the same part");
	part.gpa += PM_1G;
	part.offset = part.size - PM_2M;
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT + 2, 0, &part))
		TH_LOG("half of it");
}

/* What the file holds is free again as if the second slot had not been tried. */
/* Shows: C6, B4.lifetime (from patch 10) */
TEST_F(slot, part_of_another_slot_is_refused_and_forgotten)
{
	long before = pm_vmstat("nr_shmem");
	struct pm_memory part = self->mem;

	ASSERT_EQ(0, fallocate(self->mem.fd, 0, 0, self->mem.size));
	ASSERT_EQ(0, pm_memory_add(self->vm, PM_SLOT, 0, &self->mem));
	part.gpa += PM_1G;
	ASSERT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT + 1, 0, &part));
	close(self->mem.fd);
	self->mem.fd = -1;
	EXPECT_LT(before + NOISE, pm_vmstat("nr_shmem"));
	ASSERT_EQ(0, pm_slot_delete(self->vm, PM_SLOT));
	EXPECT_GONE("nr_shmem", before);
}

/* Shows: C6 (from patch 10) */
TEST_F(slot, part_of_a_slot_of_another_vm_is_einval)
{
	int vm = pm_bare_vm(PM_BY_ATTRIBUTE);

	ASSERT_EQ(0, pm_memory_add(vm, PM_SLOT, 0, &self->mem));
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT, 0, &self->mem));
	close(vm);
}

/* Shows: C6 (from patch 10) */
TEST_F(slot, part_is_free_again_with_the_slot)
{
	int vm = pm_bare_vm(PM_BY_ATTRIBUTE);

	ASSERT_EQ(0, pm_memory_add(self->vm, PM_SLOT, 0, &self->mem));
	ASSERT_EQ(0, pm_slot_delete(self->vm, PM_SLOT));
	ASSERT_EQ(0, pm_memory_add(vm, PM_SLOT, 0, &self->mem));
	close(vm);
	EXPECT_EQ(0, pm_memory_add(self->vm, PM_SLOT, 0, &self->mem));
}

/* Shows: C12 (from patch 10) */
TEST_F(slot, dirty_logging_is_einval)
{
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT,
					 KVM_MEM_LOG_DIRTY_PAGES, &self->mem));
}

/* Shows: C12 (from patch 10) */
TEST_F(slot, gfn_less_aligned_than_offset_is_einval)
{
	self->mem.gpa = PM_GPA + PM_PAGE;
	self->mem.offset = PM_2M;
	EXPECT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT, 0, &self->mem));
}

/* Shows: C12 (from patch 10) */
TEST_F(slot, gfn_as_aligned_as_offset_is_accepted)
{
	self->mem.gpa = PM_GPA + PM_PAGE;
	self->mem.offset = 3 * PM_PAGE;
	EXPECT_EQ(0, pm_memory_add(self->vm, PM_SLOT, 0, &self->mem));
	self->mem.gpa = PM_GPA + PM_1G;
	self->mem.offset = 5 * PM_2M;
	EXPECT_EQ(0, pm_memory_add(self->vm, PM_SLOT + 1, 0, &self->mem));
	/* Offset 0 goes with any place. */
	self->mem.gpa = PM_GPA + 2 * PM_1G + PM_PAGE;
	self->mem.offset = 0;
	self->mem.size = PM_PAGE;
	EXPECT_EQ(0, pm_memory_add(self->vm, PM_SLOT + 2, 0, &self->mem));
	/* And address 0 with any offset. */
	self->mem.gpa = 0;
	self->mem.offset = PM_PAGE;
	EXPECT_EQ(0, pm_memory_add(self->vm, PM_SLOT + 3, 0, &self->mem));
}

/*
 * A slot of this size has MiBs of what KVM keeps about each page, for the guest
 * that chooses: its memory is mapped through other code.
 */
#define REFUSALS	40

/* And one of any size has a struct of some 250 bytes. */
#define MANY_REFUSALS	8000

/* Shows: C6, B4.lifetime (from patch 10) */
TEST_F(slot, refusals_of_large_slots_take_no_memory)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_PROTECTED_VM_SHARED_BIT,
		.args[0] = PM_SHARED_BIT,
	};
	struct pm_memory part = self->mem;
	long before;
	int vm, i;

	REQUIRE(PM_BY_BIT);
	vm = pm_bare_vm(PM_BY_BIT);
	ASSERT_EQ(0, ioctl(vm, KVM_ENABLE_CAP, &cap));
	part.size = PM_1G;
	/* All of its addresses must be a process's own; those above a mapping need not be. */
	part.hva = mmap(NULL, PM_1G, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, part.hva);
	ASSERT_EQ(0, pm_memory_add(vm, PM_SLOT, 0, &part));
	part.gpa += PM_1G;
	ASSERT_EQ(-EINVAL, pm_memory_add(vm, PM_SLOT + 1, 0, &part));
	before = pm_vmstat("nr_free_pages");
	for (i = 0; i < REFUSALS; i++)
		ASSERT_EQ(-EINVAL, pm_memory_add(vm, PM_SLOT + 1, 0, &part));
	/* All of them would have taken more than 80 MiB. */
	EXPECT_LT(before - REFUSALS * 256, pm_vmstat("nr_free_pages"));
	close(vm);
	munmap(part.hva, PM_1G);

	ASSERT_EQ(0, pm_memory_add(self->vm, PM_SLOT, 0, &self->mem));
	part = self->mem;
	part.gpa += PM_1G;
	before = pm_vmstat("nr_slab_unreclaimable");
	for (i = 0; i < MANY_REFUSALS; i++)
		ASSERT_EQ(-EINVAL, pm_memory_add(self->vm, PM_SLOT + 1, 0, &part));
	/* All of them would have taken 500 pages. */
	EXPECT_LT(pm_vmstat("nr_slab_unreclaimable"), before + 2 * NOISE);
}

TEST_HARNESS_MAIN

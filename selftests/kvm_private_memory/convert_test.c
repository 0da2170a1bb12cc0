// SPDX-License-Identifier: GPL-2.0-only
/* Conversions between shared and private memory, and what becomes of contents. */
#define RUNNING_SIZE	PM_PAGE
#include "pm_running.h"

#include <linux/kvm_para.h>
#include <sys/ioctl.h>

#define PAGES	16
#define SHARED_PATTERN	0x5a5a5a5a00000000
#define PRIVATE_PATTERN	0xc3c3c3c300000000

FIXTURE(convert)
{
	struct pm_vm *vm;
	struct pm_memory mem;
	__u64 gpa, size;
};

FIXTURE_VARIANTS_OF_VM(convert);

FIXTURE_SETUP(convert)
{
	REQUIRE(variant->kind);
	self->vm = pm_vm_create(variant->kind, 1);
	pm_memory_create(&self->mem, PM_GPA, PAGES * PM_PAGE);
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
	self->gpa = self->mem.gpa;
	self->size = self->mem.size;
}

FIXTURE_TEARDOWN(convert)
{
	pm_vm_free(self->vm);
	pm_memory_destroy(&self->mem);
}

/* The page of the shared backing, as the host sees it. */
static __u64 *host(struct pm_memory *mem, unsigned int page)
{
	return mem->hva + page * PM_PAGE;
}

/* Shows: B4.convert (from patch 10) */
TEST_F(convert, set_alone_converts_and_both_contents_survive)
{
	int round;

	ASSERT_END(PM_DONE, pm_fill(self->vm, self->gpa, self->size, PM_SHARED,
				    SHARED_PATTERN));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, self->size));
	ASSERT_END(PM_DONE, pm_fill(self->vm, self->gpa, self->size, PM_PRIVATE,
				    PRIVATE_PATTERN));
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, pm_set_shared(self->vm->fd, self->gpa, self->size));
		EXPECT_VALUE(0, pm_check(self->vm, self->gpa, self->size,
					 PM_SHARED, SHARED_PATTERN));
		ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, self->size));
		EXPECT_VALUE(0, pm_check(self->vm, self->gpa, self->size,
					 PM_PRIVATE, PRIVATE_PATTERN));
	}
}

/* Shows: B4.convert (from patch 10) */
TEST_F(convert, only_pages_of_the_range_lose_their_mapping)
{
	__u64 before;

	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, self->size));
	ASSERT_END(PM_DONE, pm_fill(self->vm, self->gpa, self->size, PM_PRIVATE,
				    PRIVATE_PATTERN));
	before = pm_stat(self->vm, "pages_4k");
	ASSERT_EQ(0, pm_set_shared(self->vm->fd, self->gpa + 4 * PM_PAGE,
				   3 * PM_PAGE));
	EXPECT_EQ(before - 3, pm_stat(self->vm, "pages_4k"));
}

/* Shows: B4.convert (from patch 10) */
TEST_F(convert, pages_beside_the_range_stay_what_they_are)
{
	const __u64 half = self->size / 2;
	__u64 page;

	ASSERT_END(PM_DONE, pm_fill(self->vm, self->gpa, self->size, PM_SHARED,
				    SHARED_PATTERN));
	/* Every other page of the first half. */
	for (page = 1; page < PAGES / 2; page += 2) {
		ASSERT_EQ(0, pm_set_private(self->vm->fd,
					    self->gpa + page * PM_PAGE, PM_PAGE));
		ASSERT_END(PM_DONE, pm_write(self->vm,
					     self->gpa + page * PM_PAGE,
					     PM_PRIVATE, PRIVATE_PATTERN + page));
	}
	for (page = 0; page < PAGES / 2; page++) {
		bool private = page % 2;

		EXPECT_VALUE((private ? PRIVATE_PATTERN : SHARED_PATTERN) + page,
			     pm_read(self->vm, self->gpa + page * PM_PAGE,
				     private ? PM_PRIVATE : PM_SHARED));
	}
	EXPECT_VALUE(0, pm_check(self->vm, self->gpa + half, half, PM_SHARED,
				 SHARED_PATTERN + PAGES / 2));
}

/* Shows: B4.convert (from patch 10) */
TEST_F(convert, memory_that_no_guest_touched)
{
	unsigned int page;

	for (page = 0; page < PAGES; page++)
		*host(&self->mem, page) = SHARED_PATTERN + page;
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, self->size));
	ASSERT_EQ(0, pm_set_shared(self->vm->fd, self->gpa, self->size));
	EXPECT_VALUE(0, pm_check(self->vm, self->gpa, self->size, PM_SHARED,
				 SHARED_PATTERN));
}

/* Shows: B4.no-copy (from patch 10) */
TEST_F(convert, nothing_is_copied_to_private_memory)
{
	unsigned int page;

	ASSERT_END(PM_DONE, pm_fill(self->vm, self->gpa, self->size, PM_SHARED,
				    SHARED_PATTERN));
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, self->size));
	for (page = 0; page < PAGES; page++) {
		struct pm_exit exit = pm_read(self->vm,
					      self->gpa + page * PM_PAGE,
					      PM_PRIVATE);

		ASSERT_EQ(PM_DONE, exit.end)
			TH_LOG("guest: %s", pm_exit_text(&exit));
		EXPECT_NE(SHARED_PATTERN + page, exit.value);
	}
}

/* Shows: B4.no-copy (from patch 10) */
TEST_F(convert, nothing_is_copied_to_shared_memory)
{
	unsigned int page;

	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, self->size));
	ASSERT_END(PM_DONE, pm_fill(self->vm, self->gpa, self->size, PM_PRIVATE,
				    PRIVATE_PATTERN));
	ASSERT_EQ(0, pm_set_shared(self->vm->fd, self->gpa, self->size));
	EXPECT_VALUE(0, pm_count_nonzero(self->vm, self->gpa, self->size,
					 PM_SHARED));
	for (page = 0; page < PAGES; page++)
		EXPECT_EQ(0, *host(&self->mem, page));
}

/* Shows: B4.isolated (from patch 10) */
TEST_F(convert, private_contents_do_not_appear_at_userspace_addr)
{
	__u64 word;

	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, self->size));
	ASSERT_END(PM_DONE, pm_fill(self->vm, self->gpa, self->size, PM_PRIVATE,
				    PRIVATE_PATTERN));
	for (word = 0; word < self->size / sizeof(__u64); word++)
		ASSERT_EQ(0, ((__u64 *)self->mem.hva)[word]);
}

/* Shows: B4.isolated (from patch 10) */
TEST_F(convert, what_the_host_writes_does_not_reach_private_memory)
{
	ASSERT_EQ(0, pm_set_private(self->vm->fd, self->gpa, self->size));
	ASSERT_END(PM_DONE, pm_fill(self->vm, self->gpa, self->size, PM_PRIVATE,
				    PRIVATE_PATTERN));
	memset(self->mem.hva, 0xee, self->size);
	EXPECT_VALUE(0, pm_check(self->vm, self->gpa, self->size, PM_PRIVATE,
				 PRIVATE_PATTERN));
	madvise(self->mem.hva, self->size, MADV_DONTNEED);
	EXPECT_VALUE(0, pm_check(self->vm, self->gpa, self->size, PM_PRIVATE,
				 PRIVATE_PATTERN));
}

/* Shows: B4.isolated (from patch 10) */
TEST_F(convert, shared_contents_are_those_at_userspace_addr)
{
	unsigned int page;

	for (page = 0; page < PAGES; page++)
		*host(&self->mem, page) = SHARED_PATTERN + page;
	EXPECT_VALUE(0, pm_check(self->vm, self->gpa, self->size, PM_SHARED,
				 SHARED_PATTERN));
	ASSERT_END(PM_DONE, pm_fill(self->vm, self->gpa, self->size, PM_SHARED,
				    PRIVATE_PATTERN));
	for (page = 0; page < PAGES; page++)
		EXPECT_EQ(PRIVATE_PATTERN + page, *host(&self->mem, page));
}

static int exit_on_hypercall(int vm)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_EXIT_HYPERCALL,
		.args = { 1 << KVM_HC_MAP_GPA_RANGE },
	};
	int ret = ioctl(vm, KVM_ENABLE_CAP, &cap);

	return ret < 0 ? -errno : ret;
}

FIXTURE(hypercall)
{
	struct pm_vm *vm;
};

FIXTURE_VARIANT(hypercall)
{
	enum pm_kind kind;
};

FIXTURE_VARIANT_ADD(hypercall, ordinary)
{
	.kind = PM_ORDINARY,
};

FIXTURE_VARIANT_ADD(hypercall, by_attribute)
{
	.kind = PM_BY_ATTRIBUTE,
};

FIXTURE_VARIANT_ADD(hypercall, by_bit)
{
	.kind = PM_BY_BIT,
};

FIXTURE_SETUP(hypercall)
{
	REQUIRE(variant->kind);
	self->vm = pm_vm_create(variant->kind, 1);
}

FIXTURE_TEARDOWN(hypercall)
{
	pm_vm_free(self->vm);
}

/* Shows: B4.explicit (from patch 0) */
TEST_F(hypercall, stays_in_the_kernel_unless_asked_for)
{
	EXPECT_VALUE(-KVM_ENOSYS,
		     pm_map_gpa_range(self->vm, PM_GPA, 3,
				      KVM_MAP_GPA_RANGE_ENCRYPTED));
}

/* Shows: B4.explicit (from patch 0) */
TEST_F(hypercall, reaches_user_space_with_its_arguments)
{
	struct pm_exit exit;

	ASSERT_EQ(0, exit_on_hypercall(self->vm->fd));
	exit = pm_map_gpa_range(self->vm, PM_GPA, 3,
				KVM_MAP_GPA_RANGE_ENCRYPTED);
	ASSERT_EQ(PM_HYPERCALL, exit.end)
		TH_LOG("guest: %s", pm_exit_text(&exit));
	EXPECT_EQ(KVM_HC_MAP_GPA_RANGE, exit.hypercall.nr);
	EXPECT_EQ(PM_GPA, exit.hypercall.args[0]);
	EXPECT_EQ(3, exit.hypercall.args[1]);
	EXPECT_EQ(KVM_MAP_GPA_RANGE_ENCRYPTED, exit.hypercall.args[2]);
	pm_hypercall_return(self->vm, 77);
	EXPECT_VALUE(77, pm_resume(self->vm));
}

/* The guest asks, user space does it: back and forth. */
/* Shows: B4.explicit, B4.convert (from patch 10) */
TEST_F(convert, guest_asks_for_it)
{
	int round;

	ASSERT_EQ(0, exit_on_hypercall(self->vm->fd));
	for (round = 0; round < 6; round++) {
		bool private = round % 2 == 0;
		enum pm_view view = private ? PM_PRIVATE : PM_SHARED;
		__u64 pattern = (private ? PRIVATE_PATTERN : SHARED_PATTERN) + round;
		struct pm_exit exit =
			pm_map_gpa_range(self->vm, self->gpa, PAGES, private ?
					 KVM_MAP_GPA_RANGE_ENCRYPTED :
					 KVM_MAP_GPA_RANGE_DECRYPTED);

		ASSERT_EQ(PM_HYPERCALL, exit.end)
			TH_LOG("guest: %s", pm_exit_text(&exit));
		ASSERT_EQ(0, pm_set_attributes(self->vm->fd,
					       exit.hypercall.args[0],
					       exit.hypercall.args[1] * PM_PAGE,
					       private ?
					       KVM_MEMORY_ATTRIBUTE_PRIVATE : 0));
		pm_hypercall_return(self->vm, 0);
		EXPECT_VALUE(0, pm_resume(self->vm));
		ASSERT_END(PM_DONE, pm_fill(self->vm, self->gpa, self->size,
					    view, pattern));
		EXPECT_VALUE(0, pm_check(self->vm, self->gpa, self->size, view,
					 pattern));
		EXPECT_EQ(private, *host(&self->mem, 0) != pattern);
	}
}

/*
 * A guest that chooses ends with a fault, as its page is shared now; the other one
 * reads the shared page.
 */
/* Shows: B4.convert (from patch 10) */
TEST_F(running, guest_loses_the_private_page_at_once)
{
	enum pm_end end = variant->kind == PM_BY_BIT ? PM_FAULT : PM_DONE;
	__u64 gpa = self->mem.gpa;
	int round;

	for (round = 0; round < ROUNDS; round++) {
		ASSERT_EQ(0, pm_set_private(self->vm->fd, gpa, PM_PAGE));
		EXPECT_NO_LATE_READ(PRIVATE_PATTERN + 0x10000 * round,
			ASSERT_EQ(0, pm_set_shared(self->vm->fd, gpa, PM_PAGE)),
			end);
	}
}

TEST_HARNESS_MAIN

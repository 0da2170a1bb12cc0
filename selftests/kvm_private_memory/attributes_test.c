// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_GET_SUPPORTED_MEMORY_ATTRIBUTES and KVM_SET_MEMORY_ATTRIBUTES: arguments
 * and results. What the attributes do to guests is seen in fault_test and
 * convert_test, save for the two things that an attribute's absence means. And
 * the bit by which a guest chooses, as far as it is refused.
 */
#include "pm_test.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/time.h>

#define PRIVATE KVM_MEMORY_ATTRIBUTE_PRIVATE

#define ANY_GPA (7 * PM_1G)

static int get_supported(int vm, __u64 *mask)
{
	int ret = ioctl(vm, KVM_GET_SUPPORTED_MEMORY_ATTRIBUTES, mask);

	return ret < 0 ? -errno : ret;
}

static int set(int vm, __u64 address, __u64 size, __u64 attributes, __u64 flags)
{
	struct kvm_memory_attributes a = {
		.address = address,
		.size = size,
		.attributes = attributes,
		.flags = flags,
	};

	return pm_attributes_call(vm, &a);
}

FIXTURE(attributes)
{
	int vm;
	__u64 known;	/* attributes that this kind of VM has */
};

FIXTURE_VARIANT(attributes)
{
	enum pm_kind kind;
	__u64 known;
};

FIXTURE_VARIANT_ADD(attributes, ordinary)
{
	.kind = PM_ORDINARY,
	.known = 0,
};

FIXTURE_VARIANT_ADD(attributes, private)
{
	.kind = PM_BY_ATTRIBUTE,
	.known = PRIVATE,
};

FIXTURE_SETUP(attributes)
{
	REQUIRE(variant->kind);
	self->vm = pm_bare_vm(variant->kind);
	self->known = variant->known;
	if (ioctl(self->vm, KVM_CHECK_EXTENSION, KVM_CAP_MEMORY_ATTRIBUTES) <= 0) {
		close(self->vm);
		SKIP_CASE("no memory attributes in this kernel");
	}
}

FIXTURE_TEARDOWN(attributes)
{
	close(self->vm);
}

/* Shows: B2.supported (from patch 2) */
TEST_F(attributes, supported_mask)
{
	__u64 mask = ~0ULL;

	ASSERT_EQ(0, get_supported(self->vm, &mask));
	EXPECT_EQ(self->known, mask);
}

/* Shows: B2.flags (from patch 2) */
TEST_F(attributes, any_flag_is_einval)
{
	int bit;

	for (bit = 0; bit < 64; bit++) {
		EXPECT_EQ(-EINVAL, set(self->vm, ANY_GPA, PM_PAGE, 0, 1ULL << bit))
			TH_LOG("flag %d", bit);
	}
}

/* Shows: B2.unsupported (from patch 2) */
TEST_F(attributes, any_unsupported_attribute_is_einval)
{
	int bit;

	for (bit = 0; bit < 64; bit++) {
		if (self->known & 1ULL << bit)
			continue;
		EXPECT_EQ(-EINVAL, set(self->vm, ANY_GPA, PM_PAGE, 1ULL << bit, 0))
			TH_LOG("attribute %d", bit);
		EXPECT_EQ(-EINVAL, set(self->vm, ANY_GPA, PM_PAGE,
				       1ULL << bit | self->known, 0))
			TH_LOG("attribute %d with those supported", bit);
	}
}

/* Shows: B2.range (from patch 2) */
TEST_F(attributes, size_zero_is_einval)
{
	EXPECT_EQ(-EINVAL, set(self->vm, ANY_GPA, 0, self->known, 0));
	EXPECT_EQ(-EINVAL, set(self->vm, 0, 0, self->known, 0));
}

/* Shows: B2.range (from patch 2) */
TEST_F(attributes, range_that_wraps_is_einval)
{
	EXPECT_EQ(-EINVAL, set(self->vm, 2 * PM_PAGE, -PM_PAGE, self->known, 0));
	EXPECT_EQ(-EINVAL, set(self->vm, -PM_PAGE, 2 * PM_PAGE, self->known, 0));
	/* The first byte after it would be byte 0. */
	EXPECT_EQ(-EINVAL, set(self->vm, -PM_PAGE, PM_PAGE, self->known, 0));
}

/* Shows: B2.range (from patch 2) */
TEST_F(attributes, unaligned_address_is_einval)
{
	EXPECT_EQ(-EINVAL, set(self->vm, ANY_GPA + 1, PM_PAGE, self->known, 0));
	EXPECT_EQ(-EINVAL, set(self->vm, ANY_GPA + PM_PAGE / 2, PM_PAGE / 2,
			       self->known, 0));
}

/* Shows: B2.range (from patch 2) */
TEST_F(attributes, unaligned_size_is_einval)
{
	EXPECT_EQ(-EINVAL, set(self->vm, ANY_GPA, 1, self->known, 0));
	EXPECT_EQ(-EINVAL, set(self->vm, ANY_GPA, PM_PAGE + 1, self->known, 0));
	EXPECT_EQ(-EINVAL, set(self->vm, ANY_GPA, PM_PAGE / 2, self->known, 0));
}

/* Shows: B2.pointer (from patch 2) */
TEST_F(attributes, bad_pointer_is_efault)
{
	void *none = mmap(NULL, PM_PAGE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, none);
	EXPECT_EQ(-EFAULT, get_supported(self->vm, NULL));
	EXPECT_EQ(-EFAULT, get_supported(self->vm, none));
	EXPECT_EQ(-EFAULT, pm_attributes_call(self->vm, NULL));
	EXPECT_EQ(-EFAULT, pm_attributes_call(self->vm, none));
}

/* Shows: B2.pointer (from patch 2) */
TEST_F(attributes, struct_that_ends_too_early_is_efault)
{
	char *pages = mmap(NULL, 2 * PM_PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, pages);
	ASSERT_EQ(0, mprotect(pages + PM_PAGE, PM_PAGE, PROT_NONE));
	EXPECT_EQ(-EFAULT, pm_attributes_call(self->vm,
		  (void *)(pages + PM_PAGE -
			   offsetof(struct kvm_memory_attributes, flags))));
}

/* Shows: B2.pointer (from patch 2) */
TEST_F(attributes, struct_that_cannot_be_written_is_efault)
{
	struct kvm_memory_attributes *a =
		mmap(NULL, PM_PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, (void *)a);
	a->address = ANY_GPA;
	a->size = PM_PAGE;
	ASSERT_EQ(0, mprotect(a, PM_PAGE, PROT_READ));
	EXPECT_EQ(-EFAULT, pm_attributes_call(self->vm, a));
}

/* Shows: B2.no-write-back (from patch 2) */
TEST_F(attributes, failure_writes_nothing_back)
{
	const struct kvm_memory_attributes bad[] = {
		{ ANY_GPA, PM_PAGE, self->known, 1 },
		{ ANY_GPA, PM_PAGE, 1, 0 },
		{ ANY_GPA, 0, self->known, 0 },
		{ ANY_GPA + 1, PM_PAGE, self->known, 0 },
		{ ANY_GPA, PM_PAGE + 1, self->known, 0 },
		{ -PM_PAGE, PM_PAGE, self->known, 0 },
	};
	struct kvm_memory_attributes a;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		a = bad[i];
		EXPECT_EQ(-EINVAL, pm_attributes_call(self->vm, &a));
		EXPECT_EQ(0, memcmp(&bad[i], &a, sizeof(a)))
			TH_LOG("written back after failure %zu", i);
	}
}

/* Shows: B2.write-back (from patch 2) */
TEST_F(attributes, success_writes_back_that_nothing_is_left)
{
	struct kvm_memory_attributes a = {
		.address = ANY_GPA,
		.size = 16 * PM_PAGE,
		.attributes = self->known,
	};

	ASSERT_EQ(0, pm_attributes_call(self->vm, &a));
	EXPECT_EQ(ANY_GPA + 16 * PM_PAGE, a.address);
	EXPECT_EQ(0, a.size);
	EXPECT_EQ(self->known, a.attributes);
	EXPECT_EQ(0, a.flags);
}

/* Shows: B2.no-slot (from patch 2) */
TEST_F(attributes, no_slot_is_needed)
{
	EXPECT_EQ(0, set(self->vm, ANY_GPA, 8 * PM_PAGE, self->known, 0));
	EXPECT_EQ(0, set(self->vm, ANY_GPA, 8 * PM_PAGE, 0, 0));
	EXPECT_EQ(0, set(self->vm, 0, PM_PAGE, self->known, 0));
}

/* In each VM they take some 150 KiB; a page of four is left to noise. */
#define VMS	32

/* Nodes of an XArray count as reclaimable, whoever has them. */
static long slabs(void)
{
	long lasting = pm_vmstat("nr_slab_unreclaimable");

	return lasting < 0 ? lasting : lasting + pm_vmstat("nr_slab_reclaimable");
}

/* Shows: B4.lifetime (from patch 10) */
TEST(attributes_go_with_the_vm)
{
	long before = 0, noise = VMS * 16;
	double end;
	int i, vm;

	REQUIRE(PM_BY_ATTRIBUTE);
	for (i = -4; i < VMS; i++) {
		if (!i)
			before = slabs();
		vm = pm_bare_vm(PM_BY_ATTRIBUTE);
		ASSERT_EQ(0, pm_set_private(vm, ANY_GPA, 32 * PM_2M));
		close(vm);
	}
	ASSERT_LT(0, before);
	end = pm_now() + 2;
	while (slabs() > before + noise && pm_now() < end)
		usleep(20000);
	EXPECT_GE(before + noise, slabs());
}

FIXTURE(meaning)
{
	struct pm_vm *vm;
	struct pm_memory mem;
};

FIXTURE_SETUP(meaning)
{
	REQUIRE(PM_BY_BIT);
	self->vm = pm_vm_create(PM_BY_BIT, 1);
	pm_memory_create(&self->mem, PM_GPA, 16 * PM_PAGE);
}

FIXTURE_TEARDOWN(meaning)
{
	pm_vm_free(self->vm);
	pm_memory_destroy(&self->mem);
}

/* Shows: B2.default-shared (from patch 10) */
TEST_F(meaning, memory_without_attributes_is_shared)
{
	const __u64 gpa = self->mem.gpa;

	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
	EXPECT_END(PM_DONE, pm_write(self->vm, gpa, PM_SHARED, 42));
	EXPECT_EQ(42, *(__u64 *)self->mem.hva);
	EXPECT_FAULT(KVM_MEMORY_EXIT_FLAG_PRIVATE, gpa,
		     pm_read(self->vm, gpa, PM_PRIVATE));
}

/* Shows: B2.replace (from patch 10) */
TEST_F(meaning, attributes_are_replaced)
{
	const __u64 gpa = self->mem.gpa;

	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
	ASSERT_EQ(0, set(self->vm->fd, gpa, 4 * PM_PAGE, PRIVATE, 0));
	EXPECT_END(PM_DONE, pm_read(self->vm, gpa + PM_PAGE, PM_PRIVATE));
	/* The second of four pages only. */
	ASSERT_EQ(0, set(self->vm->fd, gpa + PM_PAGE, PM_PAGE, 0, 0));
	EXPECT_END(PM_DONE, pm_read(self->vm, gpa, PM_PRIVATE));
	EXPECT_END(PM_DONE, pm_read(self->vm, gpa + PM_PAGE, PM_SHARED));
	EXPECT_END(PM_DONE, pm_read(self->vm, gpa + 2 * PM_PAGE, PM_PRIVATE));
	EXPECT_END(PM_FAULT, pm_read(self->vm, gpa + PM_PAGE, PM_PRIVATE));
}

/* Shows: B2.no-slot (from patch 10) */
TEST_F(meaning, attributes_wait_for_the_slot)
{
	const __u64 gpa = self->mem.gpa;

	ASSERT_EQ(0, set(self->vm->fd, gpa, PM_PAGE, PRIVATE, 0));
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
	EXPECT_END(PM_DONE, pm_read(self->vm, gpa, PM_PRIVATE));
	EXPECT_END(PM_DONE, pm_read(self->vm, gpa + PM_PAGE, PM_SHARED));
	EXPECT_FAULT(0, gpa, pm_read(self->vm, gpa, PM_SHARED));
}

/* Shows: B2.no-slot (from patch 10) */
TEST_F(meaning, attributes_outlive_the_slot)
{
	const __u64 gpa = self->mem.gpa;

	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
	ASSERT_EQ(0, set(self->vm->fd, gpa, PM_PAGE, PRIVATE, 0));
	ASSERT_EQ(0, pm_slot_delete(self->vm->fd, PM_SLOT));
	ASSERT_EQ(0, pm_memory_add(self->vm->fd, PM_SLOT, 0, &self->mem));
	EXPECT_END(PM_DONE, pm_read(self->vm, gpa, PM_PRIVATE));
	EXPECT_END(PM_FAULT, pm_read(self->vm, gpa, PM_SHARED));
}

FIXTURE(interrupted)
{
	int vm;
	struct kvm_memory_attributes a;
	__u64 end;
};

static void on_alarm(int signal)
{
}

/* So many pages that each call meets signals. */
FIXTURE_SETUP(interrupted)
{
	REQUIRE(PM_BY_ATTRIBUTE);
	self->vm = pm_bare_vm(PM_BY_ATTRIBUTE);
	self->a.address = ANY_GPA;
	self->a.size = 256 * PM_2M;
	self->a.attributes = PRIVATE;
	self->end = self->a.address + self->a.size;
	signal(SIGALRM, on_alarm);
}

FIXTURE_TEARDOWN(interrupted)
{
	close(self->vm);
}

/* As many calls as it takes: the number of those that left something. */
static int set_under_alarms(int vm, struct kvm_memory_attributes *a)
{
	const struct itimerval often = {
		.it_value.tv_usec = 1000,
		.it_interval.tv_usec = 5000,
	};
	const struct itimerval never = { 0 };
	const __u64 end = a->address + a->size;
	int ret, early = 0;
	__u64 before;

	setitimer(ITIMER_REAL, &often, NULL);
	do {
		before = a->address;
		ret = pm_attributes_call(vm, a);
		if (!ret && (a->address + a->size != end || a->address < before))
			ret = -EPROTO;
		early += !ret && a->size;
	} while (!ret && a->size);
	setitimer(ITIMER_REAL, &never, NULL);
	return ret ?: early;
}

/* Shows: Cd, B2.write-back (from patch 10) */
TEST_F(interrupted, call_that_sets_leaves_the_rest_to_the_caller)
{
	EXPECT_LT(0, set_under_alarms(self->vm, &self->a));
	EXPECT_EQ(self->end, self->a.address);
}

/* Shows: Cd, B2.write-back (from patch 10) */
TEST_F(interrupted, call_that_clears_leaves_the_rest_to_the_caller)
{
	struct kvm_memory_attributes none = self->a;

	none.attributes = 0;
	ASSERT_EQ(0, pm_set_private(self->vm, self->a.address, self->a.size));
	EXPECT_LT(0, set_under_alarms(self->vm, &none));
	EXPECT_EQ(self->end, none.address);
}

FIXTURE(shared_bit)
{
	int vm;
};

FIXTURE_SETUP(shared_bit)
{
	REQUIRE(PM_BY_BIT);
	self->vm = pm_bare_vm(PM_BY_BIT);
}

FIXTURE_TEARDOWN(shared_bit)
{
	close(self->vm);
}

static int set_shared_bit(int vm, __u64 bit)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_PROTECTED_VM_SHARED_BIT,
		.args[0] = bit,
	};
	int ret = ioctl(vm, KVM_ENABLE_CAP, &cap);

	return ret < 0 ? -errno : ret;
}

/* Shows: T.shared-bit (from patch 10) */
TEST_F(shared_bit, is_for_vms_with_private_memory)
{
	int vm = pm_bare_vm(PM_ORDINARY);

	EXPECT_EQ(-EINVAL, set_shared_bit(vm, PM_SHARED_BIT));
	close(vm);
	EXPECT_EQ(0, set_shared_bit(self->vm, PM_SHARED_BIT));
}

/* Shows: T.shared-bit (from patch 10) */
TEST_F(shared_bit, that_no_guest_has_is_einval)
{
	EXPECT_EQ(-EINVAL, set_shared_bit(self->vm, 0));
	EXPECT_EQ(-EINVAL, set_shared_bit(self->vm, 29))
		TH_LOG("within a huge page");
	/* No processor has more than 52 bits. */
	EXPECT_EQ(-EINVAL, set_shared_bit(self->vm, 52));
	EXPECT_EQ(-EINVAL, set_shared_bit(self->vm, 1ULL << 32 | PM_SHARED_BIT));
	EXPECT_EQ(0, set_shared_bit(self->vm, PM_SHARED_BIT));
}

/* Shows: T.shared-bit (from patch 10) */
TEST_F(shared_bit, is_chosen_once)
{
	ASSERT_EQ(0, set_shared_bit(self->vm, PM_SHARED_BIT));
	EXPECT_EQ(-EBUSY, set_shared_bit(self->vm, PM_SHARED_BIT));
	EXPECT_EQ(-EBUSY, set_shared_bit(self->vm, PM_SHARED_BIT - 1));
}

/* Shows: T.shared-bit (from patch 10) */
TEST_F(shared_bit, is_chosen_before_there_are_vcpus)
{
	int vcpu = ioctl(self->vm, KVM_CREATE_VCPU, 0);

	ASSERT_LE(0, vcpu);
	EXPECT_EQ(-EBUSY, set_shared_bit(self->vm, PM_SHARED_BIT));
	close(vcpu);
}

TEST_HARNESS_MAIN

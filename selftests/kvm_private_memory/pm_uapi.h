/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The interface under test, for headers of trees that lack all or part of it.
 *
 * A program built against such a tree still runs on a kernel that has the
 * interface. The numbers are private to trees with the series: later mainline
 * kernels gave some of them to other things.
 */
#ifndef KVM_PRIVATE_MEMORY_PM_UAPI_H
#define KVM_PRIVATE_MEMORY_PM_UAPI_H

#include <assert.h>
#include <stddef.h>

#include <asm/unistd.h>
#include <linux/kvm.h>

/* Patch 1 */
#ifndef __NR_memfd_restricted
#define __NR_memfd_restricted 451
#endif

/* Patch 2 */
#ifndef KVM_CAP_MEMORY_ATTRIBUTES
#define KVM_CAP_MEMORY_ATTRIBUTES 225

struct kvm_memory_attributes {
	__u64 address;
	__u64 size;
	__u64 attributes;
	__u64 flags;
};

#define KVM_GET_SUPPORTED_MEMORY_ATTRIBUTES	_IOR(KVMIO, 0xd2, __u64)
#define KVM_SET_MEMORY_ATTRIBUTES \
	_IOWR(KVMIO, 0xd3, struct kvm_memory_attributes)

#define KVM_MEMORY_ATTRIBUTE_PRIVATE	(1ULL << 3)
#endif

/* Patch 3 */
#ifndef KVM_MEM_PRIVATE
#define KVM_MEM_PRIVATE (1UL << 2)

struct kvm_userspace_memory_region_ext {
	struct kvm_userspace_memory_region region;
	__u64 restricted_offset;
	__u32 restricted_fd;
	__u32 pad1;
	__u64 pad2[14];
};
#endif

static_assert(sizeof(struct kvm_userspace_memory_region_ext) == 160,
	      "the region with private memory has 160 bytes");

/* Patch 4. Where the headers have it or not, the layout is that of kvm_run. */
#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT 38
#endif
#ifndef KVM_MEMORY_EXIT_FLAG_PRIVATE
#define KVM_MEMORY_EXIT_FLAG_PRIVATE (1ULL << 0)
#endif

struct pm_memory_fault {
	__u64 flags;
	__u64 gpa;
	__u64 size;
};

static_assert(offsetof(struct kvm_run, padding) == 32,
	      "what an exit reports begins at byte 32 of kvm_run");

/* The VM with private memory on ordinary hardware */
#ifndef KVM_CAP_VM_TYPES
#define KVM_CAP_VM_TYPES 235
#endif
#ifndef KVM_X86_PROTECTED_VM
#define KVM_X86_PROTECTED_VM 1
#endif
#ifndef KVM_CAP_PROTECTED_VM_SHARED_BIT
#define KVM_CAP_PROTECTED_VM_SHARED_BIT 236
#endif

#endif

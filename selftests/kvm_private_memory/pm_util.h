/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guests with private memory, one access at a time.
 *
 * The host says what a vCPU does next, runs it, and gets back how that ended:
 *
 *	vm = pm_vm_create(PM_BY_BIT, 1);
 *	pm_memory_create(&mem, PM_GPA, 16 * PM_PAGE);
 *	pm_memory_add(vm->fd, PM_SLOT, 0, &mem);
 *	pm_set_private(vm->fd, mem.gpa, PM_PAGE);
 *	exit = pm_write(vm, mem.gpa, PM_PRIVATE, 0x1234);
 *
 * Requests to the kernel return 0 or a negative errno. What only prepares a
 * case and has no reason to fail ends the process if it does.
 *
 * This header needs nothing of the KVM selftest library, whose macros clash
 * with those of kselftest_harness.h.
 */
#ifndef KVM_PRIVATE_MEMORY_PM_UTIL_H
#define KVM_PRIVATE_MEMORY_PM_UTIL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "pm_uapi.h"

#define PM_PAGE		4096UL
#define PM_2M		(512 * PM_PAGE)
#define PM_1G		(512 * PM_2M)

/* Slot and place of a test's memory; slot 0 has the guest's program. */
#define PM_SLOT		1
#define PM_GPA		(4 * PM_1G)

#define PM_MAX_VCPUS	2

/* Where the guest's shared accesses go in a PM_BY_BIT VM. */
#define PM_SHARED_BIT	38

enum pm_kind {
	/* No private memory: any kernel. */
	PM_ORDINARY,
	/* A page's attribute decides what an access is: never a mismatch. */
	PM_BY_ATTRIBUTE,
	/* The guest decides, with a bit of the guest-physical address. */
	PM_BY_BIT,
};

/* What an access is; only a PM_BY_BIT guest can tell the kernel. */
enum pm_view {
	PM_PRIVATE,
	PM_SHARED,
};

struct pm_vm {
	int fd;				/* of the VM, for ioctls */
	enum pm_kind kind;
	struct kvm_vm *kvm;		/* the KVM selftest library's */
	struct kvm_vcpu *vcpu[PM_MAX_VCPUS];
	struct pm_command *command[PM_MAX_VCPUS];
	struct kvm_regs start;		/* of the first vCPU */
};

/* NULL if there can be such VMs here, else why not. */
const char *pm_missing(enum pm_kind kind);

struct pm_vm *pm_vm_create(enum pm_kind kind, int nr_vcpus);
void pm_vm_free(struct pm_vm *vm);

/* A VM without vCPUs, memory and helpers: its descriptor. */
int pm_bare_vm(enum pm_kind kind);

/* A counter of the VM's binary statistics: "pages_4k", "pages_2m", ... */
uint64_t pm_stat(struct pm_vm *vm, const char *name);

/* --- What the kernel is asked for ------------------------------------------ */

int pm_memfd_restricted(void);

/* One call, as it is. */
int pm_attributes_call(int vm, struct kvm_memory_attributes *attributes);

/* As many calls as it takes. */
int pm_set_attributes(int vm, uint64_t gpa, uint64_t size, uint64_t attributes);
int pm_set_private(int vm, uint64_t gpa, uint64_t size);
int pm_set_shared(int vm, uint64_t gpa, uint64_t size);

int pm_region_call(int vm, const void *region);
int pm_slot_shared(int vm, uint32_t slot, uint32_t flags, uint64_t gpa,
		   uint64_t size, void *hva);
int pm_slot_delete(int vm, uint32_t slot);

/* --- Memory with both backings --------------------------------------------- */

struct pm_memory {
	uint64_t gpa;
	uint64_t size;
	uint64_t offset;	/* of the private backing in fd */
	int fd;			/* restricted */
	void *hva;		/* shared backing, aligned to 2M, small pages */
};

/* A new file and new anonymous memory, and no slot yet. */
void pm_memory_create(struct pm_memory *mem, uint64_t gpa, uint64_t size);
void pm_memory_destroy(struct pm_memory *mem);

/* The slot with both backings; KVM_MEM_PRIVATE is added to the flags. */
int pm_memory_add(int vm, uint32_t slot, uint32_t flags,
		  const struct pm_memory *mem);

int pm_punch(int fd, uint64_t offset, uint64_t size);

/* --- What the guest does ---------------------------------------------------- */

enum pm_end {
	PM_DONE,	/* the guest did what it was told */
	PM_FAULT,	/* KVM_EXIT_MEMORY_FAULT, see fault */
	PM_HYPERCALL,	/* KVM_EXIT_HYPERCALL, see hypercall */
	PM_MMIO,	/* KVM_EXIT_MMIO, see gpa in fault */
	PM_SHUTDOWN,	/* KVM_EXIT_SHUTDOWN */
	PM_FAILED,	/* KVM_RUN failed with error */
	PM_STUCK,	/* KVM_RUN did not come back and was interrupted */
	PM_OTHER,	/* another exit, see reason */
};

struct pm_exit {
	enum pm_end end;
	uint64_t value;		/* PM_DONE: what the guest read or counted */
	int error;		/* errno of KVM_RUN, 0 if it returned 0 */
	unsigned int reason;
	struct pm_memory_fault fault;
	struct {
		uint64_t nr;
		uint64_t args[4];
	} hypercall;
};

/* For messages; the text is good until the next call. */
const char *pm_exit_text(const struct pm_exit *exit);

/*
 * Seconds after which a vCPU is PM_STUCK that has neither ended its command nor
 * come to another page in that time.
 */
#define PM_LIMIT_S	3

/*
 * The first vCPU reads or writes eight bytes. After an exit that is not
 * PM_DONE the command is still to be finished: pm_resume() runs on with it, a
 * new command starts over.
 */
struct pm_exit pm_read(struct pm_vm *vm, uint64_t gpa, enum pm_view view);
struct pm_exit pm_write(struct pm_vm *vm, uint64_t gpa, enum pm_view view,
			uint64_t value);

/* A single instruction reads, adds and writes back. */
struct pm_exit pm_add(struct pm_vm *vm, uint64_t gpa, enum pm_view view,
		      uint64_t value);

/*
 * Eight bytes in each of the pages: value, value + 1, ... pm_check() counts the
 * pages that have something else.
 */
struct pm_exit pm_fill(struct pm_vm *vm, uint64_t gpa, uint64_t size,
		       enum pm_view view, uint64_t value);
struct pm_exit pm_check(struct pm_vm *vm, uint64_t gpa, uint64_t size,
			enum pm_view view, uint64_t value);

/* Counts the eight bytes in all of the range that are not zero. */
struct pm_exit pm_count_nonzero(struct pm_vm *vm, uint64_t gpa, uint64_t size,
				enum pm_view view);

/* KVM_HC_MAP_GPA_RANGE; PM_DONE has what it returned to the guest. */
struct pm_exit pm_map_gpa_range(struct pm_vm *vm, uint64_t gpa, uint64_t pages,
				uint64_t attributes);

/* Tells the guest what its hypercall returns. */
void pm_hypercall_return(struct pm_vm *vm, uint64_t value);

struct pm_exit pm_resume(struct pm_vm *vm);

/*
 * For threads: the vCPU of that index fills and checks the range again and
 * again until pm_stop(); PM_DONE has the number of pages that were wrong. Call
 * pm_prepare() first, and pm_run() in the thread.
 */
void pm_prepare_hammer(struct pm_vm *vm, int vcpu, uint64_t gpa, uint64_t size,
		       enum pm_view view, uint64_t value);

/* The same for a vCPU that only reads, and does not mind what. */
void pm_prepare_watch(struct pm_vm *vm, int vcpu, uint64_t gpa, uint64_t size,
		      enum pm_view view);

/*
 * The same for a vCPU that reads eight bytes. pm_late() has how often it found
 * the value there after pm_say_gone(), however it has ended.
 */
void pm_prepare_count_late(struct pm_vm *vm, int vcpu, uint64_t gpa,
			   enum pm_view view, uint64_t value);
void pm_say_gone(struct pm_vm *vm, int vcpu);
uint64_t pm_late(struct pm_vm *vm, int vcpu);

struct pm_exit pm_run(struct pm_vm *vm, int vcpu, unsigned int limit_s);
void pm_stop(struct pm_vm *vm, int vcpu);

/* Rounds of such a vCPU so far. */
uint64_t pm_rounds(struct pm_vm *vm, int vcpu);

/* A thread that runs a vCPU, which was prepared for it. */
struct pm_runner {
	pthread_t thread;
	struct pm_vm *vm;
	int vcpu;
	struct pm_exit exit;
	volatile bool over;
};

/* The negative of an error number, or 0. */
int pm_start(struct pm_runner *runner, struct pm_vm *vm, int vcpu);

/* Until it has come so many rounds further, or has left its guest. */
void pm_await_rounds(struct pm_runner *runner, uint64_t more);

/* Has it stop, and waits for it. */
struct pm_exit pm_join(struct pm_runner *runner);

#endif

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Known races of v10, each tried once: what selftests/kvm_private_memory does in many rounds, timed so
 * that the two meet, is done in one here, and left to the scheduler.
 *
 * slot_made, slot_deleted: that happens while another thread punches a hole (C5).
 * attributes: one thread looks at a huge page while the array of attributes shrinks (Ce).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Numbers and structures of the series, for headers that lack them. */
#define NR_MEMFD_RESTRICTED	451
#define TYPE_PROTECTED		1
#define MEM_PRIVATE		(1UL << 2)
#define ATTRIBUTE_PRIVATE	(1ULL << 3)

struct attributes {
	uint64_t address, size, attributes, flags;
};

#define SET_ATTRIBUTES	_IOWR(KVMIO, 0xd3, struct attributes)

struct region {
	struct kvm_userspace_memory_region region;
	uint64_t restricted_offset;
	uint32_t restricted_fd, pad1;
	uint64_t pad2[14];
};

#define PAGE	4096UL
#define SIZE	(16 * PAGE)
#define HUGE	(512 * PAGE)
#define LIMIT_S	3

static int kvm, vm, fd;
/* Ce needs the attribute of the first page of all; a guest in real mode sees the first MiB. */
static uint64_t gpa;
static void *memory;
static pthread_barrier_t both;
static const char *name;

static int check(const char *what, int ret)
{
	if (ret < 0) {
		printf("not ok 1 # %s: %m\n", what);
		exit(1);
	}
	return ret;
}

static void *map(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check("mmap", at == MAP_FAILED ? -1 : 0);
	return at;
}

static void slot(uint64_t size)
{
	struct region region = {
		.region = {
			.slot = 1,
			.flags = size ? MEM_PRIVATE : 0,
			.guest_phys_addr = size ? gpa : 0,
			.memory_size = size,
			.userspace_addr = size ? (uintptr_t)memory : 0,
		},
		.restricted_fd = fd,
	};

	check("KVM_SET_USER_MEMORY_REGION", ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region));
}

static void set(uint64_t page, uint64_t attributes)
{
	struct attributes all = { gpa + page * PAGE, PAGE, attributes, 0 };

	check("KVM_SET_MEMORY_ATTRIBUTES", ioctl(vm, SET_ATTRIBUTES, &all));
}

static void *other(void *unused)
{
	(void)unused;
	pthread_barrier_wait(&both);
	if (!strcmp(name, "attributes")) {
		set(6, ATTRIBUTE_PRIVATE);
		set(6, 0);
	} else {
		check("fallocate", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE));
	}
	return NULL;
}

static void expire(int signal)
{
	(void)signal;
}

/*
 * Runs a guest that halts at once, in ordinary memory where the slot was.  False where KVM does not
 * map it, since it waits for the end of the punch.
 */
static int guest_runs(void)
{
	struct sigaction action = { .sa_handler = expire };
	struct kvm_userspace_memory_region code = {
		.slot = 1,
		.guest_phys_addr = gpa,
		.memory_size = PAGE,
	};
	struct kvm_regs regs = { .rip = 0, .rflags = 2 };
	struct kvm_sregs sregs;
	struct kvm_run *run;
	int vcpu, size;

	code.userspace_addr = (uintptr_t)map(PAGE);
	*(volatile uint8_t *)code.userspace_addr = 0xf4;	/* hlt */
	set(0, 0);
	if (strcmp(name, "slot_deleted"))
		slot(0);
	check("slot of the code", ioctl(vm, KVM_SET_USER_MEMORY_REGION, &code));
	vcpu = check("KVM_CREATE_VCPU", ioctl(vm, KVM_CREATE_VCPU, 0));
	size = check("KVM_GET_VCPU_MMAP_SIZE", ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
	run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	check("mmap of the vCPU", run == MAP_FAILED ? -1 : 0);
	check("KVM_GET_SREGS", ioctl(vcpu, KVM_GET_SREGS, &sregs));
	sregs.cs.base = gpa;
	sregs.cs.selector = gpa >> 4;
	check("KVM_SET_SREGS", ioctl(vcpu, KVM_SET_SREGS, &sregs));
	check("KVM_SET_REGS", ioctl(vcpu, KVM_SET_REGS, &regs));
	sigaction(SIGALRM, &action, NULL);
	alarm(LIMIT_S);
	if (ioctl(vcpu, KVM_RUN, 0) < 0) {
		printf("# KVM_RUN: %m\n");
		return 0;
	}
	printf("# exit %u\n", run->exit_reason);
	return run->exit_reason == KVM_EXIT_HLT;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	int ok;

	if (argc < 1)
		return 1;
	name = basename(argv[0]);
	setbuf(stdout, NULL);
	puts("TAP version 13\n1..1");
	kvm = check("/dev/kvm", open("/dev/kvm", O_RDWR));
	vm = check("KVM_CREATE_VM", ioctl(kvm, KVM_CREATE_VM, TYPE_PROTECTED));
	fd = check("memfd_restricted", syscall(NR_MEMFD_RESTRICTED, 0));
	memory = map(2 * HUGE);
	memory = (void *)(((uintptr_t)memory + HUGE - 1) & ~(HUGE - 1));
	gpa = strcmp(name, "attributes") ? 16 * PAGE : 0;
	pthread_barrier_init(&both, NULL, 2);
	if (!strcmp(name, "attributes")) {
		slot(HUGE);
		/* The one that stays: to clear another ends the look at it. */
		set(0, ATTRIBUTE_PRIVATE);
	} else {
		check("fallocate", fallocate(fd, 0, 0, SIZE));
		if (!strcmp(name, "slot_deleted"))
			slot(SIZE);
	}
	check("pthread_create", -pthread_create(&thread, NULL, other, NULL));
	pthread_barrier_wait(&both);
	if (!strcmp(name, "attributes"))
		set(5, 0);
	else
		slot(strcmp(name, "slot_deleted") ? SIZE : 0);
	pthread_join(thread, NULL);
	/* An end without a beginning shows at the next one that has both. */
	munmap(map(PAGE), PAGE);
	ok = !strcmp(name, "attributes") || guest_runs();
	printf("%sok 1 %s\n", ok ? "" : "not ", name);
	return !ok;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * The calls of the v10 series with hardly anything around them, for sweeps: no
 * process but one, no C library that allocates, no guest. A program has the name
 * of what it does:
 *
 *	create		memfd_restricted(), twice
 *	allocate	fallocate(): memory, a hole in it, more memory
 *	attributes	KVM_SET_MEMORY_ATTRIBUTES: set, replaced, cleared
 *	slot		slots with private memory: made, deleted, refused
 *
 * Each goes on after a call that fails, as far as there is something to go on with,
 * so that what an error has left behind is met by the calls after it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/falloc.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE	4096ULL
#define HUGE	(512 * PAGE)
#define GPA	(1ULL << 32)

static int number, failed;

static void told(const char *what, int ret)
{
	number++;
	if (ret < 0) {
		printf("# %s: %s\nnot ok %d %s\n", what, strerror(errno), number, what);
		failed = 1;
	} else {
		printf("ok %d %s\n", number, what);
	}
}

static int create(void)
{
	int fd = syscall(__NR_memfd_restricted, 0);

	told("create", fd);
	return fd;
}

static void allocate(int fd)
{
	told("allocate", fallocate(fd, 0, 0, 80 * PAGE));
	told("punch", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, 70 * PAGE));
	told("allocate again", fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 80 * PAGE));
}

static int vm_create(int kvm)
{
	int vm = ioctl(kvm, KVM_CREATE_VM, (unsigned long)KVM_X86_PROTECTED_VM);

	told("vm", vm);
	return vm;
}

static void set(const char *what, int vm, uint64_t pages, uint64_t attributes)
{
	struct kvm_memory_attributes a = {
		.address = GPA,
		.size = pages * PAGE,
		.attributes = attributes,
	};
	int ret = ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES, &a);

	if (!ret && a.size) {
		errno = ENOMEM;
		ret = -1;
	}
	told(what, ret);
}

static void set_attributes(int vm)
{
	set("private", vm, 200, KVM_MEMORY_ATTRIBUTE_PRIVATE);
	set("shared", vm, 100, 0);
	set("private again", vm, 300, KVM_MEMORY_ATTRIBUTE_PRIVATE);
	set("shared again", vm, 300, 0);
}

static int slot(const char *what, int vm, int fd, void *hva, unsigned int id, uint64_t size,
		uint64_t offset)
{
	struct kvm_userspace_memory_region_ext region = {
		.region = {
			.slot = id,
			.flags = KVM_MEM_PRIVATE,
			.guest_phys_addr = GPA + id * HUGE,
			.memory_size = size,
			.userspace_addr = (uintptr_t)hva,
		},
		.restricted_offset = offset,
		.restricted_fd = fd,
	};
	int ret = ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);

	if (what)
		told(what, ret);
	return ret;
}

static void set_slots(int vm, int fd)
{
	void *hva = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	slot("slot", vm, fd, hva, 0, HUGE, 0);
	slot("another slot", vm, fd, hva + HUGE, 1, HUGE, HUGE);
	/* The part of the first, which is bound. */
	if (!slot(NULL, vm, fd, hva, 2, HUGE, 0))
		slot(NULL, vm, fd, hva, 2, 0, 0);
	told("hole", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2 * HUGE));
	slot("deletion", vm, fd, hva, 0, 0, 0);
	slot("slot again", vm, fd, hva, 0, HUGE, 0);
}

static void with_vm(int attributes)
{
	int kvm = open("/dev/kvm", O_RDWR), vm;

	told("kvm", kvm);
	if (kvm < 0)
		return;
	vm = vm_create(kvm);
	if (vm >= 0 && attributes)
		set_attributes(vm);
	if (vm >= 0 && !attributes) {
		int fd = create();

		if (fd >= 0) {
			set_slots(vm, fd);
			close(fd);
		}
	}
	if (vm >= 0)
		close(vm);
	close(kvm);
}

int main(int argc, char **argv)
{
	static char text[4096];
	const char *name = argc ? basename(argv[0]) : "";

	/* Or stdio would take its buffer from the heap. */
	setvbuf(stdout, text, _IOFBF, sizeof(text));
	puts("TAP version 13");
	if (!strcmp(name, "create") || !strcmp(name, "allocate")) {
		for (int i = 0; i < 2; i++) {
			int fd = create();

			if (fd >= 0 && !strcmp(name, "allocate"))
				allocate(fd);
			if (fd >= 0)
				close(fd);
		}
	} else {
		with_vm(!strcmp(name, "attributes"));
	}
	printf("1..%d\n", number);
	return failed;
}

// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include "pm_util.h"

#include <linux/falloc.h>
#include <linux/kvm_para.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include "kvm_util.h"
#include "processor.h"

/* Guest-virtual addresses at which guests see their physical memory. */
#define PRIVATE_VIEW	(1ULL << 41)
#define SHARED_VIEW	(1ULL << 42)

#define DONE_PORT	0x5a

enum pm_op {
	OP_READ,
	OP_WRITE,
	OP_ADD,
	OP_FILL,
	OP_CHECK,
	OP_COUNT_NONZERO,
	OP_HYPERCALL,
	OP_HAMMER,
	OP_WATCH,
	OP_COUNT_LATE,
};

struct pm_command {
	volatile uint64_t op;
	volatile uint64_t address;
	volatile uint64_t count;
	volatile uint64_t value;
	volatile uint64_t result;
	volatile uint64_t args[3];
	volatile uint64_t gone;
	volatile uint64_t amd;
	volatile uint64_t stop;
	volatile uint64_t rounds;
	volatile uint64_t pages;	/* that it has come past: it is not stuck */
} __aligned(128);

/* In guests: the host reaches it through the guest's memory. */
static struct pm_command commands[PM_MAX_VCPUS];

/* --- Guest ------------------------------------------------------------------ */

static void guest_fill(struct pm_command *c, uint64_t value)
{
	uint64_t i;

	for (i = 0; i < c->count; i++) {
		*(volatile uint64_t *)(c->address + i * PM_PAGE) = value + i;
		c->pages++;
	}
}

static uint64_t guest_check(struct pm_command *c, uint64_t value)
{
	uint64_t i, wrong = 0;

	for (i = 0; i < c->count; i++) {
		wrong += *(volatile uint64_t *)(c->address + i * PM_PAGE) !=
			 value + i;
		c->pages++;
	}
	return wrong;
}

static uint64_t guest_count_nonzero(struct pm_command *c)
{
	uint64_t i, count = 0;

	for (i = 0; i < c->count; i++) {
		count += ((volatile uint64_t *)c->address)[i] != 0;
		c->pages += i % (PM_PAGE / sizeof(uint64_t)) == 0;
	}
	return count;
}

/* Either instruction, as the processor has it: KVM would patch the other. */
static uint64_t guest_map_gpa_range(struct pm_command *c)
{
	uint64_t ret;

	if (c->amd)
		asm volatile("vmmcall" : "=a"(ret)
			     : "a"(KVM_HC_MAP_GPA_RANGE), "b"(c->args[0]),
			       "c"(c->args[1]), "d"(c->args[2]), "S"(0)
			     : "memory");
	else
		asm volatile("vmcall" : "=a"(ret)
			     : "a"(KVM_HC_MAP_GPA_RANGE), "b"(c->args[0]),
			       "c"(c->args[1]), "d"(c->args[2]), "S"(0)
			     : "memory");
	return ret;
}

static void guest_hammer(struct pm_command *c)
{
	uint64_t wrong = 0, value = c->value;

	while (!c->stop) {
		guest_fill(c, value);
		wrong += guest_check(c, value);
		value += c->count;
		c->rounds++;
	}
	c->result = wrong;
}

static void guest_watch(struct pm_command *c)
{
	while (!c->stop) {
		guest_check(c, 0);
		c->rounds++;
	}
}

/*
 * The order is that of the reads: first which value is gone, then what is there.
 * A guest that goes on from a fault in between has still the value of before.
 */
static void guest_count_late(struct pm_command *c)
{
	uint64_t gone, seen;

	while (!c->stop) {
		gone = c->gone;
		seen = *(volatile uint64_t *)c->address;
		c->result += gone && seen == gone;
		c->rounds++;
	}
}

static void guest_do(struct pm_command *c)
{
	switch (c->op) {
	case OP_READ:
		c->result = *(volatile uint64_t *)c->address;
		break;
	case OP_WRITE:
		*(volatile uint64_t *)c->address = c->value;
		break;
	case OP_ADD:
		asm volatile("addq %1, (%0)"
			     : : "r"(c->address), "r"(c->value) : "memory");
		break;
	case OP_FILL:
		guest_fill(c, c->value);
		break;
	case OP_CHECK:
		c->result = guest_check(c, c->value);
		break;
	case OP_COUNT_NONZERO:
		c->result = guest_count_nonzero(c);
		break;
	case OP_HYPERCALL:
		c->result = guest_map_gpa_range(c);
		break;
	case OP_HAMMER:
		guest_hammer(c);
		break;
	case OP_WATCH:
		guest_watch(c);
		break;
	case OP_COUNT_LATE:
		guest_count_late(c);
		break;
	}
}

static void guest_main(uint64_t vcpu)
{
	for (;;) {
		guest_do(&commands[vcpu]);
		asm volatile("outb %%al, %%dx"
			     : : "a"(0), "d"(DONE_PORT) : "memory");
	}
}

/* --- VMs --------------------------------------------------------------------- */

static int check_extension(int fd, long cap)
{
	int ret = ioctl(fd, KVM_CHECK_EXTENSION, cap);

	return ret < 0 ? 0 : ret;
}

const char *pm_missing(enum pm_kind kind)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm;
	const char *why = NULL;

	if (kvm < 0)
		return "no /dev/kvm";
	if (kind == PM_ORDINARY)
		goto out;

	if (!(check_extension(kvm, KVM_CAP_VM_TYPES) &
	      1 << KVM_X86_PROTECTED_VM)) {
		why = "no VM type with private memory";
		goto out;
	}
	if (kind == PM_BY_ATTRIBUTE)
		goto out;

	vm = ioctl(kvm, KVM_CREATE_VM, (long)KVM_X86_PROTECTED_VM);
	if (vm >= 0) {
		if (!check_extension(vm, KVM_CAP_PROTECTED_VM_SHARED_BIT))
			why = "the guest cannot choose between private and shared";
		close(vm);
	}
out:
	close(kvm);
	return why;
}

static long vm_type(enum pm_kind kind)
{
	return kind == PM_ORDINARY ? 0 : KVM_X86_PROTECTED_VM;
}

int pm_bare_vm(enum pm_kind kind)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = ioctl(kvm, KVM_CREATE_VM, vm_type(kind));

	TEST_ASSERT(vm >= 0, "KVM_CREATE_VM: %s", strerror(errno));
	close(kvm);
	return vm;
}

struct pm_vm *pm_vm_create(enum pm_kind kind, int nr_vcpus)
{
	struct pm_vm *vm = calloc(1, sizeof(*vm));
	int i;

	TEST_ASSERT(vm && nr_vcpus <= PM_MAX_VCPUS, "no VM of %d vCPUs", nr_vcpus);
	vm->kind = kind;
	vm->kvm = __vm_create(VM_MODE_DEFAULT, nr_vcpus, 0);
	if (kind != PM_ORDINARY) {
		/* The library knows one type of VM only, until it starts over. */
		kvm_vm_release(vm->kvm);
		vm->kvm->type = vm_type(kind);
		kvm_vm_restart(vm->kvm);
	}
	vm->fd = vm->kvm->fd;
	if (kind == PM_BY_BIT)
		vm_enable_cap(vm->kvm, KVM_CAP_PROTECTED_VM_SHARED_BIT,
			      PM_SHARED_BIT);
	for (i = 0; i < nr_vcpus; i++) {
		vm->vcpu[i] = vm_vcpu_add(vm->kvm, i, guest_main);
		vcpu_args_set(vm->vcpu[i], 1, (uint64_t)i);
		vm->command[i] = addr_gva2hva(vm->kvm,
					      (vm_vaddr_t)&commands[i]);
		vm->command[i]->amd = is_amd_cpu();
	}
	vcpu_regs_get(vm->vcpu[0], &vm->start);
	return vm;
}

void pm_vm_free(struct pm_vm *vm)
{
	if (!vm)
		return;
	kvm_vm_free(vm->kvm);
	free(vm);
}

uint64_t pm_stat(struct pm_vm *vm, const char *name)
{
	return vm_get_stat(vm->kvm, name);
}

/* --- Requests ----------------------------------------------------------------- */

static int result(int ret)
{
	return ret < 0 ? -errno : ret;
}

/* The unused arguments are zero, for other owners of the number. */
int pm_memfd_restricted(void)
{
	return result(syscall(__NR_memfd_restricted, 0UL, 0UL, 0UL, 0UL, 0UL, 0UL));
}

int pm_attributes_call(int vm, struct kvm_memory_attributes *attributes)
{
	return result(ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES, attributes));
}

int pm_set_attributes(int vm, uint64_t gpa, uint64_t size, uint64_t attributes)
{
	struct kvm_memory_attributes a = {
		.address = gpa,
		.size = size,
		.attributes = attributes,
	};
	int ret;

	do {
		ret = pm_attributes_call(vm, &a);
	} while (!ret && a.size);

	return ret;
}

int pm_set_private(int vm, uint64_t gpa, uint64_t size)
{
	return pm_set_attributes(vm, gpa, size, KVM_MEMORY_ATTRIBUTE_PRIVATE);
}

int pm_set_shared(int vm, uint64_t gpa, uint64_t size)
{
	return pm_set_attributes(vm, gpa, size, 0);
}

int pm_region_call(int vm, const void *region)
{
	return result(ioctl(vm, KVM_SET_USER_MEMORY_REGION, region));
}

int pm_slot_shared(int vm, uint32_t slot, uint32_t flags, uint64_t gpa,
		   uint64_t size, void *hva)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)hva,
	};

	return pm_region_call(vm, &region);
}

int pm_slot_delete(int vm, uint32_t slot)
{
	return pm_slot_shared(vm, slot, 0, 0, 0, NULL);
}

/* --- Memory -------------------------------------------------------------------- */

void pm_memory_create(struct pm_memory *mem, uint64_t gpa, uint64_t size)
{
	size_t room = size + PM_2M;
	char *start;

	mem->gpa = gpa;
	mem->size = size;
	mem->offset = 0;
	mem->fd = pm_memfd_restricted();
	TEST_ASSERT(mem->fd >= 0, "memfd_restricted(): %d", mem->fd);

	start = mmap(NULL, room, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	TEST_ASSERT(start != MAP_FAILED, "mmap: %s", strerror(errno));
	mem->hva = (void *)(((uintptr_t)start + PM_2M - 1) & ~(PM_2M - 1));
	/* The rest stays until the process ends. */
	madvise(mem->hva, size, MADV_NOHUGEPAGE);
}

void pm_memory_destroy(struct pm_memory *mem)
{
	if (mem->hva)
		munmap(mem->hva, mem->size);
	if (mem->fd > 0)
		close(mem->fd);
	memset(mem, 0, sizeof(*mem));
}

int pm_memory_add(int vm, uint32_t slot, uint32_t flags,
		  const struct pm_memory *mem)
{
	struct kvm_userspace_memory_region_ext region = {
		.region = {
			.slot = slot,
			.flags = flags | KVM_MEM_PRIVATE,
			.guest_phys_addr = mem->gpa,
			.memory_size = mem->size,
			.userspace_addr = (uintptr_t)mem->hva,
		},
		.restricted_offset = mem->offset,
		.restricted_fd = mem->fd,
	};

	return pm_region_call(vm, &region);
}

int pm_punch(int fd, uint64_t offset, uint64_t size)
{
	return result(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				offset, size));
}

/* --- Running -------------------------------------------------------------------- */

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static void interrupted(int signal)
{
}

/* Interrupts this thread after the limit, and on and on after that. */
static timer_t start_limit(unsigned int seconds)
{
	struct sigaction action = { .sa_handler = interrupted };
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = SIGUSR1,
		.sigev_notify_thread_id = syscall(__NR_gettid),
	};
	struct itimerspec limit = {
		.it_value.tv_sec = seconds,
		.it_interval.tv_nsec = 100000000,
	};
	timer_t timer;
	int ret;

	sigaction(SIGUSR1, &action, NULL);
	ret = timer_create(CLOCK_MONOTONIC, &event, &timer) ?:
	      timer_settime(timer, 0, &limit, NULL);
	TEST_ASSERT(!ret, "timer: %s", strerror(errno));
	return timer;
}

static struct pm_exit exit_of(struct kvm_run *run, struct pm_command *command,
			      int ret)
{
	struct pm_exit exit = { .reason = run->exit_reason };
	int i;

	if (ret) {
		exit.error = errno;
		exit.end = errno == EINTR ? PM_STUCK : PM_FAILED;
		return exit;
	}

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		exit.end = run->io.port == DONE_PORT ? PM_DONE : PM_OTHER;
		exit.value = command->result;
		break;
	case KVM_EXIT_MEMORY_FAULT:
		exit.end = PM_FAULT;
		memcpy(&exit.fault, run->padding, sizeof(exit.fault));
		break;
	case KVM_EXIT_HYPERCALL:
		exit.end = PM_HYPERCALL;
		exit.hypercall.nr = run->hypercall.nr;
		for (i = 0; i < ARRAY_SIZE(exit.hypercall.args); i++)
			exit.hypercall.args[i] = run->hypercall.args[i];
		break;
	case KVM_EXIT_MMIO:
		exit.end = PM_MMIO;
		exit.fault.gpa = run->mmio.phys_addr;
		exit.fault.size = run->mmio.len;
		break;
	case KVM_EXIT_SHUTDOWN:
		exit.end = PM_SHUTDOWN;
		break;
	default:
		exit.end = PM_OTHER;
	}
	return exit;
}

struct pm_exit pm_run(struct pm_vm *vm, int vcpu, unsigned int limit_s)
{
	struct pm_command *command = vm->command[vcpu];
	struct pm_exit exit;
	uint64_t pages;
	timer_t timer;
	int ret;

	do {
		pages = command->pages;
		timer = start_limit(limit_s);
		ret = __vcpu_run(vm->vcpu[vcpu]);
		exit = exit_of(vm->vcpu[vcpu]->run, command, ret);
		timer_delete(timer);
	} while (exit.end == PM_STUCK && command->pages != pages);
	return exit;
}

struct pm_exit pm_resume(struct pm_vm *vm)
{
	return pm_run(vm, 0, PM_LIMIT_S);
}

static const char * const end_names[] = {
	[PM_DONE] = "done", [PM_FAULT] = "memory fault",
	[PM_HYPERCALL] = "hypercall", [PM_MMIO] = "MMIO",
	[PM_SHUTDOWN] = "shutdown", [PM_FAILED] = "KVM_RUN failed",
	[PM_STUCK] = "stuck", [PM_OTHER] = "another exit",
};

const char *pm_exit_text(const struct pm_exit *exit)
{
	static char text[256];

	snprintf(text, sizeof(text),
		 "%s: value %#lx, errno %d, exit %u, fault: flags %#llx gpa %#llx size %#llx",
		 end_names[exit->end], exit->value, exit->error, exit->reason,
		 exit->fault.flags, exit->fault.gpa, exit->fault.size);
	return text;
}

/*
 * The guest's address of guest-physical memory. Its page tables get 2M entries
 * as they are needed; a guest has no stale ones of what was never there.
 */
static uint64_t guest_address(struct pm_vm *vm, uint64_t gpa, uint64_t size,
			      enum pm_view view)
{
	bool bit = vm->kind == PM_BY_BIT && view == PM_SHARED;
	uint64_t base = bit ? SHARED_VIEW : PRIVATE_VIEW;
	uint64_t page;

	for (page = gpa & ~(PM_2M - 1); page < gpa + size; page += PM_2M) {
		uint64_t address = base + page;
		vm_paddr_t target = bit ? page | 1ULL << PM_SHARED_BIT : page;

		if (sparsebit_is_set(vm->kvm->vpages_mapped, address >> 12))
			continue;
		sparsebit_set(vm->kvm->vpages_mapped, address >> 12);
		__virt_pg_map(vm->kvm, address, target, PG_LEVEL_2M);
	}
	return base + gpa;
}

static void prepare(struct pm_vm *vm, int vcpu, enum pm_op op, uint64_t gpa,
		    uint64_t size, enum pm_view view, uint64_t value)
{
	struct pm_command *c = vm->command[vcpu];

	c->op = op;
	c->address = guest_address(vm, gpa, size, view);
	c->count = size / (op == OP_COUNT_NONZERO ? sizeof(uint64_t) : PM_PAGE);
	c->value = value;
	c->result = 0;
	c->stop = 0;
	c->gone = 0;
	c->rounds = 0;
}

/* A command that did not end is given up by starting the guest's program anew. */
static struct pm_exit run_command(struct pm_vm *vm)
{
	unsigned int reason = vm->vcpu[0]->run->exit_reason;

	/* KVM would finish the instruction in the midst of the new command. */
	if (reason == KVM_EXIT_MMIO || reason == KVM_EXIT_HYPERCALL)
		vcpu_run_complete_io(vm->vcpu[0]);
	if (reason != KVM_EXIT_IO)
		vcpu_regs_set(vm->vcpu[0], &vm->start);
	return pm_run(vm, 0, PM_LIMIT_S);
}

struct pm_exit pm_read(struct pm_vm *vm, uint64_t gpa, enum pm_view view)
{
	prepare(vm, 0, OP_READ, gpa, sizeof(uint64_t), view, 0);
	return run_command(vm);
}

struct pm_exit pm_write(struct pm_vm *vm, uint64_t gpa, enum pm_view view,
			uint64_t value)
{
	prepare(vm, 0, OP_WRITE, gpa, sizeof(uint64_t), view, value);
	return run_command(vm);
}

struct pm_exit pm_add(struct pm_vm *vm, uint64_t gpa, enum pm_view view,
		      uint64_t value)
{
	prepare(vm, 0, OP_ADD, gpa, sizeof(uint64_t), view, value);
	return run_command(vm);
}

struct pm_exit pm_fill(struct pm_vm *vm, uint64_t gpa, uint64_t size,
		       enum pm_view view, uint64_t value)
{
	prepare(vm, 0, OP_FILL, gpa, size, view, value);
	return run_command(vm);
}

struct pm_exit pm_check(struct pm_vm *vm, uint64_t gpa, uint64_t size,
			enum pm_view view, uint64_t value)
{
	prepare(vm, 0, OP_CHECK, gpa, size, view, value);
	return run_command(vm);
}

struct pm_exit pm_count_nonzero(struct pm_vm *vm, uint64_t gpa, uint64_t size,
				enum pm_view view)
{
	prepare(vm, 0, OP_COUNT_NONZERO, gpa, size, view, 0);
	return run_command(vm);
}

struct pm_exit pm_map_gpa_range(struct pm_vm *vm, uint64_t gpa, uint64_t pages,
				uint64_t attributes)
{
	struct pm_command *c = vm->command[0];

	c->op = OP_HYPERCALL;
	c->args[0] = gpa;
	c->args[1] = pages;
	c->args[2] = attributes;
	c->result = 0;
	return run_command(vm);
}

void pm_hypercall_return(struct pm_vm *vm, uint64_t value)
{
	vm->vcpu[0]->run->hypercall.ret = value;
}

void pm_prepare_hammer(struct pm_vm *vm, int vcpu, uint64_t gpa, uint64_t size,
		       enum pm_view view, uint64_t value)
{
	prepare(vm, vcpu, OP_HAMMER, gpa, size, view, value);
}

void pm_prepare_watch(struct pm_vm *vm, int vcpu, uint64_t gpa, uint64_t size,
		      enum pm_view view)
{
	prepare(vm, vcpu, OP_WATCH, gpa, size, view, 0);
}

void pm_prepare_count_late(struct pm_vm *vm, int vcpu, uint64_t gpa,
			   enum pm_view view, uint64_t value)
{
	prepare(vm, vcpu, OP_COUNT_LATE, gpa, sizeof(uint64_t), view, value);
}

void pm_say_gone(struct pm_vm *vm, int vcpu)
{
	vm->command[vcpu]->gone = vm->command[vcpu]->value;
}

uint64_t pm_late(struct pm_vm *vm, int vcpu)
{
	return vm->command[vcpu]->result;
}

void pm_stop(struct pm_vm *vm, int vcpu)
{
	vm->command[vcpu]->stop = 1;
}

uint64_t pm_rounds(struct pm_vm *vm, int vcpu)
{
	return vm->command[vcpu]->rounds;
}

static void *run_vcpu(void *data)
{
	struct pm_runner *runner = data;

	runner->exit = pm_run(runner->vm, runner->vcpu, 4 * PM_LIMIT_S);
	runner->over = true;
	return NULL;
}

int pm_start(struct pm_runner *runner, struct pm_vm *vm, int vcpu)
{
	*runner = (struct pm_runner){ .vm = vm, .vcpu = vcpu };
	return -pthread_create(&runner->thread, NULL, run_vcpu, runner);
}

void pm_await_rounds(struct pm_runner *runner, uint64_t more)
{
	uint64_t goal = pm_rounds(runner->vm, runner->vcpu) + more;

	while (pm_rounds(runner->vm, runner->vcpu) < goal && !runner->over)
		usleep(100);
}

struct pm_exit pm_join(struct pm_runner *runner)
{
	pm_stop(runner->vm, runner->vcpu);
	pthread_join(runner->thread, NULL);
	return runner->exit;
}

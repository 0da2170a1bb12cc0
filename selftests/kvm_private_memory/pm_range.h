/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A call of KVM_SET_MEMORY_ATTRIBUTES that takes longer than anyone waits, and
 * what is expected of it. Where the call cannot be stopped a processor is lost
 * for good. So that it does not depend on chance who is stuck with it, every
 * processor gets such a call, and a program has one such case.
 *
 * Such a call may also take all memory there is. Whether it dies of that before
 * it is killed would be a matter of speed, and it would look as if it had been
 * stopped: so a kernel that runs out of memory here is to panic.
 */
#ifndef KVM_PRIVATE_MEMORY_PM_RANGE_H
#define KVM_PRIVATE_MEMORY_PM_RANGE_H

#include "pm_test.h"

#include <sched.h>

struct pm_range {
	enum pm_kind kind;
	struct kvm_memory_attributes attributes;
	int cpu;			/* for the next caller */
	volatile int ready;		/* callers that wait for "go" */
	volatile bool go;
	volatile int result;		/* 1: a call goes on */
	volatile uint64_t counter;
};

static void pm_range_bind(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static int pm_range_last_cpu(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN) - 1;
}

static void pm_range_call(void *data)
{
	struct pm_range *range = data;
	struct kvm_memory_attributes attributes = range->attributes;
	/* A VM is for the process that made it. */
	int vm = pm_bare_vm(range->kind);

	pm_range_bind(range->cpu);
	range->ready++;
	while (!range->go)
		usleep(1000);
	range->result = pm_attributes_call(vm, &attributes);
}

/* Both are to be where they belong before one of them lets nobody else move. */
static pid_t __attribute__((unused)) pm_range_caller(struct pm_range *range,
						     int cpu)
{
	int ready = range->ready;
	pid_t pid;

	range->cpu = cpu;
	pid = pm_spawn(pm_range_call, range);
	while (pid > 0 && range->ready == ready)
		usleep(1000);
	return pid;
}

static void pm_range_count(void *data)
{
	struct pm_range *range = data;

	pm_range_bind(pm_range_last_cpu());
	for (;;) {
		range->counter++;
		usleep(1000);
	}
}

/*
 * While the call goes on others get their share of its processor, and it ends
 * when its caller is killed, if it has not ended by itself.
 */
#define EXPECT_TAME_CALL(vm_kind, bytes, what) do { \
	struct pm_range *range = mmap(NULL, sizeof(*range), \
				      PROT_READ | PROT_WRITE, \
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0); \
	pid_t counter, caller, other; \
	uint64_t before; \
	int status; \
	ASSERT_NE(MAP_FAILED, (void *)range); \
	ASSERT_EQ(0, pm_write_text("/proc/sys/vm/panic_on_oom", "2")); \
	range->kind = vm_kind; \
	range->attributes.size = bytes; \
	range->attributes.attributes = what; \
	range->result = 1; \
	counter = pm_spawn(pm_range_count, range); \
	ASSERT_LT(0, counter); \
	while (!range->counter) \
		usleep(1000); \
	other = pm_range_caller(range, 0); \
	caller = pm_range_caller(range, pm_range_last_cpu()); \
	ASSERT_LT(0, other); \
	ASSERT_LT(0, caller); \
	range->go = true; \
	if (!pm_wait(caller, 1, &status)) { \
		before = range->counter; \
		for (int ms = 0; ms < 1000; ms += 10) { \
			usleep(10000); \
			if (range->counter > before + 5) \
				break; \
		} \
		EXPECT_LT(before + 5, range->counter) \
			TH_LOG("the call keeps the processor to itself"); \
		kill(caller, SIGKILL); \
		EXPECT_TRUE(pm_wait(caller, 4, &status)) \
			TH_LOG("the call goes on though its caller was killed"); \
	} else { \
		EXPECT_EQ(0, range->result); \
	} \
	kill(other, SIGKILL); \
	EXPECT_TRUE(pm_wait(other, 4, &status)); \
	kill(counter, SIGKILL); \
	pm_wait(counter, 1, &status); \
} while (0)

#endif

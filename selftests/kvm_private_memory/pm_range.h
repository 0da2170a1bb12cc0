/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A call of KVM_SET_MEMORY_ATTRIBUTES that takes longer than anyone waits, and
 * what is expected of it. Where the call cannot be stopped a processor is lost
 * for good: a program has one such case, keeps to the first processor and
 * leaves the last one to the call, and resets the machine before the kernel
 * complains of a lockup.
 */
#ifndef KVM_PRIVATE_MEMORY_PM_RANGE_H
#define KVM_PRIVATE_MEMORY_PM_RANGE_H

#include "pm_test.h"

#include <sched.h>
#include <sys/reboot.h>

struct pm_range {
	enum pm_kind kind;
	struct kvm_memory_attributes attributes;
	volatile int result;		/* 1: the call goes on */
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

/* The harness as well, which has to tell the result. */
static void __attribute__((constructor)) pm_range_keep_to_first_cpu(void)
{
	pm_range_bind(0);
}

static void pm_range_call(void *data)
{
	struct pm_range *range = data;
	/* A VM is for the process that made it. */
	int vm = pm_bare_vm(range->kind);

	pm_range_bind(pm_range_last_cpu());
	range->result = pm_attributes_call(vm, &range->attributes);
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
 * A kernel that has lost a processor to a task that nobody can kill is of no
 * use to anybody. Whether it keeps up appearances is a matter of luck, and the
 * result should not be one.
 */
static void pm_range_give_up(void)
{
	fflush(NULL);
	usleep(500000);	/* for whoever reads what was said */
	reboot(RB_AUTOBOOT);
}

/*
 * While the call goes on others get their share of its processor, and it ends
 * when its caller is killed, if it has not ended by itself.
 */
#define EXPECT_TAME_CALL(vm_kind, bytes, what) do { \
	struct pm_range *range = mmap(NULL, sizeof(*range), \
				      PROT_READ | PROT_WRITE, \
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0); \
	pid_t counter, caller; \
	uint64_t before; \
	int status; \
	ASSERT_NE(MAP_FAILED, (void *)range); \
	range->kind = vm_kind; \
	range->attributes.size = bytes; \
	range->attributes.attributes = what; \
	range->result = 1; \
	counter = pm_spawn(pm_range_count, range); \
	ASSERT_LT(0, counter); \
	while (!range->counter) \
		usleep(1000); \
	caller = pm_spawn(pm_range_call, range); \
	ASSERT_LT(0, caller); \
	if (!pm_wait(caller, 1, &status)) { \
		before = range->counter; \
		usleep(1000000); \
		EXPECT_LT(before + 5, range->counter) \
			TH_LOG("the call keeps the processor to itself"); \
		kill(caller, SIGKILL); \
		if (!pm_wait(caller, 4, &status)) { \
			TH_LOG("the call goes on though its caller was killed"); \
			pm_range_give_up(); \
		} \
	} else { \
		EXPECT_EQ(0, range->result); \
	} \
	kill(counter, SIGKILL); \
	pm_wait(counter, 1, &status); \
} while (0)

#endif

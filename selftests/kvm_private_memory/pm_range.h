/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A call of KVM_SET_MEMORY_ATTRIBUTES that takes longer than anyone waits, and
 * what is expected of it. Each program that does it has few cases: where the
 * call cannot be stopped, a processor is lost to the next.
 */
#ifndef KVM_PRIVATE_MEMORY_PM_RANGE_H
#define KVM_PRIVATE_MEMORY_PM_RANGE_H

#include "pm_test.h"

#include <sched.h>

struct pm_range {
	int vm;
	int cpu;			/* or -1 */
	struct kvm_memory_attributes attributes;
	volatile bool begins;
	volatile uint64_t counter;
};

static inline void pm_range_bind(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (cpu >= 0)
		sched_setaffinity(0, sizeof(set), &set);
}

static void pm_range_call(void *data)
{
	struct pm_range *range = data;

	pm_range_bind(range->cpu);
	range->begins = true;
	pm_attributes_call(range->vm, &range->attributes);
}

static void __attribute__((unused)) pm_range_count(void *data)
{
	struct pm_range *range = data;

	pm_range_bind(range->cpu);
	for (;;) {
		range->counter++;
		usleep(1000);
	}
}

/* In memory that children share. */
static inline struct pm_range *pm_range_create(int vm, uint64_t size,
					       uint64_t attributes)
{
	struct pm_range *range = mmap(NULL, sizeof(*range),
				      PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	range->vm = vm;
	range->cpu = -1;
	range->attributes.size = size;
	range->attributes.attributes = attributes;
	return range;
}

/* The call ends by itself within a second, or when its caller is killed. */
#define EXPECT_STOPPABLE(range) do { \
	pid_t pid = pm_spawn(pm_range_call, range); \
	int status; \
	ASSERT_LT(0, pid); \
	if (!pm_wait(pid, 1, &status)) { \
		kill(pid, SIGKILL); \
		EXPECT_TRUE(pm_wait(pid, 5, &status)) \
			TH_LOG("the call goes on though its caller was killed"); \
	} \
} while (0)

/* Another process gets its share of the processor that the call runs on. */
#define EXPECT_SHARED_PROCESSOR(range) do { \
	uint64_t before; \
	pid_t counter, caller; \
	int status; \
	(range)->cpu = sysconf(_SC_NPROCESSORS_ONLN) - 1; \
	if ((range)->cpu < 1) \
		SKIP_CASE("one processor only"); \
	pm_range_bind(0); \
	counter = pm_spawn(pm_range_count, range); \
	ASSERT_LT(0, counter); \
	while (!(range)->counter) \
		usleep(1000); \
	caller = pm_spawn(pm_range_call, range); \
	ASSERT_LT(0, caller); \
	while (!(range)->begins) \
		usleep(1000); \
	usleep(100000); \
	before = (range)->counter; \
	usleep(1000000); \
	EXPECT_LT(before + 5, (range)->counter) \
		TH_LOG("the call keeps the processor to itself"); \
	kill(counter, SIGKILL); \
	kill(caller, SIGKILL); \
	EXPECT_TRUE(pm_wait(caller, 5, &status)); \
	pm_wait(counter, 1, &status); \
} while (0)

#endif

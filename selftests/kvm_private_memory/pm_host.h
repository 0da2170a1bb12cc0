/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What cases need of the host besides KVM. Unless stated otherwise functions
 * return 0 or a count, or -1 with errno set.
 */
#ifndef KVM_PRIVATE_MEMORY_PM_HOST_H
#define KVM_PRIVATE_MEMORY_PM_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

ssize_t pm_read_text(const char *path, char *text, size_t size);
int pm_write_text(const char *path, const char *text);

double pm_now(void);		/* seconds */

/*
 * Says why, and resets the machine. For a case that has found memory in use and
 * free at a time: what such a kernel does next is a matter of luck, and a fault
 * is to end in one way.
 */
void pm_reset(const char *why) __attribute__((noreturn));

/* A field of /proc/vmstat, with per-CPU remainders folded in. */
long pm_vmstat(const char *field);

/*
 * Writes over so many bytes of memory and frees them: what is allocated next
 * is likely to come from there.
 */
int pm_dirty_free_memory(size_t bytes);

/*
 * Pages get their flags from a per-CPU batch: a case binds itself to the CPU
 * that it runs on, and empties the batch of that.
 */
int pm_bind_to_this_cpu(void);
int pm_drain_lru_batch(void);

/* All unevictable page frames; a bit each. Free it with free(). */
struct pm_frames {
	unsigned long count;
	uint8_t bit[];
};

struct pm_frames *pm_unevictable_frames(void);

/* The first frame that the second set has and the first has not, or 0. */
unsigned long pm_new_frame(const struct pm_frames *before,
			   const struct pm_frames *after);

/* A memory error in a page frame. */
bool pm_can_poison(void);
int pm_poison(unsigned long frame);

/* Takes a memory error back; EBUSY where somebody still holds the page. */
bool pm_can_unpoison(void);
int pm_unpoison(unsigned long frame);

/*
 * Huge pages for the time of a case: as many as there were before and these.
 * ENOMEM if there cannot be so many.
 */
int pm_hugepages_reserve(unsigned long size, long pages);
void pm_hugepages_release(unsigned long size, long pages);

/* Memory of such huge pages, or MAP_FAILED. */
void *pm_hugepages_map(unsigned long size, long pages);

/* The policy for huge pages in tmpfs, which restricted memory follows. */
int pm_shmem_policy(const char *policy, char *old, size_t size);

/*
 * After so many bytes of slab objects have been allocated by this task, all
 * further allocations of it fail, until it is called off.
 */
bool pm_can_fail_allocations(void);
int pm_fail_allocations(size_t after_bytes);
void pm_stop_failing_allocations(void);

/*
 * Runs a function in a child that holds none of our descriptors for output, so
 * that nobody waits for it if it cannot be killed. Returns its pid.
 */
pid_t pm_spawn(void (*function)(void *data), void *data);

/* Waits for a child; false if it is still there after so many seconds. */
bool pm_wait(pid_t pid, double seconds, int *status);

#endif

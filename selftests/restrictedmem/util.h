/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Helpers that know nothing of the test harness. Unless stated otherwise they
 * return 0 or a count, or -1 with errno set.
 */
#ifndef SELFTESTS_RESTRICTEDMEM_UTIL_H
#define SELFTESTS_RESTRICTEDMEM_UTIL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <sys/types.h>
#include <unistd.h>

/* The result of a system call as the kernel returned it: value or -errno. */
static inline long sysret(long ret)
{
	return ret == -1 ? -errno : ret;
}

static inline long page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

ssize_t read_text(const char *path, char *text, size_t size);
int write_text(const char *path, const char *text);

/* A field of /proc/vmstat in pages, after per-CPU remainders were folded in. */
long vmstat_field(const char *field);

/*
 * Memory that tmpfs holds, in pages. Unlike st_blocks this does not depend on
 * what the restricted file tells about itself.
 */
long tmpfs_pages(void);

/* A field of /proc/meminfo in KiB, after per-CPU remainders were folded in. */
long meminfo_field(const char *field);

/*
 * Pages enter the LRU lists, and the counters of these, by way of a per-CPU
 * batch. A case binds itself to the CPU on which it starts, so that its pages
 * are in one batch, which it can empty at will.
 */
int bind_to_this_cpu(void);
int drain_lru_batch(void);

/* Size of a file as fstat(2) says, or -1. */
off_t file_size(int fd);

/* Whether the kernel has oopsed since it was booted. */
int kernel_has_oopsed(void);

/* A cgroup with a memory controller, in a mount that nobody else sees. */
struct memory_cgroup {
	char mount[32];
	char dir[64];
	int enabled;
};

/* Returns NULL, or why there can be no such cgroup here. */
const char *memory_cgroup_create(struct memory_cgroup *cg);
void memory_cgroup_destroy(struct memory_cgroup *cg);
int memory_cgroup_enter(const struct memory_cgroup *cg);

/* memory.current, memory.swap.current, ... in bytes. */
long memory_cgroup_read(const struct memory_cgroup *cg, const char *file);

/* Asks for bytes to be reclaimed; EAGAIN if the kernel found fewer. */
int memory_cgroup_reclaim(const struct memory_cgroup *cg, long bytes);

/*
 * The frame number of an unevictable page charged to the cgroup, or 0. None
 * other can be meant if nothing else in the cgroup locks memory.
 */
unsigned long memory_cgroup_unevictable_pfn(const struct memory_cgroup *cg);

/* Swap on a compressed RAM disk that did not exist before. */
struct ram_swap {
	int id;
	char device[32];
};

/* Returns NULL, or why there can be no such swap here. */
const char *ram_swap_on(struct ram_swap *swap, long bytes);
void ram_swap_off(struct ram_swap *swap);

#endif

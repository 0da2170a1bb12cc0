// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include "pm_host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif

#define PAGE 4096UL

ssize_t pm_read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return -1;
	len = read(fd, text, size - 1);
	close(fd);
	if (len < 0)
		return -1;
	if (len > 0 && text[len - 1] == '\n')
		len--;
	text[len] = '\0';
	return len;
}

int pm_write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t len;
	int saved;

	if (fd < 0)
		return -1;
	len = write(fd, text, strlen(text));
	saved = errno;
	close(fd);
	errno = saved;
	return len == (ssize_t)strlen(text) ? 0 : -1;
}

double pm_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

void pm_reset(const char *why)
{
	printf("# %s: reset\n", why);
	fflush(NULL);
	usleep(500000);		/* for whoever reads what was said */
	reboot(RB_AUTOBOOT);
	abort();
}

long pm_vmstat(const char *field)
{
	size_t len = strlen(field);
	long value = -1;
	char line[128];
	FILE *file;

	if (pm_write_text("/proc/sys/vm/stat_refresh", "1"))
		return -1;
	file = fopen("/proc/vmstat", "re");
	if (!file)
		return -1;
	while (value < 0 && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, field, len) && line[len] == ' ')
			value = strtol(line + len, NULL, 10);
	}
	fclose(file);
	if (value < 0)
		errno = ENOENT;
	return value;
}

int pm_dirty_free_memory(size_t bytes)
{
	uint64_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t i;

	if (memory == MAP_FAILED)
		return -1;
	for (i = 0; i < bytes / sizeof(*memory); i++)
		((volatile uint64_t *)memory)[i] = 0x5ec2e75ec2e75ec2;
	return munmap(memory, bytes);
}

int pm_bind_to_this_cpu(void)
{
	int cpu = sched_getcpu();
	cpu_set_t set;

	if (cpu < 0)
		return -1;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

/* MADV_COLD begins by emptying the batch of the CPU that it runs on. */
int pm_drain_lru_batch(void)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int ret;

	if (page == MAP_FAILED)
		return -1;
	ret = madvise(page, PAGE, MADV_COLD);
	munmap(page, PAGE);
	return ret;
}

struct pm_frames *pm_unevictable_frames(void)
{
	/* One word a frame; the file ends with the memory. */
	const unsigned long most = 1UL << 24;
	struct pm_frames *frames = calloc(1, sizeof(*frames) + most / 8);
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	uint64_t flags[512];
	ssize_t len;
	int i;

	if (!frames || fd < 0) {
		free(frames);
		return NULL;
	}
	while (frames->count < most) {
		len = pread(fd, flags, sizeof(flags),
			    frames->count * sizeof(flags[0]));
		if (len <= 0)
			break;
		for (i = 0; i < len / (ssize_t)sizeof(flags[0]); i++) {
			if (flags[i] & 1ULL << KPF_UNEVICTABLE)
				frames->bit[frames->count / 8] |=
					1 << frames->count % 8;
			frames->count++;
		}
	}
	close(fd);
	return frames;
}

unsigned long pm_new_frame(const struct pm_frames *before,
			   const struct pm_frames *after)
{
	unsigned long i;

	for (i = 0; before && after && i < after->count; i++) {
		if ((after->bit[i / 8] & ~before->bit[i / 8]) & 1 << i % 8)
			return i;
	}
	return 0;
}

#define CORRUPT_PFN	"/sys/kernel/debug/hwpoison/corrupt-pfn"
#define UNPOISON_PFN	"/sys/kernel/debug/hwpoison/unpoison-pfn"
#define HARD_OFFLINE	"/sys/devices/system/memory/hard_offline_page"

bool pm_can_poison(void)
{
	return !access(CORRUPT_PFN, W_OK) || !access(HARD_OFFLINE, W_OK);
}

/* The first wants a frame, the second an address. */
int pm_poison(unsigned long frame)
{
	char text[32];

	snprintf(text, sizeof(text), "%#lx", frame);
	if (!pm_write_text(CORRUPT_PFN, text))
		return 0;
	if (errno != ENOENT)
		return -1;
	snprintf(text, sizeof(text), "%#lx", frame * PAGE);
	return pm_write_text(HARD_OFFLINE, text);
}

bool pm_can_unpoison(void)
{
	return !access(UNPOISON_PFN, W_OK);
}

int pm_unpoison(unsigned long frame)
{
	char text[32];

	snprintf(text, sizeof(text), "%#lx", frame);
	return pm_write_text(UNPOISON_PFN, text);
}

static int change_hugepages(unsigned long size, long pages)
{
	char path[96], text[32];
	long now;

	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/hugepages/hugepages-%lukB/nr_hugepages",
		 size / 1024);
	if (pm_read_text(path, text, sizeof(text)) < 0)
		return -1;
	now = strtol(text, NULL, 10);
	snprintf(text, sizeof(text), "%ld", now + pages);
	if (pm_write_text(path, text) ||
	    pm_read_text(path, text, sizeof(text)) < 0)
		return -1;
	if (strtol(text, NULL, 10) == now + pages)
		return 0;
	snprintf(text, sizeof(text), "%ld", now);
	pm_write_text(path, text);
	errno = ENOMEM;
	return -1;
}

int pm_hugepages_reserve(unsigned long size, long pages)
{
	return change_hugepages(size, pages);
}

void pm_hugepages_release(unsigned long size, long pages)
{
	change_hugepages(size, -pages);
}

void *pm_hugepages_map(unsigned long size, long pages)
{
	int shift = __builtin_ctzl(size);

	return mmap(NULL, size * pages, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
		    shift << MAP_HUGE_SHIFT, -1, 0);
}

int pm_shmem_policy(const char *policy, char *old, size_t size)
{
	static const char path[] =
		"/sys/kernel/mm/transparent_hugepage/shmem_enabled";
	char text[128], *start, *end;

	if (old) {
		if (pm_read_text(path, text, sizeof(text)) < 0)
			return -1;
		/* The one in force is in brackets. */
		start = strchr(text, '[');
		end = start ? strchr(start, ']') : NULL;
		if (!end)
			return -1;
		*end = '\0';
		snprintf(old, size, "%s", start + 1);
	}
	return pm_write_text(path, policy);
}

#define FAILSLAB "/sys/kernel/debug/failslab/"

bool pm_can_fail_allocations(void)
{
	return !access(FAILSLAB "probability", W_OK) &&
	       !access("/proc/self/make-it-fail", W_OK);
}

/* Open all the time: opening it may fail while allocations do. */
static int make_it_fail = -1;

int pm_fail_allocations(size_t after_bytes)
{
	char text[32];

	if (make_it_fail < 0)
		make_it_fail = open("/proc/self/make-it-fail",
				    O_RDWR | O_CLOEXEC);
	snprintf(text, sizeof(text), "%zu", after_bytes);
	return pm_write_text(FAILSLAB "ignore-gfp-wait", "N") ?:
	       pm_write_text(FAILSLAB "task-filter", "Y") ?:
	       pm_write_text(FAILSLAB "verbose", "0") ?:
	       pm_write_text(FAILSLAB "interval", "1") ?:
	       pm_write_text(FAILSLAB "times", "-1") ?:
	       pm_write_text(FAILSLAB "probability", "100") ?:
	       pm_write_text(FAILSLAB "space", text) ?:
	       (pwrite(make_it_fail, "1", 1, 0) == 1 ? 0 : -1);
}

void pm_stop_failing_allocations(void)
{
	if (pwrite(make_it_fail, "0", 1, 0) == 1)
		pm_write_text(FAILSLAB "probability", "0");
}

pid_t pm_spawn(void (*function)(void *data), void *data)
{
	pid_t pid = fork();
	int null;

	if (pid)
		return pid;
	/* Out of the case's group, which is killed as a whole. */
	setsid();
	null = open("/dev/null", O_RDWR);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	function(data);
	_exit(0);
}

bool pm_wait(pid_t pid, double seconds, int *status)
{
	double end = pm_now() + seconds;

	do {
		if (waitpid(pid, status, WNOHANG) == pid)
			return true;
		usleep(10000);
	} while (pm_now() < end);
	return false;
}

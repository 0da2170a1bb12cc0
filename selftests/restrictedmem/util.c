// SPDX-License-Identifier: GPL-2.0-only
#include "util.h"

#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>

/* Reads what one read(2) returns, without the newline that ends it. */
ssize_t read_text(const char *path, char *text, size_t size)
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

int write_text(const char *path, const char *text)
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

/* The number after "field" at the start of a line. */
static long text_field(const char *path, const char *field)
{
	size_t len = strlen(field);
	long value = -1;
	char line[256];
	FILE *file;

	if (write_text("/proc/sys/vm/stat_refresh", "1"))
		return -1;
	file = fopen(path, "re");
	if (!file)
		return -1;
	while (value < 0 && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, field, len) && strchr(" :", line[len]))
			value = strtol(line + len + 1, NULL, 10);
	}
	fclose(file);
	if (value < 0)
		errno = ENOENT;
	return value;
}

long vmstat_field(const char *field)
{
	return text_field("/proc/vmstat", field);
}

long meminfo_field(const char *field)
{
	return text_field("/proc/meminfo", field);
}

long tmpfs_pages(void)
{
	return vmstat_field("nr_shmem");
}

int kernel_has_oopsed(void)
{
	char text[32];

	if (read_text("/proc/sys/kernel/tainted", text, sizeof(text)) < 0)
		return 0;
	return strtoul(text, NULL, 10) >> 7 & 1;
}

int bind_to_this_cpu(void)
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
int drain_lru_batch(void)
{
	void *page = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int ret;

	if (page == MAP_FAILED)
		return -1;
	ret = madvise(page, page_size(), MADV_COLD);
	munmap(page, page_size());
	return ret;
}

off_t file_size(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -1 : st.st_size;
}

const char *memory_cgroup_create(struct memory_cgroup *cg)
{
	char path[128], text[256];

	memset(cg, 0, sizeof(*cg));
	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return "no mount namespace of one's own (not root?)";

	strcpy(cg->mount, "/tmp/restrictedmem.XXXXXX");
	if (!mkdtemp(cg->mount)) {
		cg->mount[0] = '\0';
		return "no writable /tmp";
	}
	if (mount("none", cg->mount, "cgroup2", 0, NULL)) {
		rmdir(cg->mount);
		cg->mount[0] = '\0';
		return "no cgroup2 in this kernel";
	}

	snprintf(path, sizeof(path), "%s/cgroup.controllers", cg->mount);
	if (read_text(path, text, sizeof(text)) < 0 || !strstr(text, "memory"))
		goto no_memory;
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", cg->mount);
	if (read_text(path, text, sizeof(text)) < 0)
		goto no_memory;
	if (!strstr(text, "memory")) {
		if (write_text(path, "+memory"))
			goto no_memory;
		cg->enabled = 1;
	}

	snprintf(cg->dir, sizeof(cg->dir), "%s/restrictedmem.%d", cg->mount,
		 getpid());
	if (!mkdir(cg->dir, 0700))
		return NULL;
	cg->dir[0] = '\0';
no_memory:
	memory_cgroup_destroy(cg);
	return "no memory controller in cgroup2";
}

void memory_cgroup_destroy(struct memory_cgroup *cg)
{
	char path[128];

	if (cg->dir[0]) {
		snprintf(path, sizeof(path), "%s/cgroup.procs", cg->mount);
		write_text(path, "0");
		rmdir(cg->dir);
	}
	if (cg->enabled) {
		snprintf(path, sizeof(path), "%s/cgroup.subtree_control",
			 cg->mount);
		write_text(path, "-memory");
	}
	if (cg->mount[0]) {
		umount(cg->mount);
		rmdir(cg->mount);
	}
	memset(cg, 0, sizeof(*cg));
}

int memory_cgroup_enter(const struct memory_cgroup *cg)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/cgroup.procs", cg->dir);
	return write_text(path, "0");
}

long memory_cgroup_read(const struct memory_cgroup *cg, const char *file)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), "%s/%s", cg->dir, file);
	if (read_text(path, text, sizeof(text)) < 0)
		return -1;
	return strtol(text, NULL, 10);
}

int memory_cgroup_reclaim(const struct memory_cgroup *cg, long bytes)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), "%s/memory.reclaim", cg->dir);
	snprintf(text, sizeof(text), "%ld", bytes);
	return write_text(path, text);
}

unsigned long memory_cgroup_unevictable_pfn(const struct memory_cgroup *cg)
{
	int owners = open("/proc/kpagecgroup", O_RDONLY | O_CLOEXEC);
	int flags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	unsigned long long owner[512], flag[512];
	unsigned long pfn = 0, found = 0;
	struct stat st;
	ssize_t len;
	int i;

	if (owners < 0 || flags < 0 || stat(cg->dir, &st))
		goto out;
	do {
		off_t pos = pfn * sizeof(owner[0]);

		/* One word a page in both, with a cgroup's inode as its name. */
		len = pread(owners, owner, sizeof(owner), pos);
		if (pread(flags, flag, sizeof(flag), pos) != len)
			break;
		for (i = 0; i < len / (ssize_t)sizeof(owner[0]); i++, pfn++) {
			if (owner[i] == st.st_ino &&
			    flag[i] & 1ULL << KPF_UNEVICTABLE)
				found = pfn;
		}
	} while (len > 0 && !found);
out:
	if (owners >= 0)
		close(owners);
	if (flags >= 0)
		close(flags);
	return found;
}

/* The first page of a swap area as mm/swapfile.c expects it. */
static int write_swap_header(const char *device, long bytes)
{
	static const char signature[] = "SWAPSPACE2";
	long size = page_size();
	char *page = calloc(1, size);
	unsigned int *info = (unsigned int *)(page + 1024);
	ssize_t len = -1;
	int fd;

	if (!page)
		return -1;
	info[0] = 1;			/* version */
	info[1] = bytes / size - 1;	/* last page */
	memcpy(page + size - strlen(signature), signature, strlen(signature));
	fd = open(device, O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		len = write(fd, page, size);
		if (fsync(fd))
			len = -1;
		close(fd);
	}
	free(page);
	return len == size ? 0 : -1;
}

const char *ram_swap_on(struct ram_swap *swap, long bytes)
{
	char path[64], text[32];

	swap->id = -1;
	if (read_text("/sys/class/zram-control/hot_add", text,
		      sizeof(text)) < 0)
		return "no zram to swap to in this kernel";
	swap->id = strtol(text, NULL, 10);
	snprintf(swap->device, sizeof(swap->device), "/dev/zram%d", swap->id);

	snprintf(path, sizeof(path), "/sys/block/zram%d/disksize", swap->id);
	snprintf(text, sizeof(text), "%ld", bytes);
	if (!write_text(path, text) &&
	    !write_swap_header(swap->device, bytes) &&
	    !swapon(swap->device, 0))
		return NULL;
	ram_swap_off(swap);
	return "could not swap to zram";
}

void ram_swap_off(struct ram_swap *swap)
{
	char text[32];

	if (swap->id < 0)
		return;
	swapoff(swap->device);
	snprintf(text, sizeof(text), "%d", swap->id);
	write_text("/sys/class/zram-control/hot_remove", text);
	swap->id = -1;
}

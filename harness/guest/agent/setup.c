// SPDX-License-Identifier: GPL-2.0-only
/* What the agent does once, before it says hello; and what it knows of its kernel. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"

/* Bits of /proc/sys/kernel/tainted. */
#define TAINT_WARN	(1 << 9)

bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Writes "FILE=value" each. Returns NULL, or the file that could not be written, with errno. */
const char *write_files(char *const *files)
{
	static char path[PATH_MAX];

	for (; *files; files++) {
		const char *value = strchr(*files, '=');

		errno = EPROTO;
		if (!value || snprintf(path, sizeof(path), "%.*s", (int)(value - *files),
				       *files) >= (int)sizeof(path))
			return *files;
		if (!write_file(path, value + 1))
			return path;
	}
	return NULL;
}

/* Whether something is mounted there already, by virtme-ng's init. */
static bool is_mount_point(const char *path)
{
	struct stat here, above;
	char parent[64];

	snprintf(parent, sizeof(parent), "%s/..", path);
	return !stat(path, &here) && !stat(parent, &above) && here.st_dev != above.st_dev;
}

static void try_mount(const char *type, const char *path, unsigned long flags, const char *options,
		      bool needed)
{
	mkdir(path, 0755);
	if (is_mount_point(path))
		return;
	if (mount(type, path, type, flags, options) && needed && errno != EBUSY)
		give_up(FRAME_ERROR_AGENT, path);
}

static void make_link(const char *target, const char *path)
{
	if (symlink(target, path) && errno != EEXIST)
		complain("cannot make links in /dev", errno);
}

static void set_up_file_systems(void)
{
	const unsigned long safe = MS_NOSUID | MS_NOEXEC | MS_NODEV;

	try_mount("devtmpfs", "/dev", MS_NOSUID, NULL, true);
	open_log();
	try_mount("proc", "/proc", safe, NULL, true);
	if (under_virtme())
		set_up_virtme();
	try_mount("sysfs", "/sys", safe, NULL, true);
	try_mount("tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777", true);
	try_mount("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777", true);
	try_mount("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755", true);
	/* What a lean kernel may lack, and only some tests want. */
	try_mount("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "ptmxmode=0666,mode=620,gid=5", false);
	try_mount("mqueue", "/dev/mqueue", safe, NULL, false);
	try_mount("debugfs", "/sys/kernel/debug", safe, NULL, false);
	try_mount("cgroup2", "/sys/fs/cgroup", safe, NULL, false);
	/* Links that programs take for granted, and that devtmpfs leaves to user space. */
	make_link("/proc/self/fd", "/dev/fd");
	make_link("/proc/self/fd/0", "/dev/stdin");
	make_link("/proc/self/fd/1", "/dev/stdout");
	make_link("/proc/self/fd/2", "/dev/stderr");
}

static void bring_loopback_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;		/* a kernel without networking */
	if (ioctl(fd, SIOCSIFFLAGS, &ifr))
		complain("cannot bring the loopback device up", errno);
	close(fd);
}

/*
 * Neither a fork bomb nor a real-time test may starve the agent, or the host
 * takes them for a hung kernel.  Children start as ordinary processes.  The OOM
 * killer spares PID 1 in any case.
 */
static void get_privileged(void)
{
	const struct sched_param first = { .sched_priority = 99 };

	if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &first))
		complain("cannot become a real-time process", errno);
}

/* The test must not inherit the console: its text would look like the kernel's. */
static void detach_from_console(void)
{
	int fd = open("/dev/null", O_RDWR);

	if (fd < 0 || dup2(fd, 0) < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
		give_up(FRAME_ERROR_AGENT, "/dev/null");
	if (fd > 2)
		close(fd);
}

/* Finds the note that the linker wrote into vmlinux.  Length 0 when there is none. */
size_t read_build_id(uint8_t *id, size_t size)
{
	uint8_t notes[4096];
	int fd = open("/sys/kernel/notes", O_RDONLY | O_CLOEXEC);
	ssize_t total = fd < 0 ? 0 : read(fd, notes, sizeof(notes));
	size_t at = 0, length = 0;

	while (total > 0 && at + sizeof(Elf64_Nhdr) <= (size_t)total) {
		Elf64_Nhdr note;
		size_t name, data;

		memcpy(&note, notes + at, sizeof(note));
		name = at + sizeof(note);
		data = name + ((note.n_namesz + 3UL) & ~3UL);
		at = data + ((note.n_descsz + 3UL) & ~3UL);
		if (at > (size_t)total)
			break;
		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
		    !memcmp(notes + name, "GNU", 4) && note.n_descsz <= size) {
			length = note.n_descsz;
			memcpy(id, notes + data, length);
			break;
		}
	}
	if (fd >= 0)
		close(fd);
	return length;
}

static bool lockdep_is_off(void)
{
	char line[128];
	int on = 1;
	FILE *file = fopen("/proc/lockdep_stats", "re");

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, " debug_locks: %d", &on) == 1)
			break;
	if (file)
		fclose(file);
	return !on;
}

/*
 * Returns what the boot has left behind, enum frame_boot.  A WARN_ONCE() that came while
 * the kernel booted would never come again, under no test: it is made to, as far as the
 * kernel can.
 */
uint32_t look_at_boot(uint32_t taint)
{
	uint32_t flags = lockdep_is_off() ? FRAME_BOOT_LOCKDEP_OFF : 0;

	if (taint & TAINT_WARN && write_file("/sys/kernel/debug/clear_warn_once", "1"))
		flags |= FRAME_BOOT_ONCE_RESET;
	return flags;
}

void set_up_guest(void)
{
	set_up_file_systems();
	detach_from_console();
	bring_loopback_up();
	get_privileged();
}

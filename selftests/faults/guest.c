// SPDX-License-Identifier: GPL-2.0-only
/* The ground on which the agent stands: clock, mounts, devices, power. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/time.h>
#include <unistd.h>

#include "faults.h"

static int set_clock(time_t when)
{
	const struct timeval now = { .tv_sec = when };

	if (settimeofday(&now, NULL))
		return not_provoked("settimeofday");
	say(GREEN);
	return KSFT_PASS;
}

FAULT(clock_far_ahead)
{
	return set_clock(4102444800);	/* 2100 */
}

FAULT(clock_far_back)
{
	return set_clock(86400);	/* 1970 */
}

/* A limit on time must not depend on the clock that a test sets. */
FAULT(clock_back_again_and_again)
{
	say(GREEN);
	for (;;) {
		const struct timeval now = { .tv_sec = 1000000000 };

		if (settimeofday(&now, NULL))
			return not_provoked("settimeofday");
		sleep_ms(10);
	}
}

static int unmount(const char *path)
{
	say(GREEN);
	return umount2(path, MNT_DETACH) ? not_provoked(path) : KSFT_PASS;
}

FAULT(unmount_proc)
{
	return unmount("/proc");
}

FAULT(unmount_sys)
{
	return unmount("/sys");
}

FAULT(unmount_dev)
{
	return unmount("/dev");
}

static int remount_read_only(const char *path)
{
	say(GREEN);
	if (mount(NULL, path, NULL, MS_REMOUNT | MS_RDONLY, NULL))
		return not_provoked(path);
	return KSFT_PASS;
}

FAULT(remount_root_read_only)
{
	return remount_read_only("/");
}

FAULT(remount_proc_read_only)
{
	return remount_read_only("/proc");
}

FAULT(remount_dev_read_only)
{
	return remount_read_only("/dev");
}

FAULT(cover_root)
{
	say(GREEN);
	if (mount("tmpfs", "/", "tmpfs", 0, NULL) || chroot("/tmp"))
		return not_provoked("tmpfs over /");
	return KSFT_PASS;
}

FAULT(delete_dev)
{
	struct dirent *entry;
	DIR *dir = opendir("/dev");
	int count = 0;

	say(GREEN);
	while (dir && (entry = readdir(dir)))
		count += !unlinkat(dirfd(dir), entry->d_name, 0);
	return count > 10 ? KSFT_PASS : not_provoked("/dev");
}

static int fill(const char *path)
{
	static char block[1 << 20];
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	say(GREEN);
	memset(block, 'x', sizeof(block));
	while (write(fd, block, sizeof(block)) > 0)
		;
	return errno == ENOSPC ? KSFT_PASS : not_provoked(path);
}

FAULT(fill_tmp)
{
	return fill("/tmp/file");
}

FAULT(fill_dev)
{
	return fill("/dev/file");
}

FAULT(power_off)
{
	say(GREEN);
	reboot(RB_POWER_OFF);
	return not_provoked("power-off");
}

FAULT(reboot)
{
	say(GREEN);
	reboot(RB_AUTOBOOT);
	return not_provoked("reboot");
}

FAULT(halt)
{
	say(GREEN);
	reboot(RB_HALT_SYSTEM);
	return not_provoked("halt");
}

static int sysrq(const char *key)
{
	say(GREEN);
	if (!write_file("/proc/sysrq-trigger", key))
		return not_provoked("sysrq");
	/* Some keys work in the background. */
	sleep_ms(3000);
	return not_provoked("sysrq");
}

FAULT(sysrq_reboot)
{
	return sysrq("b");
}

FAULT(sysrq_power_off)
{
	return sysrq("o");
}

FAULT(sysrq_kill_all)
{
	return sysrq("i");
}

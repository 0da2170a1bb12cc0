// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest that virtme-ng makes: the host's files, read-only, around what the
 * sealed guest has.
 *
 * virtme-ng wants its own init to be PID 1. As its child the agent could be
 * killed by any test that kills everybody, and the host would see no more than
 * silence. So virtme-ng's init is PID 1 of a PID namespace instead, in which it
 * does its work on mounts that it shares with the agent. Its last act, powering
 * off, then ends that namespace and nothing else.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"

#define HOST		"/.host"
/* virtme-run's tag of the root; nothing writes, so what was read once may be kept. */
#define HOST_TAG	"/dev/root"
#define HOST_OPTIONS	"trans=virtio,version=9p2000.L,msize=524288,access=any,cache=loose"

bool under_virtme(void)
{
	char rest[8];

	return find_word("harness.virtme", rest, sizeof(rest)) && !*rest;
}

/* What the sealed guest has is the guest's own here too. */
static bool is_our_own(const char *name)
{
	static const char *const own[] = {
		".", "..", "dev", "init", "proc", "run", "selftests", "sys", "tmp",
	};

	for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
		if (!strcmp(name, own[i]))
			return true;
	return false;
}

/*
 * The root stays in memory, and writable: each directory of the host's root gets
 * its place there.
 */
static void show_host(void)
{
	struct dirent *entry;
	DIR *dir;

	/* virtme-ng's init takes for granted what every root has. */
	mkdir("/run", 0755);
	mkdir("/sys", 0755);
	mkdir("/tmp", 01777);
	mkdir(HOST, 0755);
	if (mount(HOST_TAG, HOST, "9p", MS_RDONLY, HOST_OPTIONS))
		give_up(FRAME_ERROR_AGENT, "cannot mount the host's files over 9p");
	dir = opendir(HOST);
	while (dir && (entry = readdir(dir))) {
		char from[300], to[300], target[300];
		struct stat status;
		ssize_t n;

		if (is_our_own(entry->d_name))
			continue;
		snprintf(from, sizeof(from), HOST "/%s", entry->d_name);
		snprintf(to, sizeof(to), "/%s", entry->d_name);
		if (lstat(from, &status))
			continue;
		n = S_ISLNK(status.st_mode) ? readlink(from, target, sizeof(target) - 1) : -1;
		if (n > 0) {
			target[n] = 0;
			if (!symlink(target, to))
				continue;
		}
		if (n <= 0 && !S_ISDIR(status.st_mode))
			continue;
		mkdir(to, 0755);
		if (mount(from, to, NULL, MS_BIND, NULL))
			complain(to, errno);
	}
	if (dir)
		closedir(dir);
}

static void run_virtmes_init(const char *path)
{
	char *argv[] = { (char *)path, NULL };
	sigset_t none;
	int status;
	pid_t pid;

	/* Not unshare(): tests belong into the first namespace. */
	pid = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid < 0)
		give_up(FRAME_ERROR_AGENT, "no PID namespace for virtme-ng's init");
	if (!pid) {
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		/* What virtme-run says to it are variables, which the kernel has given to us. */
		execve(path, argv, environ);
		complain(path, errno);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) != pid)
		give_up(FRAME_ERROR_AGENT, "lost virtme-ng's init");
	/* A namespace whose init powers off dies of SIGINT, see reboot(2). */
	errno = ECHILD;
	if (!(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT) && status)
		give_up(FRAME_ERROR_AGENT, "virtme-ng's init has failed");
}

/* Expects /dev and /proc, which are the same afterwards. */
void set_up_virtme(void)
{
	char init[300], path[sizeof(init) + sizeof(HOST)];

	errno = ENOENT;
	if (!find_word("init=", init, sizeof(init)))
		give_up(FRAME_ERROR_AGENT, "no init= of virtme-ng on the kernel's command line");
	show_host();
	/* Its own directory may be one that is covered, such as /tmp. */
	snprintf(path, sizeof(path), HOST "%s", init);
	run_virtmes_init(path);
	/* The /proc of a namespace that is no more lies over ours, and does not know us. */
	while (access("/proc/self", F_OK) && !umount2("/proc", MNT_DETACH))
		;
	umount2(HOST, MNT_DETACH);
	rmdir(HOST);
	/* HOME is the guest's own: writable, and without what root keeps in it. */
	if (mount("tmpfs", "/root", "tmpfs", MS_NOSUID | MS_NODEV, "mode=700"))
		give_up(FRAME_ERROR_AGENT, "/root");
}

// SPDX-License-Identifier: GPL-2.0-only
/* What the tests of the sealed guest run inside it: one deed per argument. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0) {
		perror(path);
		exit(99);
	}
	close(fd);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* A sleeper's timer may run on another processor, which is then no more. */
static void wait_awake(double seconds)
{
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while (now.tv_sec - start.tv_sec + (now.tv_nsec - start.tv_nsec) / 1e9 < seconds);
}

/* Opens and closes 2000 files, each of which takes some objects of the kernel; says which fail. */
static void *allocate(void *who)
{
	for (int i = 0; i < 2000; i++) {
		int fd = eventfd(0, EFD_CLOEXEC);

		if (fd < 0)
			printf("%s: %s\n", (char *)who, strerror(errno));
		else
			close(fd);
	}
	fflush(stdout);
	return NULL;
}

static void allocate_in(const char *where)
{
	pthread_t thread;

	if (!strcmp(where, "child")) {
		if (!fork()) {
			allocate("child");
			exit(0);
		}
		wait(NULL);
	} else if (!strcmp(where, "thread")) {
		if (pthread_create(&thread, NULL, allocate, "thread"))
			exit(98);
		pthread_join(thread, NULL);
	} else {
		allocate("self");
	}
}

/*
 * Stops every processor with interrupts off, through LKDTM.  All that may need
 * an answer from another processor is done before the first one stops.
 */
static void lock_up(void)
{
	const char *path = "/sys/kernel/debug/provoke-crash/DIRECT";
	int mine = open(path, O_WRONLY), cpus = sysconf(_SC_NPROCESSORS_ONLN), cpu;

	pin(0);
	for (cpu = cpus - 1; cpu > 0; cpu--) {
		if (!fork()) {
			/* A file of its own: the position of a shared one is locked for ever. */
			int fd = open(path, O_WRONLY);

			pin(cpu);
			wait_awake(0.5);
			exit(write(fd, "HARDLOCKUP", 10) != 10);
		}
	}
	wait_awake(1);
	exit(write(mine, "HARDLOCKUP", 10) != 10);
}

static void flood(long megabytes)
{
	static char block[1 << 16];
	long i;

	memset(block, 'x', sizeof(block));
	for (i = 0; i < megabytes * 16; i++)
		if (write(1, block, sizeof(block)) != sizeof(block))
			exit(98);
}

static void describe(int argc, char **argv)
{
	char cwd[256];
	struct rlimit core;
	int i;

	getrlimit(RLIMIT_CORE, &core);
	printf("cwd=%s\ncore=%lu\nsession=%d\n", getcwd(cwd, sizeof(cwd)), core.rlim_cur,
	       getsid(0) == getpid() && getpgrp() == getpid());
	for (i = 2; i < argc; i++)
		printf("arg=%s\n", argv[i]);
	for (i = 0; environ[i]; i++)
		printf("env=%s\n", environ[i]);
	for (i = 3; i < 64; i++)
		if (fcntl(i, F_GETFD) >= 0)
			printf("leaked=%d\n", i);
	printf("stdin=%zd\n", read(0, cwd, 1));
}

/* Starts a process whose parent is a kernel thread, and which does not end. */
static void start_core_helper(int seconds)
{
	int status;
	pid_t pid;

	write_to("/proc/sys/kernel/core_pattern", "|/bin/probe core-helper");
	pid = fork();
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		raise(SIGSEGV);
	}
	waitpid(pid, &status, 0);
	printf("dumped=%d\n", !!WCOREDUMP(status));
	sleep(seconds);
}

static void count_programs(void)
{
	struct dirent *entry;
	DIR *dir = opendir("/proc");
	int count = 0;

	while (dir && (entry = readdir(dir))) {
		char path[300], target[300];

		snprintf(path, sizeof(path), "/proc/%s/exe", entry->d_name);
		count += atoi(entry->d_name) > 0 && readlink(path, target, sizeof(target)) > 0;
	}
	printf("%d\n", count);
}

static void open_port(void)
{
	char path[64];
	int i;

	for (i = 0; i < 8; i++) {
		snprintf(path, sizeof(path), "/dev/vport%dp%d", i / 4, i % 4);
		if (access(path, F_OK))
			continue;
		printf("%s\n", open(path, O_RDWR) < 0 ? strerror(errno) : "opened");
	}
}

int main(int argc, char **argv)
{
	const char *deed = argc > 1 ? argv[1] : "";
	const char *arg = argc > 2 ? argv[2] : "";
	struct timespec ts;
	unsigned char random[32];
	size_t i;

	setlinebuf(stdout);
	if (!strcmp(deed, "exit")) {
		return atoi(arg);
	} else if (!strcmp(deed, "allocate")) {
		allocate_in(argv[2]);
	} else if (!strcmp(deed, "leave")) {
		return shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600) < 0;
	} else if (!strcmp(deed, "replace")) {
		/* Frees as many objects of the boot as it leaves of its own. */
		return unlink(arg) < 0 || close(creat(arg, 0600)) < 0;
	} else if (!strcmp(deed, "signal")) {
		raise(atoi(arg));
	} else if (!strcmp(deed, "output")) {
		puts("to stdout");
		fputs("to stderr\n", stderr);
	} else if (!strcmp(deed, "read")) {
		char text[256];
		ssize_t got = read(open(argv[2], O_RDONLY), text, sizeof(text));

		return got > 0 && write(1, text, got) == got ? 0 : 1;
	} else if (!strcmp(deed, "describe")) {
		describe(argc, argv);
	} else if (!strcmp(deed, "sleep")) {
		sleep(atoi(arg));
	} else if (!strcmp(deed, "ignore-term")) {
		signal(SIGTERM, SIG_IGN);
		puts("ready");
		for (;;)
			pause();
	} else if (!strcmp(deed, "flood")) {
		flood(atol(arg));
	} else if (!strcmp(deed, "background")) {
		/* Escapes the process group, and keeps stdout open. */
		if (!fork()) {
			setsid();
			signal(SIGTERM, SIG_IGN);
			for (;;)
				pause();
		}
		puts("parent ends");
	} else if (!strcmp(deed, "start-core-helper")) {
		start_core_helper(atoi(arg));
	} else if (!strcmp(deed, "core-helper")) {
		/* Who dumps core waits for the reader. */
		close(0);
		for (;;)
			pause();
	} else if (!strcmp(deed, "programs")) {
		count_programs();
	} else if (!strcmp(deed, "fork-bomb")) {
		for (i = 0; i < 200; i++)
			if (!fork())
				for (;;)
					if (!fork())
						usleep(1000);
	} else if (!strcmp(deed, "port")) {
		open_port();
	} else if (!strcmp(deed, "kmsg")) {
		write_to("/dev/kmsg", arg);
	} else if (!strcmp(deed, "console-off")) {
		write_to("/sys/module/printk/parameters/ignore_loglevel", "N");
		klogctl(6, NULL, 0);
	} else if (!strcmp(deed, "lkdtm")) {
		write_to("/sys/kernel/debug/provoke-crash/DIRECT", arg);
	} else if (!strcmp(deed, "sysrq")) {
		write_to("/proc/sysrq-trigger", arg);
	} else if (!strcmp(deed, "lock-up")) {
		lock_up();
	} else if (!strcmp(deed, "power-off")) {
		reboot(RB_POWER_OFF);
	} else if (!strcmp(deed, "reboot")) {
		reboot(RB_AUTOBOOT);
	} else if (!strcmp(deed, "kill-init")) {
		kill(1, SIGKILL);
		kill(1, SIGTERM);
		kill(1, SIGSEGV);
		puts("alive");
	} else if (!strcmp(deed, "eat-memory")) {
		for (;;)
			memset(malloc(1 << 20), 1, 1 << 20);
	} else if (!strcmp(deed, "clock")) {
		clock_gettime(CLOCK_REALTIME, &ts);
		printf("%lld.%09ld\n", (long long)ts.tv_sec, ts.tv_nsec);
	} else if (!strcmp(deed, "random")) {
		if (getrandom(random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
			return 97;
		for (i = 0; i < sizeof(random); i++)
			printf("%02x", random[i]);
		puts("");
	} else if (!strcmp(deed, "kvm")) {
		int fd = open("/dev/kvm", O_RDWR), vm = fd < 0 ? -1 : ioctl(fd, KVM_CREATE_VM, 0);

		printf("%d\n", vm < 0 ? -errno : ioctl(vm, KVM_CREATE_VCPU, 0) >= 0);
	} else {
		fprintf(stderr, "unknown deed '%s'\n", deed);
		return 96;
	}
	return 0;
}

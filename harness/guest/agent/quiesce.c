// SPDX-License-Identifier: GPL-2.0-only
/*
 * Brings the kernel to rest after a test: what it still has to do for the test may
 * end in a complaint, which must come before the end of the log.
 *
 * Three things outlive a test.  Processes that are no descendants of it, because
 * a kernel thread has started them (helpers for core dumps, uevents, modules).
 * RCU callbacks, which come after a grace period.  And queued work.  The kernel has
 * no call that waits for any of the latter, so it is seen from outside: a
 * grace period that is asked for on each processor ends after the callbacks that
 * were queued there before, and while work is left some task is runnable.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent.h"

#define NSEC_PER_MSEC	1000000ULL
#define BUSY_LIMIT_NS	(500 * NSEC_PER_MSEC)
#define RCU_LIMIT_NS	(10 * NSEC_PER_SEC)
/* Between two looks at what must end. */
#define STEP_NS		NSEC_PER_MSEC
/* RCU notices callbacks, starts a grace period, ends it, and calls back at a tick each. */
#define RCU_TICKS	4
/* What dies may start something anew; a test that goes on with that is not waited for. */
#define MAX_ROUNDS	5
/* So many processes are looked for one by one; beyond that a look at all is cheaper. */
#define FEW		64
#define PF_KTHREAD	0x00200000
#define MAX_CPUS	256

static int proc = -1;		/* open since before the test, which may have unmounted it */
static int loadavg = -1;
static long cpus;
static bool offered;		/* by the kernel: a call that waits for a grace period */
static int start[MAX_CPUS];	/* tells the thread of a processor to wait for one */
static int done;		/* how many have waited */
static long waiting;
static long under_way;		/* tasks that were runnable when they began to wait, and this one */

/* How many tasks are runnable, this one included, and which PID was given last. */
static void read_load(long *runnable, pid_t *last)
{
	char text[128] = "", *at;

	*runnable = 1;
	*last = 0;
	if (pread(loadavg, text, sizeof(text) - 1, 0) <= 0)
		return;
	at = strchr(text, '/');
	while (at && at > text && isdigit(at[-1]))
		at--;
	if (at)
		*runnable = strtol(at, &at, 10);
	at = strrchr(text, ' ');
	if (at)
		*last = atoi(at);
}

/* Whether that is a process with a user space of its own that has not ended. */
static bool is_program(pid_t pid)
{
	char path[32], text[512], *at;
	unsigned int flags;
	char state;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%d/stat", pid);
	fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	/* The name in parentheses may hold anything. */
	at = strrchr(text, ')');
	return at && sscanf(at + 1, " %c %*d %*d %*d %*d %*d %u", &state, &flags) == 2 &&
	       state != 'Z' && state != 'X' && !(flags & PF_KTHREAD);
}

static int kill_if_program(pid_t pid)
{
	if (pid <= 1 || !is_program(pid))
		return 0;
	kill(pid, SIGKILL);
	return 1;
}

static int kill_all_programs(void)
{
	char buffer[8192];
	int found = 0;
	long n;

	lseek(proc, 0, SEEK_SET);
	while ((n = syscall(SYS_getdents64, proc, buffer, sizeof(buffer))) > 0) {
		for (char *at = buffer; at < buffer + n;) {
			struct dirent64 *entry = (struct dirent64 *)at;

			at += entry->d_reclen;
			if (isdigit(entry->d_name[0]))
				found += kill_if_program(atoi(entry->d_name));
		}
	}
	return found;
}

/*
 * Kills every program but the agent, and returns how many there were.  Where all
 * that can be new has a PID between two that are known, only those are tried: a
 * look at all processes takes longer than all else here.
 */
static int kill_strangers(pid_t first, pid_t last, bool all)
{
	int found = 0;

	if (all || last + 1 < first || last - first > FEW)
		return kill_all_programs();
	for (pid_t pid = first; pid <= last; pid++)
		if (!kill(pid, 0))
			found += kill_if_program(pid);
	return found;
}

/* Returns after that time, at the end of a child, or when something is to be read from *fd*. */
static void rest(const struct quiet *quiet, int fd, uint64_t ns)
{
	struct pollfd fds[2] = {
		{ .fd = quiet->sigfd, .events = POLLIN },
		{ .fd = fd, .events = POLLIN },
	};
	struct timespec time = { ns / NSEC_PER_SEC, ns % NSEC_PER_SEC };
	struct signalfd_siginfo info;

	beat();
	if (ppoll(fds, 2, &time, NULL) > 0 && fds[0].revents)
		while (read(quiet->sigfd, &info, sizeof(info)) > 0)
			;
}

static void wait_until_idle(struct quiet *quiet)
{
	uint64_t start = awake_ns();
	long runnable;
	pid_t last;

	for (;;) {
		read_load(&runnable, &last);
		if (runnable <= 1)
			return;
		if (awake_ns() - start > BUSY_LIMIT_NS) {
			quiet->unquiet |= FRAME_UNQUIET_BUSY;
			return;
		}
		rest(quiet, -1, STEP_NS);
	}
}

/* What one processor's thread does, again and again: nothing wakes it before the period ends. */
static void *wait_for_grace_periods(void *number)
{
	const struct sched_param first = { .sched_priority = 99 };
	long cpu = (long)number;
	uint64_t one = 1;

	sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &first);

	while (read(start[cpu], &one, sizeof(one)) == sizeof(one)) {
		if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
			offered = false;
		one = 1;
		if (write(done, &one, sizeof(one)) < 0)
			break;
	}
	return NULL;
}

/* One thread for each processor, which is there before the test and takes no time to start. */
static void start_threads(void)
{
	pthread_attr_t small;
	pthread_t thread;
	cpu_set_t set;

	cpus = sysconf(_SC_NPROCESSORS_CONF);
	if (cpus > MAX_CPUS)
		cpus = MAX_CPUS;
	/* With one processor there is a grace period, and nothing that waits for it. */
	offered = cpus > 1;
	done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 * 1024);
	for (long cpu = 0; offered && cpu < cpus; cpu++) {
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		pthread_attr_setaffinity_np(&small, sizeof(set), &set);
		start[cpu] = eventfd(0, EFD_CLOEXEC);
		offered = start[cpu] >= 0 && done >= 0 &&
			  !pthread_create(&thread, &small, wait_for_grace_periods, (void *)cpu);
	}
	pthread_attr_destroy(&small);
}

/* Expects /proc and /sys. */
void prepare_to_quiesce(void)
{
	static const char fqs[] = "/sys/module/rcutree/parameters/jiffies_till_first_fqs";

	proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	loadavg = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
	if (proc < 0 || loadavg < 0)
		give_up(FRAME_ERROR_AGENT, "/proc");
	/*
	 * A grace period first waits a tick or two for processors to report, and an idle
	 * one never does.  To look at once takes half of the time.
	 */
	write_file(fqs, "0");
	start_threads();
}

static void wait_some_ticks(const struct quiet *quiet)
{
	struct timespec tick = { 0, 10 * NSEC_PER_MSEC };

	clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
	for (int i = 0; i < RCU_TICKS; i++)
		rest(quiet, -1, tick.tv_sec * NSEC_PER_SEC + tick.tv_nsec);
}

void look_at_load(void)
{
	pid_t last;

	read_load(&under_way, &last);
}

/*
 * Has a grace period waited for on each processor.  There callbacks are called in the
 * order in which they were queued, so when the threads are back, all have been that
 * were queued before.
 */
void ask_for_grace_period(void)
{
	uint64_t one = 1;

	/* Work that is under way may queue callbacks of its own. */
	look_at_load();
	/* Threads that are not back will never be. */
	if (!offered || waiting)
		return;
	for (long cpu = 0; cpu < cpus; cpu++)
		waiting += write(start[cpu], &one, sizeof(one)) == sizeof(one);
	/* The sooner they wait the better, and one of them waits for this processor. */
	sched_yield();
}

static void wait_for_callbacks(struct quiet *quiet)
{
	uint64_t begin = awake_ns(), count;

	while (waiting) {
		if (read(done, &count, sizeof(count)) == sizeof(count))
			waiting -= count;
		if (!waiting)
			break;
		if (awake_ns() - begin > RCU_LIMIT_NS) {
			quiet->unquiet |= FRAME_UNQUIET_RCU;
			return;
		}
		rest(quiet, done, 100 * NSEC_PER_MSEC);
	}
	if (!offered)
		wait_some_ticks(quiet);
}

/* Lets the kernel do what it has still to do; quiet->unquiet has what does not come to an end. */
void settle(struct quiet *quiet)
{
	wait_until_idle(quiet);
	ask_for_grace_period();
	wait_for_callbacks(quiet);
	wait_until_idle(quiet);
}

/*
 * Kills what is left of a test, and settles.  A grace period has been asked for when its
 * last child had ended: it is the sooner over, and nearly always the only one that is
 * needed.  False when a process survives SIGKILL.
 */
bool quiesce(struct quiet *quiet)
{
	uint64_t limit = awake_ns() + REAP_LIMIT_NS;
	bool late = under_way > 1;
	long runnable;
	pid_t last;

	for (int round = 0; round < MAX_ROUNDS; round++) {
		read_load(&runnable, &last);
		while (kill_strangers(quiet->first, last, quiet->all)) {
			if (awake_ns() > limit)
				return false;
			late = true;
			rest(quiet, -1, STEP_NS);
			read_load(&runnable, &last);
		}
		wait_for_callbacks(quiet);
		if (late)
			settle(quiet);
		else
			wait_until_idle(quiet);
		/* A callback, or work, may have started a helper. */
		quiet->first = last + 1;
		quiet->all = false;
		read_load(&runnable, &last);
		if (!kill_strangers(quiet->first, last, false))
			return true;
		late = true;
	}
	quiet->unquiet |= FRAME_UNQUIET_BUSY;
	return true;
}

// SPDX-License-Identifier: GPL-2.0-only
/* Processes that do not end, end too early, or are too many. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faults.h"

static void spin(void)
{
	for (;;)
		__asm__ volatile("");
}

FAULT(endless_loop)
{
	say(GREEN);
	spin();
	return KSFT_PASS;
}

FAULT(endless_loop_ignoring_term)
{
	sigset_t all;

	say(GREEN);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	spin();
	return KSFT_PASS;
}

static void leave(int signal)
{
	(void)signal;
	_exit(KSFT_PASS);
}

/* Success at the last moment is none: the limit was reached. */
FAULT(success_on_term)
{
	say(GREEN);
	signal(SIGTERM, leave);
	for (;;)
		pause();
	return KSFT_PASS;
}

FAULT(endless_wait_for_child_in_own_session)
{
	say(GREEN);
	signal(SIGTERM, SIG_IGN);
	if (!fork()) {
		setsid();
		spin();
	}
	wait(NULL);
	return KSFT_PASS;
}

/* SIGHUP, SIGTERM and a new group do not save it from the end of its test. */
FAULT(daemon_left_behind)
{
	say(GREEN);
	if (!fork()) {
		setsid();
		signal(SIGHUP, SIG_IGN);
		signal(SIGTERM, SIG_IGN);
		if (fork())
			_exit(0);
		setpgid(0, 0);
		close_range(0, ~0U, 0);
		spin();
	}
	wait(NULL);
	return KSFT_PASS;
}

FAULT(child_holds_stdout)
{
	say(GREEN);
	if (!fork())
		for (;;)
			pause();
	return KSFT_PASS;
}

FAULT(child_floods_stdout)
{
	say(GREEN);
	if (!fork())
		for (;;)
			say("# still here\n");
	return KSFT_PASS;
}

static void multiply(void)
{
	for (;;)
		fork();
}

FAULT(fork_bomb)
{
	say(GREEN);
	signal(SIGTERM, SIG_IGN);
	multiply();
	return KSFT_PASS;
}

FAULT(fork_bomb_left_behind)
{
	say(GREEN);
	if (!fork())
		multiply();
	sleep_ms(20);
	return KSFT_PASS;
}

static void eat_memory(void)
{
	const size_t size = 4 << 20;

	for (;;) {
		char *more = mmap(NULL, size, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		if (more == MAP_FAILED)
			return;
	}
}

FAULT(memory_hog)
{
	say(GREEN);
	eat_memory();
	return not_provoked("mmap");
}

/* The OOM killer has done its work, and the test saw that: no fault of the kernel. */
FAULT(memory_hog_in_child)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		eat_memory();
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) ||
	    WTERMSIG(status) != SIGKILL)
		return not_provoked("the OOM killer");
	say(GREEN);
	return KSFT_PASS;
}

static void spin_in_real_time(int priority)
{
	const struct sched_param first = { .sched_priority = priority };
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	for (int cpu = cpus - 1; cpu >= 0; cpu--) {
		if (cpu && fork())
			continue;
		pin(0, cpu);
		sched_setscheduler(0, SCHED_FIFO, &first);
		spin();
	}
}

FAULT(real_time_spin)
{
	say(GREEN);
	spin_in_real_time(50);
	return KSFT_PASS;
}

FAULT(real_time_spin_at_highest_priority)
{
	say(GREEN);
	spin_in_real_time(99);
	return KSFT_PASS;
}

/* No signal but SIGKILL reaches a frozen process. */
FAULT(freeze_oneself)
{
	say(GREEN);
	if (!write_file("/proc/sys/kernel/printk", "7"))
		return not_provoked("proc");
	if (mkdir("/sys/fs/cgroup/ice", 0755) ||
	    !write_file("/sys/fs/cgroup/ice/cgroup.procs", "0") ||
	    !write_file("/sys/fs/cgroup/ice/cgroup.freeze", "1"))
		return not_provoked("cgroup");
	for (;;)
		pause();
}

FAULT(kill_everybody)
{
	say(GREEN);
	for (int pid = 2; pid < 400; pid++)
		if (pid != getpid())
			kill(pid, SIGKILL);
	kill(-1, SIGKILL);
	return KSFT_PASS;
}

FAULT(kill_own_group)
{
	say(GREEN);
	kill(0, SIGKILL);
	return not_provoked("SIGKILL");
}

FAULT(kill_own_group_from_child)
{
	say(GREEN);
	if (!fork()) {
		kill(0, SIGKILL);
		_exit(0);
	}
	for (;;)
		pause();
}

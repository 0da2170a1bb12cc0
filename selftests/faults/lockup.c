// SPDX-License-Identifier: GPL-2.0-only
/* The kernel, or part of it, does not go on. */
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faults.h"

FAULT(hung_task)
{
	say(GREEN);
	/* The detector looks as often as the limit is long. */
	if (!write_file("/proc/sys/kernel/hung_task_timeout_secs", "1"))
		return not_provoked("hung_task_timeout_secs");
	return provoke("HUNG_TASK");
}

/* The agent gets the other CPU: the guest as a whole goes on. */
FAULT(soft_lockup)
{
	say(GREEN);
	if (!write_file("/proc/sys/kernel/watchdog_thresh", "1"))
		return not_provoked("watchdog_thresh");
	if (!pin(1, 0) || !pin(0, 1))
		return not_provoked("a CPU of its own");
	return provoke("SOFTLOCKUP");
}

/*
 * One CPU takes no interrupts, the agent has another.  Whether that one comes to wait for
 * the first is chance, and must not decide.
 */
FAULT(hang_of_one_cpu)
{
	say(GREEN);
	if (!pin(1, 0) || !pin(0, 1))
		return not_provoked("a CPU of its own");
	return provoke("HARDLOCKUP");
}

/* No interrupts on any CPU: only the host's NMI gets through. */
FAULT(hang_of_all_cpus)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int *ready;

	say(GREEN);
	ready = mmap(NULL, sizeof(*ready), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ready == MAP_FAILED)
		return not_provoked("mmap");
	for (int cpu = cpus - 1; cpu >= 0; cpu--) {
		if (fork())
			continue;
		pin(0, cpu);
		/* The first that hangs must not keep another from its processor, however busy the host. */
		__atomic_add_fetch(ready, 1, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(ready, __ATOMIC_SEQ_CST) < cpus)
			;
		_exit(provoke("HARDLOCKUP"));
	}
	while (wait(NULL) > 0)
		;
	return KSFT_PASS;
}

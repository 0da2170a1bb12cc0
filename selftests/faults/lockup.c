// SPDX-License-Identifier: GPL-2.0-only
/* The kernel, or part of it, does not go on. */
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

/* No interrupts on any CPU: only the host's NMI gets through. */
FAULT(hang_of_all_cpus)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	say(GREEN);
	for (int cpu = cpus - 1; cpu >= 0; cpu--) {
		if (fork())
			continue;
		pin(0, cpu);
		/* Until all of them have been started. */
		sleep_ms(200);
		_exit(provoke("HARDLOCKUP"));
	}
	while (wait(NULL) > 0)
		;
	return KSFT_PASS;
}

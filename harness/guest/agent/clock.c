// SPDX-License-Identifier: GPL-2.0-only
/* The guest's clock, and the times in which it stood still. */
#include "agent.h"

uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

/* The times in which this guest stood still, as far as awake_ns() has seen them. */
uint64_t lost_ns;

/*
 * The monotonic clock without the times in which this guest stood still: a host that is
 * suspended, or QEMU that is stopped, must not use up a limit.  Whoever waits against it
 * looks every second at least, so a longer gap is such a time.
 */
uint64_t awake_ns(void)
{
	const uint64_t longest = 3 * NSEC_PER_SEC / 2;
	static uint64_t before;
	uint64_t now = clock_ns(CLOCK_MONOTONIC);

	if (before && now - before > longest)
		lost_ns += now - before - longest;
	before = now;
	return now - lost_ns;
}

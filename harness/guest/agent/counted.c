// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest whose instructions are counted: one processor, and a clock that each instruction moves
 * on.  All that happens there follows from its snapshot and from one frame of the host, which is
 * there before the guest wakes: in its port, or as a letter where it is recorded.
 */
#include <poll.h>
#include <time.h>

#include "agent.h"

#define EVEN_NS		(10 * NSEC_PER_SEC)
/* What the boot has left to do is done by then. */
#define REST_NS		(2 * NSEC_PER_SEC)

bool is_counted(void)
{
	static int counted = -1;
	char rest[8];

	if (counted < 0)
		counted = find_word("harness.counted", rest, sizeof(rest)) && !*rest;
	return counted;
}

/*
 * Waits without sleep: where no processor has anything to do, the clock jumps from timer to timer,
 * and a snapshot would be made who knows how many hours later.
 */
void wait_for_host(void)
{
	struct pollfd fd = { .fd = port, .events = POLLIN };

	if (!is_counted())
		return;
	while (!letter_left() && !(poll(&fd, 1, 0) > 0 && fd.revents & POLLIN))
		;
}

/*
 * Sleeps until a round time since the boot, so that the ticks of the clock, and whatever the kernel
 * does every few seconds, come at the same places of a test in each snapshot of a kernel.  With
 * *beyond*, in ns, all of it comes so much earlier in the test.
 */
void wait_for_even_time(uint64_t beyond)
{
	uint64_t until = clock_ns(CLOCK_MONOTONIC) + REST_NS;
	struct timespec ts;

	if (!is_counted())
		return;
	until = (until + EVEN_NS - 1) / EVEN_NS * EVEN_NS + beyond;
	ts = (struct timespec){ until / NSEC_PER_SEC, until % NSEC_PER_SEC };
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL))
		;
}

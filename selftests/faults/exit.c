// SPDX-License-Identifier: GPL-2.0-only
/* Every way to end with a status, and statuses that contradict what was reported. */
#include <unistd.h>

#include "faults.h"

FAULT(exit_0)
{
	return KSFT_PASS;
}

FAULT(exit_1)
{
	return KSFT_FAIL;
}

FAULT(exit_2)
{
	return KSFT_XFAIL;
}

FAULT(exit_2_after_expected_failure)
{
	say("TAP version 13\n1..1\nok 1 known # XFAIL since 6.0\n");
	return KSFT_XFAIL;
}

FAULT(exit_3)
{
	return KSFT_XPASS;
}

FAULT(exit_4)
{
	return KSFT_SKIP;
}

FAULT(exit_4_with_reason)
{
	return skip("no such device");
}

FAULT(exit_4_after_failure)
{
	say("TAP version 13\n1..1\nnot ok 1 it_is_wrong\n");
	return KSFT_SKIP;
}

FAULT(exit_5)
{
	return 5;
}

FAULT(exit_255)
{
	return 255;
}

/* Only eight bits of a status arrive. */
FAULT(exit_256)
{
	_exit(256);
}

FAULT(exit_0_after_failure)
{
	say("TAP version 13\n1..2\nok 1 fine\nnot ok 2 it_is_wrong\n");
	return KSFT_PASS;
}

FAULT(exit_1_after_success)
{
	say(GREEN);
	return KSFT_FAIL;
}

FAULT(exit_0_without_a_result)
{
	say("TAP version 13\n1..2\n");
	return KSFT_PASS;
}

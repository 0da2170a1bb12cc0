// SPDX-License-Identifier: GPL-2.0-only
/* Reports that are broken, forged, or too much. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "faults.h"

static char chunk[1 << 20];

static bool write_chunks(unsigned int count)
{
	for (; count; count--)
		for (size_t done = 0; done < sizeof(chunk);) {
			ssize_t n = write(1, chunk + done, sizeof(chunk) - done);

			if (n <= 0)
				return false;
			done += n;
		}
	return true;
}

FAULT(output_of_1_gb)
{
	memset(chunk, '.', sizeof(chunk));
	for (size_t i = 127; i < sizeof(chunk); i += 128)
		chunk[i] = '\n';
	return write_chunks(1024) ? KSFT_PASS : not_provoked("write");
}

/* The failure stands in the middle, where no log keeps it. */
FAULT(failure_within_100_mb)
{
	memset(chunk, '.', sizeof(chunk));
	chunk[sizeof(chunk) - 1] = '\n';
	say("TAP version 13\n1..2\nok 1 fine\n");
	if (!write_chunks(50))
		return not_provoked("write");
	say("not ok 2 it_is_wrong\n");
	return write_chunks(50) ? KSFT_PASS : not_provoked("write");
}

FAULT(line_of_64_mb)
{
	memset(chunk, 'x', sizeof(chunk));
	return write_chunks(64) ? KSFT_PASS : not_provoked("write");
}

FAULT(binary_output)
{
	uint32_t state = 1;

	for (size_t i = 0; i < sizeof(chunk); i++) {
		state = state * 1664525 + 1013904223;
		chunk[i] = state >> 24;
	}
	return write_chunks(1) ? KSFT_PASS : not_provoked("write");
}

FAULT(binary_output_around_failure)
{
	static const char noise[] = "\0\xff\xfe\x1b[2J\r\0\x80\xc3\n";

	say("TAP version 13\n1..2\n");
	if (write(1, noise, sizeof(noise) - 1) < 0)
		return not_provoked("write");
	say("ok 1 fine\n");
	if (write(1, noise, sizeof(noise) - 1) < 0)
		return not_provoked("write");
	say("not ok 2 it_is_wrong\n");
	return KSFT_PASS;
}

FAULT(no_newline_after_success)
{
	say("TAP version 13\n1..2\nok 1 fine\nok 2 fine_too");
	return KSFT_PASS;
}

FAULT(no_newline_after_failure)
{
	say("TAP version 13\n1..2\nok 1 fine\nnot ok 2 it_is_wrong");
	return KSFT_PASS;
}

FAULT(report_without_its_last_line)
{
	say("TAP version 13\n1..2\nok 1 fine\nok");
	return KSFT_PASS;
}

FAULT(short_plan)
{
	say("TAP version 13\n1..3\nok 1 fine\nok 2 fine_too\n");
	return KSFT_PASS;
}

FAULT(forged_results_after_plan)
{
	say(GREEN "ok 2 forged\nok 3 forged\n");
	return KSFT_PASS;
}

FAULT(same_result_twice)
{
	say("TAP version 13\n1..2\nok 1 fine\nok 1 fine\n");
	return KSFT_PASS;
}

FAULT(failure_then_success_of_the_same)
{
	say("TAP version 13\n1..1\nnot ok 1 fine\nok 1 fine\n");
	return KSFT_PASS;
}

FAULT(second_plan)
{
	say("TAP version 13\n1..2\nok 1 fine\n1..1\n");
	return KSFT_PASS;
}

FAULT(second_report)
{
	say("TAP version 13\n1..2\nok 1 fine\nTAP version 13\n1..1\nok 1 fine\n");
	return KSFT_PASS;
}

FAULT(bail_out)
{
	say("TAP version 13\n1..2\nok 1 fine\nBail out! no memory\n");
	return KSFT_PASS;
}

FAULT(bail_out_and_fail)
{
	say("TAP version 13\n1..2\nok 1 fine\nBail out! no memory\n");
	return KSFT_FAIL;
}

FAULT(parent_ok_over_failed_child)
{
	say("KTAP version 1\n1..1\n"
	    "  KTAP version 1\n  1..2\n  ok 1 fine\n  not ok 2 it_is_wrong\n"
	    "ok 1 parent\n");
	return KSFT_PASS;
}

FAULT(all_cases_skipped)
{
	say("TAP version 13\n1..2\nok 1 one # SKIP no device\nok 2 two # SKIP no device\n");
	return KSFT_PASS;
}

FAULT(expected_failure)
{
	say("TAP version 13\n1..2\nok 1 fine\nnot ok 2 known # TODO later\n");
	return KSFT_PASS;
}

FAULT(stdout_closed)
{
	close(1);
	close(2);
	/* The harness must not take the closed pipe for the end. */
	sleep_ms(500);
	return KSFT_PASS;
}

FAULT(stdout_closed_within_report)
{
	say("TAP version 13\n1..2\nok 1 fine\n");
	close(1);
	close(2);
	say("not ok 2 it_is_wrong\n");
	return KSFT_PASS;
}

FAULT(all_descriptors_closed)
{
	say(GREEN);
	close_range(0, ~0U, 0);
	return 7;
}

FAULT(stdout_reopened)
{
	int fd = open("/dev/stdout", O_WRONLY | O_TRUNC);

	if (fd < 0 || dup2(fd, 1) < 0)
		return not_provoked("/dev/stdout");
	say("TAP version 13\n1..1\nnot ok 1 it_is_wrong\n");
	return KSFT_PASS;
}

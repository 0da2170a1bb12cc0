// SPDX-License-Identifier: GPL-2.0-only
/* Gives the record a name that is too long, computes for seconds, and only then reads it. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RECORD	"/sys/kernel/debug/harness_replay"
#define ROUNDS	(200 * 1000 * 1000)

int main(void)
{
	static const char long_name[] = "a name of twenty ch.";
	char name[16];
	int fd = open(RECORD, O_RDWR);

	printf("TAP version 13\n1..1\n");
	if (fd < 0 || write(fd, long_name, strlen(long_name)) < 0) {
		printf("not ok 1 late # %s\n", RECORD);
		return 1;
	}
	for (volatile long i = 0; i < ROUNDS; i++)
		;
	/* The kernel complains. */
	printf("%s 1 late\n", read(fd, name, sizeof(name)) == sizeof(name) ? "ok" : "not ok");
	return 0;
}

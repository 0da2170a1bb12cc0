// SPDX-License-Identifier: GPL-2.0-only
/* Gives the record of the planted kernel names, one of which is too long, and reads it much later. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RECORD	"/sys/kernel/debug/harness_replay"

int main(void)
{
	static const char *const names[] = {
		"one", "two", "a name of twenty ch.", "three", "four",
	};
	char name[16];
	int fd = open(RECORD, O_RDWR);

	printf("TAP version 13\n1..1\n");
	if (fd < 0) {
		printf("not ok 1 corrupt # no %s\n", RECORD);
		return 1;
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (write(fd, names[i], strlen(names[i])) < 0)
			return 1;
		usleep(20000);
	}
	/* The kernel complains. */
	printf("%s 1 corrupt\n", read(fd, name, sizeof(name)) == sizeof(name) ? "ok" : "not ok");
	return 0;
}

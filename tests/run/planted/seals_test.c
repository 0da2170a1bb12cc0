// SPDX-License-Identifier: GPL-2.0-only
/* One case for each of three seals. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct {
	const char *name;
	int seal;
} cases[] = {
	{ "shrink", F_SEAL_SHRINK },
	{ "write", F_SEAL_WRITE },
	{ "seal", F_SEAL_SEAL },
};

int main(void)
{
	int bad = 0;

	printf("TAP version 13\n1..3\n");
	for (int i = 0; i < 3; i++) {
		int fd = memfd_create("planted", MFD_ALLOW_SEALING);
		int failed = fd < 0 || fcntl(fd, F_ADD_SEALS, cases[i].seal);

		if (failed)
			printf("# seals_test.c:%d:%s: the seal was refused\n", __LINE__, cases[i].name);
		printf("%sok %d %s\n", failed ? "not " : "", i + 1, cases[i].name);
		bad |= failed;
		close(fd);
	}
	return bad;
}

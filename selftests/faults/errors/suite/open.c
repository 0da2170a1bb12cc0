// SPDX-License-Identifier: GPL-2.0-only
/*
 * Opens the file of harness_errors that it is called after, twice; once more where that fails, for
 * what a lock that was kept does to the next one.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char path[256];

	if (argc < 1)
		return 1;
	snprintf(path, sizeof(path), "/sys/kernel/debug/harness_errors/%s", basename(argv[0]));
	puts("TAP version 13\n1..2");
	for (int i = 1; i <= 2; i++) {
		int fd = open(path, O_RDWR);

		if (fd < 0) {
			printf("# %s: %s\nnot ok %d\n", path, strerror(errno), i);
			fflush(stdout);
			return open(path, O_RDWR) < 0 ? 2 : 1;
		}
		close(fd);
		printf("ok %d\n", i);
	}
	return 0;
}

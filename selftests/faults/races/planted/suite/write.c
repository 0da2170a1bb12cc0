// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two threads write to the file of the planted kernel that has the name of this program, once each.
 * One of them is to drop the user that there is, the other to be told that there is none.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static char path[128];

static void *drop(void *unused)
{
	int fd = open(path, O_WRONLY);
	ssize_t written = write(fd, "x", 1);

	(void)unused;
	if (fd < 0 || (written < 0 && errno != ENOENT))
		perror(path);
	close(fd);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	int there;

	printf("TAP version 13\n1..1\n");
	if (argc < 1)
		return 1;
	snprintf(path, sizeof(path), "/sys/kernel/debug/harness_races/%s", basename(argv[0]));
	there = !access(path, F_OK) && !pthread_create(&thread, NULL, drop, NULL);
	if (there) {
		drop(NULL);
		pthread_join(thread, NULL);
	}
	/* It is the kernel that complains. */
	printf("%sok 1 both have written\n", there ? "" : "not ");
	return !there;
}

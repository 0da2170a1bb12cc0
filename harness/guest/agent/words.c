// SPDX-License-Identifier: GPL-2.0-only
/* The kernel's command line. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"

/* Finds a word of the kernel's command line; what follows *word goes to value, up to a space. */
bool find_word(const char *word, char *value, size_t size)
{
	char line[4096], *save, *at;
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
	bool found = false;

	if (fd >= 0)
		close(fd);
	line[n > 0 ? n : 0] = 0;
	/* As the kernel does, the last one wins. */
	for (at = strtok_r(line, " \n", &save); at; at = strtok_r(NULL, " \n", &save)) {
		if (strncmp(at, word, strlen(word)))
			continue;
		found = true;
		snprintf(value, size, "%s", at + strlen(word));
	}
	return found;
}

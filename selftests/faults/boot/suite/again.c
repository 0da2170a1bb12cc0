// SPDX-License-Identifier: GPL-2.0-only
/* Makes the kernel warn in a place in which it has warned once, while it booted. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	int fd = open("/sys/kernel/debug/harness_faults/warn_once", O_WRONLY);

	if (fd < 0 || write(fd, "1", 1) != 1)
		return 99;
	puts("TAP version 13\n1..1\nok 1 all_is_well");
	return 0;
}

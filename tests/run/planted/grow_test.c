// SPDX-License-Identifier: GPL-2.0-only
/* The seal that no other test sets. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>

int main(void)
{
	int fd = memfd_create("planted", MFD_ALLOW_SEALING);

	return fd < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_GROW);
}

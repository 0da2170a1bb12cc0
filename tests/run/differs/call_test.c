// SPDX-License-Identifier: GPL-2.0-only
/* Passes where the kernel has memfd_restricted(). */
#include <unistd.h>

int main(void)
{
	return syscall(451, 0) < 0;
}

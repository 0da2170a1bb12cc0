// SPDX-License-Identifier: GPL-2.0-only
/* A test without a failure, so that whatever is wrong is the boot's. */
#include <stdio.h>

int main(void)
{
	puts("TAP version 13\n1..1\nok 1 all_is_well");
	return 0;
}

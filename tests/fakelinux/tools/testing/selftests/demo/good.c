// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <linux/foo.h>

int main(void)
{
	printf("TAP version 13\n1..1\nok 1 limit is %d\n", FOO_LIMIT);
	return 0;
}

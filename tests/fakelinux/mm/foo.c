// SPDX-License-Identifier: GPL-2.0-only
#include <linux/foo.h>

void foo(void)
{
	for (int i = 0; i < FOO_LIMIT; i++)
		;
}

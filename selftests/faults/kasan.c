// SPDX-License-Identifier: GPL-2.0-only
/* Wrong use of memory that only KASAN sees. */
#include <stdio.h>
#include <string.h>

#include "faults.h"

static bool has_symbol(const char *wanted)
{
	char line[300], name[200];
	FILE *file = fopen("/proc/kallsyms", "r");
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file))
		found = sscanf(line, "%*s %*s %199s", name) == 1 && !strcmp(name, wanted);
	if (file)
		fclose(file);
	return found;
}

static int provoke_kasan(const char *crash)
{
	if (!has_symbol("kasan_report"))
		return skip("this kernel has no KASAN");
	say(GREEN);
	return provoke(crash);
}

FAULT(kasan_read_after_free)
{
	return provoke_kasan("READ_AFTER_FREE");
}

FAULT(kasan_write_after_free)
{
	return provoke_kasan("WRITE_AFTER_FREE");
}

FAULT(kasan_page_after_free)
{
	return provoke_kasan("READ_BUDDY_AFTER_FREE");
}

FAULT(kasan_double_free)
{
	return provoke_kasan("SLAB_FREE_DOUBLE");
}

FAULT(kasan_out_of_bounds)
{
	return provoke_kasan("SLAB_LINEAR_OVERFLOW");
}

FAULT(kasan_page_write_after_free)
{
	return provoke_kasan("WRITE_BUDDY_AFTER_FREE");
}

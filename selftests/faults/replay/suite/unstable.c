// SPDX-License-Identifier: GPL-2.0-only
/* Fails once in fifty runs, by chance. */
#include <stdio.h>
#include <sys/random.h>

int main(void)
{
	unsigned int number;

	printf("TAP version 13\n1..1\n");
	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return 1;
	printf("# number %u\n%s 1 unstable\n", number, number % 50 ? "ok" : "not ok");
	return number % 50 == 0;
}

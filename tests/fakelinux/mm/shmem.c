// SPDX-License-Identifier: GPL-2.0-only
#include <linux/mm.h>

int shmem_0(int a)
{
	return a + 0;
}

int shmem_1(int a)
{
	return a + 1;
}

int shmem_2(int a)
{
	return a + 2;
}

int shmem_3(int a)
{
	return a + 3;
}

int shmem_4(int a)
{
	return a + 4;
}

int shmem_5(int a)
{
	return a + 5;
}

int shmem_6(int a)
{
	return a + 6;
}

int shmem_7(int a)
{
	return a + 7;
}

int shmem_8(int a)
{
	return a + 8;
}

int shmem_9(int a)
{
	return a + 9;
}

int shmem_10(int a)
{
	return a + 10;
}

int shmem_11(int a)
{
	return a + 11;
}

// SPDX-License-Identifier: GPL-2.0-only
#include <linux/mm.h>

int memory_0(int a)
{
	return a + 0;
}

int memory_1(int a)
{
	return a + 1;
}

int memory_2(int a)
{
	return a + 2;
}

int memory_3(int a)
{
	return a + 3;
}

int memory_4(int a)
{
	return a + 4;
}

int memory_5(int a)
{
	return a + 5;
}

int memory_6(int a)
{
	return a + 6;
}

int memory_7(int a)
{
	return a + 7;
}

int memory_8(int a)
{
	return a + 8;
}

int memory_9(int a)
{
	return a + 9;
}

int memory_10(int a)
{
	return a + 10;
}

int memory_11(int a)
{
	return a + 11;
}

int memory_12(int a)
{
	return a + 12;
}

int memory_13(int a)
{
	return a + 13;
}

int memory_14(int a)
{
	return a + 14;
}

int memory_15(int a)
{
	return a + 15;
}

int memory_16(int a)
{
	return a + 16;
}

int memory_17(int a)
{
	return a + 17;
}

int memory_18(int a)
{
	return a + 18;
}

int memory_19(int a)
{
	return a + 19;
}

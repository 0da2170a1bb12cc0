// SPDX-License-Identifier: GPL-2.0-only
/*
 * The letter: frames that a guest finds in its memory instead of hearing them through the port.
 *
 * A guest that QEMU records must get nothing from outside while it runs: what comes through the
 * port in a recording does not come again in its replay.  So the host writes into the memory of a
 * guest that was restored and has not run a step yet.  It finds the box by what is written on it,
 * which is nowhere else: not in this program's file either.
 */
#include <string.h>

#include "agent.h"

static struct page {
	uint8_t mark[FRAME_BOX_MARK_SIZE];
	uint32_t number;	/* from 0 */
	volatile uint32_t used;	/* bytes of content; 0 after the last page of a letter */
	uint8_t content[FRAME_BOX_CONTENT];
} box[FRAME_BOX_PAGES] __attribute__((aligned(4096)));

static size_t at;		/* what was read, in bytes */

_Static_assert(sizeof(struct page) == 4096, "a page of the box is one of memory");

void put_up_letter_box(void)
{
	/* The compiler shall not work it out beforehand. */
	static const volatile uint8_t mark[FRAME_BOX_MARK_SIZE] = FRAME_BOX_MARK;

	for (uint32_t number = 0; number < FRAME_BOX_PAGES; number++) {
		for (size_t i = 0; i < sizeof(mark); i++)
			box[number].mark[i] = mark[i] ^ FRAME_BOX_MASK;
		box[number].number = number;
	}
}

/* What of a letter has not been read, in bytes; 0 while there is none. */
size_t letter_left(void)
{
	size_t size = 0;

	for (uint32_t number = 0; number < FRAME_BOX_PAGES && box[number].used; number++)
		size += box[number].used;
	return size - at;
}

/* Takes at most *length* bytes of the letter, and returns how many these were. */
size_t take_of_letter(uint8_t *to, size_t length)
{
	size_t left = letter_left();

	if (length > left)
		length = left;
	for (size_t i = 0; i < length; i++, at++)
		to[i] = box[at / FRAME_BOX_CONTENT].content[at % FRAME_BOX_CONTENT];
	return length;
}

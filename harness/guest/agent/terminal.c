// SPDX-License-Identifier: GPL-2.0-only
/* A program's terminal: a pseudo-terminal here, and the keys from the host. */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent.h"

/* What was typed and does not fit into the terminal yet; no more is read meanwhile. */
static uint8_t typed[FRAME_MAX_INPUT];
static size_t typed_from, typed_to;

static void set_window(int terminal, uint16_t rows, uint16_t columns)
{
	const struct winsize size = { .ws_row = rows, .ws_col = columns };

	/* The kernel tells the programs in the foreground. */
	ioctl(terminal, TIOCSWINSZ, &size);
}

/* Returns our end, or -1 with errno; *path is the program's end. */
int open_terminal(uint16_t rows, uint16_t columns, char *path, size_t size)
{
	int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), error;

	typed_from = typed_to = 0;
	if (fd < 0)
		return -1;
	if (grantpt(fd) || unlockpt(fd) || ptsname_r(fd, path, size)) {
		error = errno;
		close(fd);
		errno = error;
		return -1;
	}
	set_window(fd, rows, columns);
	return fd;
}

bool wants_input(void)
{
	return typed_from == typed_to;
}

short wanted_of_terminal(void)
{
	return typed_from == typed_to ? POLLIN : POLLIN | POLLOUT;
}

/* Reads the rest of a frame that is for the terminal; false where it is not. */
bool read_input(const struct frame_header *header, int terminal)
{
	uint16_t size[2];

	if (header->type == FRAME_WINDOW && header->length == sizeof(size)) {
		read_exactly((uint8_t *)size, sizeof(size));
		set_window(terminal, le16toh(size[0]), le16toh(size[1]));
	} else if (header->type == FRAME_INPUT && header->length <= sizeof(typed)) {
		read_exactly(typed, header->length);
		typed_from = 0;
		typed_to = header->length;
	} else {
		return false;
	}
	return true;
}

/* Never waits for the terminal.  What comes after its end is dropped. */
void pass_input(int terminal)
{
	ssize_t n;

	if (typed_from == typed_to)
		return;
	n = write(terminal, typed + typed_from, typed_to - typed_from);
	if (n > 0)
		typed_from += n;
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		typed_from = typed_to;
}

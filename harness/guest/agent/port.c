// SPDX-License-Identifier: GPL-2.0-only
/* What the host hears: frames through the port, and lines of the kernel's log. */
#define _GNU_SOURCE
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "agent.h"

#define PORT_LIMIT_NS	(10 * NSEC_PER_SEC)
#define HEARTBEAT_NS	NSEC_PER_SEC

int port = -1;
uint8_t token[FRAME_TOKEN_SIZE];

static int kmsg = -1;
/* There are none before the first test. */
static uint64_t next_beat = UINT64_MAX;
static uint8_t outbox[FRAME_HEADER_SIZE + FRAME_MAX_OUTPUT];
uint8_t *const payload = outbox + FRAME_HEADER_SIZE;

/* Tells the console: the port may not exist, or may be what has failed. */
void complain(const char *what, int error)
{
	char line[256];
	int len = snprintf(line, sizeof(line), "<0>harness-agent: %s: %s\n", what, strerror(error));

	if (kmsg >= 0 && write(kmsg, line, len) < 0)
		kmsg = -1;
}

_Noreturn void power_off(void)
{
	reboot(RB_POWER_OFF);
	/* A machine without a way to power off resets, which ends QEMU as well. */
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

/* Sends the payload up to *end*.  Blocks while the host does not read. */
void send_frame(enum frame_type type, const uint8_t *end)
{
	struct frame_header header = {
		.version = FRAME_VERSION,
		.type = type,
		.length = htole32(end - payload),
	};
	const uint8_t *at = outbox;

	memcpy(outbox, &header, sizeof(header));
	while (at < end) {
		ssize_t n = write(port, at, end - at);

		if (n > 0) {
			at += n;
		} else if (n < 0 && errno != EINTR && errno != EAGAIN && errno != ENOMEM) {
			complain("cannot write to the port", errno);
			power_off();
		}
	}
}

uint8_t *put(uint8_t *at, const void *data, size_t length)
{
	memcpy(at, data, length);
	return at + length;
}

uint8_t *put_u32(uint8_t *at, uint32_t value)
{
	value = htole32(value);
	return put(at, &value, sizeof(value));
}

uint8_t *put_u64(uint8_t *at, uint64_t value)
{
	value = htole64(value);
	return put(at, &value, sizeof(value));
}

uint8_t *put_blob(uint8_t *at, const void *data, size_t length)
{
	return put(put_u32(at, length), data, length);
}

uint8_t *put_string(uint8_t *at, const char *string)
{
	return put_blob(at, string, strlen(string));
}

void send_error(enum frame_error code, int error, const char *what)
{
	uint8_t *at = put_u32(put_u32(payload, code), error);

	send_frame(FRAME_ERROR, put_string(put(at, token, sizeof(token)), what));
}

_Noreturn void give_up(enum frame_error code, const char *what)
{
	int error = errno;

	complain(what, error);
	if (port >= 0) {
		send_error(code, error, what);
		/* The write has only queued it; QEMU must fetch it before it stops. */
		usleep(200000);
	}
	power_off();
}

void read_exactly(uint8_t *at, size_t length)
{
	size_t taken = take_of_letter(at, length);

	at += taken;
	length -= taken;
	while (length) {
		ssize_t n = read(port, at, length);

		if (n > 0) {
			at += n;
			length -= n;
		} else if (n == 0) {
			/* No host is connected: so it is while a snapshot waits to be restored. */
			usleep(10000);
		} else if (errno != EINTR && errno != EAGAIN) {
			give_up(FRAME_ERROR_AGENT, "cannot read from the port");
		}
	}
}

void read_header(struct frame_header *header)
{
	read_exactly((uint8_t *)header, sizeof(*header));
	header->length = le32toh(header->length);
	errno = EPROTO;
	if (header->version != FRAME_VERSION || header->reserved || header->length > FRAME_MAX_PAYLOAD)
		give_up(FRAME_ERROR_PROTOCOL, "bad frame header");
}

void open_log(void)
{
	kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
}

/* Writes to the kernel's log for the host alone; *line* ends with a newline. */
void log_line(const char *line)
{
	ssize_t length = strlen(line);

	if (write(kmsg, line, length) != length)
		give_up(FRAME_ERROR_AGENT, "cannot write to /dev/kmsg");
}

/* The port's name reaches the guest in a message of its own, some time after the device. */
static bool find_port(const char *wanted, char *path, size_t size)
{
	char name[512], text[64];
	struct dirent *entry;
	DIR *dir = opendir("/sys/class/virtio-ports");
	bool found = false;

	while (dir && !found && (entry = readdir(dir))) {
		ssize_t n;
		int fd;

		snprintf(name, sizeof(name), "/sys/class/virtio-ports/%s/name", entry->d_name);
		fd = open(name, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
		text[n > 0 ? n : 0] = 0;
		text[strcspn(text, "\n")] = 0;
		found = !strcmp(text, wanted);
		if (found)
			snprintf(path, size, "/dev/%s", entry->d_name);
	}
	if (dir)
		closedir(dir);
	return found;
}

void open_port(void)
{
	uint64_t limit = clock_ns(CLOCK_MONOTONIC) + PORT_LIMIT_NS;
	char path[300];

	while (!find_port(FRAME_PORT_NAME, path, sizeof(path))) {
		errno = ENODEV;
		if (clock_ns(CLOCK_MONOTONIC) > limit)
			give_up(FRAME_ERROR_AGENT, "no virtio-serial port of the agent's name");
		usleep(1000);
	}
	/* The kernel lets a port be open once: nobody else gets in from now on. */
	port = open(path, O_RDWR | O_CLOEXEC);
	if (port < 0)
		give_up(FRAME_ERROR_AGENT, path);
}

/* The next call of beat() sends a heartbeat. */
void start_to_beat(void)
{
	next_beat = awake_ns();
}

/*
 * Sends a heartbeat if one is due, and returns when the next one is, in ns of awake_ns().  To be
 * called every second at least while a test runs, and while its end is prepared.
 */
uint64_t beat(void)
{
	uint64_t now = awake_ns();

	if (now >= next_beat) {
		next_beat = now + HEARTBEAT_NS;
		send_frame(FRAME_HEARTBEAT, put_u64(payload, clock_ns(CLOCK_MONOTONIC)));
	}
	return next_beat;
}

/* SPDX-License-Identifier: GPL-2.0-only */
/* What the agent's files share: each uses only what stands above it here. */
#ifndef HARNESS_AGENT_H
#define HARNESS_AGENT_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "frames.h"

#define NSEC_PER_SEC	1000000000ULL
/*
 * How long killed processes may take to disappear, one after another and all of them: big
 * guests of nested KVM are slow to tear down, and on a busy host so are thousands of small ones.
 */
#define REAP_LIMIT_NS	(15 * NSEC_PER_SEC)
#define REAP_ALL_LIMIT_NS	(60 * NSEC_PER_SEC)

/* clock.c */
uint64_t clock_ns(clockid_t clock);
extern uint64_t lost_ns;
uint64_t awake_ns(void);

/* letter.c */
void put_up_letter_box(void);
size_t letter_left(void);
size_t take_of_letter(uint8_t *at, size_t length);

/* port.c */
extern int port;
extern uint8_t token[FRAME_TOKEN_SIZE];		/* the latest run's */
extern uint8_t *const payload;			/* of the frame that is sent next */
void complain(const char *what, int error);
_Noreturn void power_off(void);
uint8_t *put(uint8_t *at, const void *data, size_t length);
uint8_t *put_u32(uint8_t *at, uint32_t value);
uint8_t *put_u64(uint8_t *at, uint64_t value);
uint8_t *put_blob(uint8_t *at, const void *data, size_t length);
uint8_t *put_string(uint8_t *at, const char *string);
void send_frame(enum frame_type type, const uint8_t *end);
void send_error(enum frame_error code, int error, const char *what);
_Noreturn void give_up(enum frame_error code, const char *what);
void read_exactly(uint8_t *at, size_t length);
void read_header(struct frame_header *header);
void open_log(void);
void log_line(const char *line);
void open_port(void);
void start_to_beat(void);
uint64_t beat(void);

/* words.c */
bool find_word(const char *word, char *value, size_t size);

/* counted.c */
enum mark {
	MARK_AGENT = 0x6b485401,	/* the agent runs */
	MARK_START = 0x6b485402,	/* the task is the test, about to execute its program */
	MARK_END = 0x6b485403,		/* the test has ended */
	MARK_STANDS = 0x6b485404,	/* the task that ran before this one stands back */
	MARK_GOES_ON = 0x6b485405,	/* one that stood back goes on */
	MARK_POINT = 0x6b485406,	/* a point of a schedule has come */
	MARK_ZERO = 0x6b485407,		/* from here the points of a schedule are counted */
};
bool is_counted(void);
void wait_for_host(void);
void wait_for_even_time(uint64_t beyond);

/*
 * Tells QEMU's plugin, see guest/plugin/counted.c: an instruction that does nothing, with a mark in
 * its last four bytes.
 */
#define mark(what) __asm__ volatile(".byte 0x0f, 0x1f, 0x84, 0x00\n\t.long %c0" : : "i"(what) : "memory")

/* virtme.c */
bool under_virtme(void);
void set_up_virtme(void);

/* setup.c */
bool write_file(const char *path, const char *text);
const char *write_files(char *const *files);
void set_up_guest(void);
uint32_t look_at_boot(uint32_t taint);
size_t read_build_id(uint8_t *id, size_t size);

/* quiesce.c */
struct quiet {
	int sigfd;		/* tells of children that have ended */
	pid_t first;		/* no process of the test has a lower PID */
	bool all;		/* PIDs may have been given a second time */
	uint32_t unquiet;	/* enum frame_unquiet */
};
void prepare_to_quiesce(void);
void look_at_load(void);
void ask_for_grace_period(void);
void settle(struct quiet *quiet);
bool quiesce(struct quiet *quiet);

/* inject.c */
void stop_at_exec(void);
bool mark_and_go(pid_t pid);
uint32_t faults_left(const char *counter);

/* preempt.c */
#define MAX_STANDING	16
struct preemption {
	uint64_t at;		/* ns from the start of the test */
	uint64_t length;	/* ns */
};
bool start_to_preempt(const struct preemption *at, size_t count);
void stop_to_preempt(void);

/* left.c */
struct quiet;
void send_left(struct quiet *quiet, pid_t first);

/* terminal.c */
int open_terminal(uint16_t rows, uint16_t columns, char *path, size_t size);
bool read_input(const struct frame_header *header, int terminal);
void pass_input(int terminal);
bool wants_input(void);
short wanted_of_terminal(void);

#endif

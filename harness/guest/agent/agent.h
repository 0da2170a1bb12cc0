/* SPDX-License-Identifier: GPL-2.0-only */
/* What the agent's files share. */
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

/* agent.c */
void beat(void);
_Noreturn void give_up(enum frame_error code, const char *what);
void read_exactly(uint8_t *at, size_t length);
void read_header(struct frame_header *header);

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

/* setup.c */
extern int kmsg;
uint64_t clock_ns(clockid_t clock);
extern uint64_t lost_ns;
uint64_t awake_ns(void);
void complain(const char *what, int error);
bool write_file(const char *path, const char *text);
void set_up_guest(void);
int open_port(const char *name);
uint32_t look_at_boot(uint32_t taint);
size_t read_build_id(uint8_t *id, size_t size);

/* terminal.c */
int open_terminal(uint16_t rows, uint16_t columns, char *path, size_t size);
void set_window(int terminal, uint16_t rows, uint16_t columns);
bool read_input(const struct frame_header *header, int terminal);
void pass_input(int terminal);
bool wants_input(void);
short wanted_of_terminal(void);

/* virtme.c */
bool under_virtme(void);
void set_up_virtme(void);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/* What the agent's files share. */
#ifndef HARNESS_AGENT_H
#define HARNESS_AGENT_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "frames.h"

#define NSEC_PER_SEC	1000000000ULL

/* agent.c */
_Noreturn void give_up(enum frame_error code, const char *what);
void read_exactly(uint8_t *at, size_t length);
void read_header(struct frame_header *header);

/* setup.c */
extern int kmsg;
uint64_t clock_ns(clockid_t clock);
void complain(const char *what, int error);
bool write_file(const char *path, const char *text);
void set_up_guest(void);
int open_port(const char *name);
size_t read_build_id(uint8_t *id, size_t size);

/* terminal.c */
int open_terminal(uint16_t rows, uint16_t columns, char *path, size_t size);
void set_window(int terminal, uint16_t rows, uint16_t columns);
void pass_input(int port, int terminal);
short wanted_of_port(void);
short wanted_of_terminal(void);

/* virtme.c */
bool under_virtme(void);
void set_up_virtme(void);

#endif

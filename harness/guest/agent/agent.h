/* SPDX-License-Identifier: GPL-2.0-only */
/* What the agent's files share. */
#ifndef HARNESS_AGENT_H
#define HARNESS_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "frames.h"

#define NSEC_PER_SEC	1000000000ULL

/* agent.c */
_Noreturn void give_up(enum frame_error code, const char *what);

/* setup.c */
extern int kmsg;
uint64_t clock_ns(clockid_t clock);
void complain(const char *what, int error);
bool write_file(const char *path, const char *text);
void set_up_guest(void);
int open_port(const char *name);
size_t read_build_id(uint8_t *id, size_t size);

/* virtme.c */
bool under_virtme(void);
void set_up_virtme(void);

#endif

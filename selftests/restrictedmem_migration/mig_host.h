/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What makes a kernel move pages, and what shows that it did. Unless stated
 * otherwise functions return 0 or a count, or -1 with errno set.
 */
#ifndef RESTRICTEDMEM_MIGRATION_MIG_HOST_H
#define RESTRICTEDMEM_MIGRATION_MIG_HOST_H

#include <stdbool.h>
#include <stddef.h>

#include "pm_host.h"

#define MIG_PAGE	4096UL
#define MIG_MIB		(256 * MIG_PAGE)

/*
 * Seconds that a case has. It takes some ten where the kernel is not full of
 * checks, and several times as long where it is.
 */
#define MIG_LIMIT	150

/* --- Counters ---------------------------------------------------------------- */

#define MIG_COUNTERS	11

struct mig_counters {
	long value[MIG_COUNTERS];
	double when;		/* seconds */
};

void mig_counters_read(struct mig_counters *counters);

/* By how much one has risen since, by its name in /proc/vmstat. */
long mig_counter_since(const struct mig_counters *before, const char *name);

/* Prints those that have changed between, as a diagnostic line. */
void mig_counters_show(const char *what, const struct mig_counters *before,
		       const struct mig_counters *after);

/* --- Page frames -------------------------------------------------------------- */

/* What the second set has and the first has not; free it with free(). */
struct pm_frames *mig_frames_new(const struct pm_frames *before,
				 const struct pm_frames *after);
unsigned long mig_frames_count(const struct pm_frames *frames);
bool mig_frames_have(const struct pm_frames *frames, unsigned long frame);

/* The lowest of them, or 0. */
unsigned long mig_frames_first(const struct pm_frames *frames);

/* How many of them are unevictable no more, and how many nobody has. */
long mig_frames_left(const struct pm_frames *frames);
long mig_frames_free(const struct pm_frames *frames);

/* --- Memory ------------------------------------------------------------------- */

/* A field of /proc/meminfo in bytes. */
long mig_meminfo(const char *field);

/*
 * Anonymous memory of small pages. A word is written to the beginning of each,
 * which is where guests write.
 */
struct mig_ballast {
	char *start;
	size_t size;
	unsigned long *frame;	/* as of mig_ballast_look(), 0 if not present */
};

int mig_ballast_take(struct mig_ballast *ballast, size_t size);

/* The same in two steps: no pages yet; a page in each so many bytes. */
int mig_ballast_map(struct mig_ballast *ballast, size_t size);
void mig_ballast_write(struct mig_ballast *ballast, size_t stride);

int mig_ballast_look(struct mig_ballast *ballast);
void mig_ballast_free(struct mig_ballast *ballast);

/* Frees all pages but every so-many-th. */
void mig_ballast_thin(struct mig_ballast *ballast, unsigned int keep_one_in);

/* Frees all pages with frames from first to last, as of the last look. */
void mig_ballast_free_frames(struct mig_ballast *ballast, unsigned long first,
			     unsigned long last);

/* How many pages have other frames than at the last look. */
long mig_ballast_moved(struct mig_ballast *ballast);

/* How many pages are not as they were written. */
long mig_ballast_check(const struct mig_ballast *ballast);

/*
 * Others, who take the frames that became free: buffers of pipes, which are
 * allocated as restricted memory is, and after them as much ballast as there is
 * room for. All is prepared first and taken later, so that taking frames takes
 * those frames and little besides.
 */
struct mig_others {
	int (*pipe)[2];
	int nr_pipes;
	struct mig_ballast ballast, more;
	char min_free[32];	/* the setting before, while there is more */
};

int mig_others_prepare(struct mig_others *others);
int mig_others_fill_pipes(struct mig_others *others);

/* Takes yet more if some of these frames are free. */
int mig_others_take_frames(struct mig_others *others,
			   const struct pm_frames *frames);

/* How many of their pages are not as they were written; frees the ballast. */
long mig_others_check(struct mig_others *others);
void mig_others_free(struct mig_others *others);

/* --- Migration ---------------------------------------------------------------- */

/* Compacts all of the memory; waits until it is done. */
int mig_compact(void);

/*
 * Whether compaction takes unevictable pages, as it does by default, be it on
 * demand or by itself. Without compaction there is nothing to be done.
 */
void mig_compact_unevictable(bool allowed);

#endif

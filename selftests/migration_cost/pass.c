// SPDX-License-Identifier: GPL-2.0-only
/*
 * What one pass of compaction costs, and what it brings, beside memory that may
 * not be moved. The program's name says what that is: private_64 is 64 MiB of a
 * guest's private memory, mlocked_64 as much of a memfd that is locked, none
 * nothing.
 */
#define _GNU_SOURCE
#include "mig_test.h"

#include <sys/mman.h>
#include <time.h>

/* Pages that can be moved, one in so many of what there was. */
#define BALLAST		(128 * MIG_MIB)
#define KEEP_ONE_IN	16

#define HUGE_PAGES	"/proc/sys/vm/nr_hugepages"
#define FAR_TOO_MANY	"100000"

FIXTURE(pass)
{
	struct mig_guest guest;
	struct mig_ballast ballast;
	char *locked;
	size_t size;
};

static size_t size_in_name(const char *kind)
{
	const char *name = program_invocation_short_name;
	size_t length = strlen(kind);

	return strncmp(name, kind, length) ? 0 : atol(name + length) * MIG_MIB;
}

FIXTURE_SETUP(pass)
{
	size_t private = size_in_name("private_"), locked = size_in_name("mlocked_");
	int fd;

	if (access("/proc/sys/vm/compact_memory", W_OK))
		SKIP_CASE("no compaction");
	self->size = private + locked;
	if (private) {
		mig_guest_create(_metadata, &self->guest, PM_BY_ATTRIBUTE,
				 private / PM_PAGE);
		return;
	}
	mig_compact_unevictable(false);
	ASSERT_EQ(0, pm_bind_to_this_cpu());
	if (!locked)
		return;
	fd = memfd_create("locked", 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, locked));
	self->locked = mmap(NULL, locked, PROT_READ | PROT_WRITE, MAP_SHARED,
			    fd, 0);
	ASSERT_NE(MAP_FAILED, self->locked);
	close(fd);
}

FIXTURE_TEARDOWN(pass)
{
	if (self->guest.vm)
		mig_guest_free(&self->guest);
	if (self->locked)
		munmap(self->locked, self->size);
	mig_ballast_free(&self->ballast);
	mig_compact_unevictable(true);
}

/* Half of the memory that may not be moved: the first one, or the second. */
#define ASSERT_FILLED(half) do { \
	size_t bytes = self->size / 2; \
	if (self->guest.vm) \
		mig_guest_fill(_metadata, &self->guest, (half) * (bytes / PM_PAGE), \
			       bytes / PM_PAGE); \
	else if (self->locked) \
		ASSERT_EQ(0, mlock(self->locked + (half) * bytes, bytes)); \
} while (0)

static long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void show_counters(const char *what, const struct mig_counters *before)
{
	static const struct {
		const char *counter, *name;
	} all[] = {
		{ "compact_migrate_scanned", "scanned" },
		{ "compact_free_scanned", "free_scanned" },
		{ "compact_isolated", "isolated" },
		{ "pgmigrate_success", "migrated" },
		{ "pgmigrate_fail", "refused" },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		MIG_DIAGNOSTIC("metric: %s_%s %ld pages", what, all[i].name,
			       mig_counter_since(before, all[i].counter));
}

static long huge_pages(void)
{
	FILE *file = fopen(HUGE_PAGES, "re");
	long nr = -1;

	if (file && fscanf(file, "%ld", &nr) != 1)
		nr = -1;
	if (file)
		fclose(file);
	return nr;
}

/*
 * Compaction moves pages from low frames to high ones, so one half lies below
 * most of what becomes free, and the other above it.
 */
TEST_F_TIMEOUT(pass, compaction_and_huge_pages, MIG_LIMIT * 6)
{
	struct mig_counters before;
	long long begun;
	long ret;

	ASSERT_FILLED(0);
	ASSERT_EQ(0, mig_ballast_take(&self->ballast, BALLAST));
	ASSERT_FILLED(1);
	mig_ballast_thin(&self->ballast, KEEP_ONE_IN);
	ASSERT_EQ(0, pm_drain_lru_batch());
	ASSERT_EQ(0, mig_ballast_look(&self->ballast));

	mig_compact_unevictable(true);
	mig_counters_read(&before);
	begun = now_ns();
	ASSERT_EQ(0, mig_compact());
	MIG_DIAGNOSTIC("metric: pass_time %lld ns better=less",
		       now_ns() - begun);
	show_counters("pass", &before);
	MIG_DIAGNOSTIC("metric: pass_ballast_moved %ld pages",
		       mig_ballast_moved(&self->ballast));

	mig_counters_read(&before);
	begun = now_ns();
	ret = pm_write_text(HUGE_PAGES, FAR_TOO_MANY);
	MIG_DIAGNOSTIC("metric: huge_time %lld ns better=less",
		       now_ns() - begun);
	ASSERT_EQ(0, ret);
	show_counters("huge", &before);
	MIG_DIAGNOSTIC("metric: huge_pages %ld 1 better=more", huge_pages());
	ASSERT_EQ(0, pm_write_text(HUGE_PAGES, "0"));
}

TEST_HARNESS_MAIN
